"""Ports: each story's own, and those that programs of others insist on."""

import contextlib
import fcntl
import functools
import os
import random
import socket

# Below the range the kernel gives to outgoing connections, and to those who ask it for any port.
FIRST, LAST = 20000, 31999

taken = set()


@functools.cache
def leases():
    """A file whose n-th byte is locked by the process of tests that has port n; the kernel lets go when the process ends."""
    return os.open("/tmp/tarn-tests-ports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def lease(port):
    """Whether the port is this process's from now on. Such locks are no obstacle to the process that has them."""
    if port in taken:
        return False
    try:
        fcntl.lockf(leases(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    taken.add(port)
    return True


def free_port():
    """A port nobody listens on at any loopback address, and nobody else is given while these tests run: a server may start
    on it later, and again after it was stopped."""
    if len(taken) > (LAST - FIRST) // 2:
        raise RuntimeError(f"{len(taken)} ports are taken by one process of tests: a fixture starts too many servers")
    while True:
        port = random.randint(FIRST, LAST)
        if not lease(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue


@contextlib.contextmanager
def sign_in_port():
    """Where SDKs and command lines wait for a browser to come back: 8020, and each connects to what listens there first."""
    with open("/tmp/tarn-tests-sign-in-port.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

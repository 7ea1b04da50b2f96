"""Ports that programs of others insist on: one story at a time, whichever process it runs in."""

import contextlib
import fcntl


@contextlib.contextmanager
def sign_in_port():
    """Where SDKs and command lines wait for a browser to come back: 8020, and each connects to what listens there first."""
    with open("/tmp/tarn-tests-sign-in-port.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

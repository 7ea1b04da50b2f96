"""Another machine: a network namespace with a cable to this one, that can be pulled out."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.platform import clean_environment
from harness.waiting import wait_until


def ip(*arguments, check=True):
    return subprocess.run(["ip", *map(str, arguments)], check=check, capture_output=True, text=True)


class Machine:
    """`with Machine() as machine`: we are machine.server, it is machine.address; skipped where nobody may make namespaces."""

    def __init__(self):
        number = random.randrange(1 << 14)
        self.name = f"tarn{number}"
        # Of the range that is set aside for tests of networks, and never routed (RFC 2544); a network of four for each.
        base = (198 << 24) + (18 << 16) + number * 4
        self.server, self.address = (".".join(str((base + i) >> shift & 255) for shift in (24, 16, 8, 0)) for i in (1, 2))
        self.server6, self.address6 = (f"fd7a:{number:x}::{i}" for i in (1, 2))
        self.cable = f"tv{number}"
        self.etc = Path("/etc/netns") / self.name

    def __enter__(self):
        made = ip("netns", "add", self.name, check=False) if os.geteuid() == 0 and shutil.which("ip") else None
        if made is None or made.returncode != 0:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip() if made else 'that takes root and ip(8)'}")
        try:
            ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            ip("address", "add", f"{self.server}/30", "dev", self.cable)
            ip("-6", "address", "add", f"{self.server6}/64", "dev", self.cable, "nodad", check=False)
            ip("link", "set", self.cable, "up")
            ip("-n", self.name, "address", "add", f"{self.address}/30", "dev", "eth0")
            ip("-n", self.name, "-6", "address", "add", f"{self.address6}/64", "dev", "eth0", "nodad", check=False)
            ip("-n", self.name, "link", "set", "eth0", "up")
            ip("-n", self.name, "link", "set", "lo", "up")
            self.etc.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        ip("link", "delete", self.cable, check=False)
        ip("netns", "delete", self.name, check=False)
        shutil.rmtree(self.etc, ignore_errors=True)

    def name_hosts(self, *names):
        """What a DNS server would tell it: these names are this machine."""
        (self.etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{self.server} {name}\n" for name in names))

    def pull_the_cable(self):
        ip("link", "set", self.cable, "down")

    def plug_it_in(self):
        ip("link", "set", self.cable, "up")
        wait_until(lambda: self.connect_error(1) == errno.ECONNREFUSED, "there is a way again")

    def connect_error(self, port):
        """Of an attempt to connect from there to a port of ours."""
        probe = f"import socket; print(socket.socket().connect_ex(('{self.server}', {port})))"
        return int(self.run(sys.executable, "-c", probe).stdout)

    def start(self, *command, **environment):
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *map(str, command)], env=clean_environment(**environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *command, check=True, timeout=60, **environment):
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *map(str, command)], env=clean_environment(**environment), text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
        return done

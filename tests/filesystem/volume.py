"""A bare volume with its file system: `tarn pagefs` on an empty store, steered as the supervisor steers it, without control and Postgres."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import mounts

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TARN_BINARY", REPOSITORY / "build" / "tarn")).resolve()
MAKE_VOLUME = Path(
    os.environ.get("TARN_MAKE_VOLUME", BINARY.parent / "tests" / "filesystem" / "make_volume")
).resolve()

PAGE = 8192
TIMEOUT = 60
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:")


class Failed(Exception):
    """An answer {"error": …}, or a pagefs that did not mount."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.hint = error.get("hint", "")


class Ended(Exception):
    """The other side closed the line."""


class Line:
    """Lines of JSON over a socket; answers may come in any order."""

    def __init__(self, ours):
        self.socket = ours
        self.buffer = b""
        self.answers = {}
        self.last_id = 0

    def send(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def receive(self, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError("pagefs said nothing")
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Ended()
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, action):
        """Sends a request; its id is for answer()."""
        self.last_id += 1
        self.send(json.dumps({"id": self.last_id, "do": action}))
        return self.last_id

    def answer(self, number, timeout=TIMEOUT):
        while number not in self.answers:
            message = self.receive(timeout)
            if "id" not in message:
                raise Failed(message["error"]) if "error" in message else AssertionError(message)
            self.answers[message["id"]] = message
        message = self.answers.pop(number)
        if "error" in message:
            raise Failed(message["error"])
        return message

    def do(self, action, timeout=TIMEOUT):
        return self.answer(self.ask(action), timeout)


class Volume:
    """One volume in a data directory. mount() and whatever ends it may be called again and again."""

    def __init__(self, directory=None, store="suite", name="br-suite", owner=None, make=True):
        self.is_own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="tarn-fs-", dir="/tmp"))
        os.chmod(self.directory, 0o711)
        self.store, self.name = store, name
        self.path = self.directory / "volumes" / name / "data"
        self.log = self.directory / f"{name}.log"
        self.process = self.line = None
        uid, gid = owner or (os.geteuid(), os.getegid())
        if make:
            subprocess.run(
                [MAKE_VOLUME, self.directory, store, name, str(uid), str(gid)], check=True, timeout=TIMEOUT
            )

    def start(self):
        """A pagefs of this volume and the line to it, whatever it says."""
        ours, theirs = socket.socketpair()
        # The shell makes the descriptor 3 of it: subprocess would give it its own number.
        command = 'exec 3>&"$1"; shift; exec "$@"'
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", command, "pagefs", str(theirs.fileno()), str(BINARY), "pagefs", "--data",
                 str(self.directory), "--store", self.store, "--volume", self.name, "--mount", str(self.path)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        theirs.close()
        return process, Line(ours)

    def mount(self):
        self.process, self.line = self.start()
        try:
            said = self.line.receive()
        except Ended:
            raise AssertionError(f"pagefs ended: {self.log_text()}") from None
        if said.get("state") != "mounted":
            self.process.wait(TIMEOUT)
            self.process = None
            raise Failed(said["error"])
        assert said["pid"] == self.process.pid
        return self

    def do(self, action, timeout=TIMEOUT):
        return self.line.do(action, timeout)

    def is_alive(self):
        return self.process.poll() is None

    def unmount(self):
        self.do("unmount")
        self.ended(0)

    def ended(self, code):
        """Waits for the end of pagefs, which must be this one, and nothing of it may be mounted any more."""
        got = self.process.wait(TIMEOUT)
        self.line.socket.close()
        self.process = None
        assert got == code, f"pagefs ended with {got}: {self.log_text()}"
        assert str(self.path) not in mounts.below(self.directory), "still mounted"

    def kill(self):
        """As the machine's worst enemy would. The dead mount stays, as it does then."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        self.line.socket.close()
        self.process = None

    def remount(self):
        """Away with everything the kernel has cached: what is read then comes from the store."""
        self.unmount()
        return self.mount()

    def log_text(self):
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def close(self):
        if self.process:
            try:
                self.unmount()
            except (Failed, Ended, TimeoutError, AssertionError, OSError):
                if self.process:
                    self.kill()
                mounts.detach_all(self.directory)
                raise
        else:
            mounts.detach_all(self.directory)

    def remove(self):
        try:
            self.close()
            for mark in SANITIZER_MARKS:
                assert mark not in self.log_text(), self.log_text()
        finally:
            if self.process:
                self.kill()
            mounts.detach_all(self.directory)
            if self.is_own_directory:
                shutil.rmtree(self.directory, ignore_errors=True)


def store_is_clean(log_text):
    """No damage was seen."""
    return not re.search(r"damaged|corrupt", log_text)

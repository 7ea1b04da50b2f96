"""A proxy of a test's own: the real `tarn proxy` with the keys of a Tarn that is there, but with a port, an environment and limits of its own. It asks
the control of that Tarn, or a stand-in of its own, whose endpoint costs nothing: then what is measured is the proxy and nothing else.
"""

import base64
import json
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import processes
from harness.platform import BINARY, clean_environment
from harness.ports import free_port
from harness.waiting import wait_until

USER = "admin@localhost"
DATABASE = "databricks_postgres"
SSL_REQUEST = struct.pack("!II", 8, 80877103)


def allow_descriptors(count):
    """For this process and those it starts; as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def resident_bytes(pid):
    """Memory of the process alone: the heap and what else is no file's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no RssAnon of process {pid}")


def database_token(key_path, uid, user=USER, seconds=3600):
    """A token as control would give it."""
    encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")  # noqa: E731
    now = int(time.time())
    signed = encode({"alg": "RS256", "typ": "JWT"}) + b"."
    signed += encode({"iss": "tarn", "iat": now, "exp": now + seconds, "jti": "test", "sub": user, "endpoint": uid})
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key_path], input=signed, capture_output=True, check=True).stdout
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class StandIn:
    """`with StandIn()`: a control that knows one endpoint, and a server that greets as Postgres does and answers every query with one word (stand_in.py)."""

    uid = "ep-stand-in-12345678"

    def __init__(self, descriptors=65536):
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-stand-in-", dir="/tmp"))
        self.control = self.folder / "control.sock"
        script = Path(__file__).with_name("stand_in.py")
        self.process = subprocess.Popen([sys.executable, "-B", script, self.folder, self.uid], preexec_fn=lambda: allow_descriptors(descriptors))

    def __enter__(self):
        wait_until((self.folder / "ready").exists, "the stand-in listens")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)


class ProxyAlone:
    """`with ProxyAlone(data)`: `data` is the directory of a Tarn, whose keys this one uses, and whose control unless another socket is named."""

    def __init__(self, data, control=None, binary=BINARY, environment=None, descriptors=None):
        self.data, self.binary, self.environment, self.descriptors = Path(data), binary, environment or {}, descriptors
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="tarn-proxy-", dir="/tmp"))
        self.log_path = self.directory / "proxy.log"
        (self.directory / "run").mkdir(mode=0o700)
        (self.directory / "run/control.sock").symlink_to(control or self.data / "run/control.sock")
        for name in ("authority.key", "authority.crt", "token.key"):
            shutil.copy(self.data / name, self.directory / name)
        settings = json.loads((self.data / "settings.json").read_text())
        settings["pg_port"] = self.port
        (self.directory / "settings.json").write_text(json.dumps(settings))
        self.ca = str(self.directory / "authority.crt")

    def __enter__(self):
        ready, told = os.pipe()
        os.set_inheritable(told, True)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [self.binary, "proxy", "--data", self.directory], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[told],
                env=clean_environment(**{**self.environment, "TARN_READY_FD": str(told)}),
                preexec_fn=(lambda: allow_descriptors(self.descriptors)) if self.descriptors else None,
            )  # fmt: skip
        os.close(told)
        with open(ready, "rb") as pipe:
            said = pipe.read()
        assert said == b"ready\n", f"the proxy did not start:\n{self.log()}"
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        code = self.process.wait(60)
        log = self.log()
        shutil.rmtree(self.directory)
        if kind is None:
            assert code == 0, f"the proxy ended with {code}:\n{log[-4000:]}"
        else:
            print(f"log of the proxy alone:\n{log[-4000:]}")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def sessions_ended(self):
        """By its log, where each session has a line at its end."""
        return self.log().count("session ended:")

    @property
    def pid(self):
        return self.process.pid

    def resident(self):
        return resident_bytes(self.pid)

    def open_files(self):
        assert processes.is_alive(self.pid), f"the proxy has ended:\n{self.log()[-4000:]}"
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class TlsSession:
    """One client, from TCP to the first ReadyForQuery, with as little as that needs: thousands of them fit into one process."""

    def __init__(self, host, port, context, password=None, user=USER, database=DATABASE, timeout=60):
        plain = socket.create_connection((host, port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            plain.sendall(SSL_REQUEST)
            answer = plain.recv(1)
            if answer != b"S":
                raise ConnectionError(f"the server does not do TLS: {answer!r}")
            self.socket = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        body = b"\0\3\0\0" + b"".join(text.encode() + b"\0" for text in ("user", user, "database", database, ""))
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.unread = b""
        while (message := self.message())[0] != b"Z":
            kind, body = message
            if kind == b"E":
                raise ConnectionError(f"refused: {body!r}")
            if kind == b"R" and body == b"\0\0\0\3":
                self.send(b"p", password.encode() + b"\0")

    def send(self, kind, body=b""):
        self.socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def message(self):
        while len(self.unread) < 5 or len(self.unread) < 1 + struct.unpack("!I", self.unread[1:5])[0]:
            more = self.socket.recv(16384)
            if not more:
                raise ConnectionError("the server has closed")
            self.unread += more
        length = struct.unpack("!I", self.unread[1:5])[0]
        kind, body, self.unread = self.unread[:1], self.unread[5 : 1 + length], self.unread[1 + length :]
        return kind, body

    def query(self, text):
        """Runs it; what comes before ReadyForQuery is not looked at."""
        self.send(b"Q", text.encode() + b"\0")
        while (message := self.message())[0] != b"Z":
            if message[0] == b"E":
                raise ConnectionError(f"failed: {message[1]!r}")

    def close(self):
        """As libpq does: Terminate, then the end of TLS without waiting for the other's."""
        try:
            self.send(b"X")
        except OSError:
            pass
        self.socket.close()


def client_context(ca):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context

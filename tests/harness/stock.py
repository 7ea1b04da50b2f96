"""A bare Postgres with TLS on a port of its own, to see what stock says to the same bytes."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from harness.platform import clean_environment
from harness.ports import free_port
from harness.waiting import wait_until


def unprivileged():
    """Whom Postgres runs as when we are root: a user and the switch for subprocess."""
    if os.geteuid() != 0:
        return None, {}
    entry = pwd.getpwnam("tarn")
    return entry, {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class StockServer:
    """Speaks TLS only, as the proxy does; the role "stock" has the password "stock"."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-stock-", dir="/tmp"))
        self.port = self.pg_port = free_port()
        self.ca = str(self.folder / "server.crt")
        entry, self.switch = unprivileged()
        data = self.folder / "data"
        if entry:
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "-D", data, "-U", "stock", "-A", "scram-sha-256", "--no-sync", f"--pwfile={self._password_file()}")
        self._run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
                  "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", data / "server.key", "-out", data / "server.crt")  # fmt: skip
        shutil.copy(data / "server.crt", self.ca)
        (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
        self.log = open(self.folder / "log", "wb")
        self.server = subprocess.Popen(
            ["postgres", "-D", data, "-c", "ssl=on", "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}",
             "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"],
            stdout=self.log, stderr=self.log, env=clean_environment(), cwd="/", **self.switch)  # fmt: skip
        wait_until(self._answers, "the bare Postgres accepts", 60)

    def _password_file(self):
        path = self.folder / "password"
        path.write_text("stock\n")
        path.chmod(0o644)
        return path

    def _run(self, *command):
        done = subprocess.run(list(map(str, command)), env=clean_environment(), cwd="/", capture_output=True, text=True, **self.switch)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def _answers(self):
        assert self.server.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        self.connect().close()
        return True

    def connect(self, **more):
        parameters = {"host": "127.0.0.1", "port": self.port, "user": "stock", "password": "stock", "dbname": "postgres", "sslmode": "require"}
        return psycopg.connect(**{**parameters, **more}, autocommit=True)

    def close(self):
        self.server.terminate()
        self.server.wait(60)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

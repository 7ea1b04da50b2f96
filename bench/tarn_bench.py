"""A Tarn of its own for one benchmark run: fresh data directory, free ports, everything through the command line.

Used by the members of bench/; nothing here knows what is measured.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Tarn:
    """`with Tarn() as tarn:` starts one, and leaves nothing behind."""

    def __init__(self, binary=None, settings=()):
        self.binary = os.path.abspath(binary or os.path.join(TREE, "build", "tarn"))
        if not os.access(self.binary, os.X_OK):
            sys.exit(f"{self.binary} is missing: run ./quickstart or ninja -C build first")
        self.settings = settings
        self.pg_port = free_port()
        self.api_port = free_port()

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that being told to end leaves nothing behind either
        self.folder = tempfile.mkdtemp(prefix="tarn-bench-", dir="/tmp")  # socket paths must stay short
        os.chmod(self.folder, 0o711)
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "up.log")
        self.log = open(self.log_path, "wb")
        command = [self.binary, "up", "--data", self.data, "--api", f"127.0.0.1:{self.api_port}",
                   "--pg-port", str(self.pg_port)]
        for setting in self.settings:
            command += ["--set", setting]
        self.up = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self.wait(lambda: self.try_run("postgres", "list-projects"), 30, "the API")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exception):
        self.try_run("down")
        if self.up.poll() is None:
            self.up.terminate()
            self.up.wait(60)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments):
        return [self.binary, *arguments, "--data", self.data]

    def try_run(self, *arguments):
        return subprocess.run(self.command(*arguments), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0

    def json(self, *arguments):
        done = subprocess.run(self.command("postgres", *arguments, "-o", "json"), stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                sys.stderr.write(log.read()[-3000:])
            sys.exit(f"tarn postgres {' '.join(arguments)} failed")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def wait(self, ready, seconds, what):
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline or self.up.poll() is not None:
                with open(self.log_path, encoding="utf-8", errors="replace") as log:
                    sys.stderr.write(log.read()[-3000:])
                sys.exit(f"gave up waiting for {what}")
            time.sleep(0.02)

    def endpoint(self, project, branch="production"):
        return self.json("get-endpoint", f"projects/{project}/branches/{branch}/endpoints/primary")

    def socket(self, endpoint):
        """Environment for the compute's Unix socket, as the superuser: the storage without the proxy."""
        folder = os.path.join(self.data, "computes", endpoint["uid"], "socket")
        return {"PGHOST": folder, "PGPORT": "5432", "PGUSER": "cloud_admin", "PGDATABASE": "databricks_postgres"}

    def volume(self, endpoint):
        with open(os.path.join(self.data, "computes", endpoint["uid"], "spec.json"), encoding="utf-8") as f:
            return os.path.join(self.data, "volumes", json.load(f)["volume_id"])

    def login(self, project, branch="production"):
        """Environment for psql, pgbench or psycopg: through the proxy, TLS verified, token as password."""
        endpoint = self.endpoint(project, branch)
        credential = self.json("generate-database-credential", endpoint["name"])
        role = self.json("list-roles", f"projects/{project}/branches/production")[0]["status"]["postgres_role"]
        return {
            "PGHOST": endpoint["status"]["hosts"]["host"],
            "PGPORT": str(self.pg_port),
            "PGUSER": role,
            "PGPASSWORD": credential["token"],
            "PGDATABASE": "databricks_postgres",
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": os.path.join(self.data, "authority.crt"),
        }


class Stock:
    """Stock Postgres on the plain file system: a base backup of a compute, with the settings the compute has."""

    # What only makes sense on the page store, or would archive.
    PLAIN = {"archive_mode": "off", "archive_command": "''", "full_page_writes": "on", "wal_recycle": "on", "restore_command": "''",
             "recovery_init_sync_method": "fsync", "checkpoint_timeout": "5min",
             # Written ahead for the page store's checkpoints; on a plain file system the defaults are faster.
             "bgwriter_delay": "200ms", "bgwriter_lru_maxpages": "100", "bgwriter_lru_multiplier": "2"}

    def __init__(self, tarn, endpoint, folder, settings=None):
        """The compute must be awake."""
        self.folder = os.path.join(folder, "stock")
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o711)
        self.user = pwd.getpwnam("tarn") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.route = {"PGHOST": self.folder, "PGPORT": "5432", "PGUSER": "cloud_admin", "PGDATABASE": "databricks_postgres"}
        self.info = {"host": self.folder, "port": 5432, "user": "cloud_admin", "dbname": "databricks_postgres"}
        subprocess.run(["pg_basebackup", "-D", self.data, "-X", "stream", "-c", "fast"], env={**os.environ, **tarn.socket(endpoint)},
                       check=True, capture_output=True)
        self.settings_path = os.path.join(self.folder, "postgresql.conf")
        with open(os.path.join(tarn.data, "computes", endpoint["uid"], "postgresql.conf"), encoding="utf-8") as f:
            text = f.read()
        for name, value in {**self.PLAIN, **(settings or {})}.items():
            text += f"{name} = {value}\n"
        # A compute's own start-up may name files of its own; the last line of a name counts.
        text += f"hba_file = '{self.folder}/hba.conf'\nident_file = '{self.folder}/ident.conf'\nlisten_addresses = ''\n"
        text += f"unix_socket_directories = '{self.folder}'\nport = 5432\n"
        for name, content in (("postgresql.conf", text), ("hba.conf", "local all all trust\nlocal replication all trust\n"), ("ident.conf", "")):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
                f.write(content)
        subprocess.run(["chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", self.folder], check=True)
        os.chmod(self.data, 0o700)
        self.server = None

    def begin(self):
        as_user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.server = subprocess.Popen(["postgres", "-D", self.data, "-c", f"config_file={self.settings_path}"],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **as_user)

    def is_ready(self):
        """The last line of postmaster.pid is the server's own word (src/include/utils/pidfile.h)."""
        if self.server.poll() is not None:
            with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                sys.exit(f"stock Postgres did not start:\n{log.read()[-2000:]}")
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii", errors="replace") as f:
                lines = f.read().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.server.pid) and lines[7].strip() == "ready"

    def start(self):
        self.begin()
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if time.monotonic() > deadline:
                sys.exit("stock Postgres does not get ready")
            time.sleep(0.0005)  # polling with connections would be client load, and slow the start down
        return self

    def stop(self):
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(120)
        self.server = None


def disk_usage(*paths):
    """Bytes on disk below the paths, each inode once, as du counts them. Mounts are not entered."""
    done = subprocess.run(["du", "-s", "-x", "-B1", "-c", *paths], capture_output=True, text=True, check=False)
    return int(done.stdout.splitlines()[-1].split()[0])


def drop_caches():
    """The kernel's page cache, of the plain file system and of FUSE alike. False when we may not."""
    subprocess.run(["sync"], check=True)
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3\n")
        return True
    except PermissionError:
        return False


def percentile(values, share):
    """Nearest rank, so that every number printed was really measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(round(share * len(ordered) + 0.5)) - 1))]


def median(values):
    return statistics.median(values)


def table(header, rows):
    """Columns of text for people: the first one left, the others right."""
    rows = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def machine():
    """What the numbers were taken on, for the JSON."""
    with open("/proc/loadavg", encoding="ascii") as f:
        load = f.read().split()[0]
    return {"cores": os.cpu_count(), "load_before": float(load), "kernel": os.uname().release}

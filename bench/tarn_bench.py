"""A Tarn of its own for one benchmark run: fresh data directory, free ports, everything through the command line.

Used by the members of bench/; nothing here knows what is measured.
"""

import json
import os
import shutil
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

    def endpoint(self, project):
        return self.json("get-endpoint", f"projects/{project}/branches/production/endpoints/primary")

    def login(self, project):
        """Environment for psql, pgbench or psycopg: through the proxy, TLS verified, token as password."""
        endpoint = self.endpoint(project)
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

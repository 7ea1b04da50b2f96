"""One Tarn in a directory of its own: started with `tarn up`, used as people use it, and checked for what it leaves."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

from harness import mounts, processes
from harness.ports import free_port
from harness.rest import Rest
from harness.store import Store
from harness.waiting import NotInTime, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TARN_BINARY", REPOSITORY / "build" / "tarn")).resolve()

# A role that starts, initdb the first time, is slow on a loaded machine; nothing here waits that long when all is well.
START_TIMEOUT = 90

SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "WARNING: ThreadSanitizer")


def clean_environment(**more):
    """The caller's environment without what steers Postgres clients, SDKs and Tarn itself."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "DATABRICKS_", "TARN_"))
        or name in ("TARN_CACHE", "TARN_POSTGRES", "TARN_PYTHON", "TARN_TEST_POSTGRES")
    }
    kept.update(more)
    return kept


# Limits of a project that are no story's topic but their own.
NO_LIMITS = {"root_branches_per_project": 1000, "active_computes_per_project": 1000, "unarchived_branches_per_project": 1000}


class Platform:
    # Those that run, so that the report of a failed test can show their logs.
    running = []

    def __init__(self, directory=None, settings=None, arguments=(), environment=None, binary=BINARY, pg_port=None, api_address="127.0.0.1"):
        self.binary = binary
        if directory is None:
            directory = tempfile.mkdtemp(prefix="tarn-", dir="/tmp")
        self.directory = Path(directory)
        os.chmod(self.directory, 0o711)
        self.api_address = api_address
        self.api_port, self.pg_port = free_port(), pg_port or free_port()
        self.arguments = list(arguments)
        for name, value in (settings or {}).items():
            self.arguments += ["--set", f"{name}={value}"]
        self.environment = environment or {}
        self.up = None
        # Its parents can be entered by nobody else; Tarn must not care.
        self.scratch = Path(tempfile.mkdtemp(prefix="tarn-test-", dir="/tmp"))
        self.log_path = self.scratch / "up.log"
        self._rest = None

    # -- starting and stopping ------------------------------------------------------------------------------------

    def start(self):
        assert self.up is None or self.up.poll() is not None, "it runs already"
        log = open(self.log_path, "ab")
        with log:
            self.up = subprocess.Popen(
                [self.binary, "up", "--data", self.directory, "--api", f"{self.api_address}:{self.api_port}",
                 "--pg-port", str(self.pg_port), *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(**self.environment),
            )  # fmt: skip
        if self not in Platform.running:
            Platform.running.append(self)
        self.wait_ready()
        return self

    def wait_ready(self):
        def answers():
            if self.up.poll() is not None:
                raise RuntimeError(f"tarn up ended with {self.up.returncode}:\n{self.up_log()}")
            with socket.create_connection(("127.0.0.1", self.pg_port), timeout=5):
                pass
            return Rest(self.host, None).ask("GET", "/.well-known/databricks-config", timeout=5).status == 200

        wait_until(answers, "both ports answer", START_TIMEOUT)

    def stop(self, timeout=90):
        """As Ctrl-C does it: everything sleeps afterwards. The exit code of `tarn up`."""
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(timeout)

    def close(self):
        """Stops, checks that nothing is left, and removes the directory."""
        if self in Platform.running:
            Platform.running.remove(self)
        try:
            if self.up is not None and self.up.poll() is None:
                code = self.stop()
                assert code == 0, f"tarn up ended with {code} after SIGTERM:\n{self.up_log()[-4000:]}"
            self.check_nothing_left()
            self.check_sanitizers()
        finally:
            processes.end_directory(self.directory)
            mounts.detach_all(self.directory)
            shutil.rmtree(self.directory, ignore_errors=True)
            shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self):
        return self.start() if self.up is None else self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except Exception as second:  # the first failure is the one to report
            print(f"while closing after a failure: {second}")

    def check_nothing_left(self):
        # A process that was told to end may need a moment to be gone from the table.
        try:
            wait_until(lambda: not processes.of_directory(self.directory), "no process left", 5)
        except NotInTime:
            left = processes.of_directory(self.directory)
            raise AssertionError(f"processes left: {[processes.describe(pid) for pid in left]}") from None
        left = mounts.below(self.directory)
        assert not left, f"mounts left: {left}"
        sockets = [line for line in open("/proc/net/unix") if f"{self.directory}/" in line]
        assert not sockets, f"sockets left: {sockets}"
        for port in (self.api_port, self.pg_port):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("0.0.0.0", port))
        half_made = [str(p) for p in self.half_made()]
        assert not half_made, f"half-made things left: {half_made}"
        self.check_stores()

    def half_made(self):
        """Volumes and templates that were begun and neither finished nor removed."""
        return [p for folder, form in (("volumes", "*.*"), ("templates", "*.new*"))
                for p in (self.directory / folder).glob(form)]  # fmt: skip

    def stores(self):
        folder = self.directory / "stores"
        return [Store(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def check_stores(self):
        """Every reference leads to layers that are there, and each volume has a stack; for a Tarn at rest."""
        volumes = {p.name for p in (self.directory / "volumes").iterdir()} if (self.directory / "volumes").is_dir() else set()
        stacks = set()
        for store in self.stores():
            missing = store.missing_layers()
            assert not missing, f"{store.path.name}: references to layers that are not there: {missing}"
            if not store.name.startswith("template-"):
                stacks |= store.stack_names()
        if self.stores():
            assert stacks == volumes, f"stacks and volumes differ: {sorted(stacks ^ volumes)}"

    def check_sanitizers(self):
        for path in self.log_files():
            text = path.read_text(errors="replace")
            for mark in SANITIZER_MARKS:
                assert mark not in text, f"{path.name}:\n{text[text.index(mark):][:6000]}"

    # -- what it says ---------------------------------------------------------------------------------------------

    @property
    def host(self):
        return f"http://127.0.0.1:{self.api_port}"

    def up_log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_files(self):
        found = [self.log_path] if self.log_path.exists() else []
        found += sorted((self.directory / "run").glob("*.log"))
        return found + sorted(self.directory.glob("computes/*/*.log"))

    def log_tails(self, lines=40):
        out = []
        for path in self.log_files():
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            name = path.relative_to(self.directory) if path.is_relative_to(self.directory) else path.name
            out.append(f"--- {name}\n" + "\n".join(tail))
        return "\n".join(out)

    # -- command line ---------------------------------------------------------------------------------------------

    def tarn(self, *arguments, check=True, timeout=120, **environment):
        """Runs `tarn …` as a person would; arguments as they are, with the environment that `tarn env` gives."""
        return self.tarn_as({**self.env(), **environment}, *arguments, check=check, timeout=timeout)

    def tarn_as(self, environment, *arguments, check=True, timeout=120):
        """The same as somebody who has set these variables and no others."""
        result = subprocess.run(
            [self.binary, *map(str, arguments)], env=clean_environment(**{**self.environment, **environment}),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check:
            assert result.returncode == 0, f"tarn {arguments} ended with {result.returncode}: {result.stderr}"
        return result

    def env(self):
        """The variables that `tarn env` exports, as a shell that evaluated it would have them."""
        if getattr(self, "_env", None) is None:
            script = 'set -e; eval "$("$1" env --data "$2")"; env -0'
            answer = subprocess.run(
                ["bash", "-c", script, "bash", self.binary, self.directory],
                env=clean_environment(), capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert answer.returncode == 0, answer.stderr
            variables = dict(part.split("=", 1) for part in answer.stdout.split("\0") if "=" in part)
            names = ("DATABRICKS_", "PGSSL", "NODE_EXTRA")
            self._env = {name: value for name, value in variables.items() if name.startswith(names)}
        return self._env

    # -- REST and SQL -----------------------------------------------------------------------------------------------

    @property
    def rest(self):
        if self._rest is None:
            self._rest = Rest(self.host, self.env()["DATABRICKS_TOKEN"])
        return self._rest

    def wake(self, endpoint):
        """Its Postgres accepts connections: past this, direct() works."""
        self.sql(endpoint, "select 1")

    def sleep(self, project, branch="production", timeout=90):
        """Suspends a branch cleanly, whoever is connected, and leaves it ready to be woken."""
        endpoint = self.rest.endpoint(project, branch)
        self.rest.update_endpoint(project, branch, "spec.disabled", {"disabled": True})
        self.wait_asleep(endpoint, timeout)
        self.rest.update_endpoint(project, branch, "spec.disabled", {"disabled": False})

    @property
    def ca(self):
        return str(self.directory / "authority.crt")

    def connection_parameters(self, endpoint, **more):
        """libpq parameters for an endpoint (the resource, or its name), with a fresh token as the password."""
        if isinstance(endpoint, str):
            endpoint = self.rest.get(endpoint)
        parameters = {
            "host": endpoint["status"]["hosts"]["host"], "port": self.pg_port, "dbname": "databricks_postgres",
            "user": "admin@localhost", "sslmode": "verify-full", "sslrootcert": self.ca, "connect_timeout": 60,
        }  # fmt: skip
        parameters.update(more)
        if "password" not in parameters:
            parameters["password"] = self.rest.database_token(endpoint["name"])
        return parameters

    def connect(self, endpoint, autocommit=True, **more):
        return psycopg.connect(**self.connection_parameters(endpoint, **more), autocommit=autocommit)

    def sql(self, endpoint, statement, parameters=None, **more):
        """One statement on a connection of its own; its rows, if it has any."""
        with self.connect(endpoint, **more) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def psql(self, endpoint, *arguments, stdin=None, check=True, timeout=120, **more):
        """The real psql, with a connection string that has everything but the password."""
        parameters = self.connection_parameters(endpoint, **more)
        password = parameters.pop("password")
        conninfo = psycopg.conninfo.make_conninfo(**parameters)
        result = subprocess.run(
            ["psql", "-X", *arguments, conninfo], env=clean_environment(PGPASSWORD=password),
            input=stdin, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check:
            assert result.returncode == 0, f"psql {arguments} ended with {result.returncode}: {result.stderr}"
        return result

    def socket_directory(self, endpoint):
        return self.directory / "computes" / endpoint["uid"] / "socket"

    def direct_parameters(self, endpoint, **more):
        """Past the proxy: the Unix socket of a compute that is awake, as the superuser that only Tarn's own user can be."""
        return {"host": str(self.socket_directory(endpoint)), "port": 5432, "user": "cloud_admin",
                "dbname": "databricks_postgres", "connect_timeout": 60, **more}  # fmt: skip

    def direct(self, endpoint, **more):
        return psycopg.connect(**self.direct_parameters(endpoint, **more), autocommit=True)

    # -- processes ----------------------------------------------------------------------------------------------------

    def _locked_pid(self, path):
        """The process that a lock file names, if it is there."""
        try:
            pid = json.loads((self.directory / path).read_text())["pid"]
        except (OSError, ValueError, KeyError):
            return None
        return pid if processes.is_alive(pid) else None

    def role_pid(self, role):
        return self._locked_pid(f"run/{role}.lock")

    def supervisor_pid(self, endpoint):
        return self._locked_pid(f"computes/{endpoint['uid']}/supervisor.lock")

    def pagefs_pid(self, endpoint):
        supervisor = self.supervisor_pid(endpoint)
        return processes.pagefs_of(supervisor) if supervisor else None

    def volume_id(self, endpoint):
        """Which volume a compute runs on: a reset or a restore in place gives its branch another one."""
        spec = json.loads((self.directory / "computes" / endpoint["uid"] / "spec.json").read_text())
        return spec["volume_id"]

    def volume(self, endpoint):
        return self.directory / "volumes" / self.volume_id(endpoint)

    def postmaster_pid(self, branch_uid):
        for folder in sorted((self.directory / "volumes").glob(f"{branch_uid}*"), reverse=True):
            try:
                pid = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
            except (OSError, ValueError):
                continue
            if processes.is_alive(pid):
                return pid
        return None

    def branch_uid(self, project, branch="production"):
        return self.rest.get(f"projects/{project}/branches/{branch}")["uid"]

    def is_asleep(self, endpoint):
        """No process of the endpoint is left, and the API says so."""
        return (
            self.rest.get(endpoint["name"])["status"]["current_state"] == "IDLE"
            and self.supervisor_pid(endpoint) is None
        )

    def wait_asleep(self, endpoint, timeout=60):
        wait_until(lambda: self.is_asleep(endpoint), f"{endpoint['name']} asleep", timeout)

    def descriptors(self, role):
        return len(os.listdir(f"/proc/{self.role_pid(role)}/fd"))

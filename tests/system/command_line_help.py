"""Every example of every help text, typed as it stands there, in a Tarn that has what the examples name."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from harness.platform import BINARY, Platform, clean_environment
from harness.ports import free_port
from harness.rest import RestError
from harness.waiting import wait_until

DEV = "projects/demo/branches/dev"


def tarn(*arguments, **options):
    return subprocess.run([BINARY, *arguments], env=clean_environment(), capture_output=True, text=True, timeout=60, **options)


def help_of(*words):
    result = tarn("help", *words)
    assert result.returncode == 0 and result.stderr == "", result
    return result.stdout


def commands():
    """("up",), ("postgres", "get-project"), …: as the help texts list them."""
    overview = re.search(r"Commands:\n(.*?)\n\n", help_of(), re.S)[1]
    found = [(line.split()[0],) for line in overview.splitlines() if line.split()[0] not in ("help", "postgres")]
    return found + [("postgres", line.split()[0]) for line in help_of("postgres").splitlines() if re.match(r"  [a-z]+-[a-z-]+  ", line)]


def examples(words):
    text = re.search(r"^Examples?:\n((?:  .*\n)+)", help_of(*words), re.M)
    lines = [line.strip() for line in text[1].splitlines()] if text else []
    if words == ("auth",):
        # Its examples are stories of several lines; signing in needs a person at a browser.
        lines = ["set -e", *(line for line in re.findall(r"^  (tarn auth \S+.*)$", help_of(*words), re.M) if "VERB" not in line and " login" not in line)]
    # What `tarn env` prints is for the commands that follow in the same shell, and so are those.
    return ["\n".join(lines)] if words in (("env",), ("auth",)) else lines


COMMANDS = commands()
EXAMPLES = [(words, line) for words in COMMANDS for line in examples(words)]


# How the API says that it does not serve something; an example of that may end so, and only so.
REFUSED = re.compile(r"not available yet|^Error: .* id not found", re.M)


class World:
    """Project "demo" with all that examples name; each example finds it as the help texts say it is."""

    # A request that makes one of the kind, to learn whether the server serves it at all: parts of commands' names.
    KINDS = {
        "catalog": ("POST", "catalogs"), "synced-table": ("POST", "synced_tables"),
        "cdf-": ("POST", "projects/demo/branches/production/databases/databricks-postgres/cdf-configs"),
        "data-api": ("POST", "projects/demo/branches/production/databases/databricks-postgres/data-api"),
        "role": ("POST", f"{DEV}/roles"), "database": ("POST", f"{DEV}/databases"),
        "snapshot-schedule": ("PATCH", f"{DEV}/snapshot-schedule"),
        "compute-instance": ("GET", f"{DEV}/endpoints/primary/compute-instances/x"),
    }  # fmt: skip

    def __init__(self, platform):
        self.platform, self.rest = platform, platform.rest
        self.bin = platform.scratch / "bin"
        self.bin.mkdir()
        (self.bin / "tarn").symlink_to(platform.binary)

    def unserved(self, command):
        """Does the server answer 501 for what the command is about? (Nothing is made: the bodies are incomplete.)"""
        if command == "generate-database-credential":
            return False
        if command.endswith("-endpoint"):
            return not self.has(f"{DEV}/endpoints/reader") and not self.make_reader()
        for part, (method, path) in self.KINDS.items():
            if part in command:
                status = self.rest.ask(method, path, {"spec": {}} if method != "GET" else None).status
                return status == 501 or (part == "compute-instance" and status == 404)
        return False

    def make_reader(self):
        return self.ask("POST", f"{DEV}/endpoints", {"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_ONLY"}}, endpoint_id="reader")

    def ask(self, method, path, body=None, **query):
        try:
            return self.rest.run(method, path, body, **query)
        except RestError:
            return None

    def has(self, name):
        try:
            found = self.rest.get(name)
        except RestError:
            return False
        return "delete_time" not in {**found, **found.get("status", {})}

    def sql(self, statement):
        endpoint = self.rest.get(f"{DEV}/endpoints/primary")
        self.platform.sql(endpoint, statement)

    def rows(self, statement):
        return self.platform.sql(self.rest.get(f"{DEV}/endpoints/primary"), statement)

    def ensure_demo(self):
        if not self.has("projects/demo"):
            self.rest.create_project("demo")
        self.rest.run("PATCH", "projects/demo", {"spec": {"default_branch": "projects/demo/branches/production"}},
                      update_mask="spec.default_branch")  # fmt: skip
        if not self.has(DEV):
            self.rest.create_branch("demo", "dev")
        if not self.has("projects/demo/snapshots/nightly"):
            self.rest.run("POST", "projects/demo/snapshots", {"spec": {"source_branch": "projects/demo/branches/production"}},
                          snapshot_id="nightly")  # fmt: skip
        if not self.has(f"{DEV}/endpoints/reader"):
            self.make_reader()
        names = {name for (name,) in self.rows("select rolname from pg_roles")}
        for role in {"app", "owner"} - names:
            if not self.ask("POST", f"{DEV}/roles", {"spec": {"postgres_role": role}}, role_id=role):
                self.sql(f"create role {role} login")
        if ("shop",) not in self.rows("select datname from pg_database"):
            self.sql("create database shop")

    def prepare(self, words, line):
        """Makes what an example deletes, and takes away what it makes."""
        self.ensure_demo()
        verb = words[-1]
        for project in re.findall(r"(?:project |projects/)(shop)\b", line):
            self.make_again(f"projects/{project}", verb, lambda: self.rest.create_project("shop"))
        self.ask("DELETE", "projects/demo/branches/try", purge="true")
        if re.search(r"demo/branches/try\b|demo try\b", line):
            self.make_again("projects/demo/branches/try", verb, lambda: self.rest.create_branch("demo", "try", ttl="86400s"))
        if verb == "create-snapshot":
            self.ask("DELETE", "projects/demo/snapshots/friday")
        if verb == "create-endpoint":
            self.ask("DELETE", f"{DEV}/endpoints/reader")
        if verb in ("create-database", "delete-role"):  # what was made in an example before belongs to a role of another
            self.ask("DELETE", f"{DEV}/databases/orders")
        if verb == "create-role":
            self.sql("drop role if exists report")
        if verb == "restore-branch":
            # The moment is written in whole seconds: it must not be before the branch was made.
            made = time.time()
            wait_until(lambda: int(time.time()) > made, "the next second")
        if verb == "reset-branch":
            self.rest.delete_branch("demo", "dev")
            self.ensure_demo()

    def make_again(self, name, verb, make):
        self.ask("DELETE", name, purge="true")
        if not verb.startswith(("create-", "get-operation")):
            make()
        if verb.startswith("undelete-"):
            self.rest.run("DELETE", name)

    def with_real_ids(self, line):
        """Ids of computes are the server's to make: the one of the example stands for whichever there is."""
        if "/compute-instances/" not in line:
            return line
        found = self.rest.get(f"{DEV}/endpoints/primary/compute-instances").get("compute_instances", [])
        return line.replace("ci-green-hill-12ab34cd", found[0]["compute_instance_id"]) if found else line

    def type(self, line):
        environment = clean_environment(TARN_DATA=str(self.platform.directory), PATH=f"{self.bin}:{os.environ['PATH']}",
                                        PAGER="cat", PSQLRC="/dev/null", HOME=str(self.platform.scratch))  # fmt: skip
        return subprocess.run(["bash", "-c", line], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)  # fmt: skip


@pytest.fixture(scope="module")
def world():
    with Platform() as platform:
        yield World(platform)


def run_up(world, line):
    """`tarn up` as it is typed, but on ports and in a folder that are ours."""
    folder = tempfile.mkdtemp(prefix="tarn-", dir="/tmp")
    os.chmod(folder, 0o711)
    data, api, pg = f"{folder}/d", free_port(), free_port()
    line = re.sub(r" --(data|api|pg-port) \S+", "", line)
    up = subprocess.Popen(f"exec {line} --data {data} --api 127.0.0.1:{api} --pg-port {pg}", shell=True,
                          env=clean_environment(PATH=f"{world.bin}:{os.environ['PATH']}"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    try:
        said = [up.stdout.readline() for _ in range(3)]
        assert any("REST API" in line for line in said), said
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0
        up.stdout.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize(("words", "line"), EXAMPLES, ids=[f"{' '.join(w)}:{n}" for n, (w, _) in enumerate(EXAMPLES)])
def test_an_example_works_as_typed(world, words, line):
    if words == ("up",):
        return run_up(world, line)
    if words == ("down",):
        with Platform() as own:
            assert subprocess.run([BINARY, *line.split()[1:], "--data", own.directory], timeout=60).returncode == 0
            assert own.up.wait(60) == 0
            return None
    if words == ("doctor",):
        line = line.replace("/srv/tarn", str(world.platform.directory))
    world.prepare(words, line)
    result = world.type(world.with_real_ids(line))
    said = f"$ {line}\n{result.stdout}{result.stderr}"
    if result.returncode == 1 and world.unserved(words[-1]):
        assert REFUSED.search(result.stderr), said
        return None
    assert result.returncode == 0, said
    assert "Warning" not in result.stderr and "Error" not in result.stderr, said
    return None


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_help_text_has_all_that_one_learns_from(words):
    text = help_of(*words)
    assert text == tarn(*words, "--help").stdout == tarn(*words, "-h").stdout
    assert re.search(r"^Usage:", text, re.M) and re.search(r"^Flags:\n", text, re.M), text
    assert examples(words), text
    usage = re.search(r"^Usage:\s+tarn (.*)$", text, re.M)
    if usage:
        for word in set(re.findall(r"\b[A-Z][A-Z_]+\b", usage[1])) - {"FLAGS", "VERB", "ARGUMENTS"}:
            assert word in text.replace(usage[0], ""), f"{word} is not explained:\n{text}"
    assert all(len(line) <= 160 for line in text.splitlines() if not line.startswith("  tarn ")), text


def test_examples_are_of_every_command_of_the_real_cli():
    """The grammar we share: names as in rest-api.md, section 9."""
    real = """create-project get-project list-projects update-project delete-project undelete-project create-branch get-branch
        list-branches update-branch delete-branch undelete-branch create-endpoint get-endpoint list-endpoints update-endpoint
        delete-endpoint create-database get-database list-databases update-database delete-database create-role get-role list-roles
        update-role delete-role create-catalog get-catalog delete-catalog create-synced-table get-synced-table delete-synced-table
        create-cdf-config get-cdf-config list-cdf-configs delete-cdf-config get-cdf-status list-cdf-statuses create-data-api
        get-data-api update-data-api delete-data-api generate-database-credential get-operation""".split()
    ours = {words[-1] for words in COMMANDS if words[0] == "postgres"}
    assert set(real) <= ours, set(real) - ours


def test_a_word_that_is_nearly_right_is_recognised():
    for typed, meant in (("postgres create-brnch", "create-branch"), ("postrges", "postgres"), ("help postgres get-projct", "get-project")):
        result = tarn(*typed.split())
        assert result.returncode == 2 and f'did you mean "{meant}"' in result.stderr, result.stderr
    assert "did you mean" not in tarn("xyzzy").stderr


def test_the_json_of_examples_is_valid():
    for _, line in EXAMPLES:
        for body in re.findall(r"--json '(.*?)'", line):
            json.loads(body)

"""API storm: many clients at once send random calls while control is killed again and again; afterwards everything must add up.

What is checked: no answer is a 5xx but 501 and "stopping"; an operation that was told of ends, once, and never changes; every listed branch opens and its
roles and databases are what Postgres has; no folder, volume, store or row is left that nothing names. One seed chooses what each client does;
what the others do in between differs from run to run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time

from harness.platform import Platform
from harness.rest import Rest, RestError
from harness.waiting import wait_until

PROJECTS = ("storm-a", "storm-b", "storm-c")
BRANCHES = ("production", "dev", "test")
ROLES = ("admin", "app", "worker")
DATABASES = ("databricks-postgres", "shop", "stock")
SNAPSHOTS = ("one", "two")
LOST = (ConnectionError, TimeoutError, OSError)


class Client(threading.Thread):
    def __init__(self, storm, number):
        super().__init__(name=f"client {number}", daemon=True)
        self.storm, self.dice = storm, random.Random(storm.options.seed * 1000 + number)
        self.rest = Rest(storm.platform.host, storm.platform.rest.token)

    def run(self):
        try:
            while not self.storm.is_over:
                self.act()
        except BaseException as failure:  # noqa: B902 - whatever it is, the storm has failed
            self.storm.fail(f"{self.name}: {type(failure).__name__}: {failure}")

    def act(self):
        method, path, query, body = self.choose()
        try:
            answer = self.rest.ask(method, path, body, query)
        except LOST:
            time.sleep(0.05)
            return
        with self.storm.lock:
            key = f"{method} {answer.status}"
            self.storm.counts[key] = self.storm.counts.get(key, 0) + 1
        try:
            value = json.loads(answer.raw)
        except ValueError:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.raw[:300]!r}") from None
        if answer.status >= 500 and answer.status not in (501, 503):
            raise AssertionError(f"{method} {path} {query} {body}: {answer.status} {value}")
        if answer.status >= 400:
            assert value.get("error_code") and value.get("message"), (method, path, value)
        elif "/operations/" in value.get("name", ""):
            self.storm.note(value)

    def choose(self):
        d = self.dice
        p, b = d.choice(PROJECTS), d.choice(BRANCHES)
        project, branch = f"projects/{p}", f"projects/{p}/branches/{b}"
        role, database = d.choice(ROLES), d.choice(DATABASES)
        kinds = [
            (8, lambda: ("POST", "projects", {"project_id": p}, {})),
            (0.3, lambda: ("DELETE", project, {"purge": "true"} if d.random() < 0.7 else {}, None)),
            (1, lambda: ("POST", f"{project}/undelete", {}, {})),
            (3, lambda: ("PATCH", project, {"update_mask": d.choice(["spec.display_name", "spec", "*", "spec.nothing"])},
                         {"spec": {"display_name": f"name {d.randrange(9)}"}})),
            (8, lambda: ("POST", f"{project}/branches", {"branch_id": b}, {"spec": {
                "source_branch": f"{project}/branches/{d.choice(BRANCHES)}", **d.choice([{"no_expiry": True}, {"ttl": "3600s"}])}})),
            (3, lambda: ("DELETE", branch, {"purge": "true"} if d.random() < 0.7 else {}, None)),
            (1, lambda: ("POST", f"{branch}/undelete", {}, {})),
            (1, lambda: ("POST", f"{branch}/reset", {}, {})),
            (2, lambda: ("PATCH", branch, {"update_mask": "spec.is_protected"}, {"spec": {"is_protected": d.random() < 0.2}})),
            (3, lambda: ("PATCH", f"{branch}/endpoints/primary", {"update_mask": "spec.disabled"}, {"spec": {"disabled": d.random() < 0.3}})),
            (2, lambda: ("PATCH", f"{branch}/endpoints/primary", {"update_mask": "spec.settings"},
                         {"spec": {"settings": {"pg_settings": {"work_mem": d.choice(["4MB", "8MB", "nonsense"])}}}})),
            (6, lambda: ("POST", f"{branch}/roles", {"role_id": role}, {"spec": {"postgres_role": role}})),
            (3, lambda: ("PATCH", f"{branch}/roles/{role}", {"update_mask": "spec.attributes.createdb"},
                         {"spec": {"attributes": {"createdb": d.random() < 0.5}}})),
            (3, lambda: ("DELETE", f"{branch}/roles/{role}", {}, None)),
            (6, lambda: ("POST", f"{branch}/databases", {"database_id": database},
                         {"spec": {"postgres_database": database.replace("-", "_"), "role": f"{branch}/roles/{d.choice(ROLES)}"}})),
            (2, lambda: ("DELETE", f"{branch}/databases/{database}", {}, None)),
            (2, lambda: ("POST", f"{project}/snapshots", {"snapshot_id": d.choice(SNAPSHOTS)}, {"spec": {"source_branch": branch}})),
            (2, lambda: ("DELETE", f"{project}/snapshots/{d.choice(SNAPSHOTS)}", {}, None)),
            (6, lambda: ("GET", d.choice(["projects", f"{project}/branches", f"{branch}/endpoints", f"{branch}/roles",
                                          f"{branch}/databases", f"{project}/snapshots"]), {"page_size": d.randrange(1, 5)}, None)),
            (2, lambda: ("POST", "credentials", {}, {"endpoint": f"{branch}/endpoints/primary"})),
        ]  # fmt: skip
        return d.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()


class Storm:
    def __init__(self, options):
        self.options, self.lock = options, threading.Lock()
        self.dice = random.Random(options.seed)
        self.operations, self.counts, self.failures = {}, {}, []
        self.is_over, self.kills = False, 0
        # Clients of a test are many in one: what keeps one user from being too many is not the point here.
        self.platform = Platform(settings={"requests_per_sec": 100000, "failures_per_min": 100000})

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        self.is_over = True

    def note(self, operation):
        """What was told once is never told otherwise."""
        with self.lock:
            before = self.operations.get(operation["name"])
            if before and before["done"]:
                assert before == operation, f"an operation that had ended has changed: {before} -> {operation}"
            self.operations[operation["name"]] = operation

    def kill(self, role):
        pid = self.platform.role_pid(role)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass

    def rage(self):
        until = time.monotonic() + self.options.seconds
        clients = [Client(self, number) for number in range(self.options.clients)]
        for client in clients:
            client.start()
        while time.monotonic() < until and not self.is_over:
            time.sleep(self.dice.uniform(0.3, 2.5))
            self.kill("control" if self.dice.random() < 0.9 else "proxy")
        self.is_over = True
        for client in clients:
            client.join(60)
            if client.is_alive():
                self.fail(f"{client.name} got no answer")

    # -- afterwards -----------------------------------------------------------------------------------------------------

    def settle(self):
        """Control is there and every operation has ended."""
        rest = self.platform.rest

        def is_up():
            try:
                return rest.ask("GET", "projects").status == 200
            except LOST:
                return False

        wait_until(is_up, "control answers", 60)
        for name in list(self.operations):
            last = wait_until(lambda n=name: (lambda now: now if now["done"] else None)(rest.get(n)), f"operation {name} ends", 180)
            assert ("response" in last) != ("error" in last), last
            self.note(last)
            assert rest.get(name) == last
        with sqlite3.connect(f"file:{self.platform.directory}/metadata.db?mode=ro", uri=True) as db:
            wait_until(lambda: db.execute("select count(*) from operation where finish_usec is null").fetchone() == (0,), "no open operation", 180)

    def names(self, kind):
        values, token = [], None
        while True:
            query = {"page_token": token} if token else {}
            page = self.platform.rest.get(kind, **query)
            values += page.get(kind.rpartition("/")[2], [])
            token = page.get("next_page_token")
            if not token:
                return values

    def check_branches(self):
        rest, opened = self.platform.rest, 0
        for project in self.names("projects"):
            for branch in self.names(f"{project['name']}/branches"):
                (endpoint,) = rest.get(f"{branch['name']}/endpoints")["endpoints"]
                if endpoint["status"]["disabled"]:
                    rest.run("PATCH", endpoint["name"], {"spec": {"disabled": False}}, update_mask="spec.disabled")
                shown_roles = {r["status"]["postgres_role"]: r for r in self.names(f"{branch['name']}/roles")}
                shown_databases = {d["status"]["postgres_database"] for d in self.names(f"{branch['name']}/databases")}
                wait_until(lambda e=endpoint: self.open(e), f"{endpoint['name']} opens", 120)
                with self.platform.direct(rest.get(endpoint["name"]), dbname="postgres") as connection:
                    real_roles = dict(connection.execute(
                        "select rolname, rolcreatedb from pg_roles where rolname !~ '^(pg_|databricks_)' and rolname <> 'cloud_admin'").fetchall())
                    real_databases = {row[0] for row in connection.execute(
                        "select datname from pg_database where datname <> 'postgres' and datname !~ '^template'").fetchall()}
                assert set(shown_roles) == set(real_roles), (branch["name"], set(shown_roles) ^ set(real_roles))
                assert shown_databases == real_databases, (branch["name"], shown_databases ^ real_databases)
                for name, createdb in real_roles.items():
                    assert shown_roles[name]["status"]["attributes"]["createdb"] == createdb, (branch["name"], name)
                opened += 1
        return opened

    def open(self, endpoint):
        """As a client does it, by the tables of control: a login needs the caller's role, which the storm may have dropped."""
        import socket

        control = str(self.platform.directory / "run" / "control.sock")
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(60)
            try:
                channel.connect(control)
                channel.sendall(json.dumps({"id": 1, "op": "open", "uid": endpoint["uid"]}).encode() + b"\n")
                answer = json.loads(channel.makefile().readline())
            except (OSError, ValueError):
                return False
        return "socket_dir" in answer

    def check_leftovers(self):
        """Folders and rows name each other, and nothing else is there."""
        directory = self.platform.directory
        with sqlite3.connect(f"file:{directory}/metadata.db?mode=ro", uri=True) as db:
            def column(sql):
                return {row[0] for row in db.execute(sql)}

            def differences():
                volumes, endpoints = column("select volume_id from branch"), column("select uid from endpoint")
                stores = column("select uid from project")
                on_disk = {
                    "volumes": {p.name for p in (directory / "volumes").iterdir()},
                    "computes": {p.name for p in (directory / "computes").iterdir()},
                    "stores": {p.name for p in (directory / "stores").iterdir() if not p.name.startswith("template-")},
                }
                known = {"volumes": volumes, "computes": endpoints, "stores": stores}
                return {kind: known[kind] ^ on_disk[kind] for kind in known if known[kind] ^ on_disk[kind]}

            def agree():
                assert not differences(), differences()
                return True

            wait_until(agree, "folders and rows name each other", 60)
            for table in ("role", "database"):
                assert db.execute(f"select count(*) from {table} where is_pending = 1").fetchone() == (0,), f"a pending {table}"
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
            assert db.execute("pragma foreign_key_check").fetchall() == []

    def keep(self):
        """What a failed storm leaves, for a look at it."""
        kept = self.platform.directory.parent / f"{self.platform.directory.name}-failed"
        kept.mkdir()
        for path in self.platform.log_files():
            if path.parent.name == "run" or path.name == "up.log":
                shutil.copy(path, kept)
        shutil.copy(self.platform.directory / "metadata.db", kept)
        return kept

    def clean(self):
        rest = self.platform.rest
        for project in rest.get("projects", show_deleted="true").get("projects", []):
            for branch in self.names(f"{project['name']}/branches") if "delete_time" not in project else []:
                if branch["status"]["is_protected"]:
                    rest.run("PATCH", branch["name"], {"spec": {"is_protected": False}}, update_mask="spec.is_protected")
            rest.run("DELETE", project["name"], purge="true")
        assert rest.get("projects", show_deleted="true").get("projects", []) == []

    def rage_and_check(self):
        self.rage()
        if self.failures:
            raise AssertionError("\n".join(self.failures))
        self.settle()
        self.check_leftovers()
        opened = self.check_branches()
        self.clean()
        self.check_leftovers()
        return opened

    def run(self):
        with self.platform:
            try:
                opened = self.rage_and_check()
            except BaseException:
                print(f"logs and metadata are kept in {self.keep()}", flush=True)
                raise
        ended = [operation for operation in self.operations.values() if operation["done"]]
        failed = sum("error" in operation for operation in ended)
        return f"{sum(self.counts.values())} calls, {len(ended)} operations ({failed} failed), {self.kills} kills, {opened} branches opened"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="api_storm", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=30, help="how long the storm lasts (default 30)")
    parser.add_argument("--clients", type=int, default=4, help="clients at once (default 4)")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    print(f"seed {options.seed}", flush=True)
    storm = Storm(options)
    print(storm.run())
    print(dict(sorted(storm.counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

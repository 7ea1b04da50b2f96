"""The page store underneath a Postgres: its process killed, its files damaged, its space measured."""

import itertools
import json
import os
import re
import resource
import signal
import threading
import time

import psycopg
import pytest

from harness import mounts, processes
from harness.rest import OperationFailed, RestError
from harness.store import disk_usage
from harness.waiting import wait_until

# ---- pagefs killed ------------------------------------------------------------------------------------------------------------


def count_rows(platform, endpoint):
    try:
        return platform.sql(endpoint, "select count(*) from t")[0]
    except psycopg.Error:
        return None


class Session(threading.Thread):
    """Inserts and counts in a tight loop on one connection, and notes when each answer came and whether it was true."""

    def __init__(self, platform, parameters, number):
        super().__init__(daemon=True)
        self.parameters, self.number = parameters, number
        self.acknowledged, self.begun, self.wrong = [], [], []
        self.last_answer = 0.0
        self.halt = threading.Event()
        self.error = None

    def run(self):
        try:
            with psycopg.connect(**self.parameters, autocommit=True) as connection:
                i = 0
                while not self.halt.is_set():
                    i += 1
                    self.begun.append(i)
                    connection.execute("insert into t values (%s, %s)", (self.number, i))
                    self.acknowledged.append(i)
                    self.last_answer = time.monotonic()
                    # Through the index, and through the heap.
                    for query in ("select max(i), count(*) from t where session = %s", "select max(i + 0), count(*) from t where session + 0 = %s"):
                        answer = connection.execute(query, (self.number,)).fetchone()
                        self.last_answer = time.monotonic()
                        if answer != (i, i):
                            self.wrong.append((i, answer))
        except psycopg.Error as error:
            self.error = error


def test_postgres_is_dead_before_anybody_gets_another_answer(platform, project, primary):
    platform.sql(primary, "create table t (session int, i int, primary key (session, i))")
    acknowledged, begun = {}, {}
    died, healed = [], []
    for round_ in range(5):
        parameters = platform.connection_parameters(primary)
        sessions = [Session(platform, parameters, round_ * 10 + n) for n in range(4)]
        for session in sessions:
            session.start()
        wait_until(lambda: all(len(s.acknowledged) > 20 for s in sessions), "all are at work")  # noqa: B023
        postmaster = platform.postmaster_pid(platform.branch_uid(project))
        backends = processes.children(postmaster)
        victim = platform.pagefs_pid(primary)
        assert postmaster and victim and backends
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(victim), "pagefs is dead", pause=0.0005)  # noqa: B023
        gone = time.monotonic()
        wait_until(lambda: not any(processes.is_alive(p) for p in (postmaster, *backends)), "Postgres is dead", pause=0.0005)  # noqa: B023
        died.append((time.monotonic() - gone) * 1000)
        for session in sessions:
            session.join(30)
            assert not session.is_alive() and session.error is not None, "a client must be told"
            assert not session.wrong, session.wrong
            assert session.last_answer < gone + 0.05, f"answered {(session.last_answer - gone) * 1000:.0f} ms after its file system was gone"
            acknowledged[session.number], begun[session.number] = set(session.acknowledged), set(session.begun)
        with platform.connect(primary) as connection:
            healed.append((time.monotonic() - killed) * 1000)
            for number, rows in acknowledged.items():
                there = {i for (i,) in connection.execute("select i from t where session = %s", (number,))}
                assert rows <= there <= begun[number], f"{sorted(rows - there)[:5]} lost"
        assert platform.pagefs_pid(primary) not in (None, victim)
    print(f"Postgres dead after {sorted(died)[2]:.1f} ms (max {max(died):.1f}), first answer after {sorted(healed)[2]:.0f} ms (max {max(healed):.0f})")
    assert max(died) < 500
    assert len(mounts.below(platform.volume(primary))) == 1, "the dead mount was taken away"
    log = (platform.directory / "computes" / primary["uid"] / "postgres.log").read_text(errors="replace")
    assert "PANIC" not in log.split("database system is ready")[-1]


def test_a_dead_pagefs_of_one_branch_is_nothing_to_another(platform, project, primary):
    platform.sql(primary, "create table t as select 1 i")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    platform.wake(child)
    with platform.connect(primary) as connection:
        os.kill(platform.pagefs_pid(child), signal.SIGKILL)
        assert connection.execute("select i from t").fetchone() == (1,)
        assert platform.sql(child, "select i from t") == [(1,)]
        assert connection.execute("select i from t").fetchone() == (1,)


def test_killed_while_it_starts_and_while_it_stops(platform, project, primary):
    """At any moment of a wake or a suspend: the next client is served, and nothing stays mounted."""
    platform.sql(primary, "create table t as select generate_series(1, 1000) i")
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2):
        platform.rest.update_endpoint(project, "production", "spec.disabled", {"disabled": True})
        platform.wait_asleep(primary)
        platform.rest.update_endpoint(project, "production", "spec.disabled", {"disabled": False})
        waker = threading.Thread(target=lambda: wait_until(lambda: platform.sql(primary, "select 1"), "woken", 60))
        waker.start()
        victim = wait_until(lambda: platform.pagefs_pid(primary), "pagefs starts", 30, pause=0.001)
        time.sleep(delay)  # the moment of the crash is what varies
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        waker.join(90)
        assert not waker.is_alive()
        assert platform.sql(primary, "select count(*) from t") == [(1000,)]
    platform.sleep(project)
    wait_until(lambda: not mounts.below(platform.volume(primary)), "nothing is mounted while it sleeps")


def test_a_volume_that_cannot_be_written_any_more_is_mounted_anew(platform, project, primary):
    """Long after the mount a write of the journal fails: nothing becomes durable any more, and pagefs says so with its reason."""
    platform.sql(primary, "create table t (i int primary key)")
    for round_ in range(2):
        pagefs, postgres = platform.pagefs_pid(primary), platform.postmaster_pid(platform.branch_uid(project))
        platform.sql(primary, "insert into t select generate_series(%s::int, %s::int)", (round_ * 1000, round_ * 1000 + 499))
        with platform.direct(primary) as connection:
            connection.execute("checkpoint")
        platform.sql(primary, "insert into t select generate_series(%s::int, %s::int)", (round_ * 1000 + 500, round_ * 1000 + 999))
        # No file of it can grow, or be written behind its first byte.
        resource.prlimit(pagefs, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(psycopg.Error):
            with platform.connect(primary) as connection:
                deadline = time.monotonic() + 120  # its journal is written once a second, later on a busy machine
                for i in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count()):
                    connection.execute(f"create table lost_{round_}_{i} (i int)")
        wait_until(lambda: not processes.is_alive(postgres), "its Postgres is dead")  # noqa: B023
        wait_until(lambda: platform.pagefs_pid(primary) not in (None, pagefs), "another pagefs")  # noqa: B023
        (count,) = wait_until(lambda: count_rows(platform, primary), "it answers again", 60)
        assert count == (round_ + 1) * 1000
    log = platform.directory / "computes" / primary["uid"] / "supervisor.log"
    assert log.read_text().count("could not write volume") >= 2, "the reason is told"
    assert "makes no sense" not in log.read_text()
    platform.sql(primary, "insert into t values (-1)")


def test_temporary_files_are_outside_the_volume(platform, project, primary):
    """A sort that spills, and a temporary table: the first leaves no page in the store."""
    with platform.connect(primary) as connection:
        connection.execute("set work_mem = '64kB'")
        seen = []
        stop = threading.Event()
        folder = platform.volume(primary) / "temp"

        def watch():
            while not stop.is_set():
                seen.extend(p.stat().st_size for p in folder.glob("pgsql_tmp*") if p.exists())
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        connection.execute("select count(*) from (select i from generate_series(1, 400000) i order by md5(i::text)) s")
        stop.set()
        watcher.join()
    assert seen and max(seen) > 100000, "the sort's files are in temp/"
    data = platform.volume(primary) / "data"
    assert not list((data / "base").glob("pgsql_tmp/pgsql_tmp*")) or os.path.realpath(data / "base" / "pgsql_tmp") == str(folder)


# ---- damage -------------------------------------------------------------------------------------------------------------------


def filled(platform, project, endpoint):
    """Two tables, sealed into layers; {table: (inode, path below PGDATA)}."""
    found = {}
    with platform.connect(endpoint) as connection:
        for table in ("hurt", "well"):
            connection.execute(f"create table {table} as select i, repeat('{table}', 100) pad from generate_series(1, 2000) i")
            connection.execute(f"vacuum (freeze) {table}")
            (path,) = connection.execute(f"select pg_relation_filepath('{table}')").fetchone()
            found[table] = path
    for table, path in found.items():
        found[table] = ((platform.volume(endpoint) / "data" / path).stat().st_ino, path)
    platform.sleep(project)
    return found


def store_of(platform, endpoint):
    volume = platform.volume_id(endpoint)
    (store,) = [s for s in platform.stores() if volume in s.stack_names()]
    return store


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def hurt_page(platform, store, inode, block):
    """One bit of a page's content, in every copy of it that the store has."""
    hurt = []
    for path in store.path.glob(f"layers/*/{inode:016x}.?"):
        with open(path, "rb") as file:
            file.seek(block * 8192 + 4000)
            if file.read(64).strip(b"\0"):
                flip(path, block * 8192 + 4000)
                hurt.append(path)
    assert hurt, "the page is nowhere in the store"
    return hurt


def test_a_damaged_page_is_an_error_and_only_that_page(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    primary = platform.rest.endpoint("p")
    tables = filled(platform, "p", primary)
    store = store_of(platform, primary)
    hurt_page(platform, store, tables["hurt"][0], 3)
    with platform.connect(primary) as connection:
        assert connection.execute("select count(*), min(pad) = max(pad) from well").fetchone() == (2000, True)
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("select sum(length(pad)) from hurt")
        assert caught.value.sqlstate in ("58030", "XX001") and "could not read" in str(caught.value), caught.value
        # The pages around it are as they were.
        (rows,) = connection.execute("select count(*) from hurt where ctid < '(3,0)'").fetchone()
        assert rows > 20
        connection.execute("insert into well values (0, 'still writable')")
    # Somebody is told, without having to ask for that page.
    status = wait_until(lambda: (lambda text: text if re.search(r"damaged|bad page|corrupt|checksum", text) else None)(
        platform.tarn("status", "--data", platform.directory).stdout + "".join(p.read_text(errors="replace") for p in platform.log_files())),
        "the scrub or the read reports it", 90)  # fmt: skip
    assert status


@pytest.mark.timeout(400)
def test_the_scrub_finds_damage_that_nobody_has_read(own_platform):
    platform = own_platform()
    platform.rest.create_project("p", {"spec": {"default_endpoint_settings": {"no_suspension": True}}})
    primary = platform.rest.endpoint("p")
    with platform.connect(primary) as connection:
        # Neither autovacuum nor anybody else may look at it.
        connection.execute("create table hurt with (autovacuum_enabled = off) as select i, repeat('hurt', 100) pad from generate_series(1, 2000) i")
        connection.execute("vacuum (freeze) hurt")
        (path,) = connection.execute("select pg_relation_filepath('hurt')").fetchone()
    inode = (platform.volume(primary) / "data" / path).stat().st_ino
    platform.sleep("p")
    hurt_page(platform, store_of(platform, primary), inode, 5)
    platform.wake(primary)
    status = lambda: platform.tarn("status", "--data", platform.directory).stdout  # noqa: E731
    wait_until(lambda: re.search(r"damaged|bad|corrupt|checksum", status().partition("STORAGE OF")[2]), "the status tells of it", 300, pause=1)
    log = (platform.directory / "computes" / primary["uid"] / "postgres.log").read_text(errors="replace")
    assert "could not read blocks" not in log, "Postgres did not read it"


def damage(path):
    """One bit in the middle of a file that is checked whole."""
    flip(path, path.stat().st_size // 2)


def test_a_damaged_reference_or_manifest_is_refused_and_others_are_served(own_platform):
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    rest.create_project("q")
    primary, other = rest.endpoint("p"), rest.endpoint("q")
    platform.sql(other, "create table t as select 1 i")
    filled(platform, "p", primary)
    rest.create_branch("p", "dev")
    child = rest.endpoint("p", "dev")
    platform.sql(child, "create table own as select 1 i")
    platform.sleep("p", "dev")
    store = store_of(platform, primary)
    stack = store.path / "stacks" / f"{platform.volume_id(primary)}.json"
    own_layers = {layer for _, layer, _ in store.layers_of(json.loads(stack.read_text()))}
    child_layers = {layer for _, layer, _ in store.layers_of(json.loads((store.path / "stacks" / f"{platform.volume_id(child)}.json").read_text()))}
    only_own = sorted(own_layers - child_layers)
    victims = {"stack": stack}
    for layer in only_own:
        for manifest in (store.path / "layers" / layer).glob("manifest.*"):
            victims["manifest"] = manifest
    for kind, path in victims.items():
        whole = path.read_bytes()
        damage(path)
        with pytest.raises(psycopg.OperationalError) as caught:
            platform.connect(primary, connect_timeout=30)
        message = str(caught.value)
        assert re.search(r"corrupt|damaged|checksum|does not fit|manifest|stack", message), (kind, message)
        assert platform.sql(child, "select (select count(*) from hurt), (select i from own)") == [(2000, 1)], kind
        assert platform.sql(other, "select i from t") == [(1,)]
        assert path.read_bytes() != whole, "nobody writes over the evidence"
        path.write_bytes(whole)
        assert platform.sql(primary, "select count(*) from hurt") == [(2000,)], "put back from a backup, all is well"
        platform.sleep("p")


def test_a_damaged_restore_point_is_refused_and_nothing_is_swept_away(own_platform):
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    filled(platform, "p", primary)
    store = store_of(platform, primary)
    points = store.point_paths(platform.volume_id(primary))
    assert points
    before = set(store.layer_folders())
    whole = {path: path.read_bytes() for path in points}
    for path in points:
        damage(path)
    with pytest.raises((RestError, OperationFailed)) as caught:
        rest.create_branch("p", "dev")
    assert re.search(r"corrupt|damaged|checksum|restore point|does not fit", str(caught.value)), caught.value
    assert platform.sql(primary, "select count(*) from hurt") == [(2000,)], "its own stack is whole"
    platform.sleep("p")
    assert before <= set(store.layer_folders()), "what cannot be read cannot be called garbage"
    for path, content in whole.items():
        path.write_bytes(content)
    rest.create_branch("p", "dev")
    assert platform.sql(rest.endpoint("p", "dev"), "select count(*) from hurt") == [(2000,)]


# ---- space --------------------------------------------------------------------------------------------------------------------


def project_usage(platform, store):
    """What du says of a project: its store and its volumes' WAL and archives, each file once; what is mounted is in the store."""
    volumes = [platform.directory / "volumes" / name for name in store.stack_names()]
    return disk_usage(store.path) + sum(disk_usage(v) - disk_usage(v / "data") for v in volumes)


def test_space_comes_back_when_the_last_user_goes(own_platform):
    """Parent, child and snapshot share; what is freed is freed by the last of them."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table keep as select 1 i")
    rest.create_branch("p", "mother")
    mother = rest.endpoint("p", "mother")
    platform.sql(mother, "create table big as select i, repeat(md5(i::text), 30) pad from generate_series(1, 60000) i")
    platform.sleep("p", "mother")
    rest.create_snapshot("p", "snap", "mother")
    store = store_of(platform, primary)
    stores = lambda: disk_usage(store.path)  # noqa: E731
    full = stores()
    assert full > 55 << 20
    rest.delete_branch("p", "mother")
    assert platform.sql(primary, "select i from keep") == [(1,)]
    rest.create_branch("p", "child", source_snapshot="projects/p/snapshots/snap")
    child = rest.endpoint("p", "child")
    assert platform.sql(child, "select count(*), sum(length(pad)) from big") == [(60000, 60000 * 32 * 30)]
    rest.delete_snapshot("p", "snap")
    assert stores() > 55 << 20, "the child needs it"
    platform.sleep("p", "child")
    assert platform.sql(child, "select count(*) from big") == [(60000,)]
    rest.delete_branch("p", "child")
    wait_until(lambda: stores() < full - (50 << 20), "the space is given back", 60)
    assert not store.missing_layers()
    assert platform.sql(primary, "select i from keep") == [(1,)]
    rest.delete_project("p")
    wait_until(lambda: not store.path.exists(), "the store is gone", 60)


def test_deleting_a_parent_never_hurts_its_children(own_platform):
    """By the API a parent with children stays; a reset and a restore take away what children stand on, and they do not notice."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t as select i, md5(i::text) from generate_series(1, 20000) i")
    rest.create_branch("p", "mid")
    mid = rest.endpoint("p", "mid")
    platform.sql(mid, "insert into t select i, 'mid' from generate_series(1, 500) i")
    rest.create_snapshot("p", "s", "mid")
    rest.create_branch("p", "leaf", source_snapshot="projects/p/snapshots/s")
    leaf = rest.endpoint("p", "leaf")
    platform.sql(leaf, "insert into t values (0, 'leaf')")
    sums = platform.sql(leaf, "select count(*), sum(hashtext(t::text)) from t")
    rest.delete_snapshot("p", "s")
    rest.reset_branch("p", "mid")
    assert platform.sql(leaf, "select count(*), sum(hashtext(t::text)) from t") == sums
    rest.delete_branch("p", "mid")
    platform.sleep("p", "leaf")
    assert platform.sql(leaf, "select count(*), sum(hashtext(t::text)) from t") == sums
    assert platform.sql(leaf, "select count(*) from t where md5 = 'mid'") == [(500,)]


def test_space_accounting_is_what_du_says(own_platform):
    """own + history + WAL of every branch, and what they share, is the whole of the project's files."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t as select i, repeat(md5(i::text), 30) from generate_series(1, 30000) i")
    platform.sleep("p")
    rest.create_branch("p", "dev")
    platform.sql(rest.endpoint("p", "dev"), "create table own as select i, repeat(md5(i::text), 30) from generate_series(1, 10000) i")
    platform.sleep("p", "dev")
    store = store_of(platform, primary)

    def told():
        size = rest.get("projects/p")["status"]["synthetic_storage_size_bytes"]
        real = project_usage(platform, store)
        # Folders, records and rounding of file systems; nothing that grows with the data.
        return abs(size - real) < 4 << 20 and size

    wait_until(told, "what the API says is what du says", 90)
    logical = {b["branch_id"]: b["status"]["logical_size_bytes"] for b in rest.get("projects/p/branches")["branches"]}
    assert logical["dev"] > logical["production"] > 25 << 20, logical


def own_usage(store, volume):
    """What du says of the layers that only this volume names, and its stack among them."""
    stack = others = frozenset()
    for path, record in store.records():
        layers = {layer for name, layer, _ in store.layers_of(record) if name == store.name}
        if path == store.path / "stacks" / f"{volume}.json":
            stack = layers
        elif path.parent != store.path / "points" / volume:
            others = others | layers
    return sum(disk_usage(store.path / "layers" / layer) for layer in stack - others)


def test_sizes_follow_what_a_running_compute_writes(own_platform):
    """Long before the next round of housekeeping, and without anything that asks for one."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    rest.create_branch("p", "dev")
    endpoints = {name: rest.endpoint("p", name) for name in ("production", "dev")}
    store = store_of(platform, endpoints["production"])

    def told():
        status = json.loads(platform.tarn("status", "--data", platform.directory, "-o", "json").stdout)
        return {b["name"].rpartition("/")[2]: b for b in status["branches"]}

    def logical_size(name):
        return rest.get(f"projects/p/branches/{name}")["status"]["logical_size_bytes"]

    def exact():
        return {name: told()[name]["own_bytes"] for name in endpoints} == {
            name: own_usage(store, platform.volume_id(endpoint)) for name, endpoint in endpoints.items()
        }

    platform.wake(endpoints["production"])
    time.sleep(12)  # the round that the new branch asked for is over; the next one would be in five minutes
    before = logical_size("production")
    with platform.connect(endpoints["production"]) as connection:
        connection.execute("create table t as select i, repeat(md5(i::text), 30) from generate_series(1, 100000) i")
        (loaded,) = connection.execute("select pg_relation_size('t')").fetchone()
        wait_until(lambda: logical_size("production") >= before + loaded, "the branch is as large as what was loaded", 30)
        wait_until(lambda: told()["production"]["own_bytes"] >= loaded, "it owns what was loaded", 30)
        wait_until(exact, "the bytes that are told are what du says", 60)
        size = rest.get("projects/p")["status"]["synthetic_storage_size_bytes"]
        assert size >= loaded and abs(size - project_usage(platform, store)) < 20 << 20, "but for a WAL segment that came or went"
        assert logical_size("dev") < before + (1 << 20) and told()["dev"]["own_bytes"] < 10 << 20
        connection.execute("truncate t")
        wait_until(lambda: logical_size("production") < before + (1 << 20), "and as small as before", 30)


def test_garbage_does_not_stay(own_platform):
    """Many cuts, folds and deletes later there is no layer that nobody names."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t (i int)")
    for round_ in range(6):
        platform.sql(primary, f"insert into t select generate_series(1, {1000 * (round_ + 1)})")
        rest.create_branch("p", "dev")
        platform.sql(rest.endpoint("p", "dev"), "delete from t")
        rest.delete_branch("p", "dev")
    store = store_of(platform, primary)
    platform.sleep("p")
    wait_until(lambda: not store.garbage(), "no layer without a reference", 60)
    assert not store.missing_layers()

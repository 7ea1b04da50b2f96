"""Branches: isolated copies at a moment, made while the parent works, that end when they were told to."""

import contextlib
import datetime
import os
import subprocess
import threading

import pytest

from harness import load, processes
from harness.platform import clean_environment
from harness.rest import OperationFailed
from harness.shapes import BRANCH_UID, COUNT, ENDPOINT_UID, LSN, TIMESTAMP, assert_shape, maybe, text
from harness.waiting import wait_until

EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def timestamp(text_):
    return datetime.datetime.fromisoformat(text_.replace("Z", "+00:00"))


def in_seconds(seconds):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def branch_picture(project, branch, source="production", **status):
    return {
        maybe("@type"): text(".+"),
        "name": f"projects/{project}/branches/{branch}", "branch_id": branch, "parent": f"projects/{project}",
        "uid": BRANCH_UID, "create_time": TIMESTAMP, "update_time": TIMESTAMP,
        "status": {
            "branch_id": branch, "current_state": "READY", "state_change_time": TIMESTAMP, "default": False,
            "is_protected": False, "logical_size_bytes": COUNT,
            "source_branch": f"projects/{project}/branches/{source}", "source_branch_lsn": LSN,
            "source_branch_time": TIMESTAMP, **status,
        },
    }  # fmt: skip


def test_exact_body_of_a_branch_and_its_endpoint(rest, project):
    response = rest.create_branch(project, "dev")
    assert_shape(response, branch_picture(project, "dev"))
    assert_shape(rest.get(f"projects/{project}/branches/dev"), branch_picture(project, "dev"))
    assert [b["branch_id"] for b in rest.get(f"projects/{project}/branches")["branches"]] == ["production", "dev"]
    endpoint = rest.endpoint(project, "dev")
    assert endpoint["uid"] == ENDPOINT_UID and endpoint["parent"] == f"projects/{project}/branches/dev"
    assert endpoint["status"]["hosts"]["host"] != rest.endpoint(project)["status"]["hosts"]["host"]


def test_isolation_in_both_directions(platform, project, primary):
    with platform.connect(primary) as parent:
        parent.execute("create table t as select i, 'parent' as who from generate_series(1, 1000) i")
        platform.rest.create_branch(project, "dev")
        with platform.connect(platform.rest.endpoint(project, "dev")) as child:
            assert child.execute("select count(*) from t").fetchone() == (1000,)
            child.execute("update t set who = 'child' where i <= 500")
            child.execute("insert into t values (1001, 'child')")
            child.execute("create table only_in_child ()")
            parent.execute("delete from t where i > 900")
            parent.execute("create table only_in_parent ()")
            assert parent.execute("select who, count(*) from t group by 1").fetchall() == [("parent", 900)]
            assert child.execute("select who, count(*) from t group by 1 order by 1").fetchall() == [
                ("child", 501), ("parent", 500),
            ]  # fmt: skip
            exists = "select to_regclass('only_in_child') is not null, to_regclass('only_in_parent') is not null"
            assert parent.execute(exists).fetchone() == (False, True)
            assert child.execute(exists).fetchone() == (True, False)


def test_a_branch_of_a_sleeping_parent(platform, project, primary):
    platform.sql(primary, "create table t as select 1 as i")
    platform.rest.update_endpoint(project, "production", "spec.suspend_timeout_duration",
                                  {"suspend_timeout_duration": "1s"})  # fmt: skip
    platform.wait_asleep(primary)
    platform.rest.create_branch(project, "dev")
    assert platform.sql(platform.rest.endpoint(project, "dev"), "select i from t") == [(1,)]


def test_everything_acknowledged_before_the_call_is_in_the_branch(platform, project, primary):
    """Under a load that never pauses: three branches, each whole and none late."""
    with platform.connect(primary) as connection:
        load.prepare(connection)
    with load.WriteLoad(lambda: platform.connect(primary)) as writing:
        for name in ("one", "two", "three"):
            promised = writing.acknowledged
            platform.rest.create_branch(project, name)
            with platform.connect(platform.rest.endpoint(project, name)) as child:
                before = load.check(child, promised)
                assert before >= len(promised)
            writing.wait_for_progress(5)
        assert not writing.failures, f"the parent's clients were disturbed: {writing.failures[:3]}"
    with platform.connect(primary) as connection:
        load.check(connection, writing.acknowledged)


def test_a_branch_under_pgbench_is_consistent_to_the_page(platform, project, primary):
    parameters = platform.connection_parameters(primary)
    environment = clean_environment(
        PGHOST=parameters["host"], PGPORT=str(platform.pg_port), PGUSER=parameters["user"],
        PGPASSWORD=parameters["password"], PGSSLMODE="verify-full", PGSSLROOTCERT=platform.ca,
    )  # fmt: skip
    run = lambda *arguments: ["pgbench", "-n", *arguments, "databricks_postgres"]  # noqa: E731
    subprocess.run(run("-i", "-I", "dtGvp", "-s", "2", "-q"), env=environment, check=True, capture_output=True)
    bench = subprocess.Popen(run("-c", "4", "-j", "2", "-T", "60"), env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        wait_until(lambda: platform.sql(primary, "select count(*) > 100 from pgbench_history") == [(True,)], "load", 30)
        platform.rest.create_branch(project, "dev")
        with platform.connect(platform.rest.endpoint(project, "dev")) as child:
            a, t, b, h = child.execute(
                "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
                " (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)"
            ).fetchone()
            assert a == t == b == h
            child.execute("create extension amcheck")
            # Every B-tree against its table: what a copy torn between two moments would not survive.
            child.execute(
                "select bt_index_check(c.oid, heapallindexed => true) from pg_class c join pg_index i on"
                " c.oid = i.indexrelid join pg_am m on m.oid = c.relam"
                " where amname = 'btree' and relpersistence = 'p' and relnamespace = 'public'::regnamespace"
            )
        assert bench.poll() is None, bench.stdout.read()
    finally:
        bench.terminate()
        bench.wait(20)
        bench.stdout.close()


def test_a_branch_of_a_branch_and_its_timelines(platform, project, primary):
    """Grandchild, child and parent: all three differ, and no two share a timeline."""
    platform.sql(primary, "create table t as select 'root' as who")
    platform.rest.create_branch(project, "child")
    child = platform.rest.endpoint(project, "child")
    platform.sql(child, "insert into t values ('child')")
    response = platform.rest.create_branch(
        project, "grandchild", source_branch=f"projects/{project}/branches/child")
    assert_shape(response, branch_picture(project, "grandchild", source="child"))
    platform.rest.create_branch(project, "sibling")
    grandchild = platform.rest.endpoint(project, "grandchild")
    assert platform.sql(grandchild, "select who from t") == [("root",), ("child",)]
    platform.sql(grandchild, "insert into t values ('grandchild')")
    assert platform.sql(child, "select who from t") == [("root",), ("child",)]
    assert platform.sql(primary, "select who from t") == [("root",)]
    timelines = [
        platform.sql(e, "select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int", dbname="databricks_postgres")
        for e in (primary, child, grandchild, platform.rest.endpoint(project, "sibling"))
    ]
    assert len({t for ((t,),) in timelines}) == 4, timelines


def test_roles_and_databases_are_inherited(platform, project, primary):
    platform.sql(primary, "create database extra")
    platform.sql(primary, "create role helper")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select current_database()", dbname="extra") == [("extra",)]
    assert platform.sql(child, "select 1 from pg_roles where rolname = 'helper'") == [(1,)]


@pytest.mark.parametrize(
    "spec",
    [{}, {"ttl": "60s", "no_expiry": True}, {"ttl": "60s", "expire_time": "2099-01-01T00:00:00Z"}, {"no_expiry": False},
     {"ttl": "0s"}, {"ttl": "-5s"}, {"ttl": f"{31 * 86400}s"}, {"ttl": "1h"}, {"ttl": 3600},
     {"expire_time": "2020-01-01T00:00:00Z"}, {"expire_time": "2099-01-01T00:00:00Z"}, {"expire_time": "tomorrow"},
     {"no_expiry": True, "source_branch_lsn": "0/1", "source_branch_time": "2026-01-01T00:00:00Z"},
     {"no_expiry": True, "source_branch": "projects/other/branches/production"},
     {"no_expiry": True, "source_branch": "nonsense"}],
    ids=str,
)  # fmt: skip
def test_branch_specs_that_are_refused(rest, shared_project, new_name, spec):
    branch = new_name("b")
    error = rest.refused("POST", f"projects/{shared_project}/branches", {"spec": spec}, branch_id=branch)
    accepted = (400, 404) if "source_branch" in spec else (400,)
    assert error.status in accepted, error
    if spec == {}:
        assert error.message.startswith("Field 'spec.expiration' is required"), error
    assert rest.refused("GET", f"projects/{shared_project}/branches/{branch}").status == 404


def test_an_unknown_source_is_refused(rest, shared_project, new_name):
    spec = {"no_expiry": True, "source_branch": f"projects/{shared_project}/branches/nope"}
    error = rest.refused("POST", f"projects/{shared_project}/branches", {"spec": spec}, branch_id=new_name("b"))
    assert error.status in (400, 404) and "branch" in error.message


def test_missing_and_bad_branch_ids(rest, shared_project):
    path, body = f"projects/{shared_project}/branches", {"spec": {"no_expiry": True}}
    error = rest.refused("POST", path, body)
    assert error.message.startswith("Field 'branch_id' is required, expected non-default value (not \"\")!")
    for bad in ("Upper", "-x", "x-", "a b", "x" * 64, "ü", "a'b"):
        assert rest.refused("POST", path, body, branch_id=bad).code == "INVALID_PARAMETER_VALUE", bad
    assert rest.refused("POST", path, body, branch_id="production").status == 409


def test_a_branch_ends_when_its_time_is_up(platform, project, primary):
    response = platform.rest.create_branch(project, "brief", ttl="6s")
    expires = response["status"]["expire_time"]
    assert abs((timestamp(expires) - timestamp(response["create_time"])).total_seconds() - 6) < 1.1
    assert not {"ttl", "no_expiry"} & response["status"].keys()
    endpoint = platform.rest.endpoint(project, "brief")
    with platform.connect(endpoint) as connection:
        assert connection.execute("select 1").fetchone() == (1,)

        def is_gone():
            names = [b["branch_id"] for b in platform.rest.get(f"projects/{project}/branches")["branches"]]
            return "brief" not in names

        wait_until(is_gone, "the branch expired", 40)
        assert datetime.datetime.now(datetime.timezone.utc) >= timestamp(expires), "not a moment too early"
    wait_until(lambda: platform.supervisor_pid(endpoint) is None, "its compute is gone")
    assert platform.sql(primary, "select 1") == [(1,)]


def test_expire_time_is_kept_as_given(rest, project):
    moment = in_seconds(3600)
    response = rest.create_branch(project, "dev", expire_time=moment)
    assert response["status"]["expire_time"] == moment


def test_delete_rules(rest, project):
    name = f"projects/{project}/branches/production"
    error = rest.refused("DELETE", name)
    assert (error.status, error.code) == (400, "BAD_REQUEST")
    assert error.message.startswith(
        f"Cannot delete root branch '{name}'. Root branches cannot be deleted independently.")
    info = error.body["details"][0]
    assert info == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RESOURCE_CONFLICT", "domain": "databricks.com",
        "metadata": {"declarative_context": "MANAGED_BY_PARENT"},
    }  # fmt: skip

    rest.create_branch(project, "dev")
    rest.create_branch(project, "leaf", source_branch=f"projects/{project}/branches/dev")
    error = rest.refused("DELETE", f"projects/{project}/branches/dev")
    assert (error.status, error.code) == (400, "BAD_REQUEST")

    endpoint = f"projects/{project}/branches/dev/endpoints/primary"
    error = rest.refused("DELETE", endpoint)
    assert error.status == 400
    assert error.message.startswith(
        f"Cannot delete read-write endpoint '{endpoint}'. Read-write endpoints cannot be deleted.")
    assert error.body["details"][0]["metadata"] == {"declarative_context": "MANAGED_BY_PARENT"}

    rest.run("DELETE", f"projects/{project}/branches/leaf", purge="true")
    rest.run("DELETE", f"projects/{project}/branches/dev", purge="true")
    assert [b["branch_id"] for b in rest.get(f"projects/{project}/branches")["branches"]] == ["production"]


def test_a_protected_branch_stays(rest, new_name):
    project = new_name()
    rest.create_project(project, {"initial_branch_spec": {"is_protected": True}})
    assert rest.get(f"projects/{project}/branches/production")["status"]["is_protected"] is True
    error = rest.refused("DELETE", f"projects/{project}")
    assert (error.status, error.code) == (400, "BAD_REQUEST")
    assert rest.get(f"projects/{project}/branches/production")["status"]["current_state"] == "READY"


def test_purge_removes_the_files_at_once_and_frees_the_id(platform, project):
    rest = platform.rest
    uid = rest.create_branch(project, "dev")["uid"]
    endpoint = rest.endpoint(project, "dev")
    platform.sql(endpoint, "select 1")
    assert (platform.directory / "volumes" / uid).is_dir()
    operation = rest.call("DELETE", f"projects/{project}/branches/dev", purge="true")
    assert_shape(rest.finish(operation), EMPTY)
    assert rest.get(operation["name"])["done"]
    assert rest.refused("GET", f"projects/{project}/branches/dev").status == 404
    assert not (platform.directory / "volumes" / uid).exists()
    assert platform.supervisor_pid(endpoint) is None
    assert rest.create_branch(project, "dev")["uid"] != uid


def test_a_soft_deleted_branch_keeps_its_id(platform, project):
    rest = platform.rest
    rest.create_branch(project, "dev")
    assert_shape(rest.run("DELETE", f"projects/{project}/branches/dev"), EMPTY)
    status = rest.get(f"projects/{project}/branches/dev")["status"]
    assert status["current_state"] == "DELETED" and status["delete_time"] < status["purge_time"]
    assert [b["branch_id"] for b in rest.get(f"projects/{project}/branches")["branches"]] == ["production"]
    everything = rest.get(f"projects/{project}/branches", show_deleted="true")["branches"]
    assert [b["branch_id"] for b in everything] == ["production", "dev"]
    error = rest.refused("POST", f"projects/{project}/branches", {"spec": {"no_expiry": True}}, branch_id="dev")
    assert error.status == 409


def test_deleting_a_branch_in_use_ends_its_sessions_with_a_reason(platform, project):
    platform.rest.create_branch(project, "dev")
    with platform.connect(platform.rest.endpoint(project, "dev")) as connection:
        connection.execute("create table t ()")
        platform.rest.run("DELETE", f"projects/{project}/branches/dev", purge="true")
        with pytest.raises(Exception) as caught:
            connection.execute("select 1")
        assert getattr(caught.value, "sqlstate", None) in ("57P01", "57P02", "08006", None)


def test_eight_branches_at_once(platform, project, primary):
    platform.sql(primary, "create table t as select generate_series(1, 10) i")
    operations = [
        platform.rest.call("POST", f"projects/{project}/branches", {"spec": {"no_expiry": True}}, branch_id=f"b{i}")
        for i in range(8)
    ]
    for operation in operations:
        try:
            platform.rest.finish(operation)
        except OperationFailed as failure:
            raise AssertionError(f"parallel creates are queued, not refused: {failure}") from failure
    endpoints = [platform.rest.endpoint(project, f"b{i}") for i in range(8)]
    for endpoint in endpoints:
        assert platform.sql(endpoint, "select count(*) from t") == [(10,)]
    uids = {platform.branch_uid(project, f"b{i}") for i in range(8)}
    assert len(uids) == 8 and len({e["status"]["hosts"]["host"] for e in endpoints}) == 8


def test_what_a_branch_must_not_inherit(platform, project, primary):
    """Replication slots, prepared transactions, subscriptions: traps T14 and T15 of the design."""
    with platform.connect(primary) as parent:
        parent.execute("select pg_create_logical_replication_slot('watch', 'pgoutput')")
        platform.rest.create_branch(project, "dev")
        assert parent.execute("select slot_name from pg_replication_slots").fetchall() == [("watch",)]
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select count(*) from pg_replication_slots") == [(0,)]


class Preference:
    """The strongest preference that a process had meanwhile, as its nice value."""

    def __init__(self, pid):
        self.pid, self.least = pid, self.now(pid)
        self.stopping = threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    @staticmethod
    def now(pid):
        return os.getpriority(os.PRIO_PROCESS, pid)

    def watch(self):
        while not self.stopping.wait(0.001):
            self.least = min(self.least, self.now(self.pid))

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.watcher.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may prefer a process")
def test_what_a_branch_waits_for_is_preferred_until_it_is_there(platform, project, primary):
    own = Preference.now(os.getpid())
    platform.sql(primary, "create table t as select i, repeat('x', 500) pad from generate_series(1, 100000) i")
    pagefs = platform.pagefs_pid(primary)
    with Preference(pagefs) as parent:
        platform.rest.create_snapshot(project, "waited-for")  # always a restore point
    assert parent.least < own - 10
    wait_until(lambda: Preference.now(pagefs) == own, "the parent's file system takes its turn again")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    assert Preference.now(platform.pagefs_pid(child)) == own
    for branch in ("production", "dev"):
        postmaster = platform.postmaster_pid(platform.branch_uid(project, branch))
        for pid in [postmaster, *processes.children(postmaster)]:
            with contextlib.suppress(ProcessLookupError):  # a worker that has ended
                assert Preference.now(pid) == own, f"{processes.describe(pid)} stays preferred"
    assert platform.sql(child, "select count(*) from t") == [(100000,)]

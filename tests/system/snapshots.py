"""Snapshots: named moments that outlive their branch."""

import time

import pytest

from harness import load
from harness.rest import OperationFailed, RestError
from harness.shapes import COUNT, TIMESTAMP, UUID, assert_shape, maybe, text
from harness.wal import insert_lsn, lsn_text


def picture(project, snapshot, branch="production"):
    return {
        maybe("@type"): text(".+"), "name": f"projects/{project}/snapshots/{snapshot}", "snapshot_id": snapshot,
        maybe("parent"): f"projects/{project}", "uid": UUID, "create_time": TIMESTAMP,
        "status": {"source_branch": f"projects/{project}/branches/{branch}", maybe("no_expiry"): True, maybe("expire_time"): TIMESTAMP,
                   maybe("full_size_bytes"): COUNT, maybe("diff_size_bytes"): COUNT, maybe("source_branch_lsn"): text(".+"),
                   maybe("source_branch_time"): TIMESTAMP},
    }  # fmt: skip


def values(platform, project, branch):
    return [v for (v,) in platform.sql(platform.rest.endpoint(project, branch), "select v from t order by v")]


@pytest.fixture
def filled(platform, primary):
    with platform.connect(primary) as connection:
        connection.execute("create table t (v int)")
        connection.execute("insert into t values (1)")
        lsn = insert_lsn(connection)
        connection.execute("insert into t values (2)")
    return lsn


def test_exact_body_and_lists(rest, project, filled):
    answer = rest.create_snapshot(project, "nightly")
    assert_shape(answer, picture(project, "nightly"))
    assert answer["status"]["full_size_bytes"] > 5 << 20
    assert_shape(rest.get(f"projects/{project}/snapshots/nightly"), picture(project, "nightly"))
    assert [s["snapshot_id"] for s in rest.get(f"projects/{project}/snapshots")["snapshots"]] == ["nightly"]
    assert rest.refused("POST", f"projects/{project}/snapshots", {"spec": {"source_branch": f"projects/{project}/branches/production"}},
                        snapshot_id="nightly").status == 409  # fmt: skip
    rest.delete_snapshot(project, "nightly")
    assert rest.get(f"projects/{project}/snapshots").get("snapshots", []) == []
    assert rest.refused("GET", f"projects/{project}/snapshots/nightly").status == 404


def test_a_snapshot_does_not_change(platform, project, primary, filled):
    platform.rest.create_snapshot(project, "head")
    platform.rest.create_snapshot(project, "past", source_branch_lsn=lsn_text(filled))
    platform.sql(primary, "insert into t values (3)")
    platform.sql(primary, "delete from t where v = 1")
    for round_ in range(2):
        for snapshot, expected in (("head", [1, 2]), ("past", [1])):
            name = f"{snapshot}-{round_}"
            answer = platform.rest.create_branch(project, name, source_snapshot=f"projects/{project}/snapshots/{snapshot}")
            assert answer["status"]["source_snapshot"] == f"projects/{project}/snapshots/{snapshot}"
            assert values(platform, project, name) == expected
            platform.sql(platform.rest.endpoint(project, name), "delete from t")


def test_it_outlives_its_branch(platform, project, primary, filled):
    rest = platform.rest
    rest.create_branch(project, "dev")
    platform.sql(rest.endpoint(project, "dev"), "insert into t values (7)")
    rest.create_snapshot(project, "keep", "dev")
    rest.delete_branch(project, "dev")
    rest.create_branch(project, "back", source_snapshot=f"projects/{project}/snapshots/keep")
    assert values(platform, project, "back") == [1, 2, 7]
    # The branch outlives the snapshot in turn.
    rest.delete_snapshot(project, "keep")
    platform.sleep(project, "back")
    assert values(platform, project, "back") == [1, 2, 7]


def test_of_a_sleeping_branch_nothing_is_started(platform, project, primary, filled):
    platform.sleep(project)
    platform.rest.create_snapshot(project, "cold")
    assert platform.supervisor_pid(primary) is None
    platform.rest.create_branch(project, "dev", source_snapshot=f"projects/{project}/snapshots/cold")
    assert platform.supervisor_pid(primary) is None
    assert values(platform, project, "dev") == [1, 2]


def test_a_snapshot_survives_crashes_and_restarts(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    platform.sql(platform.rest.endpoint("p"), "create table t as select 1 as v")
    platform.rest.create_snapshot("p", "s")
    platform.sql(platform.rest.endpoint("p"), "update t set v = 2")
    assert platform.stop() == 0
    platform.start()
    platform.rest.create_branch("p", "b", source_snapshot="projects/p/snapshots/s")
    assert values(platform, "p", "b") == [1]


@pytest.mark.parametrize("spec", [
    {}, {"source_branch": "nonsense"}, {"source_branch": "projects/other/branches/production"},
    {"source_branch_lsn": "0/1", "source_branch_time": "2026-01-01T00:00:00Z"}, {"ttl": "60s", "no_expiry": True}, {"no_expiry": False},
], ids=str)  # fmt: skip
def test_specs_that_are_refused(rest, shared_project, new_name, spec):
    if spec and "source_branch" not in spec:
        spec = {**spec, "source_branch": f"projects/{shared_project}/branches/production"}
    error = rest.refused("POST", f"projects/{shared_project}/snapshots", {"spec": spec}, snapshot_id=new_name("s"))
    assert error.status in (400, 404), error


def test_a_snapshot_excludes_the_other_sources(rest, project, filled):
    rest.create_snapshot(project, "s")
    snapshot = f"projects/{project}/snapshots/s"
    for more in ({"source_branch": f"projects/{project}/branches/production"}, {"source_branch_lsn": lsn_text(filled)},
                 {"source_branch_time": "2026-01-01T00:00:00Z"}):  # fmt: skip
        error = rest.refused("POST", f"projects/{project}/branches", {"spec": {"no_expiry": True, "source_snapshot": snapshot, **more}},
                             branch_id="x")  # fmt: skip
        assert error.status == 400
    error = rest.refused("POST", f"projects/{project}/branches",
                         {"spec": {"no_expiry": True, "source_snapshot": f"projects/{project}/snapshots/none"}}, branch_id="x")  # fmt: skip
    assert error.status in (400, 404)


def test_a_moment_that_cannot_be(rest, project, filled):
    for moment in ({"source_branch_lsn": "0/1"}, {"source_branch_lsn": "FFFF/0"}, {"source_branch_time": "2020-01-01T00:00:00Z"}):
        with pytest.raises((RestError, OperationFailed)):
            rest.create_snapshot(project, "s", **moment)
        assert rest.refused("GET", f"projects/{project}/snapshots/s").status == 404


def test_each_has_what_was_promised_before_it_was_asked_for(platform, project, primary):
    """Those that are asked for while a restore point is made get that point, as long as its record is not written."""
    with platform.connect(primary) as connection:
        load.prepare(connection)
        connection.execute("create table pad as select i, repeat('x', 500) pad from generate_series(1, 60000) i")  # a checkpoint that takes its time
    names, promised, operations = [f"s{i}" for i in range(10)], [], []
    with load.WriteLoad(lambda: platform.connect(primary)) as writing:
        for name in names:
            promised.append(writing.acknowledged)
            operations.append(platform.rest.call("POST", f"projects/{project}/snapshots",
                                                 {"spec": {"source_branch": f"projects/{project}/branches/production"}}, snapshot_id=name))  # fmt: skip
            time.sleep(0.01)
        for operation in operations:
            platform.rest.finish(operation)
        assert not writing.failures, writing.failures[:3]
    log = (platform.directory / "computes" / primary["uid"] / "supervisor.log").read_text()
    assert log.count("restore point ") < len(names), "nobody shared one"
    for name, those in zip(names, promised):
        platform.rest.create_branch(project, f"of-{name}", source_snapshot=f"projects/{project}/snapshots/{name}")
        with platform.connect(platform.rest.endpoint(project, f"of-{name}")) as child:
            load.check(child, those)

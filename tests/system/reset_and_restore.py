"""Reset from parent and restore in place: another content behind an unchanged connection string."""

import threading
import time

import psycopg
import pytest

from harness.rest import OperationFailed, RestError
from harness.wal import insert_lsn, lsn_text, rfc3339
from harness.waiting import wait_until


def values(platform, endpoint):
    return [v for (v,) in platform.sql(endpoint, "select v from t order by v")]


@pytest.fixture
def child(platform, project, primary):
    platform.sql(primary, "create table t (v text)")
    platform.sql(primary, "insert into t values ('parent')")
    platform.rest.create_branch(project, "dev")
    endpoint = platform.rest.endpoint(project, "dev")
    platform.sql(endpoint, "insert into t values ('child')")
    return endpoint


def test_reset_brings_the_parent_s_head(platform, project, primary, child):
    platform.sql(primary, "insert into t values ('newer')")
    parameters = platform.connection_parameters(child)
    before = platform.rest.get(f"projects/{project}/branches/dev")
    answer = platform.rest.reset_branch(project, "dev")
    assert (answer["name"], answer["uid"], answer["create_time"]) == (before["name"], before["uid"], before["create_time"])
    assert answer["status"]["current_state"] == "READY" and "pending_state" not in answer["status"]
    assert platform.rest.endpoint(project, "dev")["status"]["hosts"] == child["status"]["hosts"]
    with psycopg.connect(**parameters) as connection:  # the very same connection string, password included
        assert connection.execute("select v from t order by v").fetchall() == [("newer",), ("parent",)]
    assert values(platform, primary) == ["newer", "parent"]
    platform.sql(child, "insert into t values ('again')")
    assert values(platform, primary) == ["newer", "parent"]


def test_reset_again_and_again(platform, project, primary, child):
    for round_ in range(4):
        platform.sql(primary, "insert into t values (%s)", (f"r{round_}",))
        platform.sql(child, "insert into t values ('x')")
        platform.rest.reset_branch(project, "dev")
        assert values(platform, child) == ["parent", *(f"r{i}" for i in range(round_ + 1))]
    volumes = [p.name for p in (platform.directory / "volumes").iterdir()]
    assert len([v for v in volumes if v == platform.volume_id(child)]) == 1
    wait_until(lambda: not platform.half_made(), "old volumes are gone")


def test_reset_under_pooled_clients(platform, project, primary, child):
    """Whoever is connected is told, and the same connection string shows the new content; nobody sees a mixture."""
    platform.sql(primary, "insert into t values ('newer')")
    parameters = platform.connection_parameters(child)
    stop, wrong, states = threading.Event(), [], []

    def client():
        while not stop.is_set():
            try:
                with psycopg.connect(**parameters, autocommit=True) as connection:
                    while not stop.is_set():
                        rows = tuple(v for (v,) in connection.execute("select v from t order by v"))
                        if rows not in (("child", "parent"), ("newer", "parent")):
                            wrong.append(rows)
                        states.append(rows)
            except psycopg.Error:
                time.sleep(0.02)

    clients = [threading.Thread(target=client) for _ in range(6)]
    for thread in clients:
        thread.start()
    try:
        wait_until(lambda: len(states) > 50, "the pool is busy")
        platform.rest.reset_branch(project, "dev")
        mark = len(states)
        wait_until(lambda: len(states) > mark + 60, "the pool is busy again", 60)
    finally:
        stop.set()
        for thread in clients:
            thread.join(60)
    assert not wrong, wrong[:3]
    assert states[0] == ("child", "parent") and states[-1] == ("newer", "parent")


def test_reset_of_a_sleeping_branch_of_a_sleeping_parent(platform, project, primary, child):
    platform.sql(primary, "insert into t values ('newer')")
    platform.sleep(project, "dev")
    platform.sleep(project)
    platform.rest.reset_branch(project, "dev")
    assert platform.supervisor_pid(primary) is None
    assert values(platform, child) == ["newer", "parent"]


@pytest.mark.parametrize("state", ["running", "asleep"])
def test_a_reset_of_a_branch_that_is_disabled_meanwhile(platform, project, primary, child, state):
    """The new volume is opened all the same, to see whether it opens; and nobody else gets in."""
    rest = platform.rest
    if state == "asleep":
        platform.sleep(project, "dev")
    reset = rest.call("POST", f"projects/{project}/branches/dev/reset", {})
    disable = rest.call("PATCH", child["name"], {"spec": {"disabled": True}}, update_mask="spec.disabled")
    assert rest.finish(reset)["status"]["current_state"] == "READY"
    rest.finish(disable)
    platform.wait_asleep(child)
    with pytest.raises(psycopg.OperationalError, match="disabled"):
        platform.sql(child, "select 1")
    rest.update_endpoint(project, "dev", "spec.disabled", {"disabled": False})
    assert values(platform, child) == ["parent"]


def test_a_branch_of_a_branch_that_was_reset_and_never_woke(platform, project, primary, child):
    """Its content has never been run: the branch begins where the reset did."""
    platform.sql(primary, "insert into t values ('newer')")
    platform.sleep(project, "dev")
    platform.rest.reset_branch(project, "dev")
    assert platform.is_asleep(child)
    platform.sql(primary, "insert into t values ('too late')")
    platform.rest.create_branch(project, "leaf", source_branch=f"projects/{project}/branches/dev")
    leaf = platform.rest.endpoint(project, "leaf")
    assert values(platform, leaf) == ["newer", "parent"]
    platform.sql(leaf, "insert into t values ('leaf')")
    assert values(platform, child) == ["newer", "parent"]
    platform.sql(child, "insert into t values ('again')")
    assert values(platform, leaf) == ["leaf", "newer", "parent"]
    assert values(platform, primary) == ["newer", "parent", "too late"]


@pytest.mark.parametrize("has_run", [False, True])
def test_a_branch_of_a_branch_whose_endpoint_is_disabled(platform, project, primary, has_run):
    """Nobody may connect to it; branching from it needs nobody to."""
    platform.sql(primary, "create table t (v text)")
    platform.sql(primary, "insert into t values ('parent')")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    if has_run:
        platform.sql(child, "insert into t values ('child')")
    platform.rest.update_endpoint(project, "dev", "spec.disabled", {"disabled": True})
    platform.wait_asleep(child)
    platform.rest.create_branch(project, "leaf", source_branch=f"projects/{project}/branches/dev")
    leaf = platform.rest.endpoint(project, "leaf")
    expected = ["child", "parent"] if has_run else ["parent"]
    assert values(platform, leaf) == expected
    with pytest.raises(psycopg.OperationalError, match="disabled"):
        platform.connect(child)
    platform.sql(leaf, "insert into t values ('leaf')")
    platform.rest.update_endpoint(project, "dev", "spec.disabled", {"disabled": False})
    assert values(platform, child) == expected


def test_what_cannot_be_reset(platform, project, child):
    rest = platform.rest
    for branch in ("production",):
        error = rest.refused("POST", f"projects/{project}/branches/{branch}/reset", {})
        assert error.status == 400, error
    rest.create_branch(project, "leaf", source_branch=f"projects/{project}/branches/dev")
    error = rest.refused("POST", f"projects/{project}/branches/dev/reset", {})
    assert error.status == 400 and "child" in error.message.lower() or "branch" in error.message.lower(), error
    assert values(platform, child) == ["child", "parent"]
    assert rest.refused("POST", f"projects/{project}/branches/nope/reset", {}).status == 404


@pytest.fixture
def past(platform, project, primary):
    """Three commits; (lsn, time) after the first two."""
    moments = []
    with platform.connect(primary) as connection:
        connection.execute("create table t (v text)")
        for value in ("a", "b", "c"):
            connection.execute("insert into t values (%s)", (value,))
            moments.append((insert_lsn(connection), time.time()))
            time.sleep(0.02)  # the clock: times of commits must differ from the moments between them
    return moments


def test_restore_to_a_time_keeps_the_old_state_as_a_branch(platform, project, primary, past):
    before = platform.rest.get(f"projects/{project}/branches/production")
    parameters = platform.connection_parameters(primary)
    answer = platform.rest.restore_branch(project, "production", "kept", source_branch_time=rfc3339(past[1][1]))
    assert answer["name"] == before["name"] and answer["uid"] == before["uid"]
    with psycopg.connect(**parameters) as connection:
        assert connection.execute("select v from t order by v").fetchall() == [("a",), ("b",)]
    kept = platform.rest.endpoint(project, "kept")
    assert kept["uid"] != primary["uid"] and kept["status"]["hosts"]["host"] != primary["status"]["hosts"]["host"]
    assert values(platform, kept) == ["a", "b", "c"]
    platform.sql(primary, "insert into t values ('new')")
    assert values(platform, kept) == ["a", "b", "c"]


def test_restore_to_an_lsn_twice_and_back(platform, project, primary, past):
    platform.rest.restore_branch(project, "production", "kept-1", source_branch_lsn=lsn_text(past[0][0]))
    assert values(platform, primary) == ["a"]
    with platform.connect(primary) as connection:
        connection.execute("insert into t values ('d')")
        lsn = insert_lsn(connection)
        connection.execute("insert into t values ('e')")
    platform.rest.restore_branch(project, "production", "kept-2", source_branch_lsn=lsn_text(lsn))
    assert values(platform, primary) == ["a", "d"]
    assert values(platform, platform.rest.endpoint(project, "kept-1")) == ["a", "b", "c"]
    assert values(platform, platform.rest.endpoint(project, "kept-2")) == ["a", "d", "e"]


def test_restore_leaves_children_alone(platform, project, primary, past):
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    platform.sql(child, "insert into t values ('own')")
    platform.rest.restore_branch(project, "production", "kept", source_branch_lsn=lsn_text(past[0][0]))
    assert values(platform, child) == ["a", "b", "c", "own"]
    assert values(platform, primary) == ["a"]


def test_a_restore_that_cannot_be_changes_nothing(platform, project, primary, past):
    for moment in ({"source_branch_time": rfc3339(time.time() + 3600)}, {"source_branch_time": "2020-01-01T00:00:00Z"},
                   {"source_branch_lsn": "0/1"}, {"source_branch_lsn": "FFFF/0"}, {}):  # fmt: skip
        with pytest.raises((RestError, OperationFailed)):
            platform.rest.restore_branch(project, "production", "kept", **moment)
        assert platform.rest.refused("GET", f"projects/{project}/branches/kept").status == 404
    with pytest.raises((RestError, OperationFailed)):
        platform.rest.restore_branch(project, "production", "production", source_branch_lsn=lsn_text(past[0][0]))
    assert values(platform, primary) == ["a", "b", "c"]

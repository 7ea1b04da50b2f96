"""Branches that nobody uses are archived: they give space back, and come back by being used, at once and whole."""

import pytest

from harness.platform import NO_LIMITS
from harness.waiting import wait_until

SETTINGS = {"suspend_timeout_min_sec": 1, "housekeeping_interval_sec": 1, **NO_LIMITS, "archive_idle_sec": 1, "archive_age_sec": 1}


def state(platform, branch, project="p"):
    return platform.rest.get(f"projects/{project}/branches/{branch}")["status"]["current_state"]


def wait_archived(platform, branch):
    wait_until(lambda: state(platform, branch) == "ARCHIVED", f"{branch} archived", 90)


def bytes_on_disk(platform, branch_uid):
    """Of the layers that the branch made."""
    files = platform.directory.glob(f"stores/*/layers/{branch_uid}.*/*")
    return sum(f.stat().st_blocks * 512 for f in files if f.is_file())


def grow(platform, endpoint, rounds=4):
    """The same pages in layer after layer: a restore point behind each round, by a snapshot that goes again."""
    platform.sql(endpoint, "create table if not exists t as select i, repeat('x', 200) as v from generate_series(1, 20000) i")
    project, branch = endpoint["name"].split("/")[1], endpoint["name"].split("/")[3]
    for number in range(rounds):
        platform.sql(endpoint, "update t set v = repeat('y', 200)")
        platform.sql(endpoint, "vacuum t")
        platform.rest.create_snapshot(project, f"s{number}", branch)
        platform.rest.delete_snapshot(project, f"s{number}")


@pytest.fixture
def archiving(own_platform):
    platform = own_platform(settings=SETTINGS)
    platform.rest.create_project("p")
    platform.rest.create_branch("p", "dev")
    return platform


def test_it_gives_space_back_and_comes_back_whole(archiving):
    platform = archiving
    dev = platform.rest.endpoint("p", "dev")
    uid = platform.branch_uid("p", "dev")
    grow(platform, dev)
    expected = platform.sql(dev, "select count(*), md5(string_agg(i || v, ',' order by i)) from t")
    platform.sleep("p", "dev")
    before, depth = bytes_on_disk(platform, uid), len(list(platform.directory.glob(f"stores/*/layers/{uid}.*")))
    wait_archived(platform, "dev")
    # Restore points may be thinned before it is archived or behind: either way their layers become one.
    wait_until(lambda: len(list(platform.directory.glob(f"stores/*/layers/{uid}.*"))) < depth, "layers are folded", 90)
    assert bytes_on_disk(platform, uid) < before
    assert platform.supervisor_pid(dev) is None
    assert platform.rest.endpoint("p", "dev")["status"]["current_state"] == "IDLE"
    assert state(platform, "production") == "READY"
    # Across a restart, and back by an ordinary connection.
    assert platform.stop() == 0
    platform.start()
    assert state(platform, "dev") == "ARCHIVED"
    token = platform.rest.database_token(platform.rest.endpoint("p")["name"])  # another branch's: dev stays as it is
    assert token and state(platform, "dev") == "ARCHIVED"
    assert platform.sql(dev, "select count(*), md5(string_agg(i || v, ',' order by i)) from t") == expected
    assert state(platform, "dev") == "READY"
    platform.sql(dev, "insert into t values (0, 'new')")


def test_children_and_snapshots_of_an_archived_branch(archiving):
    platform = archiving
    rest = platform.rest
    dev = rest.endpoint("p", "dev")
    platform.sql(dev, "create table t as select 7 as v")
    platform.sleep("p", "dev")
    wait_archived(platform, "dev")
    rest.create_snapshot("p", "kept", "dev")
    rest.create_branch("p", "child", source_branch="projects/p/branches/dev")
    assert platform.supervisor_pid(dev) is None
    assert platform.sql(rest.endpoint("p", "child"), "select v from t") == [(7,)]
    rest.create_branch("p", "again", source_snapshot="projects/p/snapshots/kept")
    assert platform.sql(rest.endpoint("p", "again"), "select v from t") == [(7,)]
    rest.delete_branch("p", "child")
    rest.reset_branch("p", "dev")
    assert platform.sql(dev, "select to_regclass('t')") == [(None,)]


def test_eleven_branches(own_platform):
    """The documented limit: the eleventh makes the longest idle one go, not an error; when all work there is no room."""
    platform = own_platform(settings={"suspend_timeout_min_sec": 1, **NO_LIMITS, "unarchived_branches_per_project": 3})
    rest = platform.rest
    rest.create_project("p")
    rest.create_branch("p", "one")
    rest.create_branch("p", "two")
    error = rest.refused("POST", "projects/p/branches", {"spec": {"no_expiry": True}}, branch_id="three")
    assert error.status == 400 and error.code == "QUOTA_EXCEEDED" and "unarchived_branches_per_project" in error.message
    platform.sleep("p", "one")
    rest.create_branch("p", "three")
    wait_archived(platform, "one")
    assert platform.sql(rest.endpoint("p", "one"), "select 1") == [(1,)], "who comes is let in"

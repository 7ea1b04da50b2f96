"""Kill -9 of each process in turn under a write load: no acknowledged row is lost and nobody has to repair anything."""

import concurrent.futures
import os
import signal
import time

import pytest

from harness import load, processes
from harness.rest import OperationFailed
from harness.wal import insert_lsn, lsn_text
from harness.waiting import wait_until


class Running:
    """A platform with a write load on one endpoint; names the processes that a test kills."""

    def __init__(self, platform):
        self.platform = platform
        platform.rest.create_project("p")
        self.endpoint = platform.rest.endpoint("p")
        self.branch_uid = platform.branch_uid("p")
        with platform.connect(self.endpoint) as connection:
            load.prepare(connection)
        # One token for all: while control is down nobody can mint another, and nobody needs one.
        self.parameters = platform.connection_parameters(self.endpoint)

    def connect(self):
        return self.platform.connect(self.endpoint, password=self.parameters["password"])

    def pid(self, role):
        if role == "up":
            return self.platform.up.pid
        if role in ("control", "proxy"):
            return self.platform.role_pid(role)
        if role == "compute":
            return self.platform.supervisor_pid(self.endpoint)
        if role == "pagefs":
            return self.platform.pagefs_pid(self.endpoint)
        postmaster = self.platform.postmaster_pid(self.branch_uid)
        if role == "postmaster" or postmaster is None:
            return postmaster
        # Any client's backend: the one that hurts is one that is writing.
        backends = [pid for pid in processes.children(postmaster) if "databricks_postgres" in processes.command_line(pid)]
        return backends[0] if backends else None

    def kill(self, role):
        pid = wait_until(lambda: self.pid(role), f"a {role} to kill")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pid), f"{role} is dead")
        return pid

    def check(self, acknowledged):
        with self.connect() as connection:
            return load.check(connection, acknowledged)


@pytest.fixture
def running(own_platform):
    return Running(own_platform())


@pytest.mark.parametrize("role", ["proxy", "compute", "pagefs", "postmaster", "backend"])
def test_it_heals_by_itself(running, role):
    with load.WriteLoad(running.connect) as writing:
        for _ in range(3):
            writing.wait_for_progress()
            victim = running.kill(role)
            writing.wait_for_progress()
            wait_until(lambda: running.pid(role) not in (None, victim), f"a new {role}")
            running.check(writing.acknowledged)
    total = running.check(writing.acknowledged)
    assert total >= len(writing.acknowledged)
    status = running.platform.rest.get(running.endpoint["name"])["status"]
    assert status["current_state"] == "ACTIVE" and "pending_state" not in status
    log = (running.platform.directory / "computes" / running.endpoint["uid"] / "postgres.log").read_text(errors="replace")
    assert "PANIC" not in log


def test_a_dead_control_disturbs_no_client(running):
    platform = running.platform
    with load.WriteLoad(running.connect) as writing:
        postgres = running.pid("postmaster")
        for _ in range(3):
            victim = running.kill("control")
            writing.wait_for_progress()
            wait_until(lambda: running.pid("control") not in (None, victim), "a new control")
            wait_until(lambda: platform.rest.get("projects/p"), "the API answers")
        assert running.pid("postmaster") == postgres, "its computes go on"
        assert not writing.failures, writing.failures[:3]
        # The new control knows what runs: it can put it to sleep, and wake it.
        platform.rest.create_branch("p", "made-by-the-new-one")
    platform.rest.update_endpoint("p", "production", "spec.suspension", {"suspend_timeout_duration": "1s"})
    platform.wait_asleep(running.endpoint)
    running.check(writing.acknowledged)


def test_a_dead_up_disturbs_no_client_and_a_new_one_adopts(running):
    platform = running.platform
    with load.WriteLoad(running.connect) as writing:
        before = {role: running.pid(role) for role in ("control", "proxy", "compute", "pagefs", "postmaster")}
        running.kill("up")
        platform.up.wait(10)
        writing.wait_for_progress()
        assert {role: running.pid(role) for role in before} == before
        platform.start()
        writing.wait_for_progress()
        assert {role: running.pid(role) for role in before} == before
        assert not writing.failures, writing.failures[:3]
        # Adopted means watched: the new one replaces what dies.
        for role in ("control", "proxy"):
            victim = running.kill(role)
            wait_until(lambda: running.pid(role) not in (None, victim), f"a new {role}")
        writing.wait_for_progress()
    running.check(writing.acknowledged)


def test_everything_at_once(running):
    """As a power failure would do to the processes; `tarn up` again is all there is to do."""
    platform = running.platform
    with load.WriteLoad(running.connect) as writing:
        promised = writing.acknowledged
        processes.kill_all([platform.up.pid])
        platform.up.wait(10)
        processes.kill_all(processes.of_directory(platform.directory))
        wait_until(lambda: not processes.of_directory(platform.directory), "all are dead")
        platform.start()
        writing.wait_for_progress()
        running.check(promised)
    running.check(writing.acknowledged)
    wait_until(lambda: platform.rest.get(running.endpoint["name"])["status"]["current_state"] == "ACTIVE", "it says so")


def test_postgres_and_pagefs_die_with_their_supervisor(running):
    """Nobody may answer for an endpoint that nobody watches: the kernel ends both when the supervisor dies."""
    postmaster, pagefs = running.pid("postmaster"), running.pid("pagefs")
    with running.connect() as connection:
        connection.execute("select 1")
        running.kill("compute")
        for pid in (postmaster, pagefs):
            wait_until(lambda: not processes.is_alive(pid), "it is gone with its supervisor", 10)  # noqa: B023
    assert running.connect().execute("select 1").fetchone() == (1,)


def kill_control(platform):
    victim = platform.role_pid("control")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: platform.role_pid("control") not in (None, victim), "a new control")
    wait_until(lambda: platform.rest.get("projects"), "the API answers")


def test_control_dies_while_it_creates_and_deletes(own_platform):
    """Whenever it dies, what was begun is carried out whole, and nothing half-made stays."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("first")
    for moment in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
        operations = [
            rest.call("POST", "projects", {}, project_id="second"),
            rest.call("POST", "projects/first/branches", {"spec": {"no_expiry": True}}, branch_id="dev"),
        ]
        time.sleep(moment)  # not a wait for anything: the moment of the crash is what varies
        kill_control(platform)
        for operation, endpoint in zip(operations, (("second", "production"), ("first", "dev"))):
            rest.finish(operation)
            assert platform.sql(rest.endpoint(*endpoint), "select 1") == [(1,)]
        assert not platform.half_made()
        volumes = {p.name for p in (platform.directory / "volumes").iterdir()}
        expected = {("first", "production"), ("first", "dev"), ("second", "production")}
        assert volumes == {platform.branch_uid(*branch) for branch in expected}

        operations = [
            rest.call("DELETE", "projects/second", purge="true"),
            rest.call("DELETE", "projects/first/branches/dev", purge="true"),
        ]
        time.sleep(moment / 4)
        kill_control(platform)
        for operation in operations:
            rest.finish(operation)
        for folder in ("volumes", "computes"):
            assert len(list((platform.directory / folder).iterdir())) == 1, (moment, folder)
    assert platform.sql(rest.endpoint("first"), "select 1") == [(1,)]


def outcome(rest, operation):
    """True: done. False: it failed, with a reason."""
    try:
        rest.finish(operation)
    except OperationFailed as failure:
        assert failure.error["message"], failure
        return False
    return True


def check_volumes(platform, endpoints):
    """Those that the endpoints run on, and nothing that was begun."""
    expected = {platform.volume_id(endpoint) for endpoint in endpoints}
    present = lambda: {p.name for p in (platform.directory / "volumes").iterdir()}  # noqa: E731
    wait_until(lambda: present() == expected, f"only the volumes in use are there: {expected}", 60)


def dies_during(platform, moment, path, body):
    """Control is killed so long after the request; whether its operation was done in the end."""
    operation = platform.rest.call("POST", path, body)
    time.sleep(moment)  # not a wait for anything: the moment of the crash is what varies
    kill_control(platform)
    return outcome(platform.rest, operation)


MOMENTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.8)


def test_control_dies_while_it_resets(own_platform):
    """Whenever it dies, the branch is what it was or what its parent is, and what is not used any more goes."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t (v text)")
    rest.create_branch("p", "dev")
    child = rest.endpoint("p", "dev")
    values = lambda endpoint: [v for (v,) in platform.sql(endpoint, "select v from t order by v")]  # noqa: E731
    done = 0
    for number, moment in enumerate(MOMENTS):
        platform.sql(primary, "insert into t values (%s)", (f"parent {number}",))
        platform.sql(child, "insert into t values (%s)", (f"child {number}",))
        before, after = values(child), values(primary)
        is_done = dies_during(platform, moment, "projects/p/branches/dev/reset", {})
        done += is_done
        assert values(child) == (after if is_done else before), moment
        assert values(primary) == after
        check_volumes(platform, (primary, child))
    assert done > 0
    platform.sql(child, "insert into t values ('x')")


def test_control_dies_while_it_restores(own_platform):
    """Either the branch is back at the moment and what it was is kept as another branch, or nothing has changed."""
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t (v text)")
    values = lambda endpoint: [v for (v,) in platform.sql(endpoint, "select v from t order by v")]  # noqa: E731
    done = 0
    for number, moment in enumerate(MOMENTS):
        with platform.connect(primary) as connection:
            connection.execute("insert into t values (%s)", (f"{number} kept",))
            lsn = insert_lsn(connection)
            connection.execute("insert into t values (%s)", (f"{number} undone",))
        before = values(primary)
        body = {"source_branch_lsn": lsn_text(lsn), "preserve_under_branch_id": "old"}
        is_done = dies_during(platform, moment, "projects/p/branches/production/restore", body)
        done += is_done
        if not is_done:
            assert values(primary) == before, moment
            assert rest.refused("GET", "projects/p/branches/old").status == 404
            check_volumes(platform, (primary,))
            continue
        assert values(primary) == [v for v in before if v != f"{number} undone"], moment
        old = rest.endpoint("p", "old")
        assert values(old) == before, moment
        check_volumes(platform, (primary, old))
        rest.delete_branch("p", "old")
        check_volumes(platform, (primary,))
    assert done > 0
    platform.sql(primary, "insert into t values ('x')")


def test_a_postgres_that_was_stopped_holds_nobody(own_platform):
    """Not killed: stopped, as by a debugger or a disk that hangs. Who asks is answered, others' work goes on, and what waited is done."""
    platform = own_platform()
    rest = platform.rest
    for project in ("p", "q"):
        rest.create_project(project)
    # Connections for looking are kept for some seconds: one that is asked now has been good a moment ago.
    (known,) = rest.get("projects/p/branches/production/roles")["roles"]
    postmaster = platform.postmaster_pid(platform.branch_uid("p"))
    stopped = [postmaster, *processes.children(postmaster)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        # As many as there are worker threads, and one more.
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(rest.ask, "GET", "projects/p/branches/production/roles", timeout=100) for _ in range(5)]
            operation = rest.call("POST", "projects/p/branches/production/roles", {"spec": {"postgres_role": "late"}}, role_id="late")
            other = rest.run("POST", "projects/q/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
            assert other["role_id"] == "app"
            assert all(known in answer.result().json["roles"] for answer in asked)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert rest.finish(operation)["role_id"] == "late"
    assert platform.sql(rest.endpoint("p"), "select count(*) from pg_roles where rolname = 'late'") == [(1,)]

"""Scale to zero: an endpoint that nobody uses sleeps, one that is used does not, and any connection wakes it."""

import os
import signal
import threading
import time

import psycopg
import pytest
from psycopg import pq

from harness import processes
from harness.rest import RestError
from harness.waiting import wait_until

TIMEOUT = "2s"


@pytest.fixture
def sleepy(platform, project):
    """The primary of a new project with a short timeout."""
    platform.rest.update_endpoint(project, "production", "spec.suspend_timeout_duration",
                                  {"suspend_timeout_duration": TIMEOUT})  # fmt: skip
    return platform.rest.endpoint(project)


def starts(platform, endpoint):
    """How often Postgres of this endpoint began to accept connections, from its own log."""
    log = platform.directory / "computes" / endpoint["uid"] / "postgres.log"
    return log.read_text(errors="replace").count("database system is ready to accept connections")


def current_state(platform, endpoint):
    return platform.rest.get(endpoint["name"])["status"]["current_state"]


def stays_awake(platform, endpoint, seconds):
    """Must hold for the whole of several timeouts; the one place where time itself is what is tested."""
    pid = platform.postmaster_pid(platform.rest.get(endpoint["parent"])["uid"])
    assert pid
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert processes.is_alive(pid), "suspended while in use"
        time.sleep(0.1)


def test_an_idle_endpoint_sleeps_and_a_connection_wakes_it(platform, project, sleepy):
    platform.sql(sleepy, "create table t as select 42 as answer")
    platform.wait_asleep(sleepy)
    branch = platform.branch_uid(project)
    assert platform.postmaster_pid(branch) is None
    asleep = platform.rest.get(sleepy["name"])["status"]
    assert asleep["current_state"] == "IDLE" and "pending_state" not in asleep
    assert asleep["hosts"]["host"] == sleepy["status"]["hosts"]["host"], "a sleeping endpoint keeps its address"

    assert platform.sql(sleepy, "select answer from t") == [(42,)]
    awake = platform.rest.get(sleepy["name"])["status"]
    assert awake["current_state"] == "ACTIVE" and "pending_state" not in awake
    assert platform.postmaster_pid(branch)
    # A clean shutdown: no crash recovery at the wake.
    log = (platform.directory / "computes" / sleepy["uid"] / "postgres.log").read_text(errors="replace")
    assert "was not properly shut down" not in log and "was interrupted" not in log


def test_not_during_a_query(platform, sleepy):
    with platform.connect(sleepy) as connection:
        result = []
        query = threading.Thread(target=lambda: result.append(connection.execute("select pg_sleep(6)").fetchone()))
        query.start()
        stays_awake(platform, sleepy, 5)
        query.join()
        assert result
    platform.wait_asleep(sleepy)


def test_not_during_an_open_transaction(platform, sleepy):
    with platform.connect(sleepy, autocommit=False) as connection:
        connection.execute("create table t as select 1 as i")
        stays_awake(platform, sleepy, 5)
        connection.commit()
    assert platform.sql(sleepy, "select i from t") == [(1,)]
    platform.wait_asleep(sleepy)


def test_not_during_a_replication_connection(platform, sleepy):
    """START_REPLICATION with nothing to send: the connection is quiet, and still in use."""
    parameters = platform.connection_parameters(sleepy)
    connection = pq.PGconn.connect(
        psycopg.conninfo.make_conninfo(**parameters, replication="database").encode())
    try:
        assert connection.status == pq.ConnStatus.OK, connection.error_message
        made = connection.exec_(b"CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput")
        assert made.status == pq.ExecStatus.TUPLES_OK, connection.error_message
        started = connection.exec_(
            b"START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'none')")
        assert started.status == pq.ExecStatus.COPY_BOTH, connection.error_message
        stays_awake(platform, sleepy, 5)
    finally:
        connection.finish()
    platform.wait_asleep(sleepy)


def test_an_idle_session_does_not_keep_it_awake_and_learns_why_it_ended(platform, sleepy):
    """A pool that merely holds connections must not cost a machine."""
    with platform.connect(sleepy) as connection:
        connection.execute("select 1")
        platform.wait_asleep(sleepy)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_fifty_clients_wake_it_once(platform, sleepy):
    platform.sql(sleepy, "select 1")
    platform.wait_asleep(sleepy)
    before = starts(platform, sleepy)
    parameters = platform.connection_parameters(sleepy)
    gate, results = threading.Barrier(50), []

    def client():
        gate.wait()
        try:
            with psycopg.connect(**parameters, autocommit=True) as connection:
                results.append(connection.execute("select pg_backend_pid()").fetchone()[0])
        except Exception as error:  # noqa: BLE001 – reported below, with all the others
            results.append(error)

    clients = [threading.Thread(target=client) for _ in range(50)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(60)
    failures = [r for r in results if not isinstance(r, int)]
    assert not failures and len(results) == 50, f"{len(failures)} of 50 failed: {failures[:3]}"
    assert starts(platform, sleepy) == before + 1


def test_a_wrong_password_wakes_nobody(platform, project, sleepy):
    platform.wait_asleep(sleepy)
    for password in ("", "guess", "a.b.c"):
        with pytest.raises(psycopg.OperationalError):
            platform.connect(sleepy, password=password or " ")
    assert platform.supervisor_pid(sleepy) is None
    assert current_state(platform, sleepy) == "IDLE"


def test_connecting_in_the_very_moment_it_falls_asleep(platform, project, sleepy):
    """Ten rounds of a client that comes back at about the timeout: it may wait, it never fails."""
    for round_ in range(10):
        time.sleep(2.0 + 0.1 * round_)  # the timeout is 2 s: this walks over the moment of the shutdown
        assert platform.sql(sleepy, "select %s::int", (round_,)) == [(round_,)]


def test_never_suspend(platform, project, sleepy):
    response = platform.rest.update_endpoint(project, "production", "spec.suspension", {"no_suspension": True})
    assert not {"suspend_timeout_duration", "no_suspension"} & response["status"].keys()
    platform.sql(sleepy, "select 1")
    stays_awake(platform, sleepy, 5)
    platform.rest.update_endpoint(project, "production", "spec.suspension", {"suspend_timeout_duration": TIMEOUT})
    platform.wait_asleep(sleepy)


def test_limits_of_the_timeout(platform, project):
    for spec in ({"suspend_timeout_duration": "604801s"}, {"suspend_timeout_duration": "-1s"},
                 {"suspend_timeout_duration": "5m"}, {"suspend_timeout_duration": 300},
                 {"suspend_timeout_duration": "300s", "no_suspension": True}):  # fmt: skip
        with pytest.raises(RestError) as caught:
            platform.rest.update_endpoint(project, "production", "spec.suspension", spec)
        assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE"), spec
    assert platform.rest.endpoint(project)["status"]["suspend_timeout_duration"] == "86400s"


def test_a_disabled_endpoint_sleeps_and_refuses_until_enabled(platform, project, primary):
    platform.sql(primary, "select 1")
    response = platform.rest.update_endpoint(project, "production", "spec.disabled", {"disabled": True})
    assert response["status"]["disabled"] is True
    platform.wait_asleep(primary)
    with pytest.raises(psycopg.OperationalError) as caught:
        platform.connect(primary)
    assert "disabled" in str(caught.value)
    assert platform.supervisor_pid(primary) is None
    response = platform.rest.update_endpoint(project, "production", "spec.disabled", {"disabled": False})
    assert response["status"]["disabled"] is False
    assert platform.sql(primary, "select 1") == [(1,)]


def test_settings_are_applied(platform, project, primary):
    platform.rest.update_endpoint(project, "production", "spec.settings", {"settings": {"pg_settings": {"work_mem": "9MB"}}})
    wait_until(lambda: platform.sql(primary, "show work_mem") == [("9MB",)], "the setting in a new session")
    for bad in ("listen_addresses", "port", "shared_preload_libraries", "data_directory", "no_such_setting'"):
        with pytest.raises(RestError) as caught:
            platform.rest.update_endpoint(project, "production", "spec.settings", {"settings": {"pg_settings": {bad: "1"}}})
        assert caught.value.status == 400, bad
    assert platform.sql(primary, "show work_mem") == [("9MB",)]


def test_a_sleeping_endpoint_has_no_process_and_no_descriptor(platform, project, sleepy):
    platform.sql(sleepy, "select 1")
    platform.wait_asleep(sleepy)
    folder = platform.directory / "computes" / sleepy["uid"]
    volume = platform.directory / "volumes" / platform.branch_uid(project)
    assert not processes.of_directory(folder)
    assert not processes.of_directory(volume)


def test_a_sleeping_endpoint_keeps_no_space_in_reserve(own_platform):
    """What an awake one, or one that was killed, has reserved for its journal is given back."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    journals = lambda: [path.stat() for path in platform.directory.glob("stores/*/layers/*/journal")]  # noqa: E731
    reserved = lambda: sum(max(0, st.st_blocks * 512 - st.st_size) for st in journals())  # noqa: E731
    platform.sql(endpoint, "create table t (i int)")
    assert reserved() > 100_000, "room for what is to come"
    os.kill(platform.pagefs_pid(endpoint), signal.SIGKILL)
    wait_until(lambda: answers(platform, endpoint), "it answers again", 60)
    platform.sleep("p")
    assert journals() and reserved() <= 8192 * len(journals())
    assert platform.sql(endpoint, "select count(*) from t") == [(0,)]


def answers(platform, endpoint):
    try:
        return platform.sql(endpoint, "select 1")
    except psycopg.Error:
        return None

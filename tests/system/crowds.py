"""A crowd before the door of an endpoint that sleeps; and starts that fail, or hang."""

import re
import os
import signal
import threading
import time

import psycopg
import pytest

from harness import crowd, processes
from harness.waiting import wait_until


def starts(platform, endpoint):
    log = platform.directory / "computes" / endpoint["uid"] / "postgres.log"
    return log.read_text(errors="replace").count("database system is ready to accept connections") if log.exists() else 0


def resize(platform, project, most, least=0.5):
    platform.rest.update_endpoint(project, "production", "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu",
                                  {"autoscaling_limit_min_cu": least, "autoscaling_limit_max_cu": most})  # fmt: skip


def check_crowd(platform, project, count):
    """All are served by one start, each by a backend of its own, and nobody reads an error."""
    endpoint = platform.rest.endpoint(project)
    platform.sleep(project)
    before = starts(platform, endpoint)
    begin = time.monotonic()
    people = crowd.come(count, platform, endpoint)
    seconds = time.monotonic() - begin
    errors = [person.error for person in people if person.error]
    assert not errors, f"{len(errors)} of {count} were told such as {errors[:3]}"
    assert len({person.pid for person in people}) == count
    assert starts(platform, endpoint) == before + 1
    return seconds


def test_three_hundred_at_once_wake_it_once(platform, project, primary):
    """tests/long/crowd does it with two thousand."""
    resize(platform, project, 2)
    check_crowd(platform, project, 300)
    with platform.connect(primary) as connection:  # and nobody of them is left
        wait_until(lambda: connection.execute("select count(*) from pg_stat_activity where backend_type = 'client backend'").fetchone()[0] < 10,
                   "their backends have ended")  # fmt: skip


def test_more_than_it_holds(platform, project, primary):
    """When it is full, and only then, the others read what stock Postgres tells them; when they have gone there is room again."""
    resize(platform, project, 0.5)
    platform.sleep(project)
    people = crowd.come(200, platform, primary)
    served = [person for person in people if person.pid]
    refused = [person.error for person in people if person.error]
    with platform.direct(primary) as connection:
        most, reserved = connection.execute(
            "select current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
            " + current_setting('reserved_connections')::int").fetchone()  # fmt: skip
    assert most < 200
    words = {("FATAL", error["C"], re.sub(r"(endpoint) .*", r"\1", error["M"])) for error in refused}
    assert words <= {
        ("FATAL", "53300", "sorry, too many clients already"),
        ("FATAL", "53300", "too many connections to endpoint"),  # the proxy counts as well
        ("FATAL", "53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"),
    }, words  # fmt: skip
    # Control's own connections may be among those that are there.
    assert most - reserved - 5 <= len(served) <= most - reserved, (len(served), most, reserved)
    assert len(served) + len(refused) == 200
    wait_until(lambda: platform.sql(primary, "select 1") == [(1,)], "there is room again")


def login_error(platform, endpoint, token):
    with pytest.raises(psycopg.OperationalError) as caught:
        platform.connect(endpoint, password=token, connect_timeout=200)
    return str(caught.value)


def test_a_crowd_before_one_that_cannot_start(platform, project, primary):
    """Each is told why, and none of them is left waiting; once it can start, it does."""
    resize(platform, project, 2)
    platform.wake(primary)
    platform.sleep(project)
    wal = platform.volume(primary) / "wal"
    wal.rename(wal.with_name("wal-away"))
    try:
        people = crowd.come(100, platform, primary)
        words = {(person.error["S"], person.error["C"]) for person in people}
        assert words == {("FATAL", "57P03")}, words
        assert all("could not be started" in person.error["M"] and person.error["H"] for person in people), people[0].error
    finally:
        wal.with_name("wal-away").rename(wal)
    assert platform.sql(primary, "select 1") == [(1,)]


@pytest.mark.timeout(400)
def test_servers_that_hang_are_given_up(platform, project, primary, shared_project, shared_primary):
    """One whose Postgres says nothing, and one whose start does not end: a clear word after two minutes, and others are served meanwhile."""
    tokens = [platform.rest.database_token(endpoint["name"]) for endpoint in (primary, shared_primary)]
    platform.wake(primary)
    postmaster = platform.postmaster_pid(platform.branch_uid(project))
    platform.sleep(shared_project)
    errors, stopped = {}, []
    try:
        os.kill(postmaster, signal.SIGSTOP)
        stopped.append(postmaster)
        silent = threading.Thread(target=lambda: errors.update(silent=login_error(platform, primary, tokens[0])))
        silent.start()
        starting = threading.Thread(target=lambda: errors.update(starting=login_error(platform, shared_primary, tokens[1])))
        starting.start()
        # Its supervisor, as soon as it is there.
        supervisor = wait_until(lambda: platform.supervisor_pid(shared_primary), "the start begins", pause=0.001)
        os.kill(supervisor, signal.SIGSTOP)
        stopped.append(supervisor)
        for thread in (silent, starting):
            thread.join(200)
    finally:
        for pid in stopped:
            if processes.is_alive(pid):
                os.kill(pid, signal.SIGCONT)
    assert "did not answer in time" in errors["silent"] and "FATAL" in errors["silent"], errors
    assert "FATAL" in errors["starting"], errors
    for endpoint in (primary, shared_primary):
        wait_until(lambda: answers(platform, endpoint), "it is served again", 90)  # noqa: B023


def answers(platform, endpoint):
    try:
        return platform.sql(endpoint, "select 1") == [(1,)]
    except psycopg.Error:
        return False

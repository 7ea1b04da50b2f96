"""Branches at a moment in the past: at an LSN, at a time, of branches of branches, in parallel, of a sleeping parent."""

import datetime
import json
import os
import re
import time

import psycopg
import pytest

from harness import wal
from harness.rest import OperationFailed, RestError
from harness.waiting import wait_until
from harness.wal import SEGMENT_BYTES, insert_lsn, lsn_number, lsn_text, rfc3339

BAD = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "OUT_OF_RANGE", "NOT_FOUND")


def refused(create):
    """The message of a branch that could not be made, at once or by its operation."""
    with pytest.raises((RestError, OperationFailed)) as caught:
        create()
    error = caught.value
    if isinstance(error, RestError):
        assert error.status == 400, error
        return error.message
    assert error.error["error_code"] in BAD, error.error
    return error.error["message"]


@pytest.fixture
def history(platform, project, primary):
    """Numbered rows, each a commit of its own, with the WAL position before and after it."""
    rows = []
    with platform.connect(primary) as connection:
        connection.execute("create table t (i int primary key, pad text)")
        for i in range(12):
            before = insert_lsn(connection)
            connection.execute("insert into t values (%s, repeat('x', 500))", (i,))
            rows.append((before, insert_lsn(connection)))
    return rows


def branch_at(platform, project, name, **moment):
    answer = platform.rest.create_branch(project, name, **moment)
    endpoint = platform.rest.endpoint(project, name)
    return answer, [i for (i,) in platform.sql(endpoint, "select i from t order by i")]


def test_at_each_lsn(platform, project, history):
    for number in (0, 5, 11):
        before, after = history[number]
        answer, rows = branch_at(platform, project, f"at-{number}", source_branch_lsn=lsn_text(after))
        assert rows == list(range(number + 1))
        assert lsn_number(answer["status"]["source_branch_lsn"]) <= after
        answer, rows = branch_at(platform, project, f"before-{number}", source_branch_lsn=lsn_text(before))
        assert rows == list(range(number))


def moment_of(answer):
    return lsn_number(answer["status"]["source_branch_lsn"]), datetime.datetime.fromisoformat(answer["status"]["source_branch_time"].replace("Z", "+00:00"))


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def test_the_effective_position_and_time_are_shown(platform, project, primary):
    """Of an LSN: when the last transaction before it ended. Of a time: the position that was reached. Of the head: now."""
    commits = []
    with platform.connect(primary) as connection:
        connection.execute("create table t (i int primary key, pad text)")
        first = insert_lsn(connection)
        for i in range(6):
            with connection.transaction():
                connection.execute("insert into t values (%s)", (i,))
                xid = int(connection.execute("select pg_current_xact_id()::text").fetchone()[0])
            commits.append((xid, insert_lsn(connection)))
            if i == 3:  # a long way without a commit
                connection.execute("select count(pg_logical_emit_message(false, 'long', repeat('x', 9000))) from generate_series(1, 100)")
        (timeline,) = connection.execute("select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int").fetchone()
        connection.execute("insert into t values (100)")
        last = insert_lsn(connection)
    times = wal.commit_times(platform.volume(primary) / "wal", timeline, first, last)
    behind_the_messages = commits[4][1] - 2000
    for i, lsn in (*((i, commits[i][1]) for i in range(5)), (4, commits[4][1] + 8)):
        name = f"at-{i}-{lsn}"
        answer, rows = branch_at(platform, project, name, source_branch_lsn=lsn_text(lsn))
        assert rows == list(range(i + 1))
        position, moment = moment_of(answer)
        assert position <= lsn and moment == times[commits[i][0]]
        _, rows = branch_at(platform, project, f"{name}-t", source_branch_time=answer["status"]["source_branch_time"])
        assert rows == list(range(i + 1)), "what it says leads there"
        platform.rest.delete_branch(project, f"{name}-t")
    position, moment = moment_of(branch_at(platform, project, "messages", source_branch_lsn=lsn_text(behind_the_messages))[0])
    assert position <= behind_the_messages and moment == times[commits[3][0]]

    time_between = times[commits[2][0]] + datetime.timedelta(microseconds=1)
    answer, rows = branch_at(platform, project, "by-time", source_branch_time=rfc3339(time_between))
    position, moment = moment_of(answer)
    assert rows == [0, 1, 2] and moment == time_between and commits[1][1] < position <= commits[3][1]
    assert branch_at(platform, project, "again", source_branch_lsn=lsn_text(position))[1] == rows

    began = now()
    position, moment = moment_of(branch_at(platform, project, "head")[0])
    assert position >= last and began <= moment <= now()
    platform.sql(primary, "insert into t values (101)")
    began = now()
    reset_position, moment = moment_of(platform.rest.reset_branch(project, "head"))
    assert reset_position > position and began <= moment <= now()

    lsn = commits[1][1]
    assert moment_of(platform.rest.create_snapshot(project, "past", source_branch_lsn=lsn_text(lsn)))[1] == times[commits[1][0]]
    platform.rest.restore_branch(project, "production", "kept", source_branch_lsn=lsn_text(lsn))
    position, moment = moment_of(platform.rest.get(f"projects/{project}/branches/kept"))
    assert position <= lsn and moment == times[commits[1][0]]


def test_in_the_middle_of_a_record(platform, project, primary, history):
    """A record that is cut in two is not replayed, and what is in front of it is."""
    with platform.connect(primary) as connection:
        (end,) = connection.execute("select pg_logical_emit_message(false, 'long', repeat('x', 60000)) - '0/0'").fetchone()
        middle = int(end) - 30000
        connection.execute("insert into t values (100)")
    answer, rows = branch_at(platform, project, "mid", source_branch_lsn=lsn_text(middle))
    assert rows == list(range(12))
    assert history[-1][1] <= lsn_number(answer["status"]["source_branch_lsn"]) < middle, "the effective position is shown"
    _, rows = branch_at(platform, project, "end", source_branch_lsn=lsn_text(int(end)))
    assert rows == list(range(12))


def test_at_the_border_of_a_segment(platform, project, primary, history):
    platform.wake(primary)
    with platform.direct(primary) as admin:
        (switched,) = admin.execute("select pg_switch_wal() - '0/0'").fetchone()
        border = (int(switched) // SEGMENT_BYTES + 1) * SEGMENT_BYTES
        admin.execute("insert into t values (100)")
        assert insert_lsn(admin) > border
    for name, lsn, expected in (
        ("last-byte", border - 1, list(range(12))), ("border", border, list(range(12))),
        ("first-byte", border + 1, list(range(12))), ("in-header", border + 24, list(range(12))),
    ):  # fmt: skip
        assert branch_at(platform, project, name, source_branch_lsn=lsn_text(lsn))[1] == expected, name


def test_a_record_across_two_segments(platform, project, primary, history):
    with platform.connect(primary) as connection:
        while True:
            before = insert_lsn(connection)
            (end,) = connection.execute("select pg_logical_emit_message(false, 'long', repeat('x', 900000)) - '0/0'").fetchone()
            if before // SEGMENT_BYTES != int(end) // SEGMENT_BYTES:
                break
        border = int(end) // SEGMENT_BYTES * SEGMENT_BYTES
        connection.execute("insert into t values (100)")
        after = insert_lsn(connection)
    assert branch_at(platform, project, "cut", source_branch_lsn=lsn_text(border))[1] == list(range(12))
    assert branch_at(platform, project, "whole", source_branch_lsn=lsn_text(after))[1] == [*range(12), 100]


def test_first_and_future_and_too_old_lsns(platform, project, primary, history):
    (store,) = [s for s in platform.stores() if s.stack_names() & {platform.volume_id(primary)}]
    first = None
    for path in store.point_paths(platform.volume_id(primary)):
        first = lsn_number(_member(store._read(path), "end_lsn"))
        break
    assert first, "a project that was made has a restore point"
    platform.rest.create_branch(project, "first", source_branch_lsn=lsn_text(first))
    assert platform.sql(platform.rest.endpoint(project, "first"), "select to_regclass('t')") == [(None,)]
    for name, lsn in (("old", first - 1), ("older", 1), ("future", history[-1][1] + (1 << 30)), ("far", (1 << 63) + 5)):
        message = refused(lambda: platform.rest.create_branch(project, name, source_branch_lsn=lsn_text(lsn)))  # noqa: B023
        assert "lsn" in message.lower() or "/" in message, message
        assert platform.rest.refused("GET", f"projects/{project}/branches/{name}").status == 404


def _member(record, name):
    if isinstance(record, dict):
        for key, value in record.items():
            found = value if key == name else _member(value, name)
            if found is not None:
                return found
    return None


def test_several_commits_within_a_second(platform, project, primary):
    """Exact to the microsecond: the commit of that very moment is in, and nothing later."""
    with platform.connect(primary) as connection:
        connection.execute("create table t (i int primary key)")
        first = insert_lsn(connection)
        xids = []
        for i in range(40):
            with connection.transaction():
                connection.execute("insert into t values (%s)", (i,))
                xids.append(int(connection.execute("select pg_current_xact_id()::text").fetchone()[0]))
        (timeline,) = connection.execute("select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int").fetchone()
        last = insert_lsn(connection)
    times = wal.commit_times(platform.volume(primary) / "wal", timeline, first, last)
    moments = [times[xid] for xid in xids]
    assert moments == sorted(moments)
    within = [i for i in range(1, 39) if moments[i - 1] < moments[i] < moments[i + 1]]
    assert (moments[-1] - moments[0]).total_seconds() < 3, "they share a second or two"
    for i in within[:: max(1, len(within) // 3)]:
        _, rows = branch_at(platform, project, f"at-{i}", source_branch_time=rfc3339(moments[i]))
        assert rows == list(range(i + 1)), f"commit {i} was at {moments[i]}"
        just_before = moments[i] - datetime.timedelta(microseconds=1)
        _, rows = branch_at(platform, project, f"before-{i}", source_branch_time=rfc3339(just_before))
        assert rows == list(range(i)), f"commit {i} was at {moments[i]}"


def test_at_the_end_of_the_wal_of_a_quiet_parent(platform, project, primary, history):
    """No commit follows: where a recovery target of Postgres itself fails."""
    moment = time.time()
    time.sleep(0.05)  # the clock, not an event: the moment must have passed
    assert branch_at(platform, project, "quiet", source_branch_time=rfc3339(moment))[1] == list(range(12))
    platform.sleep(project)
    assert branch_at(platform, project, "asleep", source_branch_time=rfc3339(moment))[1] == list(range(12))
    assert branch_at(platform, project, "later", source_branch_time=rfc3339(time.time() - 0.001))[1] == list(range(12))


def test_times_outside_the_window(platform, project, history):
    created = platform.rest.get(f"projects/{project}")["create_time"]
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    before = datetime.datetime.fromisoformat(created.replace("Z", "+00:00")) - datetime.timedelta(seconds=60)
    for name, moment in (("future", now + day), ("soon", now + datetime.timedelta(seconds=30)), ("unborn", before), ("old", now - 40 * day)):
        message = refused(lambda: platform.rest.create_branch(project, name, source_branch_time=rfc3339(moment)))  # noqa: B023
        assert "time" in message.lower() or "20" in message, message


def test_a_chain_of_six_and_a_past_in_each(platform, project, primary):
    """Every generation adds a row, and shows its own past as well as its ancestors'."""
    platform.sql(primary, "create table t (i int primary key)")
    platform.sql(primary, "insert into t values (0)")
    source = "production"
    for generation in range(1, 7):
        name = f"g{generation}"
        platform.rest.create_branch(project, name, source_branch=f"projects/{project}/branches/{source}")
        with platform.connect(platform.rest.endpoint(project, name)) as connection:
            assert [i for (i,) in connection.execute("select i from t order by i")] == list(range(generation))
            connection.execute("insert into t values (%s)", (generation,))
            lsn = insert_lsn(connection)
            connection.execute("insert into t values (%s)", (1000 + generation,))
        _, rows = branch_at(platform, project, f"past-{generation}", source_branch_lsn=lsn_text(lsn),
                            source_branch=f"projects/{project}/branches/{name}")  # fmt: skip
        assert rows == list(range(generation + 1))
        platform.sql(platform.rest.endpoint(project, name), "delete from t where i >= 1000")
        source = name
    timelines = set()
    for branch in platform.rest.get(f"projects/{project}/branches")["branches"]:
        endpoint = platform.rest.endpoint(project, branch["branch_id"])
        ((timeline,),) = platform.sql(endpoint, "select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int")
        assert timeline not in timelines
        timelines.add(timeline)
    assert len(timelines) == 13


def test_many_in_parallel_at_different_moments(platform, project, primary, history):
    """Queued, not refused, while the parent goes on writing."""
    operations = {}
    with platform.connect(primary) as connection:
        for number in range(10):
            spec = {"no_expiry": True}
            if number % 3 != 2:
                spec["source_branch_lsn"] = lsn_text(history[number][1])
            operations[number] = platform.rest.call("POST", f"projects/{project}/branches", {"spec": spec}, branch_id=f"b{number}")
            connection.execute("insert into t values (%s)", (100 + number,))
    for operation in operations.values():
        platform.rest.finish(operation)
    for number in operations:
        rows = [i for (i,) in platform.sql(platform.rest.endpoint(project, f"b{number}"), "select i from t order by i")]
        if number % 3 != 2:
            assert rows == list(range(number + 1))
        else:
            assert rows[:12] == list(range(12)) and rows[12:] == list(range(100, 100 + len(rows) - 12))
            assert len(rows) >= 12 + number


def test_a_branch_of_a_sleeping_parent_starts_nothing_there(platform, project, primary, history):
    platform.sleep(project)
    log = platform.directory / "computes" / primary["uid"] / "postgres.log"
    before = log.read_text(errors="replace").count("database system is ready")
    assert branch_at(platform, project, "head")[1] == list(range(12))
    assert branch_at(platform, project, "past", source_branch_lsn=lsn_text(history[3][1]))[1] == list(range(4))
    assert platform.supervisor_pid(primary) is None and platform.is_asleep(primary)
    assert log.read_text(errors="replace").count("database system is ready") == before


def test_a_branch_costs_no_space(platform, project, primary):
    """200 MB in the parent, a small fraction of it in the child."""
    from harness.store import disk_usage  # only here

    with platform.connect(primary) as connection:
        connection.execute("create table big as select i, repeat(md5(i::text), 30) pad from generate_series(1, 200000) i")
        connection.execute("vacuum (freeze) big")  # hint bits, set by the first reader, would make pages of its own
    platform.sleep(project)
    before = disk_usage(platform.directory / "stores") + disk_usage(platform.directory / "volumes")
    platform.rest.create_branch(project, "dev")
    assert platform.sql(platform.rest.endpoint(project, "dev"), "select count(*) from big") == [(200000,)]
    platform.sleep(project, "dev")
    after = disk_usage(platform.directory / "stores") + disk_usage(platform.directory / "volumes")
    # WAL segments of its own and what the end of a recovery writes; nothing that grows with the parent.
    assert after - before < 60 << 20, f"{(after - before) >> 20} MB"


def test_bad_positions(rest, project):
    for spec in ({"source_branch_lsn": "nonsense"}, {"source_branch_lsn": "0/"}, {"source_branch_lsn": "/5"}, {"source_branch_lsn": 5},
                 {"source_branch_lsn": "1FFFFFFFFF/0"}, {"source_branch_time": "yesterday"}, {"source_branch_time": "2026-13-01T00:00:00Z"},
                 {"source_branch_lsn": "0/5000000", "source_branch_time": "2026-01-01T00:00:00Z"}):  # fmt: skip
        error = rest.refused("POST", f"projects/{project}/branches", {"spec": {"no_expiry": True, **spec}}, branch_id="x")
        assert error.status == 400, (spec, error)


def test_data_is_still_checked(platform, project, primary, history):
    """Data checksums are on in every branch, and full recovery leaves no page unreadable."""
    branch_at(platform, project, "dev", source_branch_lsn=lsn_text(history[6][1]))
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "show data_checksums") == [("on",)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        platform.sql(child, "insert into t values (3)")


def things_of(platform, project):
    """What a branch consists of: its resource, its volume, its compute."""
    branches = [b["branch_id"] for b in platform.rest.get(f"projects/{project}/branches")["branches"]]
    return branches, *(sorted(p.name for p in (platform.directory / folder).iterdir()) for folder in ("volumes", "computes"))


def test_wal_that_is_damaged_on_the_way_is_told_and_no_branch_lacks_rows(platform, project, primary, history):
    """Postgres takes a lost sector for the end of WAL and opens in front of it: nobody may get such a branch."""
    platform.sleep(project)  # a restore point, behind which everything else happens
    with platform.connect(primary) as connection:
        connection.execute("insert into t values (100)")
        before = insert_lsn(connection)
        for _ in range(40):
            connection.execute("select pg_logical_emit_message(false, 'long', repeat('x', 50000))")
        (segment,) = connection.execute("select pg_walfile_name(%s::pg_lsn)", (lsn_text(lost := before + 1_000_000 & ~511),)).fetchone()
        connection.execute("insert into t values (101)")
        end = insert_lsn(connection)
    rows = [*range(12), 100, 101]
    store = next(s for s in platform.stores() if platform.volume_id(primary) in s.stack_names())
    points = [lsn_number(json.loads(path.read_text())["point"]["end_lsn"]) for path in store.point_paths(platform.volume_id(primary))]
    assert not any(before < point <= end for point in points), "the damage is on the way"
    things = things_of(platform, project)
    with open(platform.volume(primary) / "archive" / segment, "r+b") as file:
        whole = os.pread(file.fileno(), 512, lost % SEGMENT_BYTES)
        os.pwrite(file.fileno(), bytes(512), lost % SEGMENT_BYTES)
        platform.rest.create_snapshot(project, "snap", source_branch_lsn=lsn_text(end))

        def cannot_be_made(**spec):
            with pytest.raises(OperationFailed) as caught:
                platform.rest.create_branch(project, "dev", **spec)
            wait_until(lambda: things_of(platform, project) == things, "nothing is left of it")
            return caught.value.error["message"]

        message = cannot_be_made(source_branch_lsn=lsn_text(end))
        told = re.search(r'branch volume "(\S+)" ended at LSN (\S+) and not at LSN (\S+): .*damaged or missing\. Branch from a moment up to LSN (\S+),', message)
        assert told, message
        volume, reached, wanted, advice = told.groups()
        assert before <= lsn_number(reached) <= lost < lsn_number(wanted) <= end and advice == reached and volume not in things[1]
        message = cannot_be_made(source_snapshot=f"projects/{project}/snapshots/snap")
        assert re.search(r'branch volume "\S+" ended in front of .*damaged or missing\. Branch from another moment', message), message
        assert branch_at(platform, project, "advised", source_branch_lsn=advice)[1] == rows[:-1]
        os.pwrite(file.fileno(), whole, lost % SEGMENT_BYTES)
    assert branch_at(platform, project, "dev", source_branch_lsn=lsn_text(end))[1] == rows

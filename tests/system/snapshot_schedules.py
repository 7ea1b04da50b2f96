"""Schedules of snapshots: made when they are due, also when nobody was there at the time, without waking anybody."""

import datetime
import sqlite3
import time

from harness.waiting import wait_until

HOUR = 3600


def schedule_path(project, branch="production"):
    return f"projects/{project}/branches/{branch}/snapshot-schedule"


def turn_back(platform, seconds):
    """As if schedules had last been looked at so long ago; for a Tarn that is down."""
    past = int((time.time() - seconds) * 1e6)
    with sqlite3.connect(platform.directory / "metadata.db") as connection:
        connection.execute("update snapshot_schedule set considered_usec = ?, next_usec = ?", (past, past + 1))
    connection.close()


def snapshots(rest, project):
    return rest.get(f"projects/{project}/snapshots").get("snapshots", [])


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_set_and_seen(rest, shared_project):
    path = schedule_path(shared_project)
    assert rest.get(path) == {"name": path}
    cadences = [
        {"retention": "86400s", "daily_schedule": {"hour": 3}},
        {"retention": "604800s", "weekly_schedule": {"day_of_week": "SUNDAY", "hour": 0}},
        {"retention": "2592000s", "monthly_schedule": {"day": 31, "hour": 23}},
    ]
    operation = rest.call("PATCH", path, {"name": path, "schedule": cadences}, update_mask="schedule")
    assert operation["name"].startswith(path + "/operations/")
    assert operation["metadata"] == {"@type": "type.googleapis.com/databricks.postgres.v1.SnapshotScheduleOperationMetadata"}
    assert rest.finish(operation) == {"name": path, "schedule": cadences} == rest.get(path)
    assert rest.run("PATCH", path, {"schedule": []}, update_mask="schedule") == {"name": path}
    assert rest.get(path) == {"name": path}


def test_missed_firings_of_a_sleeping_branch_are_one_snapshot(own_platform):
    platform = own_platform()
    rest = platform.rest
    rest.create_project("p")
    primary = rest.endpoint("p")
    platform.sql(primary, "create table t as select 1 as v")
    hour = datetime.datetime.now(datetime.timezone.utc).hour
    rest.run("PATCH", schedule_path("p"), {"schedule": [
        {"retention": f"{2 * HOUR}s", "daily_schedule": {"hour": (hour + 12) % 24}},
        {"retention": f"{5 * HOUR}s", "daily_schedule": {"hour": (hour + 12) % 24}},
    ]})  # fmt: skip
    platform.sleep("p")
    assert platform.stop() == 0
    turn_back(platform, 7 * 24 * HOUR)
    platform.start()
    made = lambda: [s for s in snapshots(rest, "p") if "full_size_bytes" in s["status"]]  # noqa: E731
    wait_until(made, "the scheduled snapshot is made")
    (snapshot,) = snapshots(rest, "p")
    assert snapshot["snapshot_id"].startswith("production-20")
    assert snapshot["status"]["source_branch"] == "projects/p/branches/production"
    life = moment(snapshot["status"]["expire_time"]) - moment(snapshot["create_time"])
    assert life == datetime.timedelta(hours=5)
    assert platform.supervisor_pid(primary) is None, "nobody was woken for it"
    platform.sql(primary, "update t set v = 2")
    rest.create_branch("p", "back", source_snapshot=snapshot["name"])
    assert platform.sql(rest.endpoint("p", "back"), "select v from t") == [(1,)]
    # One that runs, and was written to since: the same way.
    assert platform.stop() == 0
    turn_back(platform, 24 * HOUR + 60)
    platform.start()
    wait_until(lambda: len(made()) == 2, "the second one")
    assert platform.stop() == 0
    platform.start()
    assert len(snapshots(rest, "p")) == 2, "each is made once"


def test_the_schedule_goes_with_the_branch(platform, project):
    rest = platform.rest
    rest.create_branch(project, "dev")
    rest.run("PATCH", schedule_path(project, "dev"), {"schedule": [{"retention": "3600s", "daily_schedule": {}}]})
    rest.delete_branch(project, "dev", purge=False)
    assert rest.refused("GET", schedule_path(project, "dev")).status == 404
    rest.run("POST", f"projects/{project}/branches/dev/undelete", {})
    assert len(rest.get(schedule_path(project, "dev"))["schedule"]) == 1
    rest.delete_branch(project, "dev")
    rest.create_branch(project, "dev")
    assert "schedule" not in rest.get(schedule_path(project, "dev"))

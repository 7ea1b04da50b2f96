"""What a branch must not share with its parent: timelines, slots, prepared transactions, subscriptions; and what it cannot be mistaken for."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from harness.platform import clean_environment
from harness.rest import OperationFailed, RestError
from harness.waiting import wait_until


def identity(platform, endpoint):
    ((system, timeline),) = platform.sql(
        endpoint, "select (select system_identifier from pg_control_system()), ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int")
    return system, timeline


def test_one_project_one_system_id_and_a_timeline_for_each_branch(platform, project, primary, new_name):
    rest = platform.rest
    platform.sql(primary, "create table t ()")
    rest.create_branch(project, "a")
    rest.create_branch(project, "b")
    rest.create_branch(project, "aa", source_branch=f"projects/{project}/branches/a")
    found = [identity(platform, rest.endpoint(project, b)) for b in ("production", "a", "b", "aa")]
    assert len({system for system, _ in found}) == 1
    assert len({timeline for _, timeline in found}) == 4, found
    rest.reset_branch(project, "b")
    found.append(identity(platform, rest.endpoint(project, "b")))
    assert len({timeline for _, timeline in found}) == 5, "a reset is another history, and has another number"
    other = new_name("other")
    rest.create_project(other)
    try:
        assert identity(platform, rest.endpoint(other))[0] != found[0][0], "another project is another system"
    finally:
        rest.delete_project(other)


class Standby:
    """A stock physical standby on the plain file system, of whatever compute it is pointed at."""

    def __init__(self, platform, endpoint):
        self.entry = pwd.getpwnam("tarn")
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-standby-", dir="/tmp"))
        os.chmod(self.folder, 0o711)
        self.data = self.folder / "data"
        self.server = None
        subprocess.run(
            ["pg_basebackup", "-D", str(self.data), "-h", str(platform.socket_directory(endpoint)), "-U", "cloud_admin", "-X", "stream",
             "-c", "fast"], env=clean_environment(), check=True, capture_output=True, timeout=120)  # fmt: skip
        (self.data / "postgresql.auto.conf").write_text("")
        (self.data / "pg_hba.conf").write_text("local all all trust\n")
        (self.data / "standby.signal").touch()

    def start(self, platform, endpoint):
        """Its user is nobody for the compute until it is let in: Postgres' own user, which only an administrator can map."""
        if self.server is not None:
            self.stop()
        folder = platform.directory / "computes" / endpoint["uid"]
        with open(folder / "ident.conf", "a") as ident:
            ident.write(f'tarn "{self.entry.pw_name}" all\n')
        with platform.direct(endpoint) as admin:
            admin.execute("select pg_reload_conf()")
        (self.data / "postgresql.conf").write_text(
            f"""listen_addresses = ''
unix_socket_directories = '{self.folder}'
shared_buffers = 64MB
max_connections = 500
max_worker_processes = 64
max_prepared_transactions = 100
max_wal_senders = 64
wal_level = logical
hot_standby = on
fsync = off
wal_retrieve_retry_interval = 200ms
primary_conninfo = 'host={folder / "socket"} port=5432 user=cloud_admin'
""")
        subprocess.run(["chown", "-R", f"{self.entry.pw_uid}:{self.entry.pw_gid}", str(self.folder)], check=True)
        os.chmod(self.data, 0o700)
        self.log = open(self.folder / "log", "wb")
        self.server = subprocess.Popen(
            ["postgres", "-D", str(self.data)], stdout=self.log, stderr=self.log, env=clean_environment(), cwd="/",
            user=self.entry.pw_uid, group=self.entry.pw_gid, extra_groups=[])  # fmt: skip

    def text(self):
        return (self.folder / "log").read_text(errors="replace")

    def rows(self):
        with psycopg.connect(host=str(self.folder), user="cloud_admin", dbname="databricks_postgres") as connection:
            return sorted(v for (v,) in connection.execute("select v from t"))

    def stop(self):
        self.server.terminate()
        self.server.wait(30)
        self.log.close()
        self.server = None

    def close(self):
        if self.server is not None:
            self.server.kill()
            self.server.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a second system user is needed, as there is one for Postgres")
def test_a_standby_of_one_branch_cannot_follow_another(platform, project, primary):
    platform.sql(primary, "create table t (v text)")
    platform.sql(primary, "insert into t values ('common')")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    platform.sql(child, "insert into t values ('child')")
    standby = Standby(platform, primary)
    try:
        standby.start(platform, primary)
        platform.sql(primary, "insert into t values ('parent')")
        wait_until(lambda: standby.rows() == ["common", "parent"], "it follows its own primary", 60)
        standby.start(platform, child)
        platform.sql(child, "insert into t values ('child again')")
        refusals = ("timeline", "is not in this server's history", "identifier differs", "is behind recovery")
        wait_until(lambda: any(r in standby.text() for r in refusals), "it refuses the branch", 60)
        time.sleep(1)  # whatever would come has a second to come
        try:
            assert standby.rows() == ["common", "parent"]
        except psycopg.OperationalError:
            assert standby.server.poll() is not None, "it ended rather than follow"
    finally:
        standby.close()


def test_slots_stay_with_the_parent(platform, project, primary):
    with platform.connect(primary) as parent:
        parent.execute("select pg_create_logical_replication_slot('logical', 'pgoutput')")
        parent.execute("select pg_create_physical_replication_slot('physical', true)")
        platform.rest.create_branch(project, "dev")
        assert parent.execute("select count(*) from pg_replication_slots").fetchone() == (2,)
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select count(*) from pg_replication_slots") == [(0,)]
    # The names are free, and a consumer that comes with the same connection string finds nothing of the parent's.
    platform.sql(child, "select pg_create_logical_replication_slot('logical', 'pgoutput')")


def test_prepared_transactions_are_rolled_back_in_the_branch(platform, project, primary):
    platform.wake(primary)
    # No user can set it, and no clone may have less of it than its parent.
    with open(platform.volume(primary) / "data" / "postgresql.auto.conf", "a") as settings:
        settings.write("max_prepared_transactions = 10\n")
    platform.sleep(project)
    with platform.connect(primary) as parent:
        parent.execute("create table t (v text)")
        parent.execute("begin")
        parent.execute("insert into t values ('prepared')")
        parent.execute("prepare transaction 'later'")
        platform.rest.create_branch(project, "dev")
        child = platform.rest.endpoint(project, "dev")
        assert platform.sql(child, "select count(*) from pg_prepared_xacts") == [(0,)]
        assert platform.sql(child, "select count(*) from t") == [(0,)]
        platform.sql(child, "lock table t in access exclusive mode nowait; drop table t")
        parent.execute("commit prepared 'later'")
        assert parent.execute("select v from t").fetchone() == ("prepared",)


def test_subscriptions_are_cut_off_before_anybody_uses_the_branch(platform, project, primary):
    platform.wake(primary)
    with platform.direct(primary) as parent:
        parent.execute("create table t (v int)")
        parent.execute("create subscription s connection 'host=127.0.0.1 port=1' publication p with (connect = false, slot_name = none)")
        parent.execute("alter subscription s set (slot_name = 'remote_slot')")
        parent.execute("alter subscription s enable")
        platform.rest.create_branch(project, "dev")
        assert parent.execute("select subname, subenabled from pg_subscription").fetchall() == [("s", True)]
        parent.execute("alter subscription s disable")
    child = platform.rest.endpoint(project, "dev")
    platform.wake(child)
    with platform.direct(child) as admin:
        # Still to be seen, so that its owner can give it a publisher and a slot of its own.
        assert admin.execute("select subname, subenabled, subslotname from pg_subscription").fetchall() == [("s", False, None)]
    log = (platform.directory / "computes" / child["uid"] / "postgres.log").read_text(errors="replace")
    assert "logical replication apply worker" not in log, "it never tried to reach the parent's publisher"


def test_a_subscription_on_a_branch_that_was_clean_works(platform, project, primary):
    """Such a branch is not started a second time, and so has no workers for subscriptions until it needs them."""
    platform.sql(primary, "create table t as select 1 v")
    platform.sql(primary, "insert into t values (2)")
    ((lsn,),) = platform.sql(primary, "select pg_current_wal_flush_lsn()")
    platform.rest.create_branch(project, "dev", source_branch_lsn=lsn)
    child = platform.rest.endpoint(project, "dev")
    log = platform.directory / "computes" / child["uid"] / "postgres.log"
    assert platform.sql(child, "select count(*) from t") == [(2,)]
    assert log.read_text(errors="replace").count("starting PostgreSQL") == 1
    with platform.direct(child) as admin:
        admin.execute("create subscription s connection 'host=127.0.0.1 port=1' publication p with (connect = false, slot_name = none)")
        admin.execute("alter subscription s set (slot_name = 'remote_slot')")
        admin.execute("alter subscription s enable")
    wait_until(lambda: 'worker for subscription "s" has started' in log.read_text(errors="replace"), "its worker runs", 90)
    platform.wake(child)
    assert platform.sql(child, "select count(*) from t") == [(2,)]
    with platform.direct(child) as admin:
        admin.execute("alter subscription s disable")


@pytest.mark.parametrize("how", ["suspend", "kill"])
def test_what_is_prepared_on_the_first_start_of_a_branch_is_kept(platform, project, primary, how):
    """That start has room for prepared transactions, because its source could have had some; the next ones must have it as long as there are any."""
    platform.sql(primary, "create table t as select 1 v")
    platform.sql(primary, "insert into t values (2)")
    ((lsn,),) = platform.sql(primary, "select pg_current_wal_flush_lsn()")
    platform.rest.create_branch(project, "dev", source_branch_lsn=lsn)
    child = platform.rest.endpoint(project, "dev")
    with platform.connect(child) as client:
        client.execute("begin")
        client.execute("insert into t values (3)")
        client.execute("prepare transaction 'p'")
    if how == "suspend":
        platform.sleep(project, "dev")
    else:
        log = platform.directory / "computes" / child["uid"] / "supervisor.log"
        wait_until(lambda: "restore point 2 at" in log.read_text(errors="replace"), "a checkpoint of its own")
        os.kill(platform.postmaster_pid(platform.rest.get(f"projects/{project}/branches/dev")["uid"]), signal.SIGKILL)
    wait_until(lambda: platform.sql(child, "select count(*) from pg_prepared_xacts") == [(1,)], "it is there", 60)
    with platform.connect(child) as client:
        client.execute("commit prepared 'p'")
    assert platform.sql(child, "select count(*) from t") == [(3,)]
    platform.sleep(project, "dev")
    assert platform.sql(child, "show max_prepared_transactions") == [("0",)]


def test_unlogged_tables_are_empty_in_a_branch_and_kept_by_a_suspend(platform, project, primary):
    platform.sql(primary, "create unlogged table u as select generate_series(1, 5000) i")
    platform.sql(primary, "create table t as select 1 i")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select (select count(*) from u), (select count(*) from t)") == [(0, 1)]
    platform.sql(child, "insert into u values (1)")
    for branch, endpoint, rows in (("production", primary, 5000), ("dev", child, 1)):
        platform.sleep(project, branch)
        assert platform.sql(endpoint, "select count(*) from u") == [(rows,)]


def test_a_tablespace_is_refused_with_its_reason(platform, project, primary):
    platform.wake(primary)
    with platform.direct(primary) as admin:
        admin.execute("set allow_in_place_tablespaces = on")
        admin.execute("create tablespace elsewhere location ''")
    with pytest.raises((RestError, OperationFailed)) as caught:
        platform.rest.create_branch(project, "dev")
    assert "tablespace" in str(caught.value)
    assert platform.rest.refused("GET", f"projects/{project}/branches/dev").status == 404
    with platform.direct(primary) as admin:
        admin.execute("drop tablespace elsewhere")
        admin.execute("checkpoint")
    platform.rest.create_branch(project, "dev")
    assert platform.sql(platform.rest.endpoint(project, "dev"), "select 1") == [(1,)]


def test_jobs_and_clients_wait_for_the_end_of_recovery(platform, project, primary):
    """Nobody ever sees a branch that is still in recovery: a client gets in when it can write."""
    with platform.connect(primary) as connection:
        connection.execute("create table t as select generate_series(1, 100000) i")
        connection.execute("update t set i = i + 1")
    operation = platform.rest.call("POST", f"projects/{project}/branches", {"spec": {"no_expiry": True}}, branch_id="dev")
    endpoint = wait_until(lambda: platform.rest.endpoint(project, "dev"), "the endpoint is there", 60)
    with wait_until(lambda: platform.connect(endpoint), "the first client gets in", 60) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (False,)
        connection.execute("insert into t values (0)")
    platform.rest.finish(operation)

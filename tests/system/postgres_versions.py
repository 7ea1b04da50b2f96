"""Every version of Postgres that is installed, side by side in one Tarn, and what only some of them have.

TARN_TEST_POSTGRES makes all other stories run on one of them; here each machine tries what it has.
"""

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from harness import postgres
from harness.platform import clean_environment

FOUND = postgres.installed()
EACH = pytest.mark.parametrize("major", sorted(FOUND))
SINCE_18 = pytest.mark.parametrize("major", [major for major in sorted(FOUND) if major >= 18])  # none: one skipped test that says so


@pytest.fixture
def project_of(platform, new_name):
    """Call it with a major version: the id of a project of that version."""
    made = []

    def make(major):
        made.append(new_name("v"))
        platform.rest.create_project(made[-1], {"spec": {"pg_version": major}})
        return made[-1]

    yield make
    for name in made:
        platform.rest.delete_project(name)


def fill(connection, rows=5000):
    connection.execute("create table t (id int primary key, filler text)")
    connection.execute("insert into t select i, repeat(md5(i::text), 10) from generate_series(1, %s) i", (rows,))


def count(platform, endpoint):
    return platform.sql(endpoint, "select count(*), count(distinct filler) from t")


def check_indexes(platform, endpoint):
    with platform.direct(endpoint) as admin:
        admin.execute("create extension if not exists amcheck")
        admin.execute("select bt_index_check('t_pkey', true)")
        assert admin.execute("select count(*) from verify_heapam('t')").fetchone() == (0,)


@EACH
def test_a_branch_a_moment_a_sleep_and_a_restore(platform, project_of, major):
    project = project_of(major)
    rest = platform.rest
    assert rest.get(f"projects/{project}")["status"]["pg_version"] == major
    primary = rest.endpoint(project)
    with platform.connect(primary) as connection:
        assert connection.execute("show server_version").fetchone()[0].startswith(f"{major}.")
        assert connection.execute("show data_checksums").fetchone() == ("on",)
        fill(connection)
        (before,) = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
        connection.execute("delete from t where id > 1000")
        with pytest.raises(psycopg.Error):
            connection.execute("alter system set work_mem = '1GB'")
    rest.create_branch(project, "now")
    rest.create_branch(project, "then", source_branch_lsn=before)
    now, then = rest.endpoint(project, "now"), rest.endpoint(project, "then")
    assert count(platform, then) == [(5000, 5000)]
    assert count(platform, now) == [(1000, 1000)]
    check_indexes(platform, then)
    platform.sql(now, "update t set filler = 'changed'")
    platform.sleep(project, "now")
    platform.sleep(project)
    assert count(platform, now) == [(1000, 1)]
    rest.restore_branch(project, "production", "kept", source_branch_lsn=before)
    assert count(platform, primary) == [(5000, 5000)]
    assert count(platform, rest.endpoint(project, "kept")) == [(1000, 1000)]
    check_indexes(platform, primary)


@SINCE_18
@pytest.mark.parametrize("method", ["copy", "clone"])
def test_a_database_is_copied_file_by_file(platform, project_of, major, method):
    """file_copy_method=clone asks the file system to copy a range: a request of its own (copy_file_range)."""
    project = project_of(major)
    primary = platform.rest.endpoint(project)
    with platform.connect(primary) as connection:
        fill(connection)
        (size,) = connection.execute("select pg_database_size(current_database())").fetchone()
        connection.execute(f"set file_copy_method = {method}")
        assert connection.execute("show file_copy_method").fetchone() == (method,)
    with platform.direct(primary, dbname="postgres") as admin:
        admin.execute(f"set file_copy_method = {method}")
        admin.execute("create database twin template databricks_postgres strategy file_copy")
        assert abs(admin.execute("select pg_database_size('twin')").fetchone()[0] - size) < 1 << 20
    with platform.direct(primary, dbname="twin") as admin:
        assert admin.execute("select count(*), count(distinct filler) from t").fetchone() == (5000, 5000)
        admin.execute("update t set filler = 'twin'")
    platform.rest.create_branch(project, "dev")
    dev = platform.rest.endpoint(project, "dev")
    platform.wake(dev)
    with platform.direct(dev, dbname="twin") as admin:
        assert admin.execute("select count(*), count(distinct filler) from t").fetchone() == (5000, 1)
    assert count(platform, dev) == [(5000, 5000)]


def used(platform, endpoint, method):
    """io_uring is only for a Postgres that may lock memory without limit, which not every root may allow."""
    limits = Path(f"/proc/{platform.supervisor_pid(endpoint)}/limits").read_text()
    is_free = re.search(r"^Max locked memory +unlimited", limits, re.MULTILINE)
    return method if method != "io_uring" or is_free else "worker"


@SINCE_18
@pytest.mark.parametrize("method", ["sync", "worker", "io_uring"])
def test_each_way_of_asynchronous_io(platform, project_of, major, method):
    project = project_of(major)
    primary = platform.rest.endpoint(project)
    with platform.connect(primary) as connection:
        (known,) = connection.execute("select enumvals from pg_settings where name = 'io_method'").fetchone()
        if method not in known:
            pytest.skip(f"this Postgres was built without {method}")
        fill(connection, 100_000)
    change = {"settings": {"pg_settings": {"io_method": method}}}
    platform.rest.update_endpoint(project, "production", "spec.settings", change)
    platform.sleep(project)
    with platform.connect(primary) as connection:
        assert connection.execute("show io_method").fetchone() == (used(platform, primary, method),)
        # Of a cold cache, past the buffers: sequential and bitmap scans read ahead, each in its way.
        assert connection.execute("select count(*), count(distinct filler) from t").fetchone() == (100_000, 100_000)
        connection.execute("set enable_seqscan = off; set enable_indexscan = off; set enable_indexonlyscan = off")
        assert connection.execute("select count(filler) from t where id between 10 and 90000").fetchone() == (89_991,)
        connection.execute("vacuum full t")
    check_indexes(platform, primary)
    # Not the only one of its kind: rings are counted per system user, which all computes share.
    platform.rest.create_branch(project, "dev")
    dev = platform.rest.endpoint(project, "dev")
    platform.rest.update_endpoint(project, "dev", "spec.settings", change)
    platform.wake(dev)
    platform.sleep(project, "dev")
    with platform.connect(primary) as first, platform.connect(dev) as second:
        for connection, endpoint in ((first, primary), (second, dev)):
            assert connection.execute("show io_method").fetchone() == (used(platform, endpoint, method),)
            assert connection.execute("select count(*), count(distinct filler) from t").fetchone() == (100_000, 100_000)


@SINCE_18
def test_newer_protocol_versions_are_negotiated(platform, shared_primary, major):
    """libpq 18 can ask for protocol 3.2, which has longer cancel keys; the proxy offers 3.0."""
    parameters = platform.connection_parameters(shared_primary)
    environment = clean_environment(PGPASSWORD=parameters.pop("password"))

    def ask(**more):
        conninfo = psycopg.conninfo.make_conninfo(**parameters)
        words = " ".join(f"{name}={value}" for name, value in more.items())
        return subprocess.run([FOUND[major] / "psql", "-XAtc", "select 7", f"{conninfo} {words}"], env=environment, capture_output=True, text=True,
                              timeout=60, check=False)  # fmt: skip

    for version in ("3.0", "3.2", "latest"):
        done = ask(max_protocol_version=version)
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    done = ask(min_protocol_version="3.2", max_protocol_version="latest")
    assert done.returncode == 2 and "protocol version" in done.stderr, done.stderr

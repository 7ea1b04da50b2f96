"""The pooler: PgBouncer beside each compute, reached through its own host, for tokens and for passwords."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

from clients import node_programs
from harness import processes
from harness.platform import clean_environment
from harness.waiting import wait_until

SMALLEST = {"autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 0.5}
SMALLEST_POOL = 90  # of max_connections=104
ENDED = "terminating connection because the compute was suspended or its pooler ended"

# -- calls --------------------------------------------------------------------------------------------------------------


def pooled_host(endpoint):
    return endpoint["status"]["hosts"]["read_write_pooled_host"]


def pooled(platform, endpoint, **more):
    return platform.connect(endpoint, **{"host": pooled_host(endpoint), **more})


def pooled_sql(platform, endpoint, statement, parameters=None, **more):
    return platform.sql(endpoint, statement, parameters, **{"host": pooled_host(endpoint), **more})


def refused(platform, endpoint, **more):
    """What is said of an attempt that must fail, and its SQLSTATE where psycopg tells."""
    with pytest.raises(psycopg.OperationalError) as error:
        pooled_sql(platform, endpoint, "select 1", **more)
    return str(error.value)


def allow_passwords(rest, project):
    rest.run("PATCH", f"projects/{project}", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")


def make_role(platform, endpoint, name, options="", password="correct horse"):
    """By SQL, as tenants do; with a password."""
    with platform.connect(endpoint) as connection:
        quoted = psycopg.sql.Identifier(name).as_string(connection)
        connection.execute(f"create role {quoted} login password '{password}' {options}".encode())
    return {"user": name, "password": password}


def pooler_pid(platform, endpoint):
    supervisor = platform.supervisor_pid(endpoint)
    found = [pid for pid in processes.children(supervisor) if "pooler.ini" in processes.command_line(pid)] if supervisor else []
    assert len(found) < 2
    return found[0] if found else None


def compute_of(platform, endpoint):
    """As `tarn status` tells."""
    answer = subprocess.run([platform.binary, "status", "--data", platform.directory, "-o", "json"],
                            capture_output=True, text=True, timeout=60)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return next(one for one in json.loads(answer.stdout)["computes"] if one["uid"] == endpoint["uid"])


def pooler_of(platform, endpoint):
    return compute_of(platform, endpoint).get("pooler")


def metric(platform, name, endpoint=None):
    """The value on the line of that name, of that endpoint; None when there is none."""
    text = platform.rest.ask("GET", "/metrics").raw.decode()
    labels = rf'\{{endpoint="{endpoint["uid"]}"\}}' if endpoint else ""
    found = re.search(rf"^{name}{labels} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def backends(platform, endpoint, where="true"):
    """Client backends past our own, as Postgres' superuser sees them."""
    with platform.direct(endpoint) as connection:
        return connection.execute(
            "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            f" and application_name <> 'tarn supervisor' and {where}"
        ).fetchone()[0]


@pytest.fixture
def small(platform, project):
    """A compute of the smallest size: a pool of 90."""
    platform.sleep(project)
    platform.rest.update_endpoint(project, "production", "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu", SMALLEST)
    return platform.rest.endpoint(project)


# -- the way there ------------------------------------------------------------------------------------------------------


def test_it_has_an_address_of_its_own(platform, shared_primary):
    hosts = shared_primary["status"]["hosts"]
    assert re.fullmatch(r"127\.128\.\d+\.\d+", hosts["read_write_pooled_host"])
    assert hosts["read_write_pooled_host"] == hosts["host"].replace("127.64.", "127.128.", 1)
    assert set(hosts) == {"host", "read_write_pooled_host"}
    assert pooled_sql(platform, shared_primary, "select current_user, current_database()") == [
        ("admin@localhost", "databricks_postgres")
    ]
    # Who serves it: the pooler, as a user of its own, which is neither Postgres' nor Tarn's where Tarn is root's.
    pid = pooler_pid(platform, shared_primary)
    owner = os.stat(f"/proc/{pid}").st_uid
    if os.geteuid() == 0:
        postgres = platform.postmaster_pid(platform.rest.get(shared_primary["parent"])["uid"])
        assert owner not in (0, os.stat(f"/proc/{postgres}").st_uid)


def test_by_name_and_by_option(platform, shared_primary):
    uid = shared_primary["uid"]

    # PgBouncer hands out cancel keys of its own: the process id in them is no backend's.
    def backend_pid_is_true(**more):
        with platform.connect(shared_primary, **more) as connection:
            return connection.info.backend_pid == connection.execute("select pg_backend_pid()").fetchone()[0]

    assert backend_pid_is_true()
    assert not backend_pid_is_true(host=pooled_host(shared_primary))
    assert not backend_pid_is_true(host=f"{uid}-pooler.localhost", hostaddr="127.0.0.1")
    assert not backend_pid_is_true(host="localhost", options=f"endpoint={uid}-pooler")
    assert not backend_pid_is_true(host=f"{uid}-pooler.localhost", hostaddr="127.0.0.1", options=f"endpoint={uid}")
    assert backend_pid_is_true(host=f"{uid}.localhost", hostaddr="127.0.0.1")
    with pytest.raises(psycopg.OperationalError, match="different endpoints"):
        platform.connect(shared_primary, host=f"{uid}-pooler.localhost", hostaddr="127.0.0.1", options="endpoint=ep-other-pooler")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        platform.connect(shared_primary, host="127.128.63.253", sslmode="require")


def test_below_a_domain(own_platform):
    platform = own_platform(arguments=["--domain", "db.test"])
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    host = pooled_host(endpoint)
    assert host == f"{endpoint['uid']}-pooler.db.test"
    assert platform.sql(endpoint, "select 1", host=host, hostaddr="127.0.0.1") == [(1,)]


# -- sessions -----------------------------------------------------------------------------------------------------------


def test_prepared_statements(platform, shared_primary):
    """Those of the protocol go along with their client from one connection of the pool to another."""
    with contextlib.ExitStack() as stack:
        one, two, three = (stack.enter_context(pooled(platform, shared_primary, prepare_threshold=0)) for _ in range(3))
        for i in range(30):
            for client, add in ((one, 1), (two, 2), (three, 3)):
                assert client.execute("select %s::int + %s::int", (i, add)).fetchone() == (i + add,)
        # While one has a transaction open, and with it a connection, the others' statements are prepared on another.
        with one.transaction():
            held = one.execute("select pg_backend_pid()").fetchone()[0]
            for i in range(5):
                assert two.execute("select %s::int + %s::int, pg_backend_pid()", (i, 2)).fetchone()[0] == i + 2
                assert two.execute("select pg_backend_pid()").fetchone()[0] != held
                assert one.execute("select pg_backend_pid()").fetchone()[0] == held
        # More than the pool keeps of them on a connection: the oldest are prepared again.
        for i in range(250):
            assert one.execute(f"select {i}, %s::text", ("x",)).fetchone() == (i, "x")
        assert one.execute("select 0, %s::text", ("y",)).fetchone() == (0, "y")


def test_transactions_copy_and_large_results(platform, shared_primary):
    with pooled(platform, shared_primary, autocommit=False) as connection:
        connection.execute("create table copied (n int, t text)")
        with connection.cursor().copy("copy copied from stdin") as copy:
            for n in range(10000):
                copy.write_row((n, "x" * 100))
        assert connection.execute("select count(*), sum(n) from copied").fetchone() == (10000, 49995000)
        connection.commit()
        with connection.cursor().copy("copy copied to stdout") as copy:
            assert sum(len(part) for part in copy) > 1000000
        connection.commit()
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.rollback()
        assert connection.execute("select count(*) from copied").fetchone() == (10000,)


def test_many_clients_few_connections(platform, project, primary):
    """64 clients that all work, through as many connections as the role may have: 3."""
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "app", "connection limit 3")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(pooled(platform, primary, **app)) for _ in range(64)]
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            pids = set(pool.map(lambda client: client.execute("select pg_sleep(0.02), pg_backend_pid()").fetchone()[1], clients * 3))
        assert 1 <= len(pids) <= 3
        assert backends(platform, primary, "usename = 'app'") <= 3
        # They may all stay; in use is what works.
        found = wait_until(lambda: (seen := pooler_of(platform, primary)) and seen["clients"] >= 64 and seen["waiting"] == 0 and seen,
                           "status tells of 64 clients, none of which waits any more")  # fmt: skip
        assert found["servers_active"] + found["servers_idle"] <= 3
        assert found["connections"] == 185 and found["queries"] >= 192 and found["wait_ms"] > 0
        assert metric(platform, "tarn_pooler_clients", primary) >= 64
        assert metric(platform, "tarn_pooler_connections_max", primary) == 185
        text = subprocess.run([platform.binary, "status", "--data", platform.directory], capture_output=True, text=True).stdout
        assert re.search(rf"POOLER OF .*\n(.*\n)*{primary['uid']} +\d+ +\d+ +\d+ +\d of 185 ", text), text


def test_who_waits_too_long_is_told(own_platform):
    """A pool whose connections are all in use: clients queue, are served as they come free, and give up in time."""
    platform = own_platform(settings={"pooler_wait_sec": 4})
    platform.rest.create_project("p", {"spec": {"default_endpoint_settings": SMALLEST}})
    endpoint = platform.rest.endpoint("p")
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(pooled(platform, endpoint, autocommit=False)) for _ in range(SMALLEST_POOL)]
        for holder in holders:
            holder.execute("select 1")
        assert backends(platform, endpoint, "state = 'idle in transaction'") == SMALLEST_POOL
        # The way past the pooler has room of its own.
        assert platform.sql(endpoint, "select 1") == [(1,)]

        late, later = (stack.enter_context(pooled(platform, endpoint)) for _ in range(2))
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            late.execute("select 1")
        assert 3 < time.monotonic() - began < 30
        assert late.closed
        # One who is served in time.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(lambda: later.execute("select 2").fetchone())
            wait_until(lambda: metric(platform, "tarn_pooler_clients_waiting", endpoint) or answer.done(), "it waits")
            holders[0].commit()
            assert answer.result(30) == (2,)
        # And the compute's end is the end of all: those who wait hear it as well.


def test_two_thousand_clients_at_once(platform, small):
    """All connected at the same time, all served, through 90 connections."""
    clients, count = [], 2000
    parameters = platform.connection_parameters(small, host=pooled_host(small))
    with contextlib.ExitStack() as stack:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for client in pool.map(lambda _: psycopg.connect(**parameters, autocommit=True), range(count)):
                clients.append(stack.enter_context(client))
        assert len(clients) == count
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            rows = list(pool.map(lambda n: clients[n].execute("select %s::int, pg_backend_pid()", (n,)).fetchone(), range(count)))
        assert [row[0] for row in rows] == list(range(count))
        assert len({row[1] for row in rows}) <= SMALLEST_POOL
        assert backends(platform, small) <= SMALLEST_POOL
        wait_until(lambda: (pooler_of(platform, small) or {}).get("clients", 0) >= count, "status tells of all clients")


# -- cancel -------------------------------------------------------------------------------------------------------------


def test_a_cancel_request_hits_its_query_and_no_other(platform, project, primary):
    """Two clients that share the one connection which their role may have."""
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "lone", "connection limit 1")
    with pooled(platform, primary, **app) as one, pooled(platform, primary, **app) as two:
        assert one.execute("select pg_backend_pid()").fetchone() == two.execute("select pg_backend_pid()").fetchone()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for _ in range(3):
                sleeping = pool.submit(one.execute, "select pg_sleep(600)")
                wait_until(lambda: backends(platform, primary, "query like 'select pg_sleep%' and state = 'active'") == 1, "it runs")
                waiting = pool.submit(two.execute, "select 'mine'")
                two.cancel()  # it waits: there is nothing of its to be cancelled, and the other's is not
                time.sleep(0.2)
                assert not sleeping.done() and not waiting.done()
                one.cancel()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    sleeping.result(60)
                assert waiting.result(60).fetchone() == ("mine",)
        # Late ones, for queries that have ended: the connection is the other's by then.
        done = threading.Event()

        def cancel_always():
            while not done.is_set():
                one.cancel()

        canceller = threading.Thread(target=cancel_always)
        canceller.start()
        try:
            for i in range(30):
                with contextlib.suppress(psycopg.errors.QueryCanceled):
                    one.execute("select 1")
                assert two.execute("select %s::int, pg_sleep(0.01)", (i,)).fetchone()[0] == i
        finally:
            done.set()
            canceller.join()


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_the_console_is_nobody_s(platform, project, primary):
    allow_passwords(platform.rest, project)
    for database in ("pgbouncer", "*"):
        said = refused(platform, primary, dbname=database)
        assert f'database "{database}" cannot be reached through the pooler: the name is reserved there' in said
        assert 'the host without "-pooler"' in said
    # Who is called so: with a password of his own, and an own database of that name, past the pooler all is well.
    bouncer = make_role(platform, primary, "pgbouncer")
    platform.sql(primary, "create database pgbouncer")
    assert platform.sql(primary, "select 1", dbname="pgbouncer", **bouncer) == [(1,)]
    for database in ("databricks_postgres", "pgbouncer", None):
        assert "cannot be reached through the pooler" in refused(platform, primary, dbname=database, **bouncer)
    assert "not permitted to log in through the proxy" in refused(platform, primary, user="cloud_admin", dbname="databricks_postgres")
    assert "not permitted to log in through the proxy" in refused(platform, primary, user="cloud_admin", dbname="pgbouncer")
    # Commands of the console are SQL that Postgres does not know, whoever sends them.
    with pooled(platform, primary) as connection:
        for command in ("show config", "reload", "shutdown", "kill databricks_postgres"):
            with pytest.raises((psycopg.errors.SyntaxError, psycopg.errors.UndefinedObject)):
                connection.execute(command)
        assert connection.execute("select 1").fetchone() == (1,)


def test_what_cannot_be_had_is_refused_with_words(platform, shared_primary):
    assert 'database "nope" does not exist' in refused(platform, shared_primary, dbname="nope")
    assert "longer than 63 bytes" in refused(platform, shared_primary, dbname="x" * 64)
    assert "unsupported startup parameter in options: statement_timeout" in refused(
        platform, shared_primary, options="-c statement_timeout=5s")  # fmt: skip
    assert "does not take replication connections" in refused(platform, shared_primary, replication="database")
    # What drivers send without being asked, and what can be kept apart for each client.
    for option in ("-c extra_float_digits=3", "-c TimeZone=Asia/Tokyo", "-c default_transaction_read_only=on", "-c IntervalStyle=iso_8601"):
        assert pooled_sql(platform, shared_primary, "select 1", options=option) == [(1,)]
    with platform.connect(shared_primary) as connection:
        connection.execute("create database closed")
        connection.execute("revoke connect on database closed from public")
        connection.execute("revoke connect on database closed from current_user")
    assert pooled_sql(platform, shared_primary, "select 1") == [(1,)]


def test_settings_of_one_client_do_not_reach_another_s(platform, project, primary):
    """Parameters that Postgres reports follow their client; the others stay on the connection, within role and database."""
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "app", "connection limit 1")
    other = make_role(platform, primary, "other")
    with pooled(platform, primary, **app) as one, pooled(platform, primary, **app) as two, pooled(platform, primary, **other) as three:
        same = {client.execute("select pg_backend_pid()").fetchone()[0] for client in (one, two)}
        assert len(same) == 1
        kept = {"TimeZone": "Asia/Tokyo", "DateStyle": "German, DMY", "IntervalStyle": "iso_8601", "application_name": "one",
                "default_transaction_read_only": "on", "standard_conforming_strings": "off"}  # fmt: skip
        before = {name: two.execute(f"show {name}").fetchone()[0] for name in kept}
        for name, value in kept.items():
            one.execute(f"set {name} to '{value}'")
        for _ in range(3):
            assert {name: one.execute(f"show {name}").fetchone()[0] for name in kept} == kept
            assert {name: two.execute(f"show {name}").fetchone()[0] for name in kept} == before
        # As the page says: with SET the rest is the connection's, with SET LOCAL the transaction's.
        with one.transaction():
            one.execute("set local statement_timeout to '7s'")
        assert two.execute("show statement_timeout").fetchone() == ("0",)
        one.execute("set statement_timeout to '9s'")
        assert two.execute("show statement_timeout").fetchone() == ("9s",)
        assert three.execute("show statement_timeout").fetchone() == ("0",), "never another role's"
        two.execute("reset statement_timeout")
        # What ALTER ROLE has set holds for connections that begin later.
        platform.sql(primary, "alter role other set work_mem to '7MB'")
        assert three.execute("show work_mem").fetchone() == ("4MB",)


# -- who is who ---------------------------------------------------------------------------------------------------------


def test_tokens_and_passwords(platform, project, primary):
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "app")
    # A wrong one, as past the pooler.
    assert 'password authentication failed for user "app"' in refused(platform, primary, user="app", password="wrong")
    assert "password authentication failed" in refused(platform, primary, password="not-a-token")
    with pooled(platform, primary) as by_token, pooled(platform, primary, **app) as by_password:
        for _ in range(3):
            assert by_token.execute("select session_user, current_user").fetchone() == ("admin@localhost",) * 2
            assert by_password.execute("select session_user, current_user").fetchone() == ("app",) * 2
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            by_password.execute('set session authorization "admin@localhost"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            by_password.execute("set role databricks_superuser")
        # Each has connections of its own.
        assert by_token.execute("select pg_backend_pid()").fetchone() != by_password.execute("select pg_backend_pid()").fetchone()

    # Changes hold for whoever comes next: a new password, NOLOGIN, native login switched off.
    platform.sql(primary, "alter role app password 'another one'")
    assert "password authentication failed" in refused(platform, primary, **app)
    app["password"] = "another one"
    assert pooled_sql(platform, primary, "select 1", **app) == [(1,)]
    platform.sql(primary, "alter role app nologin")
    assert "is not permitted to log in" in refused(platform, primary, **app)
    platform.sql(primary, "alter role app login")
    platform.rest.run("PATCH", f"projects/{project}", {"spec": {"enable_pg_native_login": False}}, update_mask="spec.enable_pg_native_login")
    assert "native login is switched off" in refused(platform, primary, **app)


def test_a_password_is_checked_before_a_compute_is_woken(platform, project, primary):
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "app")
    platform.sleep(project)
    assert "password authentication failed" in refused(platform, primary, user="app", password="wrong")
    assert "password authentication failed" in refused(platform, primary, user="stranger", password="wrong")
    assert platform.supervisor_pid(primary) is None
    assert pooled_sql(platform, primary, "select session_user", **app) == [("app",)]
    # Asked twice, and of Postgres itself, when what was known of a compute that slept is not certain: here, after it was killed in its sleep's stead.
    platform.sql(primary, "alter role app password 'changed since'")
    os.kill(platform.supervisor_pid(primary), signal.SIGKILL)
    assert "password authentication failed" in refused(platform, primary, **app)
    assert pooled_sql(platform, primary, "select 1", user="app", password="changed since") == [(1,)]


def test_databases_go_although_their_pools_are_there(platform, project, primary):
    """By the API at once; by SQL like with any session that is idle: with FORCE, or when the pool has let go."""
    for name in ("by_api", "by_sql"):
        platform.rest.run("POST", f"projects/{project}/branches/production/databases", {"spec": {
            "postgres_database": name, "role": f"projects/{project}/branches/production/roles/admin"}}, database_id=name.replace("_", "-"))  # fmt: skip
    with pooled(platform, primary, dbname="by_api") as one, pooled(platform, primary, dbname="by_sql") as two:
        one.execute("select 1"), two.execute("select 1")
        platform.rest.run("DELETE", f"projects/{project}/branches/production/databases/by-api")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            one.execute("select 1")
        with platform.connect(primary) as direct:
            with pytest.raises(psycopg.errors.ObjectInUse):
                direct.execute("drop database by_sql")
            direct.execute("drop database by_sql with (force)")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            two.execute("select 1")
    assert 'database "by_sql" does not exist' in refused(platform, primary, dbname="by_sql")


def test_a_name_that_means_another_role(platform, project, primary):
    """A role that is dropped or renamed takes its clients along: they were let in as that role, not as a name."""
    allow_passwords(platform.rest, project)
    app = make_role(platform, primary, "app")
    platform.sql(primary, "create table secrets as select 'of the new one' as what")
    with pooled(platform, primary, **app) as old, pooled(platform, primary) as admin:
        pid = old.execute("select pg_backend_pid()").fetchone()[0]
        admin.execute("drop role app")
        # Another one of that name, with rights that the first one never had.
        make_role(platform, primary, "app", password="battery staple")
        admin.execute("grant select on secrets to app")
        assert pooled_sql(platform, primary, "select what from secrets", user="app", password="battery staple") == [("of the new one",)]
        assert backends(platform, primary, f"pid = {pid}") == 0, "its connection has ended"
        with pytest.raises(psycopg.OperationalError):
            old.execute("select what from secrets")
        assert admin.execute("select 1").fetchone() == (1,), "others are not disturbed"

    # Without anybody who logs in anew, a look finds it.
    renamed = {"user": "app", "password": "battery staple"}
    with pooled(platform, primary, **renamed) as old:
        pid = old.execute("select pg_backend_pid()").fetchone()[0]
        platform.sql(primary, "alter role app rename to app2")
        wait_until(lambda: backends(platform, primary, f"pid = {pid}") == 0, "the connection of a renamed role ends")
        with pytest.raises(psycopg.OperationalError):
            old.execute("select 1")
        assert "password authentication failed" in refused(platform, primary, **renamed)
        assert pooled_sql(platform, primary, "select session_user", user="app2", password="battery staple") == [("app2",)]


@pytest.mark.bad_input
def test_names_are_only_names(platform, project, primary):
    """Quotes, line breaks, semicolons and more in names of roles and databases."""
    allow_passwords(platform.rest, project)
    names = ['say "hi"', "two\nlines", "; -- ';", "ünïcode ☃", "a" * 63, "'\"\\", "%include /etc/passwd", "x=y host=elsewhere", " blank "]
    with platform.connect(primary) as connection:
        for name in names:
            connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
    for name in names:
        app = make_role(platform, primary, name)
        with pooled(platform, primary, dbname=name, **app) as connection:
            assert connection.execute("select session_user, current_database()").fetchone() == (name, name)
    # The administrator's console is still not theirs.
    assert "cannot be reached through the pooler" in refused(platform, primary, dbname="pgbouncer", user=names[0], password="correct horse")


def raw_login(platform, endpoint, database):
    """A start-up packet with bytes that are no text; the first message of a failure, as bytes."""
    host = pooled_host(endpoint)
    context = ssl.create_default_context(cafile=platform.ca)
    token = platform.rest.database_token(endpoint["name"]).encode()
    with socket.create_connection((host, platform.pg_port), 60) as plain:
        plain.sendall(struct.pack("!II", 8, 80877103))
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=host) as tls:
            packet = struct.pack("!I", 3 << 16) + b"user\0admin@localhost\0database\0" + database + b"\0\0"
            tls.sendall(struct.pack("!I", len(packet) + 4) + packet)
            assert tls.recv(9)[:1] == b"R"
            tls.sendall(b"p" + struct.pack("!I", len(token) + 5) + token + b"\0")
            said = b""
            while part := tls.recv(4096):
                said += part
                if said.endswith(b"Z\0\0\0\5I"):
                    break
            return said


@pytest.mark.bad_input
def test_databases_that_are_no_text(platform, primary):
    for database in (b"\xff\xfe", b"caf\xe9", b"\x01\x02", b"nope'; drop", b"a\rb", b"x" * 63):
        said = raw_login(platform, primary, database)
        assert said[:1] == b"E" and b"C3D000\0" in said, said
    assert pooled_sql(platform, primary, "select 1") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="Postgres and the pooler are users of their own only where Tarn is root's")
def test_nothing_in_postgres_reaches_it(platform, project, primary):
    """dblink connects as Postgres' own user: neither the pooler's socket nor its rights are that one's."""
    allow_passwords(platform.rest, project)
    make_role(platform, primary, "victim")
    assert pooled_sql(platform, primary, "select 1") == [(1,)]  # it runs
    folder = platform.directory / "computes" / primary["uid"]
    with platform.connect(primary) as connection:
        connection.execute("create extension dblink")
        for directory, reason in ((folder / "pooler", "Permission denied"), (folder / "socket", "Peer authentication failed")):
            for user in ("victim", "cloud_admin", "admin@localhost"):
                with pytest.raises(psycopg.errors.SqlclientUnableToEstablishSqlconnection, match=reason):
                    connection.execute("select dblink_connect('c', %s)", (f"host={directory} user='{user}' dbname=postgres password=x",))
    mode = os.stat(folder / "pooler").st_mode & 0o777
    assert mode == 0o700
    for name in ("pooler.ini", "pooler_users"):
        text = (folder / name).read_text()
        assert "SCRAM" not in text and "md5" not in text and "correct horse" not in text
        assert os.stat(folder / name).st_mode & 0o777 == 0o640 and os.stat(folder / name).st_uid == 0
    # The pooler's own user is not let in as the superuser either.
    answer = subprocess.run(["setpriv", "--reuid", "tarn-pooler", "--regid", "tarn-pooler", "--clear-groups", "psql", "-X", "-h", folder / "socket",
                             "-U", "cloud_admin", "-c", "select 1", "postgres"], env=clean_environment(), capture_output=True, text=True)  # fmt: skip
    assert answer.returncode != 0 and "Peer authentication failed" in answer.stderr


# -- its life -----------------------------------------------------------------------------------------------------------


def test_it_starts_with_its_first_client_and_ends_with_postgres(platform, project, primary):
    platform.wake(primary)
    assert pooler_pid(platform, primary) is None and "pooler" not in compute_of(platform, primary)
    client = pooled(platform, primary)
    first = pooler_pid(platform, primary)
    assert first and client.execute("select 1").fetchone() == (1,)
    wait_until(lambda: metric(platform, "tarn_pooler_clients", primary), "it was looked at")
    ended = metric(platform, "tarn_pooler_clients_ended_total")
    platform.sleep(project)
    assert not processes.is_alive(first)
    with pytest.raises(psycopg.errors.AdminShutdown, match=ENDED) as error:
        client.execute("select 1")
    assert error.value.sqlstate == "57P01" and client.closed
    assert metric(platform, "tarn_pooler_clients_ended_total") == ended + 1
    assert metric(platform, "tarn_pooler_clients", primary) is None
    # The next one wakes the compute, and has another pooler.
    assert pooled_sql(platform, primary, "select 1") == [(1,)]
    assert pooler_pid(platform, primary) not in (None, first)


def test_idle_clients_let_the_compute_sleep(platform, project):
    platform.rest.update_endpoint(project, "production", "spec.suspend_timeout_duration", {"suspend_timeout_duration": "2s"})
    endpoint = platform.rest.endpoint(project)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(pooled(platform, endpoint)) for _ in range(5)]
        for client in clients:
            client.execute("select 1")
        platform.wait_asleep(endpoint)
        for client in clients:
            with pytest.raises(psycopg.errors.AdminShutdown, match=ENDED):
                client.execute("select 1")
    # One that works is not put to sleep: neither a long query nor a transaction that waits for its client.
    with pooled(platform, endpoint, autocommit=False) as client:
        client.execute("select pg_sleep(5)")
        time.sleep(4)
        assert client.execute("select 'still here'").fetchone() == ("still here",)
        client.commit()


def test_a_killed_pooler_is_started_again(platform, primary):
    with pooled(platform, primary) as idle, pooled(platform, primary, autocommit=False) as busy, platform.connect(primary) as direct:
        idle.execute("select 1")
        busy.execute("select 1")
        first = pooler_pid(platform, primary)
        os.kill(first, signal.SIGKILL)
        for client in (idle, busy):
            with pytest.raises(psycopg.errors.AdminShutdown, match=ENDED):
                client.execute("select 1")
        assert direct.execute("select 1").fetchone() == (1,), "the others do not notice"
        assert pooled_sql(platform, primary, "select 1") == [(1,)]
        assert pooler_pid(platform, primary) not in (None, first)
    # In the middle of logins: who comes while it dies waits for the next one.
    stop = threading.Event()
    failures = []

    def come_and_go():
        while not stop.is_set():
            try:
                assert pooled_sql(platform, primary, "select 1") == [(1,)]
            except psycopg.errors.AdminShutdown:
                pass  # between its login and its query
            except psycopg.OperationalError as error:
                if "server closed the connection" not in str(error):
                    failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        pid = wait_until(lambda: pooler_pid(platform, primary), "a pooler runs")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: pooler_pid(platform, primary) not in (None, pid), "another pooler runs")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert pooled_sql(platform, primary, "select 1") == [(1,)]


def test_a_pooler_that_hangs_is_replaced(platform, primary):
    assert pooled_sql(platform, primary, "select 1") == [(1,)]
    first = pooler_pid(platform, primary)
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: not processes.is_alive(first), "it is ended", timeout=60)
    assert pooled_sql(platform, primary, "select 1") == [(1,)]


def test_a_killed_supervisor_takes_it_along(platform, primary):
    with pooled(platform, primary) as client:
        client.execute("select 1")
        supervisor, pooler = platform.supervisor_pid(primary), pooler_pid(platform, primary)
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pooler), "the pooler ends with its supervisor")
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    assert pooled_sql(platform, primary, "select 1") == [(1,)]
    assert pooler_pid(platform, primary) not in (None, pooler)


def test_a_crash_of_postgres_ends_it(platform, project, primary):
    with pooled(platform, primary) as client:
        client.execute("select 1")
        pooler = pooler_pid(platform, primary)
        os.kill(platform.postmaster_pid(platform.branch_uid(project)), signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pooler), "the pooler ends with its Postgres")
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    assert pooled_sql(platform, primary, "select 1") == [(1,)]


def test_control_may_be_away(own_platform):
    """Clients that are in stay in; a new control finds the pooler as it is."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with pooled(platform, endpoint) as client:
        client.execute("select 1")
        pooler, control = pooler_pid(platform, endpoint), platform.role_pid("control")
        token = platform.rest.database_token(endpoint["name"])
        os.kill(control, signal.SIGKILL)
        assert client.execute("select 2").fetchone() == (2,)
        assert pooled_sql(platform, endpoint, "select 3", password=token) == [(3,)]  # the proxy waits for another control
        platform.wait_ready()
        # Another connection of the pool can still be opened: the folder of Postgres' socket is as it was.
        with pooled(platform, endpoint, autocommit=False) as other:
            other.execute("select 1")
            assert client.execute("select 4").fetchone() == (4,)
        assert pooler_pid(platform, endpoint) == pooler


def test_its_size_follows_the_compute_s(platform, project, small):
    assert pooled_sql(platform, small, "select 1") == [(1,)]
    wait_until(lambda: metric(platform, "tarn_pooler_connections_max", small) == SMALLEST_POOL, "a pool of the smallest size")
    larger = {"autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 2}
    platform.rest.update_endpoint(project, "production", "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu", larger)
    # Postgres takes max_connections over at its next start, and so does the pooler.
    assert pooled_sql(platform, small, "show max_connections") == [("104",)]
    platform.sleep(project)
    assert pooled_sql(platform, small, "show max_connections") == [("419",)]
    wait_until(lambda: metric(platform, "tarn_pooler_connections_max", small) == 374, "a larger pool")


# -- machines without one -----------------------------------------------------------------------------------------------


def doctor(platform, **environment):
    answer = subprocess.run([platform.binary, "doctor", "--data", platform.directory, "-o", "json"],
                            env=clean_environment(**environment), capture_output=True, text=True, timeout=60)  # fmt: skip
    return next(check for check in json.loads(answer.stdout)["checks"] if check["check"] == "pooler")


@pytest.fixture
def no_program():
    """The path of a program that is not there; in a folder that everybody can enter."""
    folder = Path(tempfile.mkdtemp(prefix="tarn-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "pgbouncer"
    shutil.rmtree(folder)


def test_without_pgbouncer_or_with_an_old_one(own_platform, no_program):
    program = no_program
    platform = own_platform(environment={"TARN_PGBOUNCER": str(program)})
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    assert platform.sql(endpoint, "select 1") == [(1,)]
    said = refused(platform, endpoint)
    assert "the pooler is not available: PgBouncer is not installed" in said and "TARN_PGBOUNCER" in said
    found = doctor(platform, TARN_PGBOUNCER=str(program))
    assert found["status"] == "warning" and "PgBouncer is not installed" in found["message"] and found["fix"]

    program.write_text("#!/bin/sh\necho PgBouncer 1.18.0\n")
    program.chmod(0o755)
    assert "PgBouncer 1.18.0" in (said := refused(platform, endpoint)) and "is too old" in said
    assert "is too old" in doctor(platform, TARN_PGBOUNCER=str(program))["message"]

    # One that cannot start says why, at once.
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo PgBouncer 1.24.0 && exit\necho bad weather >&2\nexit 3\n')
    said = refused(platform, endpoint)
    assert "the pooler exited with code 3: bad weather" in said
    assert platform.sql(endpoint, "select 1") == [(1,)]
    assert doctor(platform)["status"] == "ok"


def test_the_node_package_through_it(platform, project, primary):
    """npm @databricks/lakebase, with its own pool in front of ours."""
    seen = node_programs.run("queries.mjs", {
        **{name: value for name, value in platform.env().items() if name != "PGSSLROOTCERT"},
        "LAKEBASE_ENDPOINT": primary["name"], "PGHOST": pooled_host(primary), "PGPORT": str(platform.pg_port),
        "PGDATABASE": "databricks_postgres", "PGSSLMODE": "require",
    })  # fmt: skip
    assert seen["sum"] == "1.70" and seen["parallel"] == [1, 2, 3, 4, 5, 6, 7, 8]

"""Postgres' own client programs: every psql that is on the machine, and pgbench."""

import functools
import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from harness import postgres
from harness.platform import clean_environment
from harness.terminal import Terminal
from harness.waiting import wait_until

MAJORS = (15, 16, 17, 18)


@functools.cache
def every_psql():
    """{major: path}: of packages, of what tools/setup built, and the one on the PATH."""
    folders = [Path(part) for part in os.environ["PATH"].split(":")] + sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folders += postgres.installed().values()
    found = {}
    for folder in folders:
        path = folder / "psql"
        if not path.exists():
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"\) (\d+)", text)
        if version:
            found.setdefault(int(version[1]), path)
    return found


@pytest.fixture(params=MAJORS, ids=lambda major: f"psql {major}")
def psql(request):
    if request.param not in every_psql():
        pytest.skip(f"there is no psql {request.param} on this machine")
    return request.param, every_psql()[request.param]


@pytest.fixture(scope="module")
def native(platform, shared_project):
    rest = platform.rest
    rest.run("PATCH", f"projects/{shared_project}", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")
    role = rest.run("POST", f"projects/{shared_project}/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    return rest.call("POST", f"{role['name']}/password", {})["password"]


def connection(platform, endpoint, user="admin@localhost", password=None, **more):
    """Arguments and environment of a psql."""
    parameters = platform.connection_parameters(endpoint, user=user, password=password or platform.rest.database_token(endpoint["name"]), **more)
    environment = clean_environment(PGPASSWORD=parameters.pop("password"), TERM="dumb", PAGER="cat", PSQL_HISTORY="/dev/null")
    return psycopg.conninfo.make_conninfo(**parameters), environment


def run(path, where, *arguments, stdin=None, code=0):
    conninfo, environment = where
    done = subprocess.run([path, "-X", "-At", *arguments, conninfo], env=environment, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def test_psql(platform, shared_primary, native, psql, tmp_path):
    major, path = psql
    by_token, by_password = connection(platform, shared_primary), connection(platform, shared_primary, "app", native)
    assert run(path, by_token, "-c", "select current_user") == "admin@localhost\n"
    assert run(path, by_password, "-c", "select current_user") == "app\n"
    if major >= 16:  # it can insist on how it is asked
        assert run(path, connection(platform, shared_primary, "app", native, require_auth="scram-sha-256", channel_binding="require"), "-c", "select 1") == "1\n"
    # Simple, with parameters, and as transactions.
    script = "create temp table t (i int);\nbegin;\ninsert into t values (1);\nrollback;\nselect count(*) from t;\n"
    assert run(path, by_token, "-q", stdin=script) == "0\n"
    assert run(path, by_token, "-q", "-1", "-c", "create temp table t as select 1 as i", "-c", "select * from t") == "1\n"
    if major >= 16:
        assert run(path, by_token, stdin="select $1::int + $2::int \\bind 40 2 \\g\n") == "42\n"
    assert run(path, by_token, stdin="prepare p as select $1::int;\nexecute p (7);\n") == "PREPARE\n7\n"
    # Errors with everything that Postgres says of them.
    error = run(path, by_token, "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1", stdin="select 1/0;\n", code=3)
    assert "ERROR:  22012: division by zero" in error and "LOCATION:  int4div" in error
    # COPY by the client, both ways.
    data = tmp_path / "rows"
    data.write_text("".join(f"{i}\tgröße {i}\n" for i in range(1, 5001)))
    script = f"create temp table c (i int, t text);\n\\copy c from '{data}'\nselect count(*), sum(i) from c;\n\\copy (select * from c order by i) to '{data}.out'\n"
    assert run(path, by_token, "-q", stdin=script) == "5000|12502500\n"
    assert Path(f"{data}.out").read_text() == data.read_text()
    # What it says to a wrong password, and to a certificate that it does not know.
    assert 'password authentication failed for user "app"' in run(path, connection(platform, shared_primary, "app", "wrong"), "-c", "select 1", code=2)
    foreign = connection(platform, shared_primary, sslrootcert=str(data))
    assert "certificate" in run(path, foreign, "-c", "select 1", code=2)
    if major >= 17:
        assert run(path, connection(platform, shared_primary, sslnegotiation="direct"), "-c", "select 2") == "2\n"


def test_psql_at_a_terminal(platform, shared_project, shared_primary, psql):
    """A key that cancels, and a session that outlives the endpoint's sleep."""
    major, path = psql
    conninfo, environment = connection(platform, shared_primary)
    terminal = Terminal([path, "-X", conninfo], environment)
    try:
        terminal.wait_for("=> ")
        terminal.type("\\conninfo\r", until=f"(?s){re.escape(shared_primary['status']['hosts']['host'])}.*(SSL|TLS)")
        os.write(terminal.fd, f"select pg_sleep(600) /* psql {major} */;\r".encode())
        with platform.connect(shared_primary) as watcher:
            there = "select 1 from pg_stat_activity where query like %s and state = 'active' and pid <> pg_backend_pid()"
            wait_until(lambda: watcher.execute(there, (f"select pg_sleep(600) /* psql {major} %",)).fetchone(), "it sleeps")
        terminal.type("\x03", until="canceling statement due to user request")
        terminal.type("select 6 * 7;\r", until=r"\b42\b")
        platform.sleep(shared_project)
        since = len(terminal.seen)
        os.write(terminal.fd, b"select 'lost';\r")
        terminal.wait_for("Attempting reset: Succeeded", since)
        terminal.type("select 6 * 8;\r", until=r"\b48\b")
        os.write(terminal.fd, b"\\q\r")
        assert terminal.wait() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("arguments", [["-M", "simple"], ["-M", "extended"], ["-M", "prepared"], ["-M", "prepared", "-C"], ["-S", "-M", "prepared"]], ids=" ".join)
def test_pgbench(platform, shared_primary, arguments):
    """Eight clients; with -C each transaction is a connection of its own. Nothing fails, and no money is lost."""
    conninfo, environment = connection(platform, shared_primary)
    counts = platform.sql(shared_primary, "select to_regclass('pgbench_accounts') is not null")
    if counts == [(False,)]:
        done = subprocess.run(["pgbench", "-i", "-q", "-s", "1", conninfo], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(["pgbench", "-n", "-c", "8", "-j", "2", "-t", "25", *arguments, conninfo], env=environment, capture_output=True, text=True,
                          timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 200/200" in done.stdout and "number of failed transactions: 0 " in done.stdout, done.stdout
    (sums,) = platform.sql(shared_primary, """select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
        (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)""")  # fmt: skip
    assert len(set(sums)) == 1, sums

"""The drivers that people use, as they are published: the same story with each, by token and by password, with certificates verified."""

import subprocess
import time

import pytest

from clients import driver_programs
from clients.driver_programs import DRIVERS
from harness.waiting import wait_until

TEXT = "größe 🐘 'quoted' \\ \"twice\""

SEEN = {
    "one": 1, "parameters": [42, TEXT, None, "00ff27"], "prepared": 55, "after_rollback": 0, "after_commit": 2,
    "error": ["23505", 'duplicate key value violates unique constraint "fruit_pkey"'], "after_error": 1,
    "cancelled": "57014", "after_cancel": 1, "copied_in": 10000, "copied_out": 10000, "woken": 1,
}  # fmt: skip

WITHOUT_COPY = ("SQLAlchemy",)

EACH = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(scope="module")
def native(platform, shared_project):
    """A role with a password of Postgres: its name and the password."""
    rest = platform.rest
    rest.run("PATCH", f"projects/{shared_project}", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")
    role = rest.run("POST", f"projects/{shared_project}/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    return "app", rest.call("POST", f"{role['name']}/password", {})["password"]


def environment_of(platform, endpoint, user="admin@localhost", password=None):
    """What every one of these clients finds its server by."""
    return {
        "PGHOST": endpoint["status"]["hosts"]["host"], "PGPORT": str(platform.pg_port), "PGDATABASE": "databricks_postgres",
        "PGUSER": user, "PGPASSWORD": password or platform.rest.database_token(endpoint["name"]),
        "PGSSLROOTCERT": platform.ca,
    }  # fmt: skip


@EACH
@pytest.mark.parametrize("how", ["token", "password"])
def test_a_story(platform, shared_project, shared_primary, native, tmp_path, driver, how):
    user, password = ("admin@localhost", None) if how == "token" else native
    with driver_programs.story(driver, tmp_path, environment_of(platform, shared_primary, user, password)) as program:
        program.wait_for_line("sleep")
        rest = time.monotonic() + 2  # pools ask connections that rested whether they are still there, pgx' those that did for a second
        platform.sleep(shared_project)
        wait_until(lambda: time.monotonic() > rest, "an endpoint sleeps after a rest only")
        seen = program.answer("awake\n")
    expected = {name: value for name, value in SEEN.items() if not (driver in WITHOUT_COPY and name.startswith("copied"))}
    assert {name: seen.get(name) for name in expected} == expected
    assert seen["user"] == user
    left = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()"
    assert platform.sql(shared_primary, left) == [(0,)], "what was cancelled has ended"


@EACH
def test_a_wrong_password_is_told_so(platform, shared_primary, native, tmp_path, driver):
    for number, user in enumerate(("admin@localhost", "app")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with driver_programs.story(driver, folder, environment_of(platform, shared_primary, user, "wrong")) as program:
            code, _, error = program.finish()
        assert code != 0 and f'password authentication failed for user "{user}"' in error, error


@EACH
def test_a_certificate_that_nobody_vouches_for_is_refused(platform, shared_primary, tmp_path, driver):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=foreign", "-keyout", tmp_path / "key",
         "-out", tmp_path / "foreign.crt"], check=True, capture_output=True)  # fmt: skip
    folder = tmp_path / "program"
    folder.mkdir()
    environment = {**environment_of(platform, shared_primary), "PGSSLROOTCERT": str(tmp_path / "foreign.crt")}
    with driver_programs.story(driver, folder, environment) as program:
        code, _, error = program.finish()
    assert code != 0 and "certif" in error.lower(), error


@EACH
def test_connecting_wakes(platform, shared_project, shared_primary, tmp_path, driver):
    """The first connection of a program that is started while the endpoint sleeps; it sleeps once more within the story."""
    token = platform.rest.database_token(shared_primary["name"])
    platform.sleep(shared_project)
    wait_until(lambda: platform.is_asleep(shared_primary), "it sleeps")
    with driver_programs.story(driver, tmp_path, environment_of(platform, shared_primary, password=token)) as program:
        program.wait_for_line("sleep")
        seen = program.answer("go on\n")
    assert seen["one"] == 1 and seen["woken"] == 1


NEWER_PROTOCOLS = """
import json
import threading

import psycopg

seen = {}
for version in ("3.0", "3.2", "latest"):
    with psycopg.connect(sslmode="verify-full", max_protocol_version=version, autocommit=True) as connection:
        threading.Timer(0.5, connection.cancel_safe).start()
        try:
            connection.execute("select pg_sleep(600)")
        except psycopg.errors.QueryCanceled:
            seen[version] = "cancelled"
try:
    psycopg.connect(sslmode="verify-full", min_protocol_version="3.2")
except psycopg.OperationalError as error:
    seen["at least 3.2"] = str(error)
print(json.dumps(seen))
"""


def test_newer_protocols_of_libpq_18(platform, shared_primary, tmp_path):
    """It asks for 3.2, is told 3.0, and goes on with that, its cancel key as well; unless it was told to insist."""
    with driver_programs.Program("python", NEWER_PROTOCOLS, tmp_path, environment_of(platform, shared_primary)) as program:
        seen = program.answer()
    assert [seen.get(version) for version in ("3.0", "3.2", "latest")] == ["cancelled"] * 3
    assert "3.0" in seen["at least 3.2"], seen

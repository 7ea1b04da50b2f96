"""Native login: roles with a password of Postgres, checked before anything is woken."""

import concurrent.futures
import subprocess
import time

import psycopg
import pytest

from harness.platform import clean_environment

ON = {"spec": {"enable_pg_native_login": True}}


def branch_name(project, branch="production"):
    return f"projects/{project}/branches/{branch}"


def allow(rest, project, value=True):
    return rest.run("PATCH", f"projects/{project}", {"spec": {"enable_pg_native_login": value}},
                    update_mask="spec.enable_pg_native_login")  # fmt: skip


def make_role(rest, project, name="app", branch="production", **spec):
    """A role with a generated password: (its full name, the password)."""
    role = rest.run("POST", f"{branch_name(project, branch)}/roles", {"spec": {"postgres_role": name, **spec}}, role_id=name)
    return role["name"], password_of(rest, role["name"])


def password_of(rest, role):
    return rest.call("POST", f"{role}/password", {})["password"]


def who(platform, endpoint, user, password, **more):
    """Logs in; what Postgres calls the session."""
    rows = platform.sql(endpoint, "select session_user, current_user", user=user, password=password, **more)
    assert rows[0][0] == rows[0][1]
    return rows[0][0]


def refused(platform, endpoint, user, password, **more):
    """(severity and text, without what psycopg puts before each attempt)"""
    with pytest.raises(psycopg.OperationalError) as error:
        platform.sql(endpoint, "select 1", user=user, password=password, **more)
    text = str(error.value)
    return text[text.index("FATAL"):] if "FATAL" in text else text


def wrong(user):
    return f'FATAL:  password authentication failed for user "{user}"'


@pytest.fixture
def native(platform, rest, project):
    allow(rest, project)
    return project


def test_a_role_logs_in_with_its_password(platform, rest, native, primary):
    _, password = make_role(rest, native)
    assert who(platform, primary, "app", password) == "app"
    assert refused(platform, primary, "app", password + "x").strip() == wrong("app")
    assert refused(platform, primary, "app", "").strip() != ""
    # Identities go on with tokens.
    assert platform.sql(primary, "select session_user")[0][0] == "admin@localhost"
    answer = platform.psql(primary, "-Atc", "select session_user", user="app", password=password)
    assert answer.stdout == "app\n"
    answer = platform.psql(primary, "-Atc", "select 1", user="app", password="no", check=False)
    assert answer.returncode == 2 and answer.stderr.strip().endswith(wrong("app")), answer.stderr

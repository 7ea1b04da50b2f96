"""`tarn auth`: signing in with a browser and without, and managing who else may."""

import json
import os
import stat
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from harness.people import People
from harness.platform import BINARY, clean_environment
from harness.ports import sign_in_port
from harness.rest import Rest
from system.oauth import Browser


@pytest.fixture(scope="module")
def people(platform):
    return People(platform)


def read(platform, *arguments):
    return json.loads(platform.tarn("auth", *arguments, "-o", "json").stdout)


def failure(platform, *arguments):
    result = platform.tarn("auth", *arguments, check=False)
    assert result.returncode in (1, 2) and result.stdout == "", result
    return result.stderr


def test_users_and_groups(platform, new_name):
    email, group = f"{new_name()}@example.com", new_name("team")
    assert read(platform, "users", "create", email, "Ann")["userName"] == email
    assert "already" in failure(platform, "users", "create", email)
    table = platform.tarn("auth", "users", "list").stdout
    assert table.splitlines()[0].split() == ["USER", "NAME", "ACTIVE", "GROUPS"] and email in table
    platform.tarn("auth", "groups", "create", group, "--member", email)
    groups = {g["displayName"]: [m["display"] for m in g["members"]] for g in read(platform, "groups", "list")}
    assert groups[group] == ["Ann"]
    platform.tarn("auth", "groups", "remove-member", group, email)
    platform.tarn("auth", "groups", "add-member", group, email)
    platform.tarn("auth", "users", "set-admin", email)
    assert "admins" in [g["display"] for u in read(platform, "users", "list") if u["userName"] == email for g in u["groups"]]
    platform.tarn("auth", "users", "set-admin", email, "--off")
    platform.tarn("auth", "users", "deactivate", email)
    assert [u["active"] for u in read(platform, "users", "list") if u["userName"] == email] == [False]
    platform.tarn("auth", "users", "activate", email)
    platform.tarn("auth", "groups", "delete", group)
    platform.tarn("auth", "users", "delete", email)
    assert "there is no user" in failure(platform, "users", "delete", email)
    assert "yourself" in failure(platform, "users", "deactivate", "admin@localhost")


def test_service_principals_and_their_secrets(platform, new_name):
    name = new_name("robot")
    application = platform.tarn("auth", "service-principals", "create", name).stdout.strip()
    secret = read(platform, "secrets", "create", name, "--lifetime", "1h")
    described = platform.tarn("auth", "describe", "-o", "json", DATABRICKS_TOKEN="", DATABRICKS_CLIENT_ID=application,
                              DATABRICKS_CLIENT_SECRET=secret["secret"])  # fmt: skip
    assert json.loads(described.stdout)["user"] == application
    token = platform.tarn("auth", "token", DATABRICKS_TOKEN="", DATABRICKS_CLIENT_ID=application,
                          DATABRICKS_CLIENT_SECRET=secret["secret"]).stdout.strip()  # fmt: skip
    assert Rest(platform.host, token).user() == application
    assert [s["id"] for s in read(platform, "secrets", "list", application)] == [secret["id"]]
    platform.tarn("auth", "secrets", "delete", name, secret["id"])
    assert Rest(platform.host, token).ask("GET", "projects").status == 401
    platform.tarn("auth", "service-principals", "delete", application)


def test_tokens(platform):
    made = read(platform, "tokens", "create", "--comment", "cli", "--lifetime", "10m")
    token, token_id = made["token_value"], made["token_info"]["token_id"]
    assert Rest(platform.host, token).user() == "admin@localhost"
    assert token_id in platform.tarn("auth", "tokens", "list").stdout
    assert token not in platform.tarn("auth", "tokens", "list", "--all").stdout
    platform.tarn("auth", "tokens", "revoke", token_id)
    assert Rest(platform.host, token).ask("GET", "projects").status == 401
    assert "there is no token" in failure(platform, "tokens", "revoke", token_id)
    assert "lifetime" in failure(platform, "tokens", "create", "--lifetime", "1ms")


def test_login_with_a_code(platform, people, new_name, tmp_path):
    user = people.make("Users", userName=f"{new_name()}@example.com")
    code = platform.tarn("auth", "users", "sign-in-code", user["userName"]).stdout.split()[0]
    profiles = tmp_path / "profiles"
    profiles.write_text("# mine\n[other]\nhost = https://other.example\ntoken = x\n\n[work]\nhost = https://old.example\n")
    environment = clean_environment(DATABRICKS_CONFIG_FILE=str(profiles), HOME=str(tmp_path))

    def login(text):
        return subprocess.run([BINARY, "auth", "login", "--host", platform.host, "--profile", "work", "--code"], input=text,
                              env=environment, capture_output=True, text=True, timeout=60)  # fmt: skip

    result = login(code + "\n")
    assert result.returncode == 0 and user["userName"] in result.stdout, result
    text = profiles.read_text()
    assert text.startswith("# mine\n[other]\nhost = https://other.example\n") and "old.example" not in text
    assert stat.S_IMODE(os.stat(profiles).st_mode) == 0o600
    token = text.split("token = ")[-1].strip()
    assert Rest(platform.host, token).user() == user["userName"]
    assert code not in result.stdout + result.stderr + text and token not in result.stdout + result.stderr
    described = subprocess.run([BINARY, "auth", "describe", "--profile", "work", "-o", "json"], env=environment,
                               capture_output=True, text=True, timeout=60)  # fmt: skip
    assert json.loads(described.stdout)["user"] == user["userName"]
    second = login(code + "\n")
    assert second.returncode == 1 and "did not let you in" in second.stderr and profiles.read_text() == text
    assert login("").returncode == 1


@pytest.fixture
def own_port():
    with sign_in_port():
        yield


def test_login_with_a_browser(platform, people, new_name, tmp_path, own_port):
    user = people.make("Users", userName=f"{new_name()}@example.com")
    code = platform.tarn("auth", "users", "sign-in-code", user["userName"]).stdout.split()[0]
    profiles = tmp_path / "profiles"
    process = subprocess.Popen([BINARY, "auth", "login", "--host", platform.host],
                               env=clean_environment(DATABRICKS_CONFIG_FILE=str(profiles), HOME=str(tmp_path)),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    address = next(line.strip() for line in process.stderr if "/oidc/v1/authorize?" in line)
    # Somebody else's page cannot put a code of its own in the place of ours.

    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError):
        opener.open(query["redirect_uri"] + "/?code=evil&state=wrong", timeout=10)
    location = Browser(code).open(address)
    assert b"signed in" in opener.open(location.replace("?", "/?", 1), timeout=10).read()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and user["userName"] in out, err
    assert Rest(platform.host, profiles.read_text().split("token = ")[1].strip()).user() == user["userName"]


def test_mistakes_are_told(platform):
    assert "usage: tarn auth users create EMAIL" in failure(platform, "users", "create")
    assert 'has no "users destroy"' in failure(platform, "users", "destroy")
    assert "there is no group" in failure(platform, "groups", "delete", "nobody")
    help_text = platform.tarn("help", "auth").stdout
    assert help_text == platform.tarn("auth", "--help").stdout and "Examples:" in help_text

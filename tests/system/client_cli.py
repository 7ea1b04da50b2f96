"""The unmodified `databricks` command line: every command of `databricks postgres` for the resources we run, and psql."""

import json
import os
import socket
import subprocess

import pytest

from clients.databricks_cli import DatabricksCli
from clients.installed import HERE
from harness.people import SCIM, People
from harness.platform import clean_environment
from harness.ports import sign_in_port
from harness.rest import Rest

PORT_OF_PSQL = 5432


@pytest.fixture(scope="module")
def cli(platform):
    with DatabricksCli(platform.env()) as one:
        yield one


@pytest.fixture
def parent(cli, project):
    return f"projects/{project}"


@pytest.fixture
def branch(parent):
    return f"{parent}/branches/production"


@pytest.fixture
def endpoint(branch):
    return f"{branch}/endpoints/primary"


def ids(found, key):
    return [one[key] for one in found]


def steady(resource):
    """Without what is measured, and so may be different in the next answer."""
    measured = ("logical_size_bytes", "synthetic_storage_size_bytes", "compute_last_active_time", "last_active_time")
    return {**resource, "status": {k: v for k, v in resource["status"].items() if k not in measured}}


def test_a_projects_life(cli, new_name):
    project = new_name("cli")
    name = f"projects/{project}"
    made = cli.postgres("create-project", project, body={"spec": {"display_name": "My App", "pg_version": 17}})
    assert made["name"] == name and made["status"]["display_name"] == "My App"
    assert steady(cli.postgres("get-project", name)) == steady(made)
    assert "project with such id already exists" in cli.refused("postgres", "create-project", project)
    assert project in ids(cli.postgres("list-projects"), "project_id")
    assert len(cli.postgres("list-projects", "--limit", 1)) == 1
    assert project in ids(cli.postgres("list-projects", "--page-size", 1), "project_id")
    assert project in cli.run("postgres", "list-projects").stdout  # as text, too

    changed = cli.postgres("update-project", name, "spec.display_name", body={"spec": {"display_name": "Other"}})
    assert changed["status"]["display_name"] == "Other" and changed["uid"] == made["uid"]

    assert cli.postgres("delete-project", name) is None
    assert project not in ids(cli.postgres("list-projects"), "project_id")
    assert project in ids(cli.postgres("list-projects", "--show-deleted"), "project_id")
    cli.postgres("undelete-project", name)
    assert cli.postgres("get-project", name)["uid"] == made["uid"]
    operation = cli.postgres("delete-project", name, "--purge", "--no-wait")
    assert operation["name"].startswith(f"{name}/operations/")
    assert cli.postgres("get-operation", operation["name"])["name"] == operation["name"]
    assert "project id not found" in cli.refused("postgres", "get-project", name)


def test_a_branchs_life(cli, parent, branch):
    made = cli.postgres("create-branch", parent, "dev", body={"spec": {"source_branch": branch, "no_expiry": True}})
    assert made["status"]["source_branch"] == branch and "expire_time" not in made["status"]
    assert steady(cli.postgres("get-branch", made["name"])) == steady(made)
    assert "expiration" in cli.refused("postgres", "create-branch", parent, "bare", body={"spec": {}})
    assert ids(cli.postgres("list-branches", parent), "branch_id") == ["production", "dev"]
    assert ids(cli.postgres("list-branches", parent, "--limit", 1), "branch_id") == ["production"]
    assert ids(cli.postgres("list-branches", parent, "--page-size", 1), "branch_id") == ["production", "dev"]

    changed = cli.postgres("update-branch", made["name"], "spec.is_protected", body={"spec": {"is_protected": True}})
    assert changed["status"]["is_protected"] is True
    assert "cannot delete protected branch" in cli.refused("postgres", "delete-branch", made["name"])
    # The typed client drops a false: absent under its mask means false.
    changed = cli.postgres("update-branch", made["name"], "spec.is_protected", body={"spec": {"is_protected": False}})
    assert changed["status"]["is_protected"] is False
    changed = cli.postgres("update-branch", made["name"], "spec.expiration", body={"spec": {"ttl": "86400s"}})
    assert changed["status"]["expire_time"]
    kept = cli.postgres("create-branch", parent, "dev", "--replace-existing", body={"spec": {"no_expiry": True}})
    assert kept["uid"] == made["uid"] and "expire_time" not in kept["status"]

    cli.postgres("delete-branch", made["name"])
    assert ids(cli.postgres("list-branches", parent, "--show-deleted"), "branch_id") == ["production", "dev"]
    cli.postgres("undelete-branch", made["name"])  # hidden in its help, and there
    assert cli.postgres("get-branch", made["name"])["uid"] == made["uid"]
    operation = cli.postgres("delete-branch", made["name"], "--purge", "--no-wait")
    assert operation["name"].startswith(f"{made['name']}/operations/")
    assert "branch id not found" in cli.refused("postgres", "get-branch", made["name"])
    assert "Root branches cannot be deleted independently" in cli.refused("postgres", "delete-branch", branch)


def test_an_endpoints_life(cli, branch, endpoint):
    primary = cli.postgres("get-endpoint", endpoint)
    assert [steady(one) for one in cli.postgres("list-endpoints", branch)] == [steady(primary)]
    mask = "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu"
    changed = cli.postgres("update-endpoint", endpoint, mask, body={
        "spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 4}})  # fmt: skip
    assert (changed["status"]["autoscaling_limit_min_cu"], changed["status"]["autoscaling_limit_max_cu"]) == (1, 4)
    changed = cli.postgres("update-endpoint", endpoint, "spec.suspension", body={
        "spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "no_suspension": True}})  # fmt: skip
    assert "suspend_timeout_duration" not in changed["status"]
    # Without a type the typed client sends an empty one.
    changed = cli.postgres("update-endpoint", endpoint, "spec.suspension", body={"spec": {"suspend_timeout_duration": "300s"}})
    assert changed["status"]["suspend_timeout_duration"] == "300s"
    kept = cli.postgres("create-endpoint", branch, "primary", "--replace-existing", body={
        "spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "no_suspension": True}})  # fmt: skip
    assert kept["uid"] == primary["uid"]
    assert "endpoint with such id already exists" in cli.refused("postgres", "create-endpoint", branch, "primary", body={
        "spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE"}})  # fmt: skip
    assert "Read-write endpoints cannot be deleted" in cli.refused("postgres", "delete-endpoint", endpoint)


def test_roles_and_databases(cli, platform, branch, endpoint):
    role = cli.postgres("create-role", branch, "--role-id", "app", body={"spec": {"postgres_role": "app_role"}})
    assert role["name"] == f"{branch}/roles/app" and role["status"]["auth_method"] == "PG_PASSWORD_SCRAM_SHA_256"
    assert cli.postgres("get-role", role["name"]) == role
    assert ids(cli.postgres("list-roles", branch), "role_id") == ["admin", "app"]
    assert ids(cli.postgres("list-roles", branch, "--limit", 1), "role_id") == ["admin"]
    assert "role with that name already exists" in cli.refused("postgres", "create-role", branch, "--role-id", "app", body={
        "spec": {"postgres_role": "app_role"}})  # fmt: skip
    changed = cli.postgres("update-role", role["name"], "spec.attributes.createdb", body={"spec": {"attributes": {"createdb": True}}})
    assert changed["status"]["attributes"] == {"createdb": True, "createrole": False, "bypassrls": False}
    kept = cli.postgres("create-role", branch, "--role-id", "app", "--replace-existing", body={
        "spec": {"postgres_role": "app_role", "membership_roles": ["DATABRICKS_SUPERUSER"]}})  # fmt: skip
    assert kept["status"]["membership_roles"] == ["DATABRICKS_SUPERUSER"] and kept["status"]["attributes"]["createdb"] is False

    spec = {"postgres_database": "app_db", "role": role["name"]}
    database = cli.postgres("create-database", branch, "--database-id", "my-database", body={"spec": spec})
    assert database["status"] == {"database_id": "my-database", "postgres_database": "app_db", "role": role["name"]}
    assert cli.postgres("get-database", database["name"]) == database
    assert ids(cli.postgres("list-databases", branch), "database_id") == ["databricks-postgres", "my-database"]
    assert "database with that name already exists" in cli.refused(
        "postgres", "create-database", branch, "--database-id", "my-database", body={"spec": spec})  # fmt: skip
    # The typed client sends an empty owner, which means: as it is.
    renamed = cli.postgres("update-database", database["name"], "spec.postgres_database", body={"spec": {"postgres_database": "new_db"}})
    assert renamed["status"]["postgres_database"] == "new_db" and renamed["status"]["role"] == role["name"]
    assert platform.sql(endpoint, "select current_database()", dbname="new_db") == [("new_db",)]
    shown = cli.run("psql", endpoint, "--", "-p", platform.pg_port, "-d", "new_db", "-Atc", "select current_database()").stdout
    assert "new_db" in shown.splitlines()

    assert "depend" in cli.refused("postgres", "delete-role", role["name"])
    cli.postgres("delete-role", role["name"], "--reassign-owned-to", f"{branch}/roles/admin")
    assert cli.postgres("get-database", database["name"])["status"]["role"] == f"{branch}/roles/admin"
    cli.postgres("delete-database", database["name"])
    assert "database id not found" in cli.refused("postgres", "get-database", database["name"])
    assert "role id not found" in cli.refused("postgres", "get-role", role["name"])


def test_permissions(cli, platform, project):
    """As administrators type it; a person with CAN_USE then sees the project, and may not delete it."""
    robot, robot_rest = People(platform).robot("cli")
    login = robot["applicationId"]
    levels = cli.json("permissions", "get-permission-levels", "database-projects", project)["permission_levels"]
    assert ids(levels, "permission_level") == ["CAN_USE", "CAN_MANAGE"]
    assert project not in ids(robot_rest.get("projects").get("projects", []), "project_id")
    entry = {"service_principal_name": login, "permission_level": "CAN_USE"}
    cli.json("permissions", "update", "database-projects", project, body={"access_control_list": [entry]})
    shown = cli.json("permissions", "get", "database-projects", project)
    assert shown["object_id"] == f"/database-projects/{project}"
    (mine,) = [one for one in shown["access_control_list"] if one.get("service_principal_name") == login]
    assert ids(mine["all_permissions"], "permission_level") == ["CAN_USE"]
    with DatabricksCli({"DATABRICKS_HOST": platform.host, "DATABRICKS_TOKEN": robot_rest.token}) as theirs:
        assert ids(theirs.postgres("list-projects"), "project_id") == [project]
        assert "permission" in theirs.refused("postgres", "delete-project", f"projects/{project}").lower()
        assert theirs.json("current-user", "me")["userName"] == login
    cli.json("permissions", "set", "database-projects", project, body={"access_control_list": []})
    shown = cli.json("permissions", "get", "database-projects", project)["access_control_list"]
    assert login not in [one.get("service_principal_name") for one in shown]
    assert robot_rest.refused("GET", f"projects/{project}").status == 403


def test_people_and_their_tokens(cli, platform, new_name):
    login = f"{new_name('bob')}@example.com"
    user = cli.json("users", "create", body={"userName": login, "displayName": "Bob"})
    assert cli.json("users", "get", user["id"])["userName"] == login
    assert user["id"] in ids(cli.json("users", "list"), "id")
    robot = cli.json("service-principals", "create", body={"displayName": new_name("robot")})
    assert cli.json("service-principals", "get", robot["id"])["applicationId"] == robot["applicationId"]
    assert robot["id"] in ids(cli.json("service-principals", "list"), "id")
    group = cli.json("groups", "create", body={"displayName": new_name("team"), "members": [{"value": user["id"]}]})
    assert ids(cli.json("groups", "get", group["id"])["members"], "value") == [user["id"]]
    assert group["id"] in ids(cli.json("groups", "list"), "id")

    theirs = cli.json("token-management", "create-obo-token", robot["applicationId"], "--lifetime-seconds", 600)
    nobody = {"DATABRICKS_TOKEN": theirs["token_value"]}
    assert cli.json("current-user", "me", **nobody)["userName"] == robot["applicationId"]
    made = cli.json("tokens", "create", "--comment", "for a test", "--lifetime-seconds", 600)
    assert cli.json("current-user", "me", DATABRICKS_TOKEN=made["token_value"])["userName"] == platform.rest.user()
    assert made["token_info"]["token_id"] in ids(cli.json("tokens", "list"), "token_id")
    cli.json("tokens", "delete", made["token_info"]["token_id"])
    refused = cli.run("current-user", "me", check=False, DATABRICKS_TOKEN=made["token_value"])
    assert refused.returncode != 0 and made["token_value"] not in refused.stderr
    cli.run("groups", "delete", group["id"])
    cli.run("service-principals", "delete", robot["id"])
    cli.run("users", "delete", user["id"])
    assert user["id"] not in ids(cli.json("users", "list"), "id")


def test_credentials(cli, platform, endpoint):
    credential = cli.postgres("generate-database-credential", endpoint)
    assert platform.sql(endpoint, "select 1", password=credential["token"]) == [(1,)]
    short = cli.postgres("generate-database-credential", endpoint, "--ttl", "300s")
    assert short["expire_time"] < credential["expire_time"]
    assert cli.json("postgres", "generate-database-credential", body={"endpoint": endpoint})["token"]
    assert "endpoint id not found" in cli.refused("postgres", "generate-database-credential", endpoint + "x")


def test_who_am_i(cli, platform):
    me = cli.json("current-user", "me")
    assert me["userName"] == platform.rest.user() and me["active"] is True
    described = cli.json("auth", "describe")
    assert described["status"] == "success" and described["username"] == me["userName"]
    assert described["details"]["host"] == platform.host and described["details"]["auth_type"] == "pat"
    text = cli.run("auth", "describe").stdout
    assert me["userName"] in text and platform.env()["DATABRICKS_TOKEN"] not in text
    # Without -o json it prints JSON, too.
    assert json.loads(cli.run("current-user", "me").stdout)["userName"] == me["userName"]


def test_profiles(cli, platform, parent):
    cli.write_profiles(
        mine={"host": platform.host, "token": platform.env()["DATABRICKS_TOKEN"]},
        wrong={"host": platform.host, "token": "dapi0"},
    )
    nobody = {"DATABRICKS_HOST": "", "DATABRICKS_TOKEN": ""}
    assert cli.postgres("get-project", parent, "--profile", "mine", **nobody)["name"] == parent
    assert cli.postgres("get-project", parent, DATABRICKS_CONFIG_PROFILE="mine", **nobody)["name"] == parent
    refused = cli.run("postgres", "get-project", parent, "-p", "wrong", check=False, **nobody)
    assert refused.returncode != 0 and "token" in refused.stderr
    shown = cli.json("auth", "profiles", **nobody)["profiles"]
    assert {p["name"]: p["valid"] for p in shown} == {"mine": True, "wrong": False}


def test_oauth_with_an_id_and_a_secret(cli, platform, parent, endpoint):
    """M2M, from the environment and from a profile; psql, too."""
    people = People(platform)
    principal, _ = people.robot("m2m")
    login = principal["applicationId"]
    secret = cli.json("service-principal-secrets-proxy", "create", principal["id"])["secret"]
    people.grant(parent.split("/")[1], "CAN_USE", principal)
    cli.postgres("create-role", f"{parent}/branches/production", body={
        "spec": {"postgres_role": login, "identity_type": "SERVICE_PRINCIPAL"}})  # fmt: skip
    with DatabricksCli({"DATABRICKS_HOST": platform.host}) as theirs:
        oauth = {"DATABRICKS_CLIENT_ID": login, "DATABRICKS_CLIENT_SECRET": secret}
        described = theirs.json("auth", "describe", **oauth)
        assert described["username"] == login and described["details"]["auth_type"] == "oauth-m2m"
        assert theirs.postgres("get-project", parent, **oauth)["name"] == parent
        theirs.write_profiles(robot={"host": platform.host, "client_id": login, "client_secret": secret})
        shown = theirs.run("psql", parent, "--profile", "robot", "--", "-p", platform.pg_port, "-Atc", "select current_user",
                           PGSSLROOTCERT=platform.ca).stdout  # fmt: skip
        assert login in shown.splitlines()
        wrong = theirs.run("current-user", "me", check=False, DATABRICKS_CLIENT_ID=login, DATABRICKS_CLIENT_SECRET="wrong",
                           DATABRICKS_AUTH_TYPE="oauth-m2m")  # fmt: skip
        assert wrong.returncode != 0 and "invalid_client" in wrong.stderr


def test_a_person_signs_in_with_a_browser(cli, platform, parent, new_name):
    """`databricks auth login`: the real one, with a program in place of the person and the browser."""
    people = People(platform)
    user = people.make("Users", userName=f"{new_name('carol')}@example.com")
    code = people.admin.call("POST", f"{SCIM}Users/{user['id']}/sign-in-code", {})["code"]
    people.grant(parent.split("/")[1], "CAN_USE", user)
    with DatabricksCli({}) as theirs:
        browser = {"BROWSER": str(HERE / "browser"), "SIGN_IN_CODE": code}
        with sign_in_port():
            theirs.run("auth", "login", "--host", platform.host, "--profile", "carol", **browser)
        assert theirs.json("current-user", "me", "--profile", "carol")["userName"] == user["userName"]
        assert theirs.postgres("get-project", parent, "--profile", "carol")["name"] == parent
        token = theirs.json("auth", "token", "--profile", "carol")["access_token"]
        assert Rest(platform.host, token).user() == user["userName"]
        described = theirs.json("auth", "describe", "--profile", "carol")
        assert described["username"] == user["userName"] and described["details"]["auth_type"] == "databricks-cli"


# ---- psql ------------------------------------------------------------------------------------------------------------


def test_psql_finds_its_way(cli, platform, parent, branch, endpoint):
    """A real psql. The port is the only thing said: this Tarn's is not 5432, which the CLI expects."""
    port = ["-p", platform.pg_port]
    for target in ([parent], [branch], [endpoint], ["--project", parent.split("/")[1]],
                   ["--project", parent.split("/")[1], "--branch", "production", "--endpoint", "primary"]):  # fmt: skip
        shown = cli.run("psql", *target, "--", *port, "-Atc", "select current_user || ' ' || current_database()").stdout
        assert shown.splitlines()[-1] == f"{platform.rest.user()} databricks_postgres", (target, shown)
    cli.run("psql", "--project", parent.split("/")[1], "--", *port, "-c", "create schema s", "-c", "create table s.t (id int)")
    shown = cli.run("psql", "--project", parent.split("/")[1], "--", *port, "-c", "DROP SCHEMA IF EXISTS s CASCADE;")
    assert "DROP SCHEMA" in shown.stdout
    assert platform.sql(endpoint, "select count(*) from pg_namespace where nspname = 's'") == [(0,)]


def test_psql_wakes_an_endpoint(cli, platform, project, parent, endpoint):
    platform.sleep(project)
    assert cli.postgres("get-endpoint", endpoint)["status"]["current_state"] == "IDLE"
    shown = cli.run("psql", parent, "--max-retries", 0, "--", "-p", platform.pg_port, "-Atc", "select 'awake'").stdout
    assert "awake" in shown.splitlines()
    status = cli.postgres("get-endpoint", endpoint)["status"]
    assert status["current_state"] == "ACTIVE" and "pending_state" not in status


def test_psql_gets_what_the_contract_says(cli, platform, parent, endpoint, tmp_path):
    """A stand-in for psql writes down how it was called."""
    stand_in = tmp_path / "psql"
    stand_in.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$OUT/arguments\"\nenv >\"$OUT/environment\"\n")
    stand_in.chmod(0o755)
    cli.run("psql", parent, PATH=f"{tmp_path}:{os.environ['PATH']}", OUT=str(tmp_path), PGSSLROOTCERT="")
    host = cli.postgres("get-endpoint", endpoint)["status"]["hosts"]["host"]
    assert (tmp_path / "arguments").read_text().splitlines() == [
        f"--host={host}", f"--username={platform.rest.user()}", "--port=5432", "--dbname=databricks_postgres"]  # fmt: skip
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert environment["PGSSLMODE"] == "require"
    assert platform.sql(endpoint, "select 1", password=environment["PGPASSWORD"]) == [(1,)]


def test_psql_by_hand(cli, platform, endpoint):
    """As the published skill has it: a token in PGPASSWORD, sslmode=require, the host from the endpoint."""
    token = cli.postgres("generate-database-credential", endpoint)["token"]
    host = cli.postgres("get-endpoint", endpoint)["status"]["hosts"]["host"]
    done = subprocess.run(
        ["psql", "-X", "-Atc", "select current_user", f"host={host} port={platform.pg_port} user={platform.rest.user()} "
         "dbname=databricks_postgres sslmode=require"],
        env=clean_environment(PGPASSWORD=token), capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.stdout.strip() == platform.rest.user(), done.stderr


def test_on_the_documented_port_nothing_has_to_be_said(own_platform):
    """A Tarn on 5432, as `tarn up` has it: psql without a word about the port, and the CLI's own driver."""
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", PORT_OF_PSQL))
        except OSError:
            pytest.skip(f"port {PORT_OF_PSQL} of this machine is in use")
    platform = own_platform(pg_port=PORT_OF_PSQL)
    platform.rest.create_project("documented")
    with DatabricksCli(platform.env()) as cli:
        assert cli.run("psql", "--autoscaling", "--", "-Atc", "select 40 + 2").stdout.splitlines()[-1] == "42"
        query = ["experimental", "postgres", "query", "--project", "documented"]
        assert cli.json(*query, "select 42 as answer, current_user as name") == [
            {"answer": 42, "name": platform.rest.user()}]  # fmt: skip
        platform.sleep("documented")
        assert cli.json(*query, "--max-retries", 1, "select 'awake' as state") == [{"state": "awake"}]


# ---- what the published skill tells people to type -------------------------------------------------------------------


def test_a_new_project_has_what_the_skill_looks_for(cli, parent, branch):
    assert ids(cli.postgres("list-branches", parent), "branch_id") == ["production"]
    assert ids(cli.postgres("list-endpoints", branch), "endpoint_id") == ["primary"]
    (database,) = cli.postgres("list-databases", branch)
    assert database["status"]["postgres_database"] == "databricks_postgres"


def test_a_branch_for_four_hours(cli, parent, branch):
    made = cli.postgres("create-branch", parent, "ci", body={"spec": {"source_branch": branch, "ttl": "14400s"}})
    assert made["status"]["expire_time"]


def test_reset_branch_is_ours_alone(cli, platform, parent):
    cli.postgres("create-branch", parent, "dev", body={"spec": {"no_expiry": True}})
    assert "reset-branch" not in cli.commands()
    uid = cli.postgres("get-branch", f"{parent}/branches/dev")["uid"]
    assert json.loads(platform.tarn("postgres", "reset-branch", f"{parent}/branches/dev", "-o", "json").stdout)["uid"] == uid


def test_an_endpoint_whose_type_has_the_wrong_name(cli, branch):
    """The guide says `type`, which the typed client drops with a warning: the answer names what is missing."""
    said = cli.refused("postgres", "create-endpoint", branch, "ro", body={"spec": {"type": "ENDPOINT_TYPE_READ_ONLY"}})
    assert "endpoint_type" in said


# ---- what is not served ----------------------------------------------------------------------------------------------

NOT_SERVED = {
    "create-catalog": (["shop"], {"spec": {"branch": "BRANCH", "postgres_database": "databricks_postgres"}}),
    "get-catalog": (["catalogs/shop"], None),
    "delete-catalog": (["catalogs/shop"], None),
    "create-synced-table": (["c.s.t"], {"spec": {}}),
    "get-synced-table": (["synced_tables/c.s.t"], None),
    "delete-synced-table": (["synced_tables/c.s.t"], None),
    "create-cdf-config": (["DATABASE", "c", "s", "public"], None),
    "get-cdf-config": (["DATABASE/cdf-configs/public"], None),
    "list-cdf-configs": (["DATABASE"], None),
    "delete-cdf-config": (["DATABASE/cdf-configs/public"], None),
    "get-cdf-status": (["DATABASE/cdf-configs/public/cdf-statuses/t"], None),
    "list-cdf-statuses": (["DATABASE/cdf-configs/public"], None),
    "create-data-api": (["DATABASE"], {"spec": {"db_schemas": ["public"]}}),
    "get-data-api": (["DATABASE/data-api"], None),
    "update-data-api": (["DATABASE/data-api", "spec"], {"spec": {}}),
    "delete-data-api": (["DATABASE/data-api"], None),
}


def test_what_is_not_served_says_so(cli, branch):
    names = {"DATABASE": f"{branch}/databases/databricks-postgres", "BRANCH": branch}

    def fill_in(text):
        for word, name in names.items():
            text = text.replace(word, name)
        return text

    for command, (arguments, body) in NOT_SERVED.items():
        body = json.loads(fill_in(json.dumps(body)))
        arguments = ["postgres", command, *map(fill_in, arguments)]
        if command.startswith("list-"):
            assert cli.json(*arguments) == [], command
        else:
            said = cli.refused(*arguments, body=body)
            assert "not found" in said if command.startswith("get-") else "not available yet" in said, (command, said)

"""The unmodified `databricks` command line: every command of `databricks postgres` for the resources we run, and psql."""

import json
import os
import socket
import subprocess

import pytest

from clients.databricks_cli import DatabricksCli
from harness.platform import clean_environment

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


def test_a_projects_life(cli, new_name):
    project = new_name("cli")
    name = f"projects/{project}"
    made = cli.postgres("create-project", project, body={"spec": {"display_name": "My App", "pg_version": 17}})
    assert made["name"] == name and made["status"]["display_name"] == "My App"
    assert cli.postgres("get-project", name) == made
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
    assert cli.postgres("get-branch", made["name"]) == made
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
    assert cli.postgres("list-endpoints", branch) == [primary]
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

"""npm @databricks/lakebase, node-postgres and Drizzle as they are published, with TLS that is verified."""

import pytest

from clients import node_programs
from harness.people import People


@pytest.fixture
def environment(platform, primary):
    """What the package's page says to export. PGSSLMODE=require means TLS and a verified certificate there."""
    return {
        **{name: value for name, value in platform.env().items() if name != "PGSSLROOTCERT"},
        "LAKEBASE_ENDPOINT": primary["name"], "PGHOST": primary["status"]["hosts"]["host"], "PGPORT": str(platform.pg_port),
        "PGDATABASE": "databricks_postgres", "PGSSLMODE": "require",
    }  # fmt: skip


def test_a_pool_queries_and_drizzle(platform, primary, environment):
    seen = node_programs.run("queries.mjs", environment)
    me = platform.rest.user()
    assert seen["user"] == me and seen["session"] == {"name": me, "database": "databricks_postgres"}
    assert seen["tls"] == {"encrypted": True, "authorized": True}
    assert seen["rows"] == [{"name": "apple", "price": "1.20"}, {"name": "pear", "price": "1.50"}]
    assert seen["parallel"] == [1, 2, 3, 4, 5, 6, 7, 8] and 1 < seen["connections"] <= 4
    assert seen["error"] == "42P01"
    assert seen["drizzle"] == [{"id": 2, "name": "pear", "price": "1.40"}, {"id": 3, "name": "plum", "price": "0.30"}]
    assert seen["sum"] == "1.70"
    assert seen["credential"] == ["expire_time", "token"]
    assert "endpoint id not found" in seen["refused"]["message"]
    # What it wrote is in Postgres.
    assert platform.sql(primary, "select name from fruit order by id") == [("pear",), ("plum",)]


def test_oauth_with_an_id_and_a_secret(platform, project, primary, environment):
    """M2M: its id is its login name, and nothing has to be looked up."""
    people = People(platform)
    principal, _ = people.robot("node")
    login = principal["applicationId"]
    people.grant(project, "CAN_USE", principal)
    platform.rest.run("POST", f"projects/{project}/branches/production/roles", {"spec": {
        "postgres_role": login, "identity_type": "SERVICE_PRINCIPAL", "membership_roles": ["DATABRICKS_SUPERUSER"]}})  # fmt: skip
    platform.sql(primary, f'grant create on schema public to "{login}"')
    del environment["DATABRICKS_TOKEN"]
    environment |= {"DATABRICKS_CLIENT_ID": login, "DATABRICKS_CLIENT_SECRET": people.secret_of(principal)["secret"]}
    seen = node_programs.run("queries.mjs", environment)
    assert seen["user"] == login and seen["session"]["name"] == login and seen["sum"] == "1.70"


def test_an_endpoint_that_sleeps_is_woken(platform, project, environment):
    platform.sleep(project)
    assert node_programs.run("queries.mjs", environment)["sum"] == "1.70"


def test_a_certificate_that_nobody_vouches_for_is_refused(environment):
    result = node_programs.run("queries.mjs", {**environment, "NODE_EXTRA_CA_CERTS": ""}, check=False)
    assert result.returncode != 0
    assert "certificate" in result.stderr, result.stderr


def test_a_wrong_token_is_told_so(environment):
    wrong = {**environment, "DATABRICKS_TOKEN": "dapi0", "PGUSER": "admin@localhost"}
    result = node_programs.run("queries.mjs", wrong, check=False)
    assert result.returncode != 0
    assert "token" in result.stderr.lower(), result.stderr

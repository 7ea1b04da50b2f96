"""Data directories of older versions: what they lack is made up for, and nobody is locked out meanwhile."""

import sqlite3

import pytest

OWNER = "admin@localhost"
MARKED = ("select member::regrole::text from pg_auth_members where roleid = to_regrole('databricks_identity_user')"
          " and not admin_option order by 1")  # fmt: skip


def roles(rest, project, branch="production"):
    listed = rest.get(f"projects/{project}/branches/{branch}/roles")["roles"]
    return {role["role_id"]: (role["status"]["identity_type"], role["status"]["auth_method"]) for role in listed}


def marked(platform, endpoint):
    with platform.direct(endpoint) as connection:
        return [row[0] for row in connection.execute(MARKED).fetchall()]


def age(platform, endpoint):
    """As the versions left a branch that only had the metadata for what its roles stand for; and a tenant who tries his luck there."""
    with platform.direct(endpoint) as connection:
        connection.execute("comment on role databricks_superuser is null")
        for kind in ("user", "service_principal", "group"):
            connection.execute(f"drop role databricks_identity_{kind}")
    with platform.connect(endpoint) as connection:
        connection.execute("create role databricks_identity_user")
        connection.execute("create role eve login")
        connection.execute("grant databricks_identity_user to eve with admin false, inherit false, set false")


def forget_inventories(platform):
    for path in platform.directory.glob("computes/*/inventory.json"):
        path.unlink()
    with sqlite3.connect(platform.directory / "metadata.db") as metadata:
        metadata.execute("update role set oid = 0")
    metadata.close()


@pytest.mark.parametrize("has_inventory", [False, True], ids=["before inventories", "with one"])
def test_the_owner_of_an_older_project_is_not_locked_out(own_platform, new_name, has_inventory):
    platform, project = own_platform(), new_name()
    rest = platform.rest
    rest.create_project(project)
    endpoint = rest.endpoint(project)
    age(platform, endpoint)
    then = platform.sql(endpoint, "select pg_current_wal_insert_lsn()::text")[0][0]
    platform.stop()
    if not has_inventory:
        forget_inventories(platform)
    platform.start()
    rest = platform.rest
    user, plain = ("USER", "LAKEBASE_OAUTH_V1"), ("IDENTITY_TYPE_UNSPECIFIED", "PG_PASSWORD_SCRAM_SHA_256")
    assert roles(rest, project)["admin"] == user
    assert platform.sql(endpoint, "select current_user") == [(OWNER,)]
    assert roles(rest, project) == {"admin": user, "eve": plain}
    # The look after the one that found it out has written it down, and what the tenant had granted is gone.
    roles(rest, project)
    assert marked(platform, endpoint) == [f'"{OWNER}"']
    assert roles(rest, project) == {"admin": user, "eve": plain}
    # A branch of a moment before that is an older one again; it gets its markers before its first change.
    rest.create_branch(project, "past", source_branch_lsn=then)
    past = rest.endpoint(project, "past")
    rest.run("POST", f"projects/{project}/branches/past/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    assert marked(platform, past) == [f'"{OWNER}"']
    assert roles(rest, project, "past") == {"admin": user, "eve": plain, "app": plain}
    assert platform.sql(past, "select current_user") == [(OWNER,)]
    # There, too, it is what the API says of a role that counts: it can be taken from it, and is not given back.
    rest.run("POST", f"projects/{project}/branches/past/roles", {"spec": {"postgres_role": OWNER, "auth_method": "NO_LOGIN"}},
             role_id="admin", replace_existing="true")  # fmt: skip
    assert roles(rest, project, "past")["admin"] == ("IDENTITY_TYPE_UNSPECIFIED", "NO_LOGIN")
    assert marked(platform, past) == []


def test_a_plain_role_of_an_older_branch_becomes_nobody_by_sql(own_platform, new_name):
    """Nor by being made anew under the name of one that stood for somebody."""
    platform, project = own_platform(), new_name()
    rest = platform.rest
    rest.create_project(project)
    rest.run("POST", f"projects/{project}/branches/production/roles",
             {"spec": {"postgres_role": "bob@example.com", "identity_type": "USER"}}, role_id="bob")  # fmt: skip
    endpoint = rest.endpoint(project)
    age(platform, endpoint)
    assert roles(rest, project)["bob"] == ("USER", "LAKEBASE_OAUTH_V1")
    platform.sql(endpoint, "drop role \"bob@example.com\"")
    platform.sql(endpoint, "create role \"bob@example.com\" login")
    assert roles(rest, project)["bob"][0] == "IDENTITY_TYPE_UNSPECIFIED"
    assert roles(rest, project)["admin"][0] == "USER"
    assert marked(platform, endpoint) == [f'"{OWNER}"']

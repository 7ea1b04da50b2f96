"""Roles and databases through the API: real in Postgres, whoever changed them, and inherited by branches."""

import concurrent.futures
import re

import psycopg
import pytest

from harness.rest import OperationFailed
from harness.shapes import TIMESTAMP, assert_shape

OWNER = "admin@localhost"


def branch_name(project, branch="production"):
    return f"projects/{project}/branches/{branch}"


def create_role(rest, project, role, branch="production", query=None, **spec):
    return rest.run("POST", f"{branch_name(project, branch)}/roles", {"spec": spec}, role_id=role, **(query or {}))


def create_database(rest, project, database, name, role="admin", branch="production", query=None):
    spec = {"postgres_database": name, "role": f"{branch_name(project, branch)}/roles/{role}"}
    return rest.run("POST", f"{branch_name(project, branch)}/databases", {"spec": spec}, database_id=database, **(query or {}))


def roles(rest, project, branch="production"):
    return {role["role_id"]: role for role in rest.get(f"{branch_name(project, branch)}/roles")["roles"]}


def databases(rest, project, branch="production"):
    return {one["database_id"]: one for one in rest.get(f"{branch_name(project, branch)}/databases")["databases"]}


def catalog(platform, endpoint, name, database="databricks_postgres"):
    with platform.direct(endpoint, dbname=database) as connection:
        return connection.execute(
            "select rolcanlogin, rolcreatedb, rolcreaterole, rolbypassrls, rolsuper,"
            " pg_has_role(oid, 'databricks_superuser', 'member'), rolpassword is not null"
            " from pg_authid where rolname = %s", [name]).fetchone()  # fmt: skip


def test_a_role_is_made_in_postgres_and_shown_as_it_is(platform, rest, project, primary):
    role = create_role(rest, project, "app", postgres_role="app_role", attributes={"createdb": True})
    name = f"{branch_name(project)}/roles/app"
    assert_shape(role, {
        "name": name, "role_id": "app", "parent": branch_name(project), "create_time": TIMESTAMP, "update_time": TIMESTAMP,
        "status": {"role_id": "app", "postgres_role": "app_role", "identity_type": "IDENTITY_TYPE_UNSPECIFIED",
                   "auth_method": "PG_PASSWORD_SCRAM_SHA_256",
                   "attributes": {"createdb": True, "createrole": False, "bypassrls": False}},
    })  # fmt: skip
    assert rest.get(name) == role
    assert catalog(platform, primary, "app_role") == (True, True, False, False, False, False, True)
    rest.run("DELETE", name)
    assert rest.refused("GET", name).status == 404
    assert catalog(platform, primary, "app_role") is None


@pytest.mark.parametrize(
    ("spec", "auth", "row"),
    [({"identity_type": "USER"}, "LAKEBASE_OAUTH_V1", (True, False, False, False, False, False, False)),
     ({"identity_type": "SERVICE_PRINCIPAL"}, "LAKEBASE_OAUTH_V1", (True, False, False, False, False, False, False)),
     ({"identity_type": "GROUP"}, "LAKEBASE_OAUTH_V1", (True, False, False, False, False, False, False)),
     ({"auth_method": "NO_LOGIN"}, "NO_LOGIN", (False, False, False, False, False, False, False)),
     ({"identity_type": "USER", "auth_method": "NO_LOGIN"}, "NO_LOGIN", (False, False, False, False, False, False, False)),
     ({"membership_roles": ["DATABRICKS_SUPERUSER"], "attributes": {"createrole": True, "bypassrls": True}},
      "PG_PASSWORD_SCRAM_SHA_256", (True, False, True, True, False, True, True))],
    ids=str,
)  # fmt: skip
def test_kinds_of_roles(platform, rest, project, primary, new_name, spec, auth, row):
    name, identity = new_name(), spec.get("identity_type", "IDENTITY_TYPE_UNSPECIFIED")
    role = create_role(rest, project, name, postgres_role=f"{name}@example.com", **spec)
    assert (role["status"]["auth_method"], role["status"]["identity_type"]) == (auth, identity)
    assert catalog(platform, primary, f"{name}@example.com") == row
    assert rest.get(role["name"]) == role
    rest.run("DELETE", role["name"])


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [({"role_id": "x"}, None, r"Field 'role' is required and must contain at least one subfield.*"),
     ({"role_id": "x"}, {}, r"Field 'role' is required and must contain at least one subfield.*"),
     ({"role_id": "X"}, {"spec": {"postgres_role": "x"}}, r"Field role_id must match pattern .*, got 'X'\."),
     ({}, {"spec": {"attributes": {"createdb": True}}}, r"Field 'role.spec.postgres_role' is required.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "pg_x"}}, r".*'pg_x' is reserved.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "cloud_admin"}}, r".*reserved.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "databricks_superuser"}}, r".*reserved.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x" * 64}}, r".*at most 63 bytes.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x", "identity_type": "ROBOT"}}, r".*identity_type.*ROBOT.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x", "auth_method": "MD5"}}, r".*auth_method.*MD5.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x", "auth_method": "LAKEBASE_OAUTH_V1"}}, r".*needs an identity.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x", "membership_roles": ["ROOT"]}}, r".*membership_roles.*"),
     ({"role_id": "x"}, {"spec": {"postgres_role": "x", "attributes": {"createdb": "yes"}}}, r".*createdb.*")],
    ids=str,
)  # fmt: skip
def test_bad_roles(rest, project, query, body, message):
    before = roles(rest, project)
    error = rest.refused("POST", f"{branch_name(project)}/roles", body, **query)
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE"), error
    assert re.match(message, error.message), error.message
    assert roles(rest, project) == before


def test_duplicates_are_bad_requests(rest, project):
    create_role(rest, project, "twice", postgres_role="twice")
    for query, name in (("twice", "other"), ("other", "twice")):
        error = rest.refused("POST", f"{branch_name(project)}/roles", {"spec": {"postgres_role": name}}, role_id=query)
        assert (error.status, error.code) == (400, "BAD_REQUEST")
        assert error.message.startswith("role with that name already exists")
    create_database(rest, project, "twice", "twice", "twice")
    for query, name in (("twice", "other"), ("other", "twice")):
        spec = {"postgres_database": name, "role": f"{branch_name(project)}/roles/twice"}
        error = rest.refused("POST", f"{branch_name(project)}/databases", {"spec": spec}, database_id=query)
        assert (error.status, error.code) == (400, "BAD_REQUEST")
        assert error.message.startswith("database with that name already exists")
    rest.run("DELETE", f"{branch_name(project)}/databases/twice")
    rest.run("DELETE", f"{branch_name(project)}/roles/twice")


def test_masks_change_what_they_name(platform, rest, project, primary):
    role = create_role(rest, project, "masked", postgres_role="masked",
                       attributes={"createdb": True, "createrole": True}, membership_roles=["DATABRICKS_SUPERUSER"])  # fmt: skip
    name = role["name"]

    def patch(mask, **spec):
        status = rest.run("PATCH", name, {"spec": spec}, update_mask=mask)["status"]
        assert rest.get(name)["status"] == status
        a = status["attributes"]
        row = catalog(platform, primary, "masked")
        assert row[1:4] == (a["createdb"], a["createrole"], a["bypassrls"])
        assert row[5] == ("membership_roles" in status)
        return a["createdb"], a["createrole"], a["bypassrls"], row[5]

    assert patch("spec.attributes.createdb", attributes={"createdb": False}) == (False, True, False, True)
    assert patch("spec.attributes.bypassrls,spec.attributes.createdb",
                 attributes={"createdb": True, "bypassrls": True}) == (True, True, True, True)  # fmt: skip
    assert patch("spec.attributes", attributes={"createrole": True}) == (False, True, False, True)
    # `spec` keeps the attributes that the body lacks, but overwrites the memberships.
    assert patch("spec", postgres_role="ignored", attributes={"createdb": True}) == (True, True, False, False)
    assert patch("spec.membership_roles", membership_roles=["DATABRICKS_SUPERUSER"]) == (True, True, False, True)
    assert patch("spec.membership_roles", membership_roles=[]) == (True, True, False, False)
    assert patch("*", attributes={"bypassrls": True}) == (False, False, True, False)
    for mask, message in (
        ("spec.postgres_role", "Unknown field path in update_mask"), ("spec.auth_method", "Unknown field path in update_mask"),
        ("spec.identity_type", "Unknown field path in update_mask"), ("nope", "Unknown field path in update_mask"),
        ("spec,spec.attributes", "update_mask names a field and a part of it"),
        ("spec.attributes,spec.attributes.createdb", "update_mask names a field and a part of it"),
        ("spec.membership_roles", "Field 'role.spec.membership_roles' is in update_mask and must be populated"),
    ):  # fmt: skip
        error = rest.refused("PATCH", name, {"spec": {"postgres_role": "x", "attributes": {"createdb": True}}}, update_mask=mask)
        assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE")
        assert error.message.startswith(message), error.message
    rest.run("DELETE", name)


def test_what_sql_changes_is_shown_at_once(platform, rest, project, primary):
    with platform.connect(primary) as connection:
        connection.autocommit = True
        connection.execute("create role \"Made By SQL\" nologin createdb")
        made = roles(rest, project)["made-by-sql"]
        assert made["status"]["postgres_role"] == "Made By SQL"
        assert (made["status"]["auth_method"], made["status"]["attributes"]["createdb"]) == ("NO_LOGIN", True)
        connection.execute("alter role \"Made By SQL\" login nocreatedb")
        changed = rest.get(made["name"])
        assert (changed["status"]["auth_method"], changed["status"]["attributes"]["createdb"]) == ("PG_PASSWORD_SCRAM_SHA_256", False)
        assert changed["create_time"] == made["create_time"] and changed["update_time"] > made["update_time"]
        # A rename keeps the id; another role of the old name gets one of its own.
        connection.execute("alter role \"Made By SQL\" rename to renamed")
        connection.execute("create role \"Made By SQL\"")
        assert rest.get(made["name"])["status"]["postgres_role"] == "renamed"
        assert roles(rest, project)["made-by-sql-2"]["status"]["postgres_role"] == "Made By SQL"
        connection.execute("create database \"Orders_2026\"")
        assert databases(rest, project)["orders-2026"]["status"] == {
            "database_id": "orders-2026", "postgres_database": "Orders_2026", "role": f"{branch_name(project)}/roles/admin"}  # fmt: skip
        connection.execute("drop database \"Orders_2026\"")
        connection.execute("drop role renamed")
        connection.execute("drop role \"Made By SQL\"")
    assert not {"made-by-sql", "made-by-sql-2"} & set(roles(rest, project))
    assert set(databases(rest, project)) == {"databricks-postgres"}


def test_an_api_change_keeps_what_sql_did(platform, rest, project, primary):
    role = create_role(rest, project, "mixed", postgres_role="mixed")
    with platform.connect(primary) as connection:
        connection.autocommit = True
        connection.execute("alter role mixed createdb valid until '2030-01-01'")
        connection.execute("alter role mixed set work_mem = '8MB'")
    changed = rest.run("PATCH", role["name"], {"spec": {"attributes": {"bypassrls": True}}}, update_mask="spec.attributes.bypassrls")
    assert changed["status"]["attributes"] == {"createdb": True, "createrole": False, "bypassrls": True}
    # Nor does a change of the endpoint bring back what was dropped.
    with platform.connect(primary) as connection:
        connection.autocommit = True
        connection.execute("drop role mixed")
    rest.update_endpoint(project, "production", "spec.suspend_timeout_duration", {"suspend_timeout_duration": "600s"})
    assert "mixed" not in roles(rest, project)
    assert catalog(platform, primary, "mixed") is None


def test_what_is_known_while_it_sleeps(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    endpoint = rest.endpoint(project)
    with platform.connect(endpoint) as connection:
        connection.autocommit = True
        connection.execute("create role before_sleep createrole")
    rest.update_endpoint(project, "production", "spec.disabled", {"disabled": True})
    platform.wait_asleep(endpoint)
    assert roles(rest, project)["before-sleep"]["status"]["attributes"]["createrole"] is True
    assert platform.is_asleep(endpoint)
    # A change wakes what is disabled only for as long as it takes.
    create_role(rest, project, "made-asleep", postgres_role="made_asleep")
    platform.wait_asleep(endpoint)
    assert {"before-sleep", "made-asleep"} <= set(roles(rest, project))
    assert rest.endpoint(project)["status"]["disabled"] is True
    rest.update_endpoint(project, "production", "spec.disabled", {"disabled": False})
    assert catalog_after_wake(platform, endpoint, "made_asleep")
    rest.delete_project(project)


def catalog_after_wake(platform, endpoint, name):
    with platform.connect(endpoint) as connection:
        return connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone() is not None


def test_databases_are_made_renamed_handed_over_and_dropped(platform, rest, project, primary):
    create_role(rest, project, "keeper", postgres_role="keeper")
    database = create_database(rest, project, "my-database", "app_db")
    name = database["name"]
    assert database["status"] == {"database_id": "my-database", "postgres_database": "app_db",
                                  "role": f"{branch_name(project)}/roles/admin"}  # fmt: skip
    with platform.connect(primary, dbname="app_db") as session:
        session.execute("create table t(a int)")
        session.commit()
        # A rename ends the sessions of the database, and says nothing of it in the way.
        renamed = rest.run("PATCH", name, {"spec": {"postgres_database": "renamed_db"}}, update_mask="spec.postgres_database")
        assert renamed["status"]["postgres_database"] == "renamed_db"
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")
    with platform.connect(primary, dbname="renamed_db") as session:
        assert session.execute("select count(*) from t").fetchone() == (0,)
    owner = f"{branch_name(project)}/roles/keeper"
    handed = rest.run("PATCH", name, {"spec": {"role": owner}}, update_mask="spec.role")
    assert handed["status"]["role"] == owner and handed["status"]["postgres_database"] == "renamed_db"
    assert handed["create_time"] == database["create_time"]
    both = rest.run("PATCH", name, {"spec": {"postgres_database": "app_db", "role": f"{branch_name(project)}/roles/admin"}}, update_mask="spec")
    assert both["status"] == database["status"]
    with platform.connect(primary, dbname="app_db"):
        rest.run("DELETE", name)
    assert rest.refused("GET", name).status == 404
    with platform.direct(primary) as connection:
        assert connection.execute("select 1 from pg_database where datname = 'app_db'").fetchone() is None
    rest.run("DELETE", owner)


@pytest.mark.parametrize(
    ("query", "spec", "status", "message"),
    [({"database_id": "x"}, {"postgres_database": "x"}, 400, "Field 'database.spec.role' is required, expected non-default value (not \"\")!"),
     ({"database_id": "x"}, {"postgres_database": "x", "role": ""}, 400, "Field 'database.spec.role' is required, expected non-default value (not \"\")!"),
     ({"database_id": "x"}, {"postgres_database": "x", "role": "admin"}, 400, "Field 'database.spec.role' must be a full name"),
     ({"database_id": "x"}, {"postgres_database": "x", "role": "{b}/roles/nope"}, 404, "role not found; role_id:\"nope\""),
     ({"database_id": "Bad_Id"}, {"postgres_database": "x", "role": "{b}/roles/admin"}, 400,
      "Field database_id must match pattern ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$, got 'Bad_Id'."),
     ({"database_id": "postgres"}, {"postgres_database": "", "role": "{b}/roles/admin"}, 400, "Field 'database.spec.postgres_database'"),
     ({"database_id": "x"}, {"postgres_database": "template1", "role": "{b}/roles/admin"}, 400, "Field 'database.spec.postgres_database'"),
     ({"database_id": "x"}, {"postgres_database": "x" * 64, "role": "{b}/roles/admin"}, 400, "Field 'database.spec.postgres_database'")],
    ids=str,
)  # fmt: skip
def test_bad_databases(rest, project, query, spec, status, message):
    spec = {key: value.format(b=branch_name(project)) for key, value in spec.items()}
    error = rest.refused("POST", f"{branch_name(project)}/databases", {"spec": spec}, **query)
    assert error.status == status and error.message.startswith(message), error
    assert set(databases(rest, project)) == {"databricks-postgres"}


def test_ids_are_made_when_none_is_given(rest, project):
    role = rest.run("POST", f"{branch_name(project)}/roles", {"spec": {"postgres_role": "Some_Name"}})
    assert role["role_id"] == "some-name"
    spec = {"postgres_database": "Some_Name", "role": role["name"]}
    database = rest.run("POST", f"{branch_name(project)}/databases", {"spec": spec})
    assert database["database_id"] == "some-name"
    rest.run("DELETE", database["name"])
    rest.run("DELETE", role["name"])


def test_replacing_adopts_what_is_there(rest, project):
    """How declarative tools take over what a project begins with."""
    owner = rest.get(f"{branch_name(project)}/roles/admin")
    spec = {"postgres_role": OWNER, "identity_type": "USER", "auth_method": "LAKEBASE_OAUTH_V1",
            "attributes": {"createdb": True, "createrole": True, "bypassrls": True}, "membership_roles": ["DATABRICKS_SUPERUSER"]}  # fmt: skip
    again = create_role(rest, project, "admin", query={"replace_existing": "true"}, **spec)
    assert again["status"] == owner["status"] and again["create_time"] == owner["create_time"]
    assert again["update_time"] > owner["update_time"]
    before = databases(rest, project)["databricks-postgres"]
    after = create_database(rest, project, "databricks-postgres", "databricks_postgres", query={"replace_existing": "true"})
    assert after["status"] == before["status"] and after["create_time"] == before["create_time"]
    new = create_role(rest, project, "fresh", query={"replace_existing": "true"}, postgres_role="fresh")
    assert new["status"]["postgres_role"] == "fresh"
    error = rest.refused("POST", f"{branch_name(project)}/roles", {"spec": {"postgres_role": "another"}},
                         role_id="fresh", replace_existing="true")  # fmt: skip
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE")
    # It replaces everything else: what the spec lacks is the default again.
    create_role(rest, project, "fresh", query={"replace_existing": "true"}, postgres_role="fresh", attributes={"createdb": True})
    plain = create_role(rest, project, "fresh", query={"replace_existing": "true"}, postgres_role="fresh")
    assert plain["status"]["attributes"] == {"createdb": False, "createrole": False, "bypassrls": False}
    rest.run("DELETE", new["name"])


def test_a_role_that_owns_things_hands_them_over(platform, rest, project, primary):
    create_role(rest, project, "leaver", postgres_role="leaver")
    create_role(rest, project, "heir", postgres_role="heir")
    create_database(rest, project, "leavers", "leavers", "leaver")
    with platform.direct(primary) as connection:
        connection.execute("create schema leaving authorization leaver")
        connection.execute("create table leaving.t as select 1 as a")
        connection.execute("alter table leaving.t owner to leaver")
    name = f"{branch_name(project)}/roles/leaver"
    with pytest.raises(OperationFailed) as refused:
        rest.run("DELETE", name)
    assert "depend" in refused.value.error["message"], refused.value.error
    assert rest.get(name)["status"]["postgres_role"] == "leaver"
    assert rest.refused("DELETE", name, reassign_owned_to=name).status == 400
    assert rest.refused("DELETE", name, reassign_owned_to=f"{branch_name(project)}/roles/nope").status == 404
    assert rest.refused("DELETE", name, reassign_owned_to="projects/other/branches/production/roles/heir").status == 400
    rest.run("DELETE", name, reassign_owned_to=f"{branch_name(project)}/roles/heir")
    assert databases(rest, project)["leavers"]["status"]["role"] == f"{branch_name(project)}/roles/heir"
    with platform.direct(primary) as connection:
        assert connection.execute("select tableowner from pg_tables where tablename = 't'").fetchone() == ("heir",)
        connection.execute("drop schema leaving cascade")
    rest.run("DELETE", f"{branch_name(project)}/databases/leavers")
    rest.run("DELETE", f"{branch_name(project)}/roles/heir")


def test_passwords_are_made_and_shown(platform, rest, project, primary):
    role = create_role(rest, project, "worker", postgres_role="worker")
    password = rest.call("POST", role["name"] + "/password", {})["password"]
    assert re.fullmatch(r"[A-Za-z0-9]{24}", password)
    assert rest.call("POST", role["name"] + "/password", {})["password"] == password
    with platform.direct(primary) as connection:
        (verifier,) = connection.execute("select rolpassword from pg_authid where rolname = 'worker'").fetchone()
    assert matches(verifier, password)
    assert password not in platform.log_tails(100000)
    # One that SQL has set is not known.
    with platform.connect(primary) as connection:
        connection.execute("alter role worker password 'another'")
    error = rest.refused("POST", role["name"] + "/password", {})
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE") and "set by SQL" in error.message
    error = rest.refused("POST", f"{branch_name(project)}/roles/admin/password", {})
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE")
    rest.run("DELETE", role["name"])


def matches(verifier, password):
    import base64
    import hashlib
    import hmac

    _, head, keys = verifier.split("$")
    iterations, salt = head.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return keys == f"{base64.b64encode(stored).decode()}:{base64.b64encode(hmac.digest(salted, b'Server Key', 'sha256')).decode()}"


def verifier_of(platform, endpoint, role):
    with platform.connect(endpoint):
        pass  # awake
    with platform.direct(endpoint) as connection:
        return connection.execute("select rolpassword from pg_authid where rolname = %s", [role]).fetchone()[0]


def test_children_inherit_with_the_same_ids_and_passwords(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    create_role(rest, project, "app", postgres_role="app_role")
    create_database(rest, project, "shop", "shop_db", "app")
    password = rest.call("POST", f"{branch_name(project)}/roles/app/password", {})["password"]
    rest.create_branch(project, "dev")
    assert set(roles(rest, project, "dev")) == {"admin", "app"}
    inherited = databases(rest, project, "dev")["shop"]["status"]
    assert inherited == {"database_id": "shop", "postgres_database": "shop_db", "role": f"{branch_name(project, 'dev')}/roles/app"}
    assert rest.call("POST", f"{branch_name(project, 'dev')}/roles/app/password", {})["password"] == password
    error = rest.refused("POST", f"{branch_name(project, 'dev')}/roles", {"spec": {"postgres_role": "app_role"}}, role_id="app")
    assert (error.status, error.code) == (400, "BAD_REQUEST")
    # From then on each goes its own way.
    rest.run("DELETE", f"{branch_name(project, 'dev')}/databases/shop")
    rest.run("DELETE", f"{branch_name(project, 'dev')}/roles/app")
    assert "app" in roles(rest, project) and "app" not in roles(rest, project, "dev")
    # A reset brings the parent's back.
    rest.reset_branch(project, "dev")
    assert set(roles(rest, project, "dev")) == {"admin", "app"} and "shop" in databases(rest, project, "dev")
    rest.delete_project(project)


def test_children_of_a_protected_branch_have_passwords_of_their_own(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    create_role(rest, project, "app", postgres_role="app_role")
    rest.run("PATCH", branch_name(project), {"spec": {"is_protected": True}}, update_mask="spec.is_protected")
    rest.create_branch(project, "dev")
    old, new = (rest.call("POST", f"{branch_name(project, b)}/roles/app/password", {})["password"] for b in ("production", "dev"))
    assert old != new
    for branch, password, other in (("production", old, new), ("dev", new, old)):
        verifier = verifier_of(platform, rest.endpoint(project, branch), "app_role")
        assert matches(verifier, password) and not matches(verifier, other)
    rest.run("PATCH", branch_name(project), {"spec": {"is_protected": False}}, update_mask="spec.is_protected")
    rest.delete_project(project)


def test_a_branch_of_the_past_has_the_roles_of_then(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    create_role(rest, project, "early", postgres_role="early")
    with platform.connect(rest.endpoint(project)) as connection:
        (then,) = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    rest.run("DELETE", f"{branch_name(project)}/roles/early")
    create_role(rest, project, "late", postgres_role="late")
    rest.create_branch(project, "past", source_branch_lsn=then)
    assert set(roles(rest, project, "past")) == {"admin", "early"}
    rest.delete_project(project)


def test_two_at_once_queue(rest, project):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: create_role(rest, project, f"r{i}", postgres_role=f"r{i}"), range(4)))
    assert {role["role_id"] for role in made} == {"r0", "r1", "r2", "r3"}
    for role in made:
        rest.run("DELETE", role["name"])


def test_a_project_may_begin_with_other_names(platform, rest, new_name):
    project = new_name()
    rest.create_project(project, {
        "initial_role_spec": {"postgres_role": "boss", "attributes": {"createdb": True}, "membership_roles": ["DATABRICKS_SUPERUSER"]},
        "initial_database_spec": {"postgres_database": "shop_db"},
    })  # fmt: skip
    assert set(roles(rest, project)) == {"boss"} and set(databases(rest, project)) == {"shop-db"}
    assert databases(rest, project)["shop-db"]["status"]["role"] == f"{branch_name(project)}/roles/boss"
    password = rest.call("POST", f"{branch_name(project)}/roles/boss/password", {})["password"]
    endpoint = rest.endpoint(project)
    assert catalog(platform, endpoint, "boss", "shop_db") == (True, True, False, False, False, True, True)
    with platform.direct(endpoint, dbname="shop_db") as connection:
        (verifier,) = connection.execute("select rolpassword from pg_authid where rolname = 'boss'").fetchone()
        assert connection.execute("select count(*) from pg_database where datname = 'databricks_postgres'").fetchone() == (0,)
    assert matches(verifier, password)
    rest.delete_project(project)


@pytest.mark.parametrize(
    "body",
    [{"initial_role_spec": {"attributes": {"createdb": True}}}, {"initial_role_spec": {"postgres_role": "pg_x"}},
     {"initial_database_spec": {"postgres_database": "postgres"}}, {"initial_database_spec": {"postgres_database": "x" * 64}}],
    ids=str,
)  # fmt: skip
def test_bad_beginnings(rest, new_name, body):
    project = new_name()
    error = rest.refused("POST", "projects", body, project_id=project)
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE")
    assert rest.refused("GET", f"projects/{project}").status == 404

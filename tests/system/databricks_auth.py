"""Roles of identities made with SQL: the extension databricks_auth, as guides use it."""

import subprocess

import psycopg
import psycopg.errors
import pytest

OWNER = "admin@localhost"


# The owner's own role is one of an identity, too.
OTHERS = "databricks_list_roles where role_name <> 'admin@localhost'"


def create(connection, name, kind):
    return connection.execute("select databricks_create_role(%s, %s)", (name, kind)).fetchone()


def test_every_type(platform, project, primary):
    with platform.connect(primary) as connection:
        connection.execute("create extension if not exists databricks_auth")
        connection.execute("create extension if not exists databricks_auth")
        create(connection, "alice@example.com", "USER")
        create(connection, "0ad623cd-2827-40d9-917e-1b9f824e4c57", "service_principal")  # as some guides write it
        create(connection, 'data "team"; --', "GROUP")
        assert connection.execute(f"select * from {OTHERS} order by 2").fetchall() == [
            ('data "team"; --', "group"), ("0ad623cd-2827-40d9-917e-1b9f824e4c57", "service_principal"), ("alice@example.com", "user")]  # fmt: skip
        assert connection.execute("select rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolpassword is null"
                                  " from pg_authid where rolname = 'alice@example.com'").fetchone() == (True, *[False] * 5, True)  # fmt: skip
        # The creator administers it, as with CREATE ROLE, but is not it.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute('set role "alice@example.com"')
        connection.execute('grant "alice@example.com" to current_user')
        connection.execute('set role "alice@example.com"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied to create role"):
            create(connection, "x", "USER")
        connection.execute("reset role")
        connection.execute('drop role "alice@example.com"')
        create(connection, "alice@example.com", "USER")
    # What a role stands for goes along into a branch.
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select identity_type from databricks_list_roles where role_name = 'alice@example.com'") == [("user",)]


def test_mistakes(platform, primary):
    with platform.connect(primary) as connection:
        connection.execute("create extension databricks_auth")
        create(connection, "bob@example.com", "USER")
        connection.execute("create role plain_one")
        errors = psycopg.errors
        for name, kind, error, words in (
            ("bob@example.com", "USER", errors.DuplicateObject, "already exists"),
            ("plain_one", "GROUP", errors.DuplicateObject, "already exists"),
            ("x", "ROLE", errors.InvalidParameterValue, "not a type of identity"),
            ("x", None, errors.InvalidParameterValue, "not a type of identity"),
            ("", "USER", errors.InvalidName, "must not be empty"),
            (None, "USER", errors.InvalidName, "must not be empty"),
            ("a\nb", "USER", errors.InvalidName, "control character"),
            ("ä" * 32, "USER", errors.NameTooLong, "too long"),
            ("databricks_reader", "USER", errors.ReservedName, "reserved"),
            ("pg_reader", "USER", errors.ReservedName, "reserved"),
            ("cloud_admin", "SERVICE_PRINCIPAL", errors.ReservedName, "reserved"),
        ):  # fmt: skip
            with pytest.raises(error, match=words):
                create(connection, name, kind)
        create(connection, "ä" * 31, "USER")
        assert connection.execute(f"select count(*) from {OTHERS}").fetchone() == (2,)


def test_who_may(platform, primary):
    """Members of databricks_superuser, also without CREATEROLE, and whoever has that; in every database, theirs or not."""
    with platform.connect(primary) as connection:
        connection.execute("create role maker login createrole")
        connection.execute("create role nobody login")
        connection.execute("create database other template template0")
    with platform.direct(primary) as connection:
        connection.execute("create role member login in role databricks_superuser")
    for user, database in (("maker", "other"), ("member", "databricks_postgres"), ("member", "postgres")):
        with platform.direct(primary, user=user, dbname=database) as connection:
            connection.execute("create extension if not exists databricks_auth")
            create(connection, f"by {user} in {database}", "USER")
            assert connection.execute("select member::regrole::text, admin_option, inherit_option, set_option from pg_auth_members"
                                      " where roleid = (select oid from pg_roles where rolname = %s)", (f"by {user} in {database}",)).fetchall() == [
                (user, True, False, False)]  # fmt: skip
    with platform.direct(primary, user="nobody", dbname="other") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied to create role"):
            create(connection, "x", "USER")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("drop extension databricks_auth")
        assert connection.execute(f"select count(*) from {OTHERS}").fetchone() == (3,)
    with platform.direct(primary, user="nobody", dbname="databricks_postgres") as connection:
        connection.execute("create extension if not exists databricks_auth")  # is there
    with platform.direct(primary, user="maker", dbname="other") as connection:
        connection.execute("drop extension databricks_auth")
        connection.execute('drop role "by maker in other"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute('drop role "by member in postgres"')


def test_dump_and_restore(platform, primary):
    with platform.connect(primary) as connection:
        connection.execute("create extension databricks_auth")
        create(connection, "carol@example.com", "USER")
        connection.execute('create table t (i int); grant select on t to "carol@example.com"')
        connection.execute("create database copy")
    parameters = platform.direct_parameters(primary, user=OWNER)
    where = ["-h", parameters["host"], "-p", "5432", "-U", OWNER]
    dump = subprocess.run(["pg_dump", *where, "databricks_postgres"], capture_output=True, text=True, check=True).stdout
    assert "CREATE EXTENSION IF NOT EXISTS databricks_auth" in dump and "databricks_list_roles" not in dump
    restored = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "copy"], input=dump, capture_output=True, text=True)
    assert restored.returncode == 0, restored.stderr
    with platform.direct(primary, user=OWNER, dbname="copy") as connection:
        assert connection.execute("select has_table_privilege('carol@example.com', 't', 'select')").fetchone() == (True,)
        assert connection.execute(f"select role_name from {OTHERS}").fetchall() == [("carol@example.com",)]

"""The older instances API, by code written for it: databricks-sdk's `database`, the CLI's `database` and `psql INSTANCE`, and raw REST."""

import os
import signal
import time

import psycopg
import pytest

from clients.databricks_cli import DatabricksCli
from clients.installed import PYTHON_SDKS
from clients.python_sdk import PythonSdk
from harness import shapes
from harness.shapes import assert_shape
from harness.waiting import wait_until

DATABASE = "/api/2.0/database"


@pytest.fixture(params=PYTHON_SDKS)
def sdk(request, platform):
    with PythonSdk(request.param, platform.env()) as one:
        yield one


def refused(rest, status, method, path, body=None, **query):
    error = rest.refused(method, DATABASE + path, body, **query)
    assert error.status == status, error
    return error


def instance_of(rest, name):
    return rest.get(f"{DATABASE}/instances/{name}")


def wait_for_state(rest, name, state):
    return wait_until(
        lambda: (lambda now: now if now["state"] == state else None)(instance_of(rest, name)), f"{name} is {state}", 120
    )


def create(rest, name, **fields):
    made = rest.call("POST", f"{DATABASE}/instances", {"name": name, **fields})
    assert made["state"] == "STARTING" and made["name"] == name
    return wait_for_state(rest, name, "AVAILABLE")


def delete(rest, name, **query):
    assert rest.call("DELETE", f"{DATABASE}/instances/{name}", **query) == {}


@pytest.fixture
def remove(rest):
    """Names of instances to be gone at the end, with all that was made of them."""
    names = []
    yield names.append
    for name in names:
        answer = rest.ask("DELETE", f"{DATABASE}/instances/{name}", query={"force": "true"})
        assert answer.status in (200, 404), answer.raw


def credential(rest, *names):
    return rest.call("POST", f"{DATABASE}/credentials", {"instance_names": list(names), "request_id": "r"})["token"]


def connect(platform, instance, token, **more):
    parameters = {
        "host": instance["read_write_dns"], "port": platform.pg_port, "user": platform.rest.user(), "password": token,
        "dbname": "databricks_postgres", "sslmode": "verify-full", "sslrootcert": platform.ca, **more,
    }  # fmt: skip
    return psycopg.connect(**parameters, autocommit=True)


def test_code_written_for_instances_keeps_working(sdk, platform, rest, new_name, remove):
    name = new_name("inst")
    remove(name)
    made = sdk("database.create_database_instance_and_wait", database_instance={"name": name, "capacity": "CU_1", "retention_window_in_days": 14})
    assert made["state"] == "AVAILABLE" and made["effective_retention_window_in_days"] == 14
    assert sdk("database.get_database_instance", name=name) == made
    assert sdk("database.find_database_instance_by_uid", uid=made["uid"]) == made
    assert made in sdk("database.list_database_instances", page_size=1)
    assert sdk("database.list_synced_database_tables", instance_name=name) == []
    assert sdk("database.list_database_catalogs", instance_name=name) == []

    given = sdk("database.generate_database_credential", instance_names=[name])
    assert given["expiration_time"]
    with connect(platform, made, given["token"]) as connection:
        assert connection.execute("select current_user").fetchone() == (rest.user(),)
        assert connection.execute("show max_connections").fetchone() == ("1678",)  # of 8 CU

    # As the published documents write it: "*" with the one field that is meant.
    stopped = sdk("database.update_database_instance", name=name, database_instance={"name": name, "stopped": True}, update_mask="*")
    assert stopped["stopped"] and stopped["effective_stopped"] and stopped["capacity"] == "CU_1"
    wait_for_state(rest, name, "STOPPED")
    with pytest.raises(psycopg.OperationalError, match="disabled"):
        connect(platform, made, given["token"])
    sdk("database.update_database_instance", name=name, database_instance={"name": name, "stopped": False, "capacity": "CU_2"}, update_mask="*")
    available = wait_for_state(rest, name, "AVAILABLE")
    assert available["capacity"] == "CU_2" and not available["effective_stopped"]
    with connect(platform, made, given["token"]) as connection:
        assert connection.execute("show max_connections").fetchone() == ("3357",)  # of 16 CU: it was started anew

    refused = sdk.refused("database.create_database_instance_and_wait", database_instance={"name": name})
    assert (refused.kind, refused.code) == ("AlreadyExists", "ALREADY_EXISTS")
    refused = sdk.refused("database.update_database_instance", name=name, database_instance={"name": name}, update_mask="uid")
    assert refused.kind in ("BadRequest", "InvalidParameterValue")
    refused = sdk.refused("database.create_database_instance_and_wait", database_instance={"name": f"{name}-x", "node_count": 2})
    assert refused.kind == "NotImplemented" and "node_count" in refused.message
    refused = sdk.refused("database.create_database_catalog", catalog={"name": "c", "database_instance_name": name, "database_name": "d"})
    assert refused.kind == "NotImplemented"
    assert sdk.refused("database.get_synced_database_table", name="a.b.c").kind == "NotFound"
    assert sdk.refused("database.delete_database_instance", name=name, purge=False).kind in ("BadRequest", "InvalidParameterValue")
    assert sdk("database.delete_database_instance", name=name, purge=True) is None
    assert sdk.refused("database.get_database_instance", name=name).kind == "NotFound"


def test_a_child_has_the_data_of_its_moment(sdk, platform, rest, new_name, remove):
    parent, child, late = new_name("parent"), new_name("Child"), new_name("late")
    for name in (parent, child, late):
        remove(name)
    made = sdk("database.create_database_instance_and_wait", database_instance={"name": parent})
    token = credential(rest, parent)
    with connect(platform, made, token) as connection:
        connection.execute("create table t as select generate_series(1, 10) as id")
        (moment,) = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()
        connection.execute("insert into t values (11)")
    now = sdk("database.create_database_instance_and_wait", database_instance={"name": late, "parent_instance_ref": {"name": parent}})
    then = sdk("database.create_database_instance_and_wait", database_instance={
        "name": child, "capacity": "CU_1", "parent_instance_ref": {"name": parent, "lsn": moment}})  # fmt: skip
    assert now["parent_instance_ref"]["name"] == parent and now["parent_instance_ref"]["uid"] == made["uid"]
    assert then["name"] == child and then["parent_instance_ref"]["lsn"] == moment
    children = {ref["name"]: ref["uid"] for ref in sdk("database.get_database_instance", name=parent)["child_instance_refs"]}
    assert children == {child: then["uid"], late: now["uid"]}
    assert sdk("database.find_database_instance_by_uid", uid=then["uid"])["name"] == child

    # One credential for two of them; the third is not opened by it.
    both = sdk("database.generate_database_credential", instance_names=[child, late])["token"]
    for instance, rows in ((then, 10), (now, 11)):
        with connect(platform, instance, both) as connection:
            assert connection.execute("select count(*) from t").fetchone() == (rows,)
            connection.execute("delete from t")
    with pytest.raises(psycopg.OperationalError, match="another endpoint"):
        connect(platform, made, both)
    with connect(platform, made, token) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (11,)

    # The API of today sees branches, and gives no project a name that means one of them.
    assert rest.get(f"projects/{parent}/branches/{child.lower()}")["status"]["source_branch"] == f"projects/{parent}/branches/production"
    assert rest.refused("POST", "projects", {}, project_id=child.lower()).code == "ALREADY_EXISTS"
    error = sdk.refused("database.delete_database_instance", name=parent)
    assert "descendants" in error.message and error.code == "BAD_REQUEST"
    sdk("database.delete_database_instance", name=parent, force=True)
    assert {parent, child, late}.isdisjoint(one["name"] for one in sdk("database.list_database_instances"))


def test_roles_by_their_names(sdk, platform, rest, project):
    found = instance_of(rest, project)
    (own,) = sdk("database.list_database_instance_roles", instance_name=project)
    assert own["name"] == rest.user() and own["membership_role"] == "DATABRICKS_SUPERUSER"
    made = sdk("database.create_database_instance_role", instance_name=project, database_instance_role={
        "name": "app_role", "identity_type": "PG_ONLY", "attributes": {"createdb": True}})  # fmt: skip
    assert made["effective_attributes"] == {"createdb": True, "createrole": False, "bypassrls": False}
    # It is there when the answer is: nobody has to poll.
    with connect(platform, found, credential(rest, project)) as connection:
        assert connection.execute("select rolcreatedb from pg_roles where rolname = 'app_role'").fetchone() == (True,)
        connection.execute('create role "made by SQL"')
    with platform.direct(rest.endpoint(project)) as connection:
        connection.execute("create table owned as select 1 as a")
        connection.execute("create schema theirs authorization app_role")
        connection.execute("alter table owned set schema theirs")
        connection.execute("alter table theirs.owned owner to app_role")
    assert sdk("database.get_database_instance_role", instance_name=project, name="made by SQL")["identity_type"] == "PG_ONLY"
    other = sdk("database.create_database_instance_role", instance_name=project, database_instance_role={
        "name": "bob@example.com", "identity_type": "USER", "membership_role": "DATABRICKS_SUPERUSER"})  # fmt: skip
    assert other["membership_role"] == "DATABRICKS_SUPERUSER" and other["identity_type"] == "USER"
    assert "already exists" in sdk.refused(
        "database.create_database_instance_role", instance_name=project, database_instance_role={"name": "app_role"}).message  # fmt: skip
    # What Postgres says of a role that owns things comes back as the error of the call.
    error = sdk.refused("database.delete_database_instance_role", instance_name=project, name="app_role")
    assert "depend" in error.message, error
    sdk("database.delete_database_instance_role", instance_name=project, name="app_role", reassign_owned_to="bob@example.com")
    with connect(platform, found, credential(rest, project)) as connection:
        assert connection.execute("select tableowner from pg_tables where tablename = 'owned'").fetchone() == ("bob@example.com",)
        assert connection.execute("select count(*) from pg_roles where rolname = 'app_role'").fetchone() == (0,)
    sdk("database.delete_database_instance_role", instance_name=project, name="app_role", allow_missing=True)
    assert sdk.refused("database.delete_database_instance_role", instance_name=project, name="app_role").kind == "NotFound"
    platform.sleep(project)  # a sleeping compute is woken for it
    sdk("database.create_database_instance_role", instance_name=project, database_instance_role={"name": "late"})
    assert {one["name"] for one in sdk("database.list_database_instance_roles", instance_name=project, page_size=1)} == {
        rest.user(), "made by SQL", "bob@example.com", "late"}  # fmt: skip


def test_the_shape_of_answers(rest, new_name, remove):
    name = new_name("Shape")
    remove(name)
    given = {
        "name": name, "capacity": "CU_4", "retention_window_in_days": 35, "enable_pg_native_login": True, "node_count": 1,
        "enable_readable_secondaries": False, "stopped": False, "usage_policy_id": "policy", "custom_tags": [{"key": "k", "value": "v"}],
    }  # fmt: skip
    shown = {
        "name": name, "uid": shapes.UUID, "creator": rest.user(), "creation_time": shapes.TIMESTAMP, "pg_version": "PG_VERSION_17",
        "read_write_dns": shapes.text(r"127\.\d+\.\d+\.\d+"), "capacity": "CU_4", "effective_capacity": "CU_4",
        "effective_custom_tags": [{"key": "k", "value": "v"}], "effective_enable_pg_native_login": True,
        "effective_enable_readable_secondaries": False, "effective_node_count": 1, "effective_retention_window_in_days": 35,
        "effective_stopped": False, "effective_usage_policy_id": "policy",
    }  # fmt: skip
    made = rest.call("POST", f"{DATABASE}/instances", given)
    assert_shape(made, {**shown, **given, "state": "STARTING"})
    assert_shape(wait_for_state(rest, name, "AVAILABLE"), {**shown, "state": "AVAILABLE"})
    assert_shape(rest.get(f"projects/{name.lower()}")["status"]["custom_tags"], [{"key": "k", "value": "v"}])
    changed = rest.call("PATCH", f"{DATABASE}/instances/{name}", {"usage_policy_id": "other"}, update_mask="usage_policy_id")
    assert_shape(changed, {**shown, "state": "AVAILABLE", "usage_policy_id": "other", "effective_usage_policy_id": "other"})
    assert_shape(rest.call("POST", f"{DATABASE}/credentials", {"instance_names": [name]}),
                 {"token": shapes.JWT, "expiration_time": shapes.TIMESTAMP})  # fmt: skip
    assert_shape(rest.get(f"{DATABASE}/instances/{name}/databases"),
                 {"databases": [{"name": "databricks_postgres", "is_usable_by_customer": True}]})  # fmt: skip
    error = refused(rest, 404, "GET", "/instances/none-such")
    assert error.code == "NOT_FOUND" and error.body["details"][0]["metadata"] is not None
    refused(rest, 404, "GET", f"/instances/{name}%2Fx")
    refused(rest, 405, "PUT", f"/instances/{name}", {})
    refused(rest, 501, "POST", f"/instances/{name}/failover", {})
    refused(rest, 501, "POST", "/tables", {})


def test_projects_are_instances(rest, platform, project):
    found = instance_of(rest, project)
    assert found["capacity"] == "CU_1" and found["uid"] == rest.get(f"projects/{project}")["uid"]
    assert found["read_write_dns"] == rest.endpoint(project)["status"]["hosts"]["host"]
    rest.create_branch(project, "plain")  # nobody called it an instance
    assert "child_instance_refs" not in instance_of(rest, project)
    with connect(platform, found, credential(rest, project)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert "branch 'plain'" in refused(rest, 400, "DELETE", f"/instances/{project}").message
    platform.sleep(project)
    assert instance_of(rest, project)["state"] == "AVAILABLE"  # who connects wakes it


def test_stopped_from_the_beginning(rest, platform, new_name, remove):
    name = new_name("stopped")
    remove(name)
    rest.call("POST", f"{DATABASE}/instances", {"name": name, "stopped": True})
    found = wait_for_state(rest, name, "STOPPED")
    endpoint = rest.endpoint(name)
    platform.wait_asleep(endpoint)
    token = credential(rest, name)
    with pytest.raises(psycopg.OperationalError, match="disabled"):
        connect(platform, found, token)
    child = f"{name}-child"
    create(rest, child, parent_instance_ref={"name": name})
    with connect(platform, instance_of(rest, child), credential(rest, child)) as connection:
        assert connection.execute("select current_user").fetchone() == (rest.user(),)
    platform.wait_asleep(endpoint)
    rest.call("PATCH", f"{DATABASE}/instances/{name}", {"stopped": False})
    wait_for_state(rest, name, "AVAILABLE")
    with connect(platform, found, token) as connection:
        assert connection.execute("select rolcreatedb from pg_roles where rolname = current_user").fetchone() == (True,)


@pytest.mark.parametrize("pause", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_what_was_promised_comes_after_a_crash(own_platform, pause):
    """Control is killed a moment after it has said STARTING: the next one carries it through, and nothing is there twice."""
    platform = own_platform()
    rest = platform.rest
    create(rest, "Main")
    for name, fields in (("Other", {}), ("Kid", {"parent_instance_ref": {"name": "main"}})):
        assert rest.call("POST", f"{DATABASE}/instances", {"name": name, **fields})["state"] == "STARTING"
        time.sleep(pause)
        victim = platform.role_pid("control")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: platform.role_pid("control") not in (None, victim), "a new control")
        wait_until(lambda: platform.rest.ask("GET", f"{DATABASE}/instances").status == 200, "the API answers")
        found = wait_for_state(rest, name, "AVAILABLE")
        assert found["name"] == name
        with connect(platform, found, credential(rest, name)) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    assert [one["name"] for one in rest.get(f"{DATABASE}/instances")["database_instances"]] == ["Main", "Other", "Kid"]
    assert instance_of(rest, "main")["child_instance_refs"][0]["name"] == "Kid"
    delete(rest, "main", force="true")
    delete(rest, "other")
    victim = platform.role_pid("control")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: platform.role_pid("control") not in (None, victim), "a new control")
    wait_until(lambda: not list((platform.directory / "volumes").iterdir()), "no volume is left")
    assert rest.get(f"{DATABASE}/instances")["database_instances"] == []


def test_the_command_line(platform, rest, new_name, remove):
    name = new_name("cli")
    remove(name)
    with DatabricksCli(platform.env()) as cli:
        made = cli.json("database", "create-database-instance", name, "--capacity", "CU_1")
        assert made["state"] == "AVAILABLE" and made["capacity"] == "CU_1"
        assert cli.json("database", "get-database-instance", name)["uid"] == made["uid"]
        assert name in [one["name"] for one in cli.json("database", "list-database-instances")]
        assert cli.json("database", "find-database-instance-by-uid", "--uid", made["uid"])["name"] == name
        cli.json("database", "update-database-instance", name, "*", "--capacity", "CU_2")
        assert wait_for_state(rest, name, "AVAILABLE")["capacity"] == "CU_2"
        token = cli.json("database", "generate-database-credential", body={"instance_names": [name]})["token"]
        with connect(platform, made, token) as connection:
            assert connection.execute("select current_user").fetchone() == (rest.user(),)
        shown = cli.run("psql", name, "--", "-p", platform.pg_port, "-Atc", "select 40 + 2").stdout
        assert shown.splitlines()[-1] == "42"
        # The typed client drops a false unless it stands in --json.
        cli.json("database", "update-database-instance", name, "*", body={"stopped": True})
        wait_for_state(rest, name, "STOPPED")
        assert "not ready" in cli.run("psql", name, "--", "-c", "select 1", check=False).stderr
        cli.json("database", "update-database-instance", name, "*", body={"stopped": False})
        wait_for_state(rest, name, "AVAILABLE")
        cli.run("database", "delete-database-instance", name, "--purge")
        assert "not found" in cli.refused("database", "get-database-instance", name)

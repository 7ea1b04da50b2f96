"""The unmodified Python SDK, its oldest and its newest version that has `postgres`: every method of the resources we run.

Each version is a process of its own (clients/python_sdk.py), which knows our server from its environment only.
"""

import datetime

import psycopg
import pytest

from clients.installed import PYTHON_SDKS
from clients.python_sdk import PythonSdk, SdkError
from harness.wal import rfc3339

READ_WRITE = "ENDPOINT_TYPE_READ_WRITE"


@pytest.fixture(scope="module", params=PYTHON_SDKS)
def sdk(platform, request):
    with PythonSdk(request.param, platform.env()) as one:
        yield one


@pytest.fixture
def parent(sdk, project):
    return f"projects/{project}"


@pytest.fixture
def branch(parent):
    return f"{parent}/branches/production"


@pytest.fixture
def endpoint(branch):
    return f"{branch}/endpoints/primary"


def from_now(**delta):
    return rfc3339(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**delta))


def ids(found, key):
    return [one[key] for one in found]


def steady(resource):
    """Without what is measured, and so may be different in the next answer."""
    measured = ("logical_size_bytes", "synthetic_storage_size_bytes", "compute_last_active_time", "last_active_time",
                "full_size_bytes", "diff_size_bytes")  # fmt: skip
    return {**resource, "status": {k: v for k, v in resource["status"].items() if k not in measured}}


def test_a_projects_life(sdk, new_name):
    project = new_name("sdk")
    name = f"projects/{project}"
    started = sdk.start("create_project", project={"spec": {"display_name": "From the SDK", "pg_version": 17}}, project_id=project)
    assert started["operation"].startswith(f"{name}/operations/")
    with pytest.raises(SdkError) as caught:
        sdk("create_project", project={}, project_id=project)
    assert (caught.value.kind, caught.value.code) == ("AlreadyExists", "ALREADY_EXISTS")

    branch = sdk("create_branch", parent=name, branch={"spec": {"no_expiry": True}}, branch_id="dev")  # queues behind it
    assert branch["status"]["source_branch"] == f"{name}/branches/production"
    assert sdk("get_operation", name=started["operation"])["done"] is True

    made = sdk("get_project", name=name)
    assert made["status"]["display_name"] == "From the SDK" and made["status"]["pg_version"] == 17
    assert made["status"]["owner"] == sdk("current_user.me")["userName"]
    assert project in ids(sdk("list_projects"), "project_id")
    assert project in ids(sdk("list_projects", page_size=1), "project_id")

    changed = sdk("update_project", name=name, update_mask="spec.display_name,spec.default_endpoint_settings", project={
        "spec": {"display_name": "Other", "default_endpoint_settings": {
            "autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 2, "suspend_timeout_duration": "300s"}}})  # fmt: skip
    assert changed["status"]["display_name"] == "Other"
    settings = sdk("get_project", name=name)["status"]["default_endpoint_settings"]
    assert (settings["autoscaling_limit_min_cu"], settings["suspend_timeout_duration"]) == (0.5, "300s")

    sdk("delete_project", name=name)
    assert project not in ids(sdk("list_projects"), "project_id")
    (hidden,) = [p for p in sdk("list_projects", show_deleted=True) if p["project_id"] == project]
    assert hidden["delete_time"] < hidden["purge_time"]
    sdk("undelete_project", name=name)
    assert "delete_time" not in sdk("get_project", name=name)
    assert ids(sdk("list_branches", parent=name), "branch_id") == ["production", "dev"]

    ended = sdk.start("delete_project", name=name, purge=True)
    with pytest.raises(SdkError) as caught:
        sdk("get_project", name=name)
    assert (caught.value.kind, caught.value.code) == ("NotFound", "NOT_FOUND")
    while not sdk("get_operation", name=ended["operation"])["done"]:
        pass  # it answers for a project that is gone, too
    assert project not in ids(sdk("list_projects", show_deleted=True), "project_id")


def test_a_branchs_life(sdk, parent, branch):
    for wrong in ({}, {"ttl": "60s", "no_expiry": True}, {"no_expiry": False}, {"ttl": "2678400s"}):
        assert sdk.refused("create_branch", parent=parent, branch={"spec": wrong}, branch_id="dev").code == "INVALID_PARAMETER_VALUE"
    made = sdk("create_branch", parent=parent, branch_id="dev", branch={"spec": {"source_branch": branch, "ttl": "86400s"}})
    assert made["name"] == f"{parent}/branches/dev" and made["status"]["current_state"] == "READY"
    assert made["status"]["source_branch_lsn"] and made["status"]["source_branch_time"] and made["status"]["expire_time"]
    assert steady(sdk("get_branch", name=made["name"])) == steady(made)
    assert ids(sdk("list_branches", parent=parent), "branch_id") == ["production", "dev"]
    assert ids(sdk("list_branches", parent=parent, page_size=1), "branch_id") == ["production", "dev"]
    sdk("create_branch", parent=parent, branch_id="until", branch={"spec": {"expire_time": from_now(days=2)}})

    changed = sdk("update_branch", name=made["name"], update_mask="spec.expiration", branch={"spec": {"no_expiry": True}})
    assert "expire_time" not in changed["status"]
    changed = sdk("update_branch", name=made["name"], update_mask="spec.is_protected", branch={"spec": {"is_protected": True}})
    assert changed["status"]["is_protected"] is True
    assert "protected" in sdk.refused("delete_branch", name=made["name"]).message
    sdk("update_branch", name=made["name"], update_mask="spec.is_protected", branch={"spec": {"is_protected": False}})

    kept = sdk("create_branch", parent=parent, branch_id="dev", replace_existing=True, branch={"spec": {"ttl": "3600s"}})
    assert kept["uid"] == made["uid"] and kept["create_time"] == made["create_time"] and kept["status"]["expire_time"]

    sdk("delete_branch", name=made["name"])
    assert "dev" not in ids(sdk("list_branches", parent=parent), "branch_id")
    deleted = [b for b in sdk("list_branches", parent=parent, show_deleted=True) if b["branch_id"] == "dev"]
    assert deleted[0]["status"]["current_state"] == "DELETED" and deleted[0]["status"]["purge_time"]
    sdk("undelete_branch", name=made["name"])
    assert sdk("get_branch", name=made["name"])["uid"] == made["uid"]
    sdk("delete_branch", name=made["name"], purge=True)
    assert sdk.refused("get_branch", name=made["name"]).kind == "NotFound"

    refused = sdk.refused("delete_branch", name=branch)
    assert refused.kind == "BadRequest" and "Root branches cannot be deleted independently" in refused.message


def test_the_oldest_sdk_may_delete_a_branch_that_is_missing(sdk, parent):
    if sdk.version != PYTHON_SDKS[0]:
        refused = sdk.refused("delete_branch", name=f"{parent}/branches/never", allow_missing=True)
        assert refused.kind == "TypeError"  # the newest does not know the word
        return
    sdk("delete_branch", name=f"{parent}/branches/never", allow_missing=True)
    assert sdk.refused("delete_branch", name=f"{parent}/branches/never").kind == "NotFound"


def test_a_branch_of_the_past(sdk, platform, parent, branch, endpoint):
    platform.sql(endpoint, "create table kept (id int)")
    (lsn,) = platform.sql(endpoint, "select pg_current_wal_insert_lsn()::text")[0]
    platform.sql(endpoint, "drop table kept")
    then = sdk("create_branch", parent=parent, branch_id="then", branch={
        "spec": {"source_branch": branch, "source_branch_lsn": lsn, "no_expiry": True}})  # fmt: skip
    assert platform.sql(f"{then['name']}/endpoints/primary", "select count(*) from kept") == [(0,)]


def test_an_endpoints_life(sdk, branch, endpoint):
    primary = sdk("get_endpoint", name=endpoint)
    assert primary["status"]["endpoint_type"] == READ_WRITE and primary["status"]["hosts"]["host"]
    assert [steady(one) for one in sdk("list_endpoints", parent=branch)] == [steady(primary)]
    changed = sdk("update_endpoint", name=endpoint,
        update_mask="spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu,spec.suspension", endpoint={
            "spec": {"endpoint_type": READ_WRITE, "autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 2, "no_suspension": True}})  # fmt: skip
    assert (changed["status"]["autoscaling_limit_min_cu"], changed["status"]["autoscaling_limit_max_cu"]) == (0.5, 2)
    assert "suspend_timeout_duration" not in changed["status"]

    adopted = sdk("create_endpoint", parent=branch, endpoint_id="primary", replace_existing=True, endpoint={
        "spec": {"endpoint_type": READ_WRITE, "suspend_timeout_duration": "600s"}})  # fmt: skip
    assert adopted["uid"] == primary["uid"] and adopted["status"]["suspend_timeout_duration"] == "600s"
    again = sdk.refused("create_endpoint", parent=branch, endpoint_id="primary", endpoint={"spec": {"endpoint_type": READ_WRITE}})
    assert again.kind == "AlreadyExists"
    refused = sdk.refused("delete_endpoint", name=endpoint)
    assert refused.kind == "BadRequest" and "Read-write endpoints cannot be deleted" in refused.message


def test_an_endpoint_is_disabled_and_enabled_again(sdk, platform, endpoint):
    sdk("update_endpoint", name=endpoint, update_mask="spec.disabled", endpoint={
        "spec": {"endpoint_type": READ_WRITE, "disabled": True}})  # fmt: skip
    with pytest.raises(psycopg.OperationalError):
        platform.sql(endpoint, "select 1")
    sdk("update_endpoint", name=endpoint, update_mask="spec.disabled", endpoint={
        "spec": {"endpoint_type": READ_WRITE, "disabled": False}})  # fmt: skip
    assert platform.sql(endpoint, "select 1") == [(1,)]


def test_a_roles_life(sdk, platform, branch, endpoint):
    made = sdk("create_role", parent=branch, role_id="app", role={
        "spec": {"postgres_role": "app_role", "attributes": {"createdb": True}, "membership_roles": ["DATABRICKS_SUPERUSER"]}})  # fmt: skip
    assert made["name"] == f"{branch}/roles/app" and made["status"]["auth_method"] == "PG_PASSWORD_SCRAM_SHA_256"
    assert made["status"]["attributes"] == {"createdb": True, "createrole": False, "bypassrls": False}
    assert sdk("get_role", name=made["name"]) == made
    assert ids(sdk("list_roles", parent=branch), "role_id") == ["admin", "app"]
    assert ids(sdk("list_roles", parent=branch, page_size=1), "role_id") == ["admin", "app"]
    assert platform.sql(endpoint, "select rolcreatedb from pg_roles where rolname = 'app_role'") == [(True,)]
    again = sdk.refused("create_role", parent=branch, role_id="app", role={"spec": {"postgres_role": "app_role"}})
    assert (again.kind, again.code) == ("BadRequest", "BAD_REQUEST")

    changed = sdk("update_role", name=made["name"], update_mask="spec.attributes.createrole", role={
        "spec": {"postgres_role": "app_role", "attributes": {"createrole": True}}})  # fmt: skip
    assert changed["status"]["attributes"] == {"createdb": True, "createrole": True, "bypassrls": False}
    assert changed["status"]["membership_roles"] == ["DATABRICKS_SUPERUSER"]
    wrong = sdk.refused("update_role", name=made["name"], update_mask="spec.postgres_role", role={"spec": {"postgres_role": "x"}})
    assert wrong.code == "INVALID_PARAMETER_VALUE" and wrong.message.startswith("Unknown field path in update_mask")
    kept = sdk("create_role", parent=branch, role_id="app", replace_existing=True, role={"spec": {"postgres_role": "app_role"}})
    assert kept["create_time"] == made["create_time"] and "membership_roles" not in kept["status"]

    named = sdk("create_role", parent=branch, role={"spec": {"postgres_role": "nobody", "auth_method": "NO_LOGIN"}})
    assert named["role_id"] and named["status"]["auth_method"] == "NO_LOGIN"
    platform.sql(endpoint, "create role by_sql login")
    assert "by_sql" in [r["status"]["postgres_role"] for r in sdk("list_roles", parent=branch)]

    # What it owns goes to another one; without an heir it stays.
    platform.sql(endpoint, "grant app_role to current_user with set true; create schema theirs authorization app_role")
    refused = sdk.refused("delete_role", name=made["name"])
    assert "depend" in refused.message, refused
    sdk("delete_role", name=made["name"], reassign_owned_to=f"{branch}/roles/admin")
    assert sdk.refused("get_role", name=made["name"]).kind == "NotFound"
    assert platform.sql(endpoint, "select nspowner::regrole::text from pg_namespace where nspname = 'theirs'") == [
        (f'"{platform.rest.user()}"',)]  # fmt: skip


def test_the_newest_sdk_reveals_the_password_of_a_role(sdk, branch):
    made = sdk("create_role", parent=branch, role_id="worker", role={"spec": {"postgres_role": "worker"}})
    if sdk.version == PYTHON_SDKS[0]:
        assert sdk.refused("reveal_role_password", name=made["name"]).kind == "AttributeError"
        return
    revealed = sdk("reveal_role_password", name=made["name"])
    assert len(revealed["password"]) >= 20 and sdk("reveal_role_password", name=made["name"]) == revealed
    assert sdk.refused("reveal_role_password", name=f"{branch}/roles/admin").code == "INVALID_PARAMETER_VALUE"


def test_a_databases_life(sdk, platform, parent, branch, endpoint):
    sdk("create_role", parent=branch, role_id="owner", role={"spec": {"postgres_role": "shop_owner"}})
    made = sdk("create_database", parent=branch, database_id="shop", database={
        "spec": {"postgres_database": "shop_db", "role": f"{branch}/roles/owner"}})  # fmt: skip
    assert made["status"] == {"database_id": "shop", "postgres_database": "shop_db", "role": f"{branch}/roles/owner"}
    assert sdk("get_database", name=made["name"]) == made
    assert ids(sdk("list_databases", parent=branch), "database_id") == ["databricks-postgres", "shop"]
    assert ids(sdk("list_databases", parent=branch, page_size=1), "database_id") == ["databricks-postgres", "shop"]
    assert platform.sql(endpoint, "select current_database()", dbname="shop_db") == [("shop_db",)]
    again = sdk.refused("create_database", parent=branch, database_id="shop", database={
        "spec": {"postgres_database": "shop_db", "role": f"{branch}/roles/owner"}})  # fmt: skip
    assert (again.kind, again.code) == ("BadRequest", "BAD_REQUEST")
    nobody = sdk.refused("create_database", parent=branch, database_id="x", database={
        "spec": {"postgres_database": "x", "role": f"{branch}/roles/never"}})  # fmt: skip
    assert (nobody.kind, nobody.code) == ("NotFound", "NOT_FOUND")

    changed = sdk("update_database", name=made["name"], update_mask="spec.postgres_database", database={
        "spec": {"postgres_database": "store_db", "role": ""}})  # fmt: skip
    assert changed["status"]["postgres_database"] == "store_db" and changed["status"]["role"] == f"{branch}/roles/owner"
    kept = sdk("create_database", parent=branch, database_id="shop", replace_existing=True, database={
        "spec": {"postgres_database": "store_db", "role": f"{branch}/roles/admin"}})  # fmt: skip
    assert kept["create_time"] == made["create_time"] and kept["status"]["role"] == f"{branch}/roles/admin"
    named = sdk("create_database", parent=branch, database={"spec": {"postgres_database": "no_id", "role": f"{branch}/roles/admin"}})
    assert named["database_id"] == "no-id"

    # A child has the same; each goes its own way then.
    sdk("create_branch", parent=parent, branch_id="dev", branch={"spec": {"no_expiry": True}})
    dev = f"{parent}/branches/dev"
    assert sdk("get_database", name=f"{dev}/databases/shop")["status"]["role"] == f"{dev}/roles/admin"
    sdk("delete_database", name=made["name"])
    assert sdk.refused("get_database", name=made["name"]).kind == "NotFound"
    assert "shop" in ids(sdk("list_databases", parent=dev), "database_id")


def test_a_credential_is_a_password(sdk, platform, endpoint):
    credential = sdk("generate_database_credential", endpoint=endpoint)
    me = sdk("current_user.me")["userName"]
    (user, tls) = platform.sql(
        endpoint, "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()", user=me, password=credential["token"])[0]
    assert user == me
    short = sdk("generate_database_credential", endpoint=endpoint, ttl="300s")
    assert short["expire_time"] < credential["expire_time"]
    timed = sdk("generate_database_credential", endpoint=endpoint, expire_time=from_now(minutes=30))
    assert platform.sql(endpoint, "select 1", user=me, password=timed["token"]) == [(1,)]
    for wrong in ("299s", "3601s"):
        assert sdk.refused("generate_database_credential", endpoint=endpoint, ttl=wrong).code == "INVALID_PARAMETER_VALUE"
    assert sdk.refused("generate_database_credential", endpoint=endpoint + "x").kind == "NotFound"


def test_snapshots(sdk, platform, parent, branch, endpoint):
    platform.sql(endpoint, "create table held (id int)")
    made = sdk("create_snapshot", parent=parent, snapshot_id="friday", snapshot={"spec": {"source_branch": branch}})
    assert made["name"] == f"{parent}/snapshots/friday" and made["status"]["source_branch"] == branch
    assert steady(sdk("get_snapshot", name=made["name"])) == steady(made)
    sdk("create_snapshot", parent=parent, snapshot_id="short", snapshot={"spec": {"source_branch": branch, "ttl": "3600s"}})
    assert ids(sdk("list_snapshots", parent=parent), "snapshot_id") == ["friday", "short"]
    assert ids(sdk("list_snapshots", parent=parent, page_size=1), "snapshot_id") == ["friday", "short"]
    platform.sql(endpoint, "drop table held")
    restored = sdk("create_branch", parent=parent, branch_id="restored", branch={
        "spec": {"source_snapshot": made["name"], "no_expiry": True}})  # fmt: skip
    assert platform.sql(f"{restored['name']}/endpoints/primary", "select count(*) from held") == [(0,)]
    sdk("delete_snapshot", name=made["name"])
    assert sdk.refused("get_snapshot", name=made["name"]).kind == "NotFound"


def test_a_schedule_of_snapshots(sdk, branch):
    name = f"{branch}/snapshot-schedule"
    assert sdk("get_snapshot_schedule", name=name) == {"name": name}
    daily = {"retention": "86400s", "daily_schedule": {"hour": 3}}
    weekly = {"retention": "604800s", "weekly_schedule": {"day_of_week": "SUNDAY", "hour": 4}}
    monthly = {"retention": "2592000s", "monthly_schedule": {"day": 31}}
    changed = sdk("update_snapshot_schedule", name=name, update_mask="schedule", snapshot_schedule={"schedule": [daily, weekly, monthly]})
    if sdk.version != PYTHON_SDKS[0]:  # to the oldest this was no operation; it reads the name of one
        assert changed["name"] == name
    shown = sdk("get_snapshot_schedule", name=name)["schedule"]
    assert [next(key for key in one if key != "retention") for one in shown] == ["daily_schedule", "weekly_schedule", "monthly_schedule"]
    assert shown[0] == daily and shown[1]["weekly_schedule"] == weekly["weekly_schedule"] and shown[2]["monthly_schedule"]["day"] == 31
    wrong = sdk.refused("update_snapshot_schedule", name=name, update_mask="schedule", snapshot_schedule={
        "schedule": [{"retention": "60s", "daily_schedule": {"hour": 3}}]})  # fmt: skip
    assert wrong.code == "INVALID_PARAMETER_VALUE" and "retention" in wrong.message
    sdk("update_snapshot_schedule", name=name, update_mask="schedule", snapshot_schedule={"schedule": []})
    assert not sdk("get_snapshot_schedule", name=name).get("schedule")


def test_compute_instances_of_an_endpoint(sdk, endpoint):
    if sdk.version != PYTHON_SDKS[0]:
        assert sdk.refused("list_compute_instances", parent=endpoint).kind == "AttributeError"
        assert sdk.refused("get_compute_instance", name=f"{endpoint}/compute-instances/x").kind == "AttributeError"
        return  # the newest has no such methods
    (one,) = sdk("list_compute_instances", parent=endpoint)
    assert one["name"] == f"{endpoint}/compute-instances/{one['compute_instance_id']}"
    assert one["role"] == "READ_WRITE" and one["current_state"] == "ACTIVE" and one["compute_host"] and one["start_time"]
    assert sdk("get_compute_instance", name=one["name"]) == one
    assert sdk.refused("get_compute_instance", name=f"{endpoint}/compute-instances/never").kind == "NotFound"


def test_operations_are_kept_and_say_what_they_were(sdk, project, parent):
    started = sdk.start("update_project", name=parent, project={"spec": {"display_name": "x"}}, update_mask="spec.display_name")
    operation = sdk("get_operation", name=started["operation"])
    assert operation["done"] is True and operation["response"]["status"]["display_name"] == "x"
    assert sdk("get_operation", name=started["operation"]) == operation
    assert sdk.refused("get_operation", name=f"{parent}/operations/never").code == "NOT_FOUND"


def test_a_wrong_token_is_told_so(sdk, platform, parent):
    with PythonSdk(sdk.version, {**platform.env(), "DATABRICKS_TOKEN": "dapi0"}) as stranger:
        refused = stranger.refused("get_project", name=parent)
    assert (refused.kind, refused.code) == ("Unauthenticated", "UNAUTHENTICATED")


# What a Tarn does not run answers in a way that the SDK understands: a list is empty, one thing is not there, and a change
# is refused. In one test for every method, so that a new one of a later SDK is missed by nobody.

TABLE = "c.s.t"
NOT_SERVED = {
    "create_catalog": {"catalog": {"spec": {"branch": "BRANCH", "postgres_database": "databricks_postgres"}}, "catalog_id": "shop"},
    "get_catalog": {"name": "catalogs/shop"},
    "delete_catalog": {"name": "catalogs/shop"},
    "create_synced_table": {"synced_table": {}, "synced_table_id": TABLE},
    "get_synced_table": {"name": f"synced_tables/{TABLE}"},
    "delete_synced_table": {"name": f"synced_tables/{TABLE}"},
    "create_table": {"table": {"name": TABLE, "database": "DATABASE"}},
    "get_table": {"name": TABLE},
    "delete_table": {"name": TABLE},
    "create_cdf_config": {"parent": "DATABASE", "cdf_config": {"catalog": "c", "schema": "s", "postgres_schema": "public"}},
    "get_cdf_config": {"name": "DATABASE/cdf-configs/public"},
    "list_cdf_configs": {"parent": "DATABASE"},
    "delete_cdf_config": {"name": "DATABASE/cdf-configs/public"},
    "get_cdf_status": {"name": "DATABASE/cdf-configs/public/cdf-statuses/t"},
    "list_cdf_statuses": {"parent": "DATABASE/cdf-configs/public"},
    "create_data_api": {"parent": "DATABASE", "data_api": {"spec": {"db_schemas": ["public"]}}},
    "get_data_api": {"name": "DATABASE/data-api"},
    "update_data_api": {"name": "DATABASE/data-api", "data_api": {"spec": {}}, "update_mask": "spec"},
    "delete_data_api": {"name": "DATABASE/data-api"},
    "create_replication_group_preview": {"parent": "PROJECT", "replication_group_preview": {
        "replication_mode": "REPLICATION_MODE_PREVIEW_LIVE", "workspaces": ["1", "2"]}, "replication_group_preview_id": "g"},
    "get_replication_group_preview": {"name": "PROJECT/preview/replication-groups/g"},
    "list_replication_group_previews": {"parent": "PROJECT"},
    "update_replication_group_preview": {"name": "PROJECT/preview/replication-groups/g", "replication_group_preview": {
        "replication_mode": "REPLICATION_MODE_PREVIEW_LIVE", "workspaces": ["1", "2"]}, "update_mask": "workspaces"},
    "delete_replication_group_preview": {"name": "PROJECT/preview/replication-groups/g"},
    "failover_replication_group_preview": {"name": "PROJECT/preview/replication-groups/g", "target_workspace": "2"},
    "switchover_replication_group_preview": {"name": "PROJECT/preview/replication-groups/g", "target_workspace": "2"},
    "get_recovery_branch_preview": {"name": "PROJECT/preview/recovery-branches/r"},
    "list_recovery_branch_previews": {"parent": "PROJECT"},
    "inspect_recovery_branch_preview": {"name": "PROJECT/preview/recovery-branches/r", "branch_id": "look"},
    "delete_recovery_branch_preview": {"name": "PROJECT/preview/recovery-branches/r"},
    "get_forward_etl_metadata": {"parent": "BRANCH"},
    "get_forward_etl_status": {"parent": "BRANCH"},
    "disable_forward_etl": {"parent": "BRANCH"},
    "delete_forward_etl_configuration": {"parent": "BRANCH"},
}  # fmt: skip


def fill_in(value, names):
    if isinstance(value, str):
        for word, name in names.items():
            value = value.replace(word, name)
        return value
    if isinstance(value, dict):
        return {key: fill_in(part, names) for key, part in value.items()}
    return [fill_in(part, names) for part in value] if isinstance(value, list) else value


def test_what_is_not_served_says_so(sdk, parent, branch):
    names = {"DATABASE": f"{branch}/databases/databricks-postgres", "BRANCH": branch, "PROJECT": parent}
    missing = set(NOT_SERVED) - set(sdk.methods())
    asked = [method for method in NOT_SERVED if method not in missing]
    assert asked
    wrong = []
    for method in asked:
        try:
            result = sdk(method, **fill_in(NOT_SERVED[method], names))
        except SdkError as error:
            kinds = ("NotFound",) if method.startswith("get_") else ("NotImplemented",)
            if error.kind not in kinds:
                wrong.append(f"{method}: {error.kind} {error.code}: {error.message}")
        else:
            if result not in ([], {}):
                wrong.append(f"{method} answered {result}")
    assert not wrong, "\n".join(wrong)

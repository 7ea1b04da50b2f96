"""The conformance checklist of the wire contract (rest-api.md, section 11): the test of line N is test_N_….

Lines that need a client of their own are told by it: 26 (OAuth) by oauth.py and client_*.py, 29 (psql of the CLI) by client_cli.py,
36 (every method of the Python SDK) by client_python_sdk.py, the JavaScript half of 25 by client_node.py.
"""

import base64
import json
import threading
import urllib.request

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound, Unauthenticated

from harness.rest import POSTGRES
from harness.waiting import wait_until

EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
REQUIRED = "Field '{}' is required, expected non-default value (not \"\")!"
NO_EXPIRY = {"spec": {"no_expiry": True}}
MANAGED = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RESOURCE_CONFLICT", "domain": "databricks.com",
           "metadata": {"declarative_context": "MANAGED_BY_PARENT"}}  # fmt: skip


def branches(project):
    return f"projects/{project}/branches"


def production(project):
    return f"projects/{project}/branches/production"


def primary(project, branch="production"):
    return f"projects/{project}/branches/{branch}/endpoints/primary"


def refuse(rest, status, code, method, path, body=None, **query):
    error = rest.refused(method, path, body, **query)
    assert (error.status, error.code) == (status, code), error
    return error


def without_trace(message):
    return message.split(" [TraceId: ")[0]


@pytest.fixture(scope="module")
def p(shared_project):
    return shared_project


def test_1_a_trailing_question_mark(rest, p):
    assert rest.ask("GET", f"projects/{p}?").json == rest.ask("GET", f"projects/{p}").json


def test_2_a_finished_operation_is_the_same_for_ever(rest, new_name):
    project = new_name()
    operation = rest.call("POST", "projects", {}, project_id=project)
    assert operation["name"].startswith(f"projects/{project}/operations/")
    rest.finish(operation)
    assert rest.ask("GET", operation["name"]).raw == rest.ask("GET", operation["name"]).raw
    rest.delete_project(project)


def test_3_what_a_project_begins_with(rest, new_name):
    project = new_name()
    operation = rest.call("POST", "projects", {}, project_id=project)
    for path, key, ids in ((branches(project), "branches", ["production"]),
                           (production(project) + "/endpoints", "endpoints", ["primary"]),
                           (production(project) + "/databases", "databases", ["databricks-postgres"]),
                           (production(project) + "/roles", "roles", ["admin"])):  # fmt: skip
        listed = rest.get(path)[key]
        assert [r["name"].rsplit("/", 1)[1] for r in listed] == ids, "before the operation is done"
        assert rest.get(listed[0]["name"])["name"] == listed[0]["name"]
    rest.finish(operation)
    rest.delete_project(project)


def test_4_fields_that_are_always_there(rest, p):
    wanted = {
        f"projects/{p}": ["project_id", "display_name", "pg_version", "history_retention_duration", "default_branch",
                          "default_endpoint_settings", "enable_pg_native_login", "owner", "branch_logical_size_limit_bytes",
                          "synthetic_storage_size_bytes"],
        production(p): ["branch_id", "current_state", "state_change_time", "default", "is_protected", "logical_size_bytes"],
        primary(p): ["endpoint_id", "endpoint_type", "autoscaling_limit_min_cu", "autoscaling_limit_max_cu",
                     "suspend_timeout_duration", "disabled", "settings", "current_state", "hosts", "group"],
        production(p) + "/roles/admin": ["role_id", "postgres_role", "identity_type", "auth_method", "attributes"],
        production(p) + "/databases/databricks-postgres": ["database_id", "postgres_database", "role"],
    }  # fmt: skip
    for path, fields in wanted.items():
        status = rest.get(path)["status"]
        assert [f for f in fields if f not in status] == [], path
    assert rest.get(production(p))["status"]["is_protected"] is False
    assert rest.get(primary(p))["status"]["settings"] == {}
    assert set(rest.get(production(p) + "/roles/admin")["status"]["attributes"]) == {"createdb", "createrole", "bypassrls"}


def test_5_no_spec_comes_back(rest, p):
    answers = [rest.get(path) for path in ("projects", f"projects/{p}", branches(p), production(p), primary(p),
                                           production(p) + "/roles", production(p) + "/databases")]  # fmt: skip
    answers.append(rest.call("PATCH", f"projects/{p}", {"spec": {"display_name": "x"}}, update_mask="spec.display_name"))
    for answer in answers:
        assert '"spec"' not in json.dumps(answer)


def test_6_ids_that_are_missing(rest, p):
    for path, body, key in (("projects", {}, "project_id"), (branches(p), NO_EXPIRY, "branch_id"),
                            (production(p) + "/endpoints", {}, "endpoint_id")):  # fmt: skip
        error = refuse(rest, 400, "INVALID_PARAMETER_VALUE", "POST", path, body)
        assert without_trace(error.message) == REQUIRED.format(key)
    # Not run yet, and said so.
    for path in ("catalogs", "synced_tables"):
        refuse(rest, 501, "NOT_IMPLEMENTED", "POST", path, {})


def test_7_duplicates(rest, p):
    refuse(rest, 409, "ALREADY_EXISTS", "POST", "projects", {}, project_id=p)
    refuse(rest, 409, "ALREADY_EXISTS", "POST", branches(p), NO_EXPIRY, branch_id="production")
    refuse(rest, 409, "ALREADY_EXISTS", "POST", production(p) + "/endpoints",
           {"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE"}}, endpoint_id="primary")  # fmt: skip
    error = refuse(rest, 400, "BAD_REQUEST", "POST", production(p) + "/roles", {"spec": {"postgres_role": "x"}}, role_id="admin")
    assert without_trace(error.message) == "role with that name already exists"
    error = refuse(rest, 400, "BAD_REQUEST", "POST", production(p) + "/databases",
                   {"spec": {"postgres_database": "x", "role": production(p) + "/roles/admin"}}, database_id="databricks-postgres")  # fmt: skip
    assert without_trace(error.message) == "database with that name already exists"


def test_8_what_is_missing_is_told_from_left_to_right(rest, p):
    for path, message in (("projects/none/branches/none/endpoints/none", "project id not found"),
                          (f"projects/{p}/branches/none/endpoints/none", "branch id not found"),
                          (f"{production(p)}/endpoints/none", "endpoint id not found"),
                          (f"{production(p)}/roles/none", "role id not found"),
                          (f"{production(p)}/databases/none", "database id not found")):  # fmt: skip
        assert without_trace(refuse(rest, 404, "NOT_FOUND", "GET", path).message) == message


def test_9_replace_existing_keeps_what_it_is(rest, p):
    for collection, key, name, body in (
        (branches(p), "branch_id", production(p), NO_EXPIRY),
        (production(p) + "/endpoints", "endpoint_id", primary(p), {"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE"}}),
    ):
        before = rest.get(name)
        rest.run("POST", collection, body, replace_existing="true", **{key: name.rsplit("/", 1)[1]})
        after = rest.get(name)
        assert (after["uid"], after["create_time"]) == (before["uid"], before["create_time"])
        assert after["update_time"] > before["update_time"]
    owner = rest.get(production(p) + "/roles/admin")
    rest.run("POST", production(p) + "/roles", {"spec": {
        "postgres_role": owner["status"]["postgres_role"], "identity_type": "USER", "membership_roles": ["DATABRICKS_SUPERUSER"],
        "attributes": {"createdb": True, "createrole": True, "bypassrls": True}}}, role_id="admin", replace_existing="true")  # fmt: skip
    assert rest.get(production(p) + "/roles/admin")["create_time"] == owner["create_time"]


@pytest.mark.parametrize("spec, is_good", [
    ({}, False), ({"ttl": "86400s"}, True), ({"expire_time": "2999-01-01T00:00:00Z"}, False), ({"no_expiry": True}, True),
    ({"ttl": "86400s", "no_expiry": True}, False), ({"no_expiry": False}, False), ({"ttl": "2678400s"}, False),
], ids=str)  # fmt: skip
def test_10_expirations(rest, p, new_name, spec, is_good):
    branch = new_name("b")
    if is_good:
        status = rest.create_branch(p, branch, **spec)["status"]
        assert ("expire_time" in status) == ("ttl" in spec)
        rest.delete_branch(p, branch)
    else:
        refuse(rest, 400, "INVALID_PARAMETER_VALUE", "POST", branches(p), {"spec": spec}, branch_id=branch)


@pytest.fixture(scope="module")
def dev(platform, p):
    platform.rest.create_branch(p, "dev")
    return f"{branches(p)}/dev"


def test_11_expiration_comes_and_goes(rest, dev):
    assert "expire_time" in rest.run("PATCH", dev, {"spec": {"ttl": "86400s"}}, update_mask="spec.expiration")["status"]
    assert "expire_time" not in rest.run("PATCH", dev, {"spec": {"no_expiry": True}}, update_mask="spec.expiration")["status"]


def test_12_spec_with_one_field_keeps_the_rest(rest, p, dev):
    rest.run("PATCH", primary(p, "dev"), {"spec": {"suspend_timeout_duration": "300s"}}, update_mask="spec")
    rest.run("PATCH", primary(p, "dev"), {"spec": {"autoscaling_limit_max_cu": 2}}, update_mask="spec")
    status = rest.get(primary(p, "dev"))["status"]
    assert (status["suspend_timeout_duration"], status["autoscaling_limit_max_cu"]) == ("300s", 2)
    rest.run("PATCH", f"projects/{p}", {"spec": {"display_name": "kept"}}, update_mask="spec")
    rest.run("PATCH", f"projects/{p}", {"spec": {"history_retention_duration": "172800s"}}, update_mask="spec")
    assert rest.get(f"projects/{p}")["status"]["display_name"] == "kept"
    rest.run("PATCH", dev, {"spec": {"ttl": "86400s"}}, update_mask="spec")
    rest.run("PATCH", dev, {"spec": {"is_protected": False}}, update_mask="spec")
    assert "expire_time" in rest.get(dev)["status"]
    rest.run("PATCH", dev, NO_EXPIRY, update_mask="spec")


def test_13_leaves_of_a_role(rest, p, dev):
    roles = dev + "/roles"
    rest.run("POST", roles, {"spec": {"postgres_role": "leaf", "membership_roles": ["DATABRICKS_SUPERUSER"],
                                      "attributes": {"createrole": True}}}, role_id="leaf")  # fmt: skip
    status = rest.run("PATCH", roles + "/leaf", {"spec": {"attributes": {"createdb": True}}},
                      update_mask="spec.attributes.createdb")["status"]  # fmt: skip
    assert status["attributes"] == {"createdb": True, "createrole": True, "bypassrls": False}
    error = refuse(rest, 400, "INVALID_PARAMETER_VALUE", "PATCH", roles + "/leaf", {"spec": {"postgres_role": "y"}},
                   update_mask="spec.postgres_role")  # fmt: skip
    assert error.message.startswith("Unknown field path in update_mask")
    assert "membership_roles" not in rest.run("PATCH", roles + "/leaf", {"spec": {}}, update_mask="spec")["status"]


def test_14_what_terraform_sends(rest, p):
    status = rest.run("PATCH", f"projects/{p}", {
        "name": f"projects/{p}", "parent": "", "uid": "ignored",
        "spec": {"display_name": "New", "pg_version": rest.get(f"projects/{p}")["status"]["pg_version"],
                 "history_retention_duration": "604800s"},
    }, update_mask="initial_branch_spec,initial_endpoint_spec,spec")["status"]  # fmt: skip
    assert (status["display_name"], status["history_retention_duration"]) == ("New", "604800s")


@pytest.mark.parametrize("comma", [",", "%2C"])
def test_15_commas_of_a_mask(rest, p, comma):
    mask = f"spec.display_name{comma}spec.enable_pg_native_login"
    answer = rest.ask("PATCH", f"projects/{p}?update_mask={mask}", {"spec": {"display_name": f"by {comma}"}})
    assert answer.status == 200 and rest.finish(answer.json)["status"]["display_name"] == f"by {comma}"


@pytest.mark.parametrize("low, high, is_good", [
    (0.5, 16, True), (0.5, 17, False), (4, 20, True), (8, 24, True), (8, 25, False), (16, 32, True), (40, 40, True), (56, 72, False),
    (72, 72, True), (112, 112, True), (113, 113, False), (1.5, 1.5, False), (2, 1, False),
])  # fmt: skip
def test_16_sizes(rest, p, low, high, is_good):
    body = {"spec": {"default_endpoint_settings": {"autoscaling_limit_min_cu": low, "autoscaling_limit_max_cu": high}}}
    if not is_good:
        refuse(rest, 400, "INVALID_PARAMETER_VALUE", "PATCH", f"projects/{p}", body)
        return
    settings = rest.run("PATCH", f"projects/{p}", body)["status"]["default_endpoint_settings"]
    assert (settings["autoscaling_limit_min_cu"], settings["autoscaling_limit_max_cu"]) == (low, high)
    rest.run("PATCH", f"projects/{p}", {"spec": {}}, update_mask="spec.default_endpoint_settings")


def test_17_suspension(rest, p, dev):
    for spec in ({"suspend_timeout_duration": "0.5s"}, {"suspend_timeout_duration": "604801s"},
                 {"no_suspension": True, "suspend_timeout_duration": "300s"}):  # fmt: skip
        refuse(rest, 400, "INVALID_PARAMETER_VALUE", "PATCH", primary(p, "dev"), {"spec": spec})
    status = rest.run("PATCH", primary(p, "dev"), {"spec": {"no_suspension": True}})["status"]
    assert "suspend_timeout_duration" not in status and "no_suspension" not in status
    rest.run("PATCH", primary(p, "dev"), {"spec": {"suspend_timeout_duration": "300s"}})


def test_18_what_goes_with_its_parent(rest, p):
    for name, kind in ((production(p), "root branch"), (primary(p), "read-write endpoint")):
        error = refuse(rest, 400, "BAD_REQUEST", "DELETE", name)
        end = "Root branches cannot be deleted independently." if kind == "root branch" else "Read-write endpoints cannot be deleted."
        assert without_trace(error.message) == f"Cannot delete {kind} '{name}'. {end}"
        info, request = error.body["details"]
        assert info == MANAGED
        assert request["@type"] == "type.googleapis.com/google.rpc.RequestInfo" and request["serving_data"] == ""


def test_19_what_must_stay(rest, project):
    rest.create_branch(project, "parent")
    rest.create_branch(project, "child", source_branch=f"{branches(project)}/parent")
    refuse(rest, 400, "BAD_REQUEST", "DELETE", f"{branches(project)}/parent")
    rest.run("PATCH", f"{branches(project)}/child", {"spec": {"is_protected": True}})
    error = refuse(rest, 400, "BAD_REQUEST", "DELETE", f"{branches(project)}/child")
    assert without_trace(error.message) == "cannot delete protected branch"
    refuse(rest, 400, "BAD_REQUEST", "DELETE", f"projects/{project}")
    rest.run("PATCH", f"{branches(project)}/child", {"spec": {"is_protected": False}})


def test_20_deleted_and_back(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    rest.create_branch(project, "dev")
    platform.sql(rest.endpoint(project, "dev"), "create table t as select 1 as v")
    assert rest.run("DELETE", f"projects/{project}") == EMPTY
    listed = {x["project_id"]: x for x in rest.get("projects", show_deleted="true")["projects"]}
    assert listed[project]["delete_time"] < listed[project]["purge_time"]
    assert project not in [x["project_id"] for x in rest.get("projects")["projects"]]
    refuse(rest, 404, "NOT_FOUND", "GET", branches(project))
    rest.run("POST", f"projects/{project}/undelete", {})
    assert [b["branch_id"] for b in rest.get(branches(project))["branches"]] == ["production", "dev"]
    assert platform.sql(rest.endpoint(project, "dev"), "select v from t") == [(1,)]
    refuse(rest, 400, "INVALID_STATE", "POST", f"projects/{project}/undelete", {})
    rest.delete_project(project)
    refuse(rest, 404, "NOT_FOUND", "POST", f"projects/{project}/undelete", {})
    rest.create_project(project)
    rest.delete_project(project)


def test_21_an_operation_outlives_its_project(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    operation = platform.rest.call("DELETE", "projects/p", purge="true")
    done = platform.rest.finish(operation) and platform.rest.get(operation["name"])
    assert platform.stop() == 0
    platform.start()
    assert platform.rest.get(operation["name"]) == done and done["response"] == EMPTY


def test_22_pages(rest, project):
    for name in ("b", "a"):
        rest.create_branch(project, name)
    seen, token = [], None
    while True:
        page = rest.get(branches(project), page_size=1, **({"page_token": token} if token else {}))
        seen += [b["branch_id"] for b in page["branches"]]
        token = page.get("next_page_token")
        if len(seen) == 2:
            rest.create_branch(project, "late")
        if not token:
            break
    assert seen == ["production", "b", "a", "late"]
    refuse(rest, 400, "INVALID_PARAMETER_VALUE", "GET", branches(project), page_size=-1)
    assert len(rest.get(branches(project), page_size=1000)["branches"]) == 4
    assert "projects" in rest.get("projects", page_size=1000)
    page = rest.get(branches(project), page_size=1)
    refuse(rest, 400, "INVALID_PARAMETER_VALUE", "GET", branches(project), page_token=page["next_page_token"], show_deleted="true")


def test_23_credentials(platform, rest, p):
    for ttl in ("299s", "3601s"):
        refuse(rest, 400, "INVALID_PARAMETER_VALUE", "POST", "credentials", {"endpoint": primary(p), "ttl": ttl})
    token = rest.database_token(primary(p))
    assert platform.sql(rest.get(primary(p)), "select current_user", password=token) == [("admin@localhost",)]


def test_24_whom_a_token_is_for(rest, p):
    part = rest.database_token(primary(p)).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert claims["sub"] == rest.user() and claims["exp"] - claims["iat"] == 3600


def test_25_errors_in_the_python_sdk(platform, rest, p):
    error = rest.refused("GET", "projects/none")
    assert all("metadata" in detail for detail in error.body["details"]), "or the JavaScript SDK drops the body"
    client = WorkspaceClient(host=platform.host, token=rest.token, auth_type="pat").postgres
    with pytest.raises(NotFound):
        client.get_project("projects/none")
    with pytest.raises(AlreadyExists):
        client._api.do("POST", POSTGRES + "projects", query={"project_id": p}, body={})
    with pytest.raises(BadRequest):
        client.delete_branch(production(p))
    with pytest.raises(Unauthenticated):
        WorkspaceClient(host=platform.host, token="dapi0", auth_type="pat").postgres.get_project(f"projects/{p}")


def test_27_one_workspace_id(rest):
    config = rest.ask("GET", "/.well-known/databricks-config").json
    assert rest.ask("GET", "/api/2.0/preview/scim/v2/Me").headers["X-Databricks-Org-Id"] == config["workspace_id"]


def test_28_permissions(rest, p):
    path = f"/api/2.0/permissions/database-projects/{p}"
    shown = rest.call("GET", path)
    assert (shown["object_id"], shown["object_type"]) == (f"/database-projects/{p}", "database-projects")
    levels = [x["permission_level"] for x in rest.call("GET", path + "/permissionLevels")["permission_levels"]]
    assert levels == ["CAN_USE", "CAN_MANAGE"]
    entry = {"group_name": "users", "permission_level": "CAN_USE"}
    for method in ("PATCH", "PUT"):
        acl = rest.call(method, path, {"access_control_list": [entry]})["access_control_list"]
        assert "users" in [x.get("group_name") for x in acl]
    acl = rest.call("PUT", path, {"access_control_list": []})["access_control_list"]
    assert "users" not in [x.get("group_name") for x in acl]


def test_30_a_connection_wakes(platform, rest, project):
    platform.sleep(project)
    endpoint = rest.endpoint(project)
    assert endpoint["status"]["current_state"] == "IDLE" and endpoint["status"]["hosts"]["host"]
    assert platform.sql(endpoint, "select 1") == [(1,)]
    status = rest.endpoint(project)["status"]
    assert status["current_state"] == "ACTIVE" and "pending_state" not in status


@pytest.mark.parametrize("raw", [b"{}", b""])
def test_31_bodies_of_undelete(rest, p, new_name, raw):
    branch = new_name("b")
    rest.create_branch(p, branch)
    rest.delete_branch(p, branch, purge=False)
    answer = rest.ask("POST", f"{branches(p)}/{branch}/undelete", raw=raw)
    assert answer.status == 200 and rest.finish(answer.json)["status"]["current_state"] == "READY"
    rest.delete_branch(p, branch)


def test_32_whole_numbers_in_quotes(rest, p):
    version = rest.get(f"projects/{p}")["status"]["pg_version"]
    rest.run("PATCH", f"projects/{p}", {"spec": {"pg_version": str(version)}}, update_mask="spec")


def test_33_roles_at_the_same_time(rest, dev):
    operations = []

    def create(name):
        operations.append(rest.call("POST", dev + "/roles", {"spec": {"postgres_role": name}}, role_id=name))

    threads = [threading.Thread(target=create, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {rest.finish(o)["role_id"] for o in operations} == {"left", "right"}


def test_34_a_request_that_is_sent_again(rest, p, new_name):
    branch = new_name("b")
    first = rest.call("POST", branches(p), NO_EXPIRY, branch_id=branch)
    refuse(rest, 409, "ALREADY_EXISTS", "POST", branches(p), NO_EXPIRY, branch_id=branch)
    rest.finish(first)
    assert [b["branch_id"] for b in rest.get(branches(p))["branches"]].count(branch) == 1
    rest.delete_branch(p, branch)


def test_35_errors_are_json(platform, rest):
    request = urllib.request.Request(platform.host + POSTGRES + "projects")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    with caught.value as answer:
        assert answer.code == 401 and json.loads(answer.read())["error_code"] == "UNAUTHENTICATED"
    assert rest.ask("PUT", "projects").status == 405 and rest.ask("PUT", "projects").json["error_code"]
    unknown = rest.ask("GET", "1234")
    assert unknown.status == 404 and without_trace(unknown.json["message"]) == "resource not found"


def test_the_alias_of_the_published_skill(rest, dev):
    """Section 13: "type" is taken for endpoint_type; read-only endpoints are not there yet, and that is what is said."""
    for spec in ({"type": "ENDPOINT_TYPE_READ_ONLY"}, {"endpoint_type": "", "type": "ENDPOINT_TYPE_READ_ONLY"}):
        refuse(rest, 501, "NOT_IMPLEMENTED", "POST", dev + "/endpoints", {"spec": spec}, endpoint_id="ro")
    error = refuse(rest, 400, "INVALID_PARAMETER_VALUE", "POST", dev + "/endpoints", {"spec": {"endpoint_type": ""}}, endpoint_id="ro")
    assert "endpoint.spec.endpoint_type" in error.message


def test_compute_instances_follow_their_endpoint(platform, rest, project):
    (instance,) = rest.get(primary(project) + "/compute-instances")["compute_instances"]
    assert rest.get(instance["name"]) == instance
    assert (instance["role"], instance["current_state"]) == ("READ_WRITE", "ACTIVE")
    assert instance["compute_host"] == rest.endpoint(project)["status"]["hosts"]["host"] and instance["start_time"]
    platform.sleep(project)
    wait_until(lambda: rest.get(instance["name"])["current_state"] == "IDLE", "the instance is idle")
    assert rest.get(instance["name"])["suspend_time"] > instance["start_time"]

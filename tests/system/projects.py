"""Projects over REST: the exact bodies, the operations, what a create leaves behind, and what is refused."""

import re
import threading

import pytest

from harness import postgres
from harness.rest import Rest
from harness.shapes import (
    BRANCH_UID, COUNT, ENDPOINT_UID, TIMESTAMP, UUID, Rule, assert_shape, maybe, text,
)  # fmt: skip

EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
METADATA = "type.googleapis.com/databricks.postgres.v1.{}OperationMetadata"

# The error body of every refusal: `details` must have `metadata`, or one client throws the whole body away.
DETAIL = {
    "@type": text(r"type\.googleapis\.com/google\.rpc\..*"),
    maybe("reason"): text(".+"), maybe("domain"): "databricks.com",
    maybe("request_id"): text(".+"), maybe("serving_data"): "",
    "metadata": Rule("object", lambda v: isinstance(v, dict)),
}  # fmt: skip


def project_picture(project, **status):
    return {
        maybe("@type"): text(".+"),
        "name": f"projects/{project}", "project_id": project, "uid": UUID,
        "create_time": TIMESTAMP, "update_time": TIMESTAMP,
        "status": {
            "project_id": project, "display_name": project, "pg_version": postgres.MAJOR, "owner": "admin@localhost",
            "default_branch": f"projects/{project}/branches/production",
            "history_retention_duration": "604800s",
            "default_endpoint_settings": {
                "autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 1, "suspend_timeout_duration": "86400s",
            },
            "enable_pg_native_login": False, "branch_logical_size_limit_bytes": 8796093022208,
            "synthetic_storage_size_bytes": COUNT, maybe("compute_last_active_time"): TIMESTAMP,
            **status,
        },
    }  # fmt: skip


def check_error(error, status, code, message):
    assert (error.status, error.code) == (status, code), error
    # A trace id may follow the exact text.
    plain = re.sub(r" \[TraceId: [0-9a-f]{32}\]$", "", error.message)
    assert plain == message or re.fullmatch(message, plain), error.message
    assert set(error.body) <= {"error_code", "message", "details"}
    for detail in error.body.get("details", []):
        assert_shape(detail, DETAIL)


def test_create_answers_an_operation_that_becomes_the_project(rest, new_name):
    project = new_name("shape")
    body = {"spec": {"display_name": "My App", "pg_version": postgres.MAJOR}}
    operation = rest.call("POST", "projects", body, project_id=project)
    assert_shape(
        {key: value for key, value in operation.items() if key != "response"},
        {
            "name": text(rf"projects/{project}/operations/[A-Za-z0-9_=-]+"),
            "done": Rule("boolean", lambda v: isinstance(v, bool)),
            "metadata": {"@type": METADATA.format("Project")},
        },
    )
    response = rest.finish(operation)
    assert_shape(response, project_picture(project, display_name="My App"))
    done = rest.get(operation["name"])
    assert set(done) == {"name", "done", "metadata", "response"}
    assert rest.get(operation["name"]) == done
    read = rest.get(f"projects/{project}")
    assert_shape(read, project_picture(project, display_name="My App"))
    # One truth for both, or a client that keeps the response sees a change at its next read.
    for key in ("name", "uid", "create_time"):
        assert response[key] == read[key]
    rest.delete_project(project)


def test_create_leaves_branch_endpoint_database_and_role(rest, project):
    branch = f"projects/{project}/branches/production"
    (listed,) = rest.get(f"projects/{project}/branches")["branches"]
    assert_shape(
        listed,
        {
            "name": branch, "branch_id": "production", "parent": f"projects/{project}", "uid": BRANCH_UID,
            "create_time": TIMESTAMP, "update_time": TIMESTAMP,
            "status": {
                "branch_id": "production", "current_state": "READY", "state_change_time": TIMESTAMP, "default": True,
                "is_protected": False, "logical_size_bytes": COUNT,
            },
        },
    )  # fmt: skip
    assert rest.get(branch)["uid"] == listed["uid"]

    (endpoint,) = rest.get(f"{branch}/endpoints")["endpoints"]
    uid = endpoint["uid"]
    assert_shape(
        endpoint,
        {
            "name": f"{branch}/endpoints/primary", "endpoint_id": "primary", "parent": branch, "uid": ENDPOINT_UID,
            "create_time": TIMESTAMP, "update_time": TIMESTAMP,
            "status": {
                "endpoint_id": "primary", "endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "current_state": "ACTIVE",
                "disabled": False, "autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 1,
                "suspend_timeout_duration": "86400s", "settings": {},
                "group": {"min": 1, "max": 1, "enable_readable_secondaries": False},
                "hosts": {"host": text(r"127\.\d+\.\d+\.\d+"), "read_write_pooled_host": text(r"127\.\d+\.\d+\.\d+")},
                maybe("last_active_time"): TIMESTAMP,
            },
        },
    )  # fmt: skip
    assert re.fullmatch(r"[a-z0-9-]{1,63}", uid)


def test_owner_role_and_database_are_there(platform, project, primary):
    """By SQL: the caller's role with what it may do, and the database that is its own."""
    with platform.connect(primary) as connection:
        row = connection.execute(
            "select rolcreatedb, rolcreaterole, rolbypassrls, rolsuper, pg_has_role('databricks_superuser', 'member')"
            " from pg_roles where rolname = current_user"
        ).fetchone()
        assert row == (True, True, True, False, True)
        assert connection.execute(
            "select datname, pg_get_userbyid(datdba) from pg_database where not datistemplate and datname <> 'postgres'"
        ).fetchall() == [("databricks_postgres", "admin@localhost")]
        assert connection.execute("show server_version").fetchone()[0].startswith(f"{postgres.MAJOR}.")
        assert connection.execute("show data_checksums").fetchone() == ("on",)


def test_ready_when_the_operation_says_so(platform, project):
    """No pause between the end of the operation and the first connection."""
    assert platform.sql(platform.rest.endpoint(project), "select 1") == [(1,)]


@pytest.mark.parametrize("project_id", ["", "Upper", "1digit", "under_score", "ends-", "x" * 64, "quote'", "ünïcode", "a/b"])
def test_bad_project_ids(rest, project_id):
    error = rest.refused("POST", "projects", {}, project_id=project_id)
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE"), error
    if project_id == "":
        check_error(error, 400, "INVALID_PARAMETER_VALUE",
                    "Field 'project_id' is required, expected non-default value (not \"\")!")  # fmt: skip
    assert project_id not in [p["project_id"] for p in rest.get("projects").get("projects", [])]


@pytest.mark.parametrize("project_id", ["a", "x" * 63, "a-b-0"])
def test_project_ids_at_the_edges_work(rest, project_id):
    rest.create_project(project_id)
    assert rest.get(f"projects/{project_id}")["project_id"] == project_id
    rest.delete_project(project_id)


@pytest.mark.parametrize(
    "spec",
    [{"display_name": ""}, {"display_name": "x" * 257}, {"display_name": 5}, {"pg_version": 9}, {"pg_version": "soon"},
     {"history_retention_duration": "172799s"}, {"history_retention_duration": "3024001s"},
     {"history_retention_duration": "7d"}, {"history_retention_duration": 604800},
     {"default_endpoint_settings": {"autoscaling_limit_min_cu": 4, "autoscaling_limit_max_cu": 2}},
     {"default_endpoint_settings": {"autoscaling_limit_min_cu": 1.5, "autoscaling_limit_max_cu": 1.5}},
     {"default_endpoint_settings": {"autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 17}},
     {"default_endpoint_settings": {"autoscaling_limit_min_cu": 113, "autoscaling_limit_max_cu": 113}},
     {"default_endpoint_settings": {"suspend_timeout_duration": "604801s"}},
     {"default_endpoint_settings": {"suspend_timeout_duration": "300s", "no_suspension": True}}],
    ids=str,
)  # fmt: skip
def test_bad_project_specs(rest, new_name, spec):
    project = new_name()
    # An empty display_name means "unset" by the rule for empty strings: the id stands in.
    if spec == {"display_name": ""}:
        rest.create_project(project, {"spec": spec})
        assert rest.get(f"projects/{project}")["status"]["display_name"] == project
        rest.delete_project(project)
        return
    error = rest.refused("POST", "projects", {"spec": spec}, project_id=project)
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE"), error
    assert rest.refused("GET", f"projects/{project}").status == 404


def test_names_with_quotes_and_unicode_come_back_as_they_were(rest, new_name):
    project, name = new_name(), "Ann's \"größte\" \\ 应用 🐘 \t<b>;--"
    rest.create_project(project, {"spec": {"display_name": name}})
    assert rest.get(f"projects/{project}")["status"]["display_name"] == name
    rest.delete_project(project)


def test_settings_of_the_project_reach_its_first_endpoint(rest, new_name):
    project = new_name()
    settings = {"autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 2, "suspend_timeout_duration": "300s"}
    rest.create_project(project, {"spec": {"default_endpoint_settings": settings}})
    status = rest.endpoint(project)["status"]
    assert {key: status[key] for key in settings} == settings
    rest.delete_project(project)


def test_a_second_project_of_the_same_id(rest, project):
    check_error(rest.refused("POST", "projects", {}, project_id=project),
                409, "ALREADY_EXISTS", "project with such id already exists in the workspace")  # fmt: skip


def test_unknown_things(rest, project):
    check_error(rest.refused("GET", "projects/nope"), 404, "NOT_FOUND", "project id not found")
    check_error(rest.refused("GET", "projects/nope/branches"), 404, "NOT_FOUND", "project id not found")
    check_error(rest.refused("GET", f"projects/{project}/branches/nope"), 404, "NOT_FOUND", "branch id not found")
    check_error(rest.refused("GET", f"projects/{project}/branches/nope/endpoints/x"), 404, "NOT_FOUND",
                "branch id not found")  # fmt: skip
    check_error(rest.refused("GET", f"projects/{project}/branches/production/endpoints/nope"), 404, "NOT_FOUND",
                "endpoint id not found")  # fmt: skip
    check_error(rest.refused("GET", f"projects/{project}/operations/nope"), 404, "NOT_FOUND", "operation id not found")
    check_error(rest.refused("GET", "1234"), 404, "NOT_FOUND", "resource not found")


def test_wrong_verb_and_foreign_paths_are_json_too(rest):
    for method, path, status in (
        ("PUT", "projects", 405), ("DELETE", "projects", 405), ("GET", "/nothing/here", 404), ("GET", "/", 404),
    ):  # fmt: skip
        answer = rest.ask(method, path)
        assert answer.status == status, (method, path)
        assert answer.headers["Content-Type"].startswith("application/json")
        assert set(answer.json) >= {"error_code", "message"}


def test_a_trailing_question_mark_is_the_same_route(rest, project):
    assert rest.ask("GET", f"projects/{project}?").json == rest.get(f"projects/{project}")


@pytest.mark.parametrize("token", [None, "", "dapi" + "0" * 32, "not a token", "x" * 5000])
def test_without_a_valid_token_nothing_is_told(platform, project, token):
    stranger = Rest(platform.host, token)
    for path in (f"projects/{project}", "projects", "projects/nope", "/api/2.0/preview/scim/v2/Me"):
        answer = stranger.ask("GET", path)
        assert answer.status in ((401, 400, 431) if token and len(token) > 4000 else (401,)), path
        assert project not in answer.raw.decode(errors="replace")
    answer = stranger.ask("DELETE", f"projects/{project}")
    assert answer.status != 200
    assert platform.rest.get(f"projects/{project}")


def test_discovery_and_me_agree(platform, rest):
    answer = Rest(platform.host, None).ask("GET", "/.well-known/databricks-config")
    assert answer.status == 200
    config = answer.json
    assert config["oidc_endpoint"] == f"{platform.host}/oidc"
    assert config["host_type"] == "workspace" and re.fullmatch(r"\d+", config["workspace_id"])
    me = rest.ask("GET", "/api/2.0/preview/scim/v2/Me", query={"excludedAttributes": "entitlements"})
    assert me.headers["X-Databricks-Org-Id"] == config["workspace_id"]
    assert me.json["userName"] == "admin@localhost" and me.json["active"] is True
    assert me.json["schemas"] == ["urn:ietf:params:scim:schemas:core:2.0:User"]


def test_pages_walk_every_project_once(rest, new_name):
    made = [new_name("page") for _ in range(3)]
    for project in made:
        rest.call("POST", "projects", {}, project_id=project)
    seen, token = [], None
    for _ in range(100):
        page = rest.get("projects", page_size=1, **({"page_token": token} if token else {}))
        seen += [p["project_id"] for p in page.get("projects", [])]
        token = page.get("next_page_token")
        if not token:
            break
    assert len(seen) == len(set(seen))
    assert [p for p in seen if p in made] == made, "in order of creation"
    assert rest.refused("GET", "projects", page_size=-1).status == 400
    assert rest.refused("GET", "projects", page_token="rubbish").code == "INVALID_PARAMETER_VALUE"
    assert len(rest.get("projects", page_size=100000)["projects"]) >= 3
    for project in made:
        rest.delete_project(project)


def test_delete_is_soft_and_purge_is_not(platform, rest, new_name):
    project = new_name()
    rest.create_project(project)
    endpoint = rest.endpoint(project)
    platform.sql(endpoint, "select 1")
    assert_shape(rest.run("DELETE", f"projects/{project}"), EMPTY)
    assert project not in [p["project_id"] for p in rest.get("projects").get("projects", [])]
    gone = rest.get(f"projects/{project}")
    assert TIMESTAMP == gone["delete_time"] and TIMESTAMP == gone["purge_time"]
    (listed,) = [p for p in rest.get("projects", show_deleted="true")["projects"] if p["project_id"] == project]
    assert listed["delete_time"] == gone["delete_time"]
    assert rest.refused("POST", "projects", {}, project_id=project).status == 409
    assert rest.refused("POST", "credentials", {"endpoint": endpoint["name"]}).status == 404

    operation = rest.call("DELETE", f"projects/{project}", purge="true")
    assert_shape(rest.finish(operation), EMPTY)
    check_error(rest.refused("GET", f"projects/{project}"), 404, "NOT_FOUND", "project id not found")
    assert rest.get(operation["name"])["done"] is True, "the operation outlives its project"
    assert platform.supervisor_pid(endpoint) is None
    assert not (platform.directory / "computes" / endpoint["uid"]).exists()
    rest.create_project(project)
    assert rest.endpoint(project)["uid"] != endpoint["uid"]
    rest.delete_project(project)


def test_the_same_create_twice_at_once_makes_one(rest, new_name):
    """What a client does whose connection broke: exactly one of the two may win."""
    project, answers = new_name(), []
    threads = [
        threading.Thread(target=lambda: answers.append(rest.ask("POST", "projects", {}, {"project_id": project})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [200, 409, 409, 409]
    (winner,) = [a.json for a in answers if a.status == 200]
    rest.finish(winner)
    assert len(rest.get(f"projects/{project}/branches")["branches"]) == 1
    rest.delete_project(project)


def test_operations_survive_a_restart_and_the_purge_of_their_project(own_platform):
    platform = own_platform()
    created = platform.rest.call("POST", "projects", {}, project_id="p")
    platform.rest.finish(created)
    deleted = platform.rest.call("DELETE", "projects/p", purge="true")
    platform.rest.finish(deleted)
    before = [platform.rest.get(o["name"]) for o in (created, deleted)]
    assert platform.stop() == 0
    platform.start()
    assert [platform.rest.get(o["name"]) for o in (created, deleted)] == before

"""The unmodified Python SDK: who one is, permissions of a project, users, groups, service principals, and their tokens."""

import psycopg
import pytest

from clients.installed import PYTHON_SDKS
from clients.python_sdk import PythonSdk

PROJECTS = "database-projects"


@pytest.fixture(scope="module", params=PYTHON_SDKS)
def sdk(platform, request):
    with PythonSdk(request.param, platform.env()) as one:
        yield one


def ids(found, key):
    return [one[key] for one in found]


def as_token(sdk, platform, token):
    """The same version of the SDK with somebody's token."""
    return PythonSdk(sdk.version, {"DATABRICKS_HOST": platform.host, "DATABRICKS_TOKEN": token})


def new_principal(sdk, name):
    principal = sdk("service_principals.create", display_name=name)
    token = sdk("token_management.create_obo_token", application_id=principal["applicationId"], lifetime_seconds=3600)
    return principal, token["token_value"]


def test_permissions_of_a_project(sdk, platform, project, primary):
    name = f"projects/{project}"
    principal, token = new_principal(sdk, "reader")
    login = principal["applicationId"]
    levels = sdk("permissions.get_permission_levels", request_object_type=PROJECTS, request_object_id=project)
    assert ids(levels["permission_levels"], "permission_level") == ["CAN_USE", "CAN_MANAGE"]
    with as_token(sdk, platform, token) as theirs:
        assert theirs("current_user.me")["userName"] == login
        assert theirs.refused("get_project", name=name).kind == "PermissionDenied"
        assert project not in ids(theirs("list_projects"), "project_id")

        entry = {"service_principal_name": login, "permission_level": "CAN_USE"}
        sdk("permissions.update", request_object_type=PROJECTS, request_object_id=project, access_control_list=[entry])
        assert theirs("get_project", name=name)["project_id"] == project
        assert ids(theirs("list_projects"), "project_id") == [project]
        refused = theirs.refused("update_project", name=name, project={"spec": {"display_name": "x"}}, update_mask="spec.display_name")
        assert (refused.kind, refused.code) == ("PermissionDenied", "PERMISSION_DENIED")
        # CAN_USE may make a role, and log in with a token of its own.
        branch = f"{name}/branches/production"
        theirs("create_role", parent=branch, role={"spec": {"postgres_role": login, "identity_type": "SERVICE_PRINCIPAL"}})
        password = theirs("generate_database_credential", endpoint=primary["name"])["token"]
        assert platform.sql(primary, "select current_user", user=login, password=password) == [(login,)]

        entry["permission_level"] = "CAN_MANAGE"
        shown = sdk("permissions.set", request_object_type=PROJECTS, request_object_id=project, access_control_list=[entry])
        (mine,) = [one for one in shown["access_control_list"] if one.get("service_principal_name") == login]
        assert ids(mine["all_permissions"], "permission_level") == ["CAN_MANAGE"]
        theirs("update_project", name=name, project={"spec": {"display_name": "x"}}, update_mask="spec.display_name")
        sdk("permissions.set", request_object_type=PROJECTS, request_object_id=project, access_control_list=[])
        assert theirs.refused("get_project", name=name).kind == "PermissionDenied"
    shown = sdk("permissions.get", request_object_type=PROJECTS, request_object_id=project)
    assert shown["object_id"] == f"/{PROJECTS}/{project}" and login not in str(shown["access_control_list"])


def test_people_and_their_tokens(sdk, platform, new_name):
    login = f"{new_name('alice')}@example.com"
    user = sdk("users.create", user_name=login, display_name="Alice")
    assert user["userName"] == login and sdk("users.get", id=user["id"])["displayName"] == "Alice"
    assert ids(sdk("users.list", filter=f'userName eq "{login}"'), "id") == [user["id"]]
    robot, _ = new_principal(sdk, new_name("robot"))
    assert sdk("service_principals.get", id=robot["id"])["applicationId"] == robot["applicationId"]
    assert robot["id"] in ids(sdk("service_principals.list"), "id")
    group = sdk("groups.create", display_name=new_name("team"), members=[{"value": user["id"]}])
    assert ids(sdk("groups.get", id=group["id"])["members"], "value") == [user["id"]]
    assert group["id"] in ids(sdk("groups.list"), "id")
    sdk("groups.patch", id=group["id"], operations=[{"op": "add", "path": "members", "value": [{"value": robot["id"]}]}],
        schemas=["urn:ietf:params:scim:api:messages:2.0:PatchOp"])  # fmt: skip
    assert sorted(ids(sdk("groups.get", id=group["id"])["members"], "value")) == sorted([user["id"], robot["id"]])

    made = sdk("tokens.create", comment="for a test", lifetime_seconds=600)
    with as_token(sdk, platform, made["token_value"]) as theirs:
        assert theirs("current_user.me")["userName"] == platform.rest.user()
        assert made["token_info"]["token_id"] in ids(sdk("tokens.list"), "token_id")
        assert made["token_value"] not in str(sdk("tokens.list"))
        sdk("tokens.delete", token_id=made["token_info"]["token_id"])
        assert theirs.refused("current_user.me").kind == "Unauthenticated"
    sdk("groups.delete", id=group["id"])
    sdk("service_principals.delete", id=robot["id"])
    sdk("users.delete", id=user["id"])
    for service, one in (("groups", group), ("service_principals", robot), ("users", user)):
        assert sdk.refused(f"{service}.get", id=one["id"]).kind == "NotFound"


def test_oauth_with_an_id_and_a_secret(sdk, platform, new_name):
    """As a program does it that has no person: M2M. It owns what it makes, and logs in to Postgres by its id."""
    principal = sdk("service_principals.create", display_name=new_name("m2m"))
    login = principal["applicationId"]
    secret = sdk("service_principal_secrets_proxy.create", service_principal_id=principal["id"])
    environment = {"DATABRICKS_HOST": platform.host, "DATABRICKS_CLIENT_ID": login}
    with PythonSdk(sdk.version, {**environment, "DATABRICKS_CLIENT_SECRET": secret["secret"]}) as theirs:
        assert theirs("current_user.me")["userName"] == login
        project = new_name("m2m")
        made = theirs("create_project", project={}, project_id=project)
        assert made["status"]["owner"] == login
        branch = f"{made['name']}/branches/production"
        assert ids(theirs("list_roles", parent=branch), "role_id") == [f"sp-{login}"]
        endpoint = f"{branch}/endpoints/primary"
        password = theirs("generate_database_credential", endpoint=endpoint)["token"]
        assert platform.sql(endpoint, "select current_user", user=login, password=password) == [(login,)]
        theirs("delete_project", name=made["name"], purge=True)
    assert secret["id"] in ids(sdk("service_principal_secrets_proxy.list", service_principal_id=principal["id"]), "id")
    sdk("service_principal_secrets_proxy.delete", service_principal_id=principal["id"], secret_id=secret["id"])
    with PythonSdk(sdk.version, {**environment, "DATABRICKS_CLIENT_SECRET": secret["secret"]}) as theirs:
        assert "invalid_client" in theirs.refused("current_user.me").message


def test_the_token_of_a_group(sdk, platform, project, primary, new_name):
    """The oldest SDK asks for a credential that logs in as a group one is in; the newest has no word for it."""
    principal, token = new_principal(sdk, "member")
    name = new_name("team")
    sdk("groups.create", display_name=name, members=[{"value": principal["id"]}])
    sdk("permissions.update", request_object_type=PROJECTS, request_object_id=project,
        access_control_list=[{"group_name": name, "permission_level": "CAN_USE"}])  # fmt: skip
    sdk("create_role", parent=f"projects/{project}/branches/production", role={"spec": {"postgres_role": name, "identity_type": "GROUP"}})
    with as_token(sdk, platform, token) as theirs:
        if sdk.version != PYTHON_SDKS[0]:
            assert theirs.refused("generate_database_credential", endpoint=primary["name"], group_name=name).kind == "TypeError"
            return
        password = theirs("generate_database_credential", endpoint=primary["name"], group_name=name)["token"]
    assert platform.sql(primary, "select current_user", user=name, password=password) == [(name,)]
    with pytest.raises(psycopg.OperationalError):
        platform.sql(primary, "select 1", user=principal["applicationId"], password=password)

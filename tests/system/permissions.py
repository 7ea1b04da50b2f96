"""Who may call what: every route against every kind of caller, and what permissions do in the API and in Postgres."""

import uuid

import psycopg
import pytest

from harness.people import PERMISSIONS, People
from harness.rest import Rest
from harness.routes import read_routes

# Every route of the table and who may call it. A route that is missing here fails the test: whoever adds one says whom it is for.
# Paths are below /api/2.0 and, where they begin with "p", below /api/2.0/postgres/projects/{}.
OPEN, ANYBODY, USE, MANAGE, ADMIN = range(5)
EXPECTED = """
open     GET                    /.well-known/databricks-config
open     GET                    /healthz
open     GET                    /readyz
local    GET                    /metrics
open     GET                    /oidc/.well-known/oauth-authorization-server
open     GET                    /oidc/.well-known/openid-configuration
open     GET                    /oidc/jwks.json
open     POST                   /oidc/v1/token
open     POST                   /oidc/v1/revoke
open     GET POST               /oidc/v1/authorize
anybody  GET                    preview/scim/v2/Me
anybody  GET                    preview/scim/v2/Users
admin    POST                   preview/scim/v2/Users
anybody  GET                    preview/scim/v2/Users/{}
admin    PUT PATCH DELETE       preview/scim/v2/Users/{}
admin    POST                   preview/scim/v2/Users/{}/sign-in-code
anybody  GET                    preview/scim/v2/ServicePrincipals
admin    POST                   preview/scim/v2/ServicePrincipals
anybody  GET                    preview/scim/v2/ServicePrincipals/{}
admin    PUT PATCH DELETE       preview/scim/v2/ServicePrincipals/{}
anybody  GET                    preview/scim/v2/Groups
admin    POST                   preview/scim/v2/Groups
anybody  GET                    preview/scim/v2/Groups/{}
admin    PUT PATCH DELETE       preview/scim/v2/Groups/{}
anybody  POST                   token/create
anybody  GET                    token/list
anybody  POST                   token/delete
anybody  PATCH                  token/{}
admin    GET                    token-management/tokens
admin    GET DELETE             token-management/tokens/{}
admin    POST                   token-management/on-behalf-of/tokens
admin    GET POST               accounts/servicePrincipals/{}/credentials/secrets
admin    DELETE                 accounts/servicePrincipals/{}/credentials/secrets/{}
admin    GET POST               accounts/{}/federationPolicies
admin    GET PATCH DELETE       accounts/{}/federationPolicies/{}
admin    GET POST               accounts/{}/servicePrincipals/{}/federationPolicies
admin    GET PATCH DELETE       accounts/{}/servicePrincipals/{}/federationPolicies/{}
use      GET                    permissions/database-projects/{}
manage   PUT PATCH              permissions/database-projects/{}
use      GET                    permissions/database-projects/{}/permissionLevels
anybody  GET POST               database/instances
use      GET                    database/instances/{}
manage   PATCH DELETE           database/instances/{}
manage   PATCH                  database/instances/{}/upgrade
admin    GET POST               ip-access-lists
admin    GET PUT PATCH DELETE   ip-access-lists/{}
admin    GET PATCH              workspace-conf
use      GET                    database/instances/{}/roles
use      GET                    database/instances/{}/roles/{}
use      GET                    database/instances/{}/databases
use      POST                   database/instances/{}/roles
manage   DELETE                 database/instances/{}/roles/{}
anybody  GET                    database/instances:findByUid
manage   POST                   database/instances/{}/failover
use      GET                    database/instances/{}/catalogs
use      GET                    database/instances/{}/synced_tables
anybody  POST                   database/credentials
anybody  POST                   database/catalogs
anybody  GET PATCH DELETE       database/catalogs/{}
anybody  POST                   database/synced_tables
anybody  GET PATCH DELETE       database/synced_tables/{}
anybody  POST                   database/tables
anybody  GET DELETE             database/tables/{}
use      GET                    permissions/database-instances/{}
manage   PUT PATCH              permissions/database-instances/{}
use      GET                    permissions/database-instances/{}/permissionLevels
anybody  GET POST               postgres/projects
use      POST                   postgres/credentials
anybody  POST                   postgres/catalogs
anybody  GET DELETE             postgres/catalogs/{}
anybody  POST                   postgres/synced_tables
anybody  GET DELETE             postgres/synced_tables/{}
anybody  POST                   postgres/tables
anybody  GET DELETE             postgres/tables/{}
use      GET                    p
manage   PATCH DELETE           p
manage   POST                   p/undelete
use      GET                    p/branches
manage   POST                   p/branches
use      GET                    p/branches/{}
manage   PATCH DELETE           p/branches/{}
manage   POST                   p/branches/{}/undelete
manage   POST                   p/branches/{}/reset
manage   POST                   p/branches/{}/restore
use      GET                    p/branches/{}/restore-window
use      GET                    p/branches/{}/endpoints
manage   POST                   p/branches/{}/endpoints
use      GET                    p/branches/{}/endpoints/{}
manage   PATCH DELETE           p/branches/{}/endpoints/{}
use      GET                    p/branches/{}/endpoints/{}/compute-instances
use      GET                    p/branches/{}/endpoints/{}/compute-instances/{}
use      GET POST               p/branches/{}/databases
use      GET                    p/branches/{}/databases/{}
manage   PATCH DELETE           p/branches/{}/databases/{}
use      GET POST               p/branches/{}/roles
use      GET                    p/branches/{}/roles/{}
manage   PATCH DELETE           p/branches/{}/roles/{}
manage   POST                   p/branches/{}/roles/{}/password
use      GET                    p/branches/{}/databases/{}/data-api
manage   POST PATCH DELETE      p/branches/{}/databases/{}/data-api
use      GET                    p/branches/{}/databases/{}/cdf-configs
manage   POST                   p/branches/{}/databases/{}/cdf-configs
use      GET                    p/branches/{}/databases/{}/cdf-configs/{}
manage   DELETE                 p/branches/{}/databases/{}/cdf-configs/{}
use      GET                    p/branches/{}/databases/{}/cdf-configs/{}/cdf-statuses
use      GET                    p/branches/{}/databases/{}/cdf-configs/{}/cdf-statuses/{}
use      GET                    p/snapshots
manage   POST                   p/snapshots
use      GET                    p/snapshots/{}
manage   DELETE                 p/snapshots/{}
use      GET                    p/branches/{}/snapshot-schedule
manage   PATCH                  p/branches/{}/snapshot-schedule
use      GET                    p/preview/replication-groups
manage   POST                   p/preview/replication-groups
use      GET                    p/preview/replication-groups/{}
manage   PATCH DELETE           p/preview/replication-groups/{}
manage   POST                   p/preview/replication-groups/{}/failover
manage   POST                   p/preview/replication-groups/{}/switchover
use      GET                    p/preview/recovery-branches
use      GET                    p/preview/recovery-branches/{}
manage   DELETE                 p/preview/recovery-branches/{}
manage   POST                   p/preview/recovery-branches/{}/inspect
use      GET                    p/branches/{}/forward-etl
use      GET                    p/branches/{}/forward-etl/metadata
manage   DELETE                 p/branches/{}/forward-etl
manage   DELETE                 p/branches/{}/forward-etl/configuration
"""


def expected():
    # "local": judged by where it comes from (system/operations.py).
    levels = {"local": None, "open": OPEN, "anybody": ANYBODY, "use": USE, "manage": MANAGE, "admin": ADMIN}
    rules = {}
    for line in EXPECTED.split("\n"):
        if not line.strip():
            continue
        level, *methods, path = line.split()
        if path == "p" or path.startswith("p/"):
            path = "postgres/projects/{}" + path[1:]
        for method in methods:
            rules[method, path if path.startswith("/") else "/api/2.0/" + path] = levels[level]
    return rules


def test_every_route_has_a_rule():
    routes = {(method, pattern) for method, pattern, _ in read_routes()}
    rules = set(expected())
    assert not routes - rules, f"routes that nobody said anything about: {sorted(routes - rules)}"
    assert not rules - routes, f"rules for routes that do not exist: {sorted(rules - routes)}"


def test_a_route_without_a_project_says_whom_it_is_for():
    """The plain SERVE is checked where the project is found; a route that names none would be checked nowhere."""
    for method, pattern, marker in read_routes():
        names_project = "projects/{}" in pattern or "database-instances/{}" in pattern or pattern.startswith("/api/2.0/database/")
        assert marker != "SERVE" or names_project, f"{method} {pattern}: use SERVE_ALL, SERVE_ADMIN or SERVE_OPEN"


@pytest.fixture(scope="module")
def people(platform):
    return People(platform)


@pytest.fixture(scope="module")
def callers(platform, people, shared_project):
    """What each kind of caller may do, in ascending order, and the API as it sees it."""
    user, user_rest = people.robot("can-use")
    manager, manager_rest = people.robot("can-manage")
    admin, admin_rest = people.robot("admin")
    people.grant(shared_project, "CAN_USE", user)
    people.grant(shared_project, "CAN_MANAGE", manager)
    people.patch_group(people.find_group("admins"), "add", admin)
    return [("nobody", OPEN, Rest(platform.host, None)), ("stranger", ANYBODY, people.robot("stranger")[1]),
            ("CAN_USE", USE, user_rest), ("CAN_MANAGE", MANAGE, manager_rest), ("admin", ADMIN, admin_rest)]  # fmt: skip


IDS = {"branches": "production", "endpoints": "primary", "databases": "databricks-postgres", "roles": "admin"}


def fill(pattern, project, leaf):
    """The pattern with names in it: real ones, but `leaf` for the last."""
    segments = pattern.split("/")
    last = len(segments) - 1 - segments[::-1].index("{}") if "{}" in segments else -1
    for i, segment in enumerate(segments):
        if segment == "{}":
            before = segments[i - 1]
            is_project = before in ("projects", "database-projects", "instances", "database-instances")
            segments[i] = project if is_project else leaf if i == last and leaf else IDS.get(before, "nothing")
    return "/".join(segments)


@pytest.mark.parametrize("method, pattern", sorted(route for route, level in expected().items() if level is not None))
def test_matrix(shared_project, callers, method, pattern):
    level = expected()[method, pattern]
    credential = {"endpoint": f"projects/{shared_project}/branches/production/endpoints/primary"}
    for name, has, rest in callers:
        if has >= level:
            # Whoever gets past the check must not do anything: what a change names is not there, and its body is no JSON.
            path = fill(pattern, shared_project, "nothing" if method != "GET" else None)
            answer = rest.ask(method, path, query={"purge": "maybe", "update_mask": "nonsense"},
                              raw=b"[" if method not in ("GET", "DELETE") else None)  # fmt: skip
            assert answer.status not in (401, 403), (name, answer.status, answer.raw)
            continue
        # Everything is right with the request, but for who sends it.
        ids = {f"{noun}_id": "new" for noun in ("branch", "endpoint", "snapshot", "database", "role", "cdf_config")}
        body = credential if pattern.endswith("/credentials") else {}
        answer = rest.ask(method, fill(pattern, shared_project, None), body if method != "GET" else None, ids)
        wanted = (401, "UNAUTHENTICATED") if has == OPEN else (403, "PERMISSION_DENIED")
        assert (answer.status, answer.json["error_code"]) == wanted, (name, answer.status, answer.raw)
        assert answer.json["details"][0]["metadata"] == {}
        assert (answer.headers["WWW-Authenticate"] == "Bearer") == (has == OPEN)


def test_lists_show_what_one_may_see(people, rest, new_name):
    """Also page by page, with projects of others between one's own."""
    robot, robot_rest = people.robot()
    names = [new_name("l") for _ in range(4)]
    for i, name in enumerate(names):
        rest.create_project(name)
        if i % 2:
            people.grant(name, "CAN_USE", robot)
    seen, token = [], None
    while True:
        page = robot_rest.get("projects", page_size=1, **({"page_token": token} if token else {}))
        seen += [p["project_id"] for p in page["projects"]]
        assert len(page["projects"]) <= 1
        token = page.get("next_page_token")
        if not token:
            break
    assert seen == names[1::2]
    rest.run("DELETE", f"projects/{names[1]}")
    assert [p["project_id"] for p in robot_rest.get("projects")["projects"]] == [names[3]]
    assert [p["project_id"] for p in robot_rest.get("projects", show_deleted="true")["projects"]] == names[1::2]
    for name in names:
        rest.delete_project(name)
    assert robot_rest.get("projects").get("projects", []) == []


def connect(platform, endpoint, login, token):
    return psycopg.connect(host=endpoint["status"]["hosts"]["host"], port=platform.pg_port, user=login, password=token,
                           dbname="databricks_postgres", sslmode="verify-full", sslrootcert=platform.ca, connect_timeout=60,
                           autocommit=True)  # fmt: skip


def test_can_use_is_what_it_takes_to_connect(platform, people, project, primary):
    robot, robot_rest = people.robot()
    login = robot["applicationId"]
    error = robot_rest.refused("POST", "credentials", {"endpoint": primary["name"]})
    assert (error.status, error.code) == (403, "PERMISSION_DENIED")
    people.grant(project, "CAN_USE", robot)
    token = robot_rest.database_token(primary["name"])
    # The permission is about the project; who may log in to Postgres is Postgres' business.
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(platform, primary, login, token)
    platform.sql(primary, f'create role "{login}" login')
    with connect(platform, primary, login, token) as connection:
        assert connection.execute("select current_user").fetchone() == (login,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(platform, primary, "admin@localhost", token)
    assert robot_rest.refused("DELETE", f"projects/{project}").status == 403


def test_a_group_has_a_role_that_its_members_can_be(platform, people, project, primary):
    member, member_rest = people.robot("member")
    group_name = f"team {uuid.uuid4().hex[:6]}"
    group = people.make_group(group_name, member)
    people.grant(project, "CAN_USE", group)
    spec = {"postgres_role": group_name, "identity_type": "GROUP"}
    platform.rest.run("POST", f"projects/{project}/branches/production/roles", {"spec": spec})
    token = member_rest.database_token(primary["name"], group_name=group_name)
    with connect(platform, primary, group_name, token) as connection:
        assert connection.execute("select current_user").fetchone() == (group_name,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(platform, primary, member["applicationId"], token)
    people.patch_group(group, "remove", member)
    error = member_rest.refused("POST", "credentials", {"endpoint": primary["name"], "group_name": group_name})
    assert error.status == 403


def test_a_service_principal_owns_the_project_it_makes(platform, people, new_name):
    robot, robot_rest = people.robot()
    login, name = robot["applicationId"], new_name("sp")
    created = robot_rest.create_project(name)
    assert created["status"]["owner"] == login
    roles = robot_rest.get(f"projects/{name}/branches/production/roles")["roles"]
    assert roles[0]["role_id"] == f"sp-{login}"
    assert roles[0]["status"]["identity_type"] == "SERVICE_PRINCIPAL" and roles[0]["status"]["postgres_role"] == login
    endpoint = robot_rest.endpoint(name)
    with connect(platform, endpoint, login, robot_rest.database_token(endpoint["name"])) as connection:
        connection.execute("create table t(x int)")
        assert connection.execute("select tableowner from pg_tables where tablename = 't'").fetchone() == (login,)
    entries = robot_rest.get(PERMISSIONS + name)["access_control_list"]
    assert {"service_principal_name": login, "group_name": "admins"}.items() <= {
        k: v for e in entries for k, v in e.items() if k.endswith("_name")
    }.items()
    robot_rest.delete_project(name)


def test_permissions_outlive_restarts_and_go_with_the_project(own_platform):
    platform = own_platform()
    people = People(platform)
    robot, robot_rest = people.robot()
    platform.rest.create_project("p")
    people.grant("p", "CAN_MANAGE", robot)
    platform.stop()
    platform.start()
    robot_rest.run("PATCH", "projects/p", {"spec": {"display_name": "x"}}, update_mask="spec.display_name")
    robot_rest.delete_project("p")
    platform.rest.create_project("p")
    assert robot_rest.refused("GET", "projects/p").status == 403

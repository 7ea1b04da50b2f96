"""OAuth with the clients' own code: secrets of service principals, users in a browser, rotation, revocation. And no secret gets where it can be read."""

import base64
import hashlib
import http.client
import json
import os
import secrets
import signal
import socket
import threading
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied, Unauthenticated
from databricks.sdk.service import iam

from harness import processes
from harness.people import SCIM, People
from harness.ports import sign_in_port
from harness.rest import Rest
from harness.waiting import wait_until

REDIRECT = "http://localhost:8020"


@pytest.fixture(scope="module")
def people(platform):
    return People(platform)


def send_form(platform, path, fields, headers=None):
    """(status, headers, body) of a form; redirects are not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.api_port, timeout=30)
    connection.request("POST", path, urllib.parse.urlencode(fields),
                       {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})})  # fmt: skip
    answer = connection.getresponse()
    result = (answer.status, answer.headers, answer.read())
    connection.close()
    return result


def connects(connection):
    try:
        connection.connect()
    except ConnectionRefusedError:
        return False
    return True


def port_is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class FormFields(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.fields = {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "input" and "name" in attributes:
            self.fields[attributes["name"]] = attributes.get("value", "")


class Browser:
    """A user in front of the sign-in page: opens the address a client names, fills in the form, follows where it leads."""

    def __init__(self, secret):
        self.secret = secret

    def open(self, url):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.request("GET", f"{parts.path}?{parts.query}")
        page = connection.getresponse()
        text = page.read().decode()
        assert page.status == 200, text
        assert page.headers["Content-Type"].startswith("text/html")
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"] and "Set-Cookie" not in page.headers
        fields = FormFields(text).fields
        fields["secret"] = self.secret
        connection.request("POST", parts.path, urllib.parse.urlencode(fields),
                           {"Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 302, answer.status
        return answer.headers["Location"]


def sign_in(platform, secret, scope="offline_access all-apis"):
    """The whole exchange as a client makes it; what the token endpoint answers."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = urllib.parse.urlencode({
        "response_type": "code", "client_id": "databricks-cli", "redirect_uri": REDIRECT, "scope": scope, "state": "s t&te",
        "code_challenge": challenge, "code_challenge_method": "S256"})  # fmt: skip
    location = Browser(secret).open(f"{platform.host}/oidc/v1/authorize?{query}")
    assert location.startswith(REDIRECT + "?")
    answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    assert answer["state"] == "s t&te"
    status, _, body = send_form(platform, "/oidc/v1/token", {
        "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": REDIRECT, "client_id": "databricks-cli",
        "code_verifier": verifier})  # fmt: skip
    assert status == 200, body
    return json.loads(body)


def make_user(people, platform):
    """A new user, with the sign-in code that an administrator gives him."""
    user = people.make("Users", userName=f"{secrets.token_hex(4)}@example.com", displayName="Somebody")
    code = people.admin.call("POST", f"{SCIM}Users/{user['id']}/sign-in-code", {})["code"]
    return user, code


def refresh(platform, token):
    return send_form(platform, "/oidc/v1/token",
                     {"grant_type": "refresh_token", "refresh_token": token, "client_id": "databricks-cli"})  # fmt: skip


# -- the Python SDK ---------------------------------------------------------------------------------------------------


def sdk_client(platform, principal, secret):
    return WorkspaceClient(host=platform.host, client_id=principal["applicationId"], client_secret=secret,
                           auth_type="oauth-m2m")  # fmt: skip


def test_sdk_with_a_client_secret(platform, people, project, primary):
    principal, _ = people.robot()
    secret = people.secret_of(principal)
    client = sdk_client(platform, principal, secret["secret"])
    assert client.current_user.me().user_name == principal["applicationId"]
    with pytest.raises(PermissionDenied):
        client.postgres.get_project(f"projects/{project}")
    people.grant(project, "CAN_USE", principal)
    assert client.postgres.get_project(f"projects/{project}").project_id == project
    login = principal["applicationId"]
    platform.sql(primary, f'create role "{login}" login')
    token = client.postgres.generate_database_credential(primary["name"]).token
    with psycopg.connect(host=primary["status"]["hosts"]["host"], port=platform.pg_port, user=login, password=token,
                         dbname="databricks_postgres", sslmode="verify-full", sslrootcert=platform.ca) as connection:  # fmt: skip
        assert connection.execute("select current_user").fetchone() == (login,)


def test_sdk_renews_tokens_and_follows_a_new_secret(platform, people):
    principal, _ = people.robot()
    old = people.secret_of(principal)
    client = sdk_client(platform, principal, old["secret"])
    source = client.config.oauth_token
    first = source().access_token
    assert client.current_user.me().user_name == principal["applicationId"]
    # A second client gets a token of its own, while the first one's goes on working.
    second = sdk_client(platform, principal, old["secret"]).config.oauth_token().access_token
    assert first != second
    new = people.secret_of(principal)
    replaced = sdk_client(platform, principal, new["secret"])
    people.admin.call("DELETE", f"/api/2.0/accounts/servicePrincipals/{principal['id']}/credentials/secrets/{old['id']}")
    with pytest.raises(Unauthenticated):
        client.current_user.me()
    assert replaced.current_user.me().user_name == principal["applicationId"]
    with pytest.raises(ValueError, match="invalid_client"):
        sdk_client(platform, principal, old["secret"]).current_user.me()


def test_sdk_manages_identities(platform, people, rest):
    client = WorkspaceClient(host=platform.host, token=rest.token, auth_type="pat")
    name = f"{secrets.token_hex(4)}@example.com"
    user = client.users_v2.create(user_name=name, display_name="Ann") if hasattr(client, "users_v2") else \
        client.users.create(user_name=name, display_name="Ann")  # fmt: skip
    users = getattr(client, "users_v2", None) or client.users
    groups = getattr(client, "groups_v2", None) or client.groups
    principals = getattr(client, "service_principals_v2", None) or client.service_principals
    assert [u.id for u in users.list(filter=f'userName eq "{name}"')] == [user.id]
    assert users.get(user.id).display_name == "Ann"
    users.patch(user.id, operations=[iam.Patch(op=iam.PatchOp.REPLACE, path="active", value="false")])
    assert users.get(user.id).active is False
    users.update(user.id, user_name=name, display_name="Ann B", active=True)
    assert (users.get(user.id).display_name, users.get(user.id).active) == ("Ann B", True)
    group = groups.create(display_name=f"g {secrets.token_hex(4)}", members=[iam.ComplexValue(value=user.id)])
    assert [m.value for m in groups.get(group.id).members] == [user.id]
    principal = principals.create(display_name="robot")
    groups.patch(group.id, operations=[iam.Patch(op=iam.PatchOp.ADD, path="members", value=[{"value": principal.id}])])
    assert {m.value for m in groups.get(group.id).members} == {user.id, principal.id}
    groups.patch(group.id, operations=[iam.Patch(op=iam.PatchOp.REMOVE, path=f'members[value eq "{user.id}"]')])
    assert [m.value for m in groups.get(group.id).members] == [principal.id]
    secret = client.service_principal_secrets_proxy.create(principal.id)
    assert [s.id for s in client.service_principal_secrets_proxy.list(principal.id)] == [secret.id]
    assert sdk_client(platform, {"applicationId": principal.application_id}, secret.secret).current_user.me().active
    client.service_principal_secrets_proxy.delete(principal.id, secret.id)
    token = client.tokens.create(comment="test", lifetime_seconds=600)
    assert Rest(platform.host, token.token_value).user() == "admin@localhost"
    assert token.token_info.token_id in [t.token_id for t in client.tokens.list()]
    client.tokens.delete(token.token_info.token_id)
    assert Rest(platform.host, token.token_value).ask("GET", SCIM + "Me").status == 401
    for collection, one in ((groups, group), (users, user), (principals, principal)):
        collection.delete(one.id)
    assert list(users.list(filter=f'userName eq "{name}"')) == []


def test_sdk_manages_permissions(platform, people, rest, project):
    client = WorkspaceClient(host=platform.host, token=rest.token, auth_type="pat")
    principal, _ = people.robot()
    client.permissions.update("database-projects", project, access_control_list=[iam.AccessControlRequest(
        service_principal_name=principal["applicationId"], permission_level=iam.PermissionLevel.CAN_USE)])  # fmt: skip
    got = client.permissions.get("database-projects", project)
    assert got.object_id == f"/database-projects/{project}"
    assert principal["applicationId"] in [e.service_principal_name for e in got.access_control_list]
    client.permissions.set("database-projects", project, access_control_list=[])
    got = client.permissions.get("database-projects", project)
    assert all(p.inherited for e in got.access_control_list for p in e.all_permissions)
    levels = client.permissions.get_permission_levels("database-projects", project).permission_levels
    assert [level.permission_level.value for level in levels] == ["CAN_USE", "CAN_MANAGE"]


def test_sdk_signs_a_user_in_with_a_browser(platform, people, monkeypatch, tmp_path):
    """The SDK's own code: it listens, opens a browser, exchanges the code; our browser fills in the form."""
    user, code = make_user(people, platform)
    monkeypatch.setenv("HOME", str(tmp_path))

    def open_browser(url):
        location = Browser(code).open(url)
        parts = urllib.parse.urlsplit(location)

        def follow():
            connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
            wait_until(lambda: connects(connection), "the SDK listens: after it has opened the browser", 30)
            connection.request("GET", f"/?{parts.query}")
            connection.getresponse().read()
            connection.close()

        threading.Thread(target=follow, daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open_new", open_browser)
    with sign_in_port():
        wait_until(lambda: port_is_free(8020), "the SDK's port is free", 120)  # it has only this one
        client = WorkspaceClient(host=platform.host, auth_type="external-browser")
    assert client.current_user.me().user_name == user["userName"]


def kill_control(platform):
    """Without a word; the watcher starts another one."""
    pid = platform.role_pid("control")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: platform.role_pid("control") not in (None, pid), "another control runs", 60)
    platform.wait_ready()


# -- what the pieces promise ------------------------------------------------------------------------------------------


def test_rotation_and_reuse(platform, people):
    user, code = make_user(people, platform)
    first = sign_in(platform, code)
    assert Rest(platform.host, first["access_token"]).user() == user["userName"]
    status, _, body = refresh(platform, first["refresh_token"])
    second = json.loads(body)
    assert status == 200 and second["refresh_token"] != first["refresh_token"]
    status, headers, body = refresh(platform, first["refresh_token"])
    assert status == 400 and b"invalid_grant" in body and headers["Cache-Control"] == "no-store"
    for token in (first["access_token"], second["access_token"]):
        assert Rest(platform.host, token).ask("GET", SCIM + "Me").status == 401
    assert refresh(platform, second["refresh_token"])[0] == 400


def test_a_session_without_offline_access_has_no_refresh_token(platform, people):
    _, code = make_user(people, platform)
    assert "refresh_token" not in sign_in(platform, code, scope="all-apis")


def test_revocation_and_deactivation_take_effect_at_once(platform, people):
    user, code = make_user(people, platform)
    token = sign_in(platform, code)
    rest = Rest(platform.host, token["access_token"])
    assert rest.user() == user["userName"]
    people.admin.call("PATCH", f"{SCIM}Users/{user['id']}",
                      {"Operations": [{"op": "replace", "path": "active", "value": False}]})  # fmt: skip
    assert rest.ask("GET", SCIM + "Me").status == 401
    assert refresh(platform, token["refresh_token"])[0] == 400
    people.admin.call("PATCH", f"{SCIM}Users/{user['id']}",
                      {"Operations": [{"op": "replace", "path": "active", "value": True}]})  # fmt: skip
    assert rest.user() == user["userName"]
    assert send_form(platform, "/oidc/v1/revoke", {"token": token["refresh_token"]})[0] == 200
    assert rest.ask("GET", SCIM + "Me").status == 401


def test_database_tokens_end_with_their_identity(platform, people, project, primary):
    """The next login is refused, however fresh the token; a session that is open goes on, as it does when its token expires."""
    principal, robot = people.robot()
    people.grant(project, "CAN_USE", principal)
    login = principal["applicationId"]
    platform.sql(primary, f'create role "{login}" login')
    token = robot.database_token(primary["name"])

    def connect():
        return psycopg.connect(host=primary["status"]["hosts"]["host"], port=platform.pg_port, user=login, password=token,
                               dbname="databricks_postgres", sslmode="verify-full", sslrootcert=platform.ca, autocommit=True)  # fmt: skip

    with connect() as session:
        for active in (False, True):
            people.admin.call("PATCH", f"{SCIM}ServicePrincipals/{principal['id']}",
                              {"Operations": [{"op": "replace", "path": "active", "value": active}]})  # fmt: skip
            if active:
                connect().close()
            else:
                with pytest.raises(psycopg.OperationalError, match="deactivated or deleted"):
                    connect()
            assert session.execute("select 1").fetchone() == (1,)
        people.admin.call("DELETE", f"{SCIM}ServicePrincipals/{principal['id']}")
        with pytest.raises(psycopg.OperationalError, match="deactivated or deleted"):
            connect()
        assert session.execute("select 1").fetchone() == (1,)
    platform.sleep(project)
    with pytest.raises(psycopg.OperationalError, match="deactivated or deleted"):
        connect()
    assert platform.is_asleep(primary), "nothing is started for it"


def test_sessions_and_tokens_outlive_restarts_and_kills(own_platform):
    platform = own_platform()
    people = People(platform)
    principal, robot = people.robot()
    secret = people.secret_of(principal)
    _, code = make_user(people, platform)
    token = sign_in(platform, code)
    kill_control(platform)
    client = sdk_client(platform, principal, secret["secret"])
    assert client.current_user.me().user_name == robot.user() == principal["applicationId"]
    status, _, body = refresh(platform, token["refresh_token"])
    assert status == 200
    kill_control(platform)
    assert refresh(platform, token["refresh_token"])[0] == 400
    assert Rest(platform.host, json.loads(body)["access_token"]).ask("GET", SCIM + "Me").status == 401


# -- where secrets must not be ----------------------------------------------------------------------------------------


def test_no_secret_in_logs_metadata_or_process_lists(own_platform):
    platform = own_platform()
    people = People(platform)
    principal, robot = people.robot()
    secret = people.secret_of(principal)["secret"]
    user, code = make_user(people, platform)
    platform.rest.create_project("p")
    people.grant("p", "CAN_USE", principal)
    token = sign_in(platform, code)
    body = refresh(platform, token["refresh_token"])[2]
    personal = Rest(platform.host, token["access_token"]).call("POST", "/api/2.0/token/create", {"comment": "c"})
    database = platform.rest.database_token(platform.rest.endpoint("p")["name"])
    client = sdk_client(platform, principal, secret)
    client.current_user.me()
    known = {
        "the file's token": platform.rest.token, "a personal token": personal["token_value"], "on behalf": robot.token,
        "a client secret": secret, "a sign-in code": code, "an access token": token["access_token"],
        "a refresh token": token["refresh_token"], "the next one": json.loads(body)["refresh_token"],
        "a database token": database, "its signature": database.rsplit(".", 1)[1],
        "the SDK's": client.config.oauth_token().access_token,
    }  # fmt: skip
    # Also those that were tried and refused.
    for wrong in ("dose" + secrets.token_hex(16), "dapi" + secrets.token_hex(16)):
        known[f"a wrong one, {wrong[:4]}"] = wrong
        send_form(platform, "/oidc/v1/token", {"grant_type": "client_credentials", "client_id": principal["applicationId"],
                                               "client_secret": wrong})  # fmt: skip
        Rest(platform.host, wrong).ask("GET", SCIM + "Me")
        Rest(platform.host, wrong).ask("POST", "projects?project_id=x")

    def places():
        for pid in processes.of_directory(platform.directory):
            yield f"/proc/{pid}/cmdline", Path(f"/proc/{pid}/cmdline").read_bytes()
        for path in platform.directory.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name != "admin.token" and path.stat().st_size < 64 << 20:
                if "volumes" not in path.parts and "stores" not in path.parts and "templates" not in path.parts:
                    yield str(path), path.read_bytes()
        yield "tarn up", platform.up_log().encode()

    seen = set()
    for place, content in places():
        seen.add(Path(place).name)
        for name, text in known.items():
            assert text.encode() not in content, f"{name} stands in {place}"
    assert {"cmdline", "metadata.db", "control.log"} <= seen

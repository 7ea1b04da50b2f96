"""Trust in an outside issuer: the real clients log in with a token of an OpenID Connect issuer that runs here, without a secret of ours."""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import threading
from pathlib import Path

import psycopg
import pytest

from clients import installed
from clients.databricks_cli import CliError, DatabricksCli
from clients.python_sdk import PythonSdk, SdkError
from clients.terraform import Terraform
from harness import processes
from harness.issuer import Issuer, SigningKey, encode
from harness.people import SCIM, People
from harness.rest import Rest
from harness.waiting import wait_until
from system.oauth import kill_control, send_form

pytestmark = pytest.mark.timeout(600)
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


@pytest.fixture(scope="module")
def people(platform):
    return People(platform)


@pytest.fixture
def issuer():
    with Issuer() as one:
        yield one


def account_of(platform):
    return platform.rest.get("/.well-known/databricks-config")["account_id"]


def policies(platform, principal=None):
    middle = f"/servicePrincipals/{principal['id']}" if principal else ""
    return f"/api/2.0/accounts/{account_of(platform)}{middle}/federationPolicies"


@pytest.fixture
def trust(platform):
    """Makes a policy; all are gone afterwards."""
    made = []

    def make(issuer, principal=None, **oidc):
        where = policies(platform, principal)
        policy = platform.rest.call("POST", where, {"oidc_policy": {"issuer": issuer.url, **oidc}})
        made.append(f"{where}/{policy['policy_id']}")
        return policy

    yield make
    for path in made:
        platform.rest.ask("DELETE", path)


def make_user(people, name=None):
    return people.make("Users", userName=name or f"{secrets.token_hex(4)}@example.com", displayName="Somebody")


def exchange(platform, token, client_id=None, **more):
    """(status, answer) of the token endpoint."""
    fields = {"grant_type": GRANT, "subject_token_type": JWT, "subject_token": token, "scope": "all-apis", **more}
    if client_id:
        fields["client_id"] = client_id
    status, headers, body = send_form(platform, "/oidc/v1/token", fields)
    assert headers["Cache-Control"] == "no-store"
    return status, json.loads(body)


def access(platform, token, client_id=None):
    status, answer = exchange(platform, token, client_id)
    assert status == 200, answer
    assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token" and "refresh_token" not in answer
    return Rest(platform.host, answer["access_token"])


def refusal(platform, token, client_id=None, status=400, error="invalid_request"):
    got, answer = exchange(platform, token, client_id)
    assert (got, answer["error"]) == (status, error), answer
    assert not any(part in answer["error_description"] for part in token.split(".") if len(part) > 8)
    return answer["error_description"]


def is_accepted(rest):
    return rest.ask("GET", SCIM + "Me").status == 200


# -- the clients, as they are -----------------------------------------------------------------------------------------


def oidc_environment(platform, how, token, folder, **more):
    environment = {"DATABRICKS_HOST": platform.host, "DATABRICKS_AUTH_TYPE": how, **more}
    if how == "env-oidc":
        return {**environment, "DATABRICKS_OIDC_TOKEN": token}
    path = folder / "token"
    path.write_text(token)
    return {**environment, "DATABRICKS_OIDC_TOKEN_FILEPATH": str(path)}


@pytest.mark.parametrize("how", ["env-oidc", "file-oidc"])
@pytest.mark.parametrize("version", installed.PYTHON_SDKS)
def test_python_sdk_as_a_service_principal(platform, people, issuer, project, primary, tmp_path, version, how):
    """Trusted through the SDK's AccountClient, logged in by its own token exchange, down to a login to Postgres."""
    principal, _ = people.robot()
    login = principal["applicationId"]
    with PythonSdk(version, {**platform.env(), "DATABRICKS_ACCOUNT_ID": account_of(platform)}) as admin:
        policy = admin("account.service_principal_federation_policy.create", service_principal_id=int(principal["id"]),
                       policy={"oidc_policy": {"issuer": issuer.url, "subject": "repo:acme/app", "audiences": ["tarn"]}},
                       policy_id="ci")  # fmt: skip
        assert policy in admin("account.service_principal_federation_policy.list", service_principal_id=int(principal["id"]))
        assert policy["service_principal_id"] == int(principal["id"])
        people.grant(project, "CAN_USE", principal)
        platform.sql(primary, f'create role "{login}" login')
        token = issuer.token("repo:acme/app", "tarn")
        with PythonSdk(version, oidc_environment(platform, how, token, tmp_path, DATABRICKS_CLIENT_ID=login)) as sdk:
            assert sdk("current_user.me")["userName"] == login
            assert sdk("get_project", name=f"projects/{project}")["name"] == f"projects/{project}"
            assert sdk.refused("delete_project", name=f"projects/{project}").code == "PERMISSION_DENIED"
            password = sdk("generate_database_credential", endpoint=primary["name"])["token"]
            with psycopg.connect(host=primary["status"]["hosts"]["host"], port=platform.pg_port, user=login,
                                 password=password, dbname="databricks_postgres", sslmode="verify-full",
                                 sslrootcert=platform.ca) as connection:  # fmt: skip
                assert connection.execute("select current_user").fetchone() == (login,)
            # The trust goes, and what was got by it at once.
            admin("account.service_principal_federation_policy.delete", service_principal_id=int(principal["id"]), policy_id="ci")
            assert sdk.refused("current_user.me").kind == "Unauthenticated"


@pytest.mark.parametrize("version", installed.PYTHON_SDKS)
def test_python_sdk_as_a_user(platform, people, issuer, tmp_path, version):
    user = make_user(people)
    with PythonSdk(version, {**platform.env(), "DATABRICKS_ACCOUNT_ID": account_of(platform)}) as admin:
        made = admin("account.federation_policy.create", policy={
            "description": "our company", "oidc_policy": {"issuer": issuer.url, "subject_claim": "email"}})  # fmt: skip
        try:
            assert made in admin("account.federation_policy.list")
            changed = admin("account.federation_policy.update", policy_id=made["policy_id"],
                            policy={"oidc_policy": {"audiences": ["tarn"]}}, update_mask="oidc_policy.audiences")  # fmt: skip
            assert changed["oidc_policy"] == {**made["oidc_policy"], "audiences": ["tarn"]}
            assert admin("account.federation_policy.get", policy_id=made["policy_id"]) == changed
            token = issuer.token("00u1", ["x", "tarn"], email=user["userName"], email_verified=True)
            with PythonSdk(version, oidc_environment(platform, "env-oidc", token, tmp_path)) as sdk:
                assert sdk("current_user.me")["userName"] == user["userName"]
            # Another variable has the token, and it is for somebody else.
            other = issuer.token("00u1", "somebody else", email=user["userName"])
            environment = {"DATABRICKS_HOST": platform.host, "DATABRICKS_AUTH_TYPE": "env-oidc",
                           "DATABRICKS_OIDC_TOKEN_ENV": "MY_TOKEN", "MY_TOKEN": other}  # fmt: skip
            with PythonSdk(version, environment) as sdk:
                with pytest.raises(SdkError, match="invalid_request.*audience"):
                    sdk("current_user.me")
        finally:
            admin("account.federation_policy.delete", policy_id=made["policy_id"])


@pytest.mark.parametrize("version", installed.PYTHON_SDKS)
def test_python_sdk_in_a_github_workflow(platform, people, issuer, trust, version):
    """Nobody says an audience: the SDK asks for tokens for the one that this Tarn names, and a policy without audiences takes that."""
    principal, _ = people.robot()
    trust(issuer, principal, subject="repo:acme/app")
    environment = {"DATABRICKS_HOST": platform.host, "DATABRICKS_AUTH_TYPE": "github-oidc",
                   "DATABRICKS_CLIENT_ID": principal["applicationId"], "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
                   "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/workload?subject=repo:acme/app"}  # fmt: skip
    with PythonSdk(version, environment) as sdk:
        assert sdk("current_user.me")["userName"] == principal["applicationId"]
    assert any(path.endswith(f"audience={account_of(platform)}") for path in issuer.asked)


@pytest.mark.parametrize("how", ["env-oidc", "file-oidc"])
def test_databricks_cli(platform, people, issuer, project, tmp_path, how):
    """The CLI manages the trust and logs in by it: as a service principal, and as a user."""
    principal, _ = people.robot()
    user = make_user(people)
    body = {"oidc_policy": {"issuer": issuer.url, "subject": "workload", "audiences": ["tarn"]}}
    with DatabricksCli(platform.env()) as admin:
        made = admin.json("account", "service-principal-federation-policy", "create", principal["id"], "--policy-id", "ci", body=body)
        assert made["oidc_policy"] == body["oidc_policy"]
        assert made in admin.json("account", "service-principal-federation-policy", "list", principal["id"])
        del body["oidc_policy"]["subject"]
        general = admin.json("account", "federation-policy", "create", body=body)
        assert general in admin.json("account", "federation-policy", "list")
        people.grant(project, "CAN_MANAGE", user)
        try:
            token = issuer.token("workload", "tarn")
            with DatabricksCli(oidc_environment(platform, how, token, tmp_path, DATABRICKS_CLIENT_ID=principal["applicationId"])) as cli:
                assert cli.json("current-user", "me")["userName"] == principal["applicationId"]
            token = issuer.token(user["userName"], "tarn")
            with DatabricksCli(oidc_environment(platform, how, token, tmp_path)) as cli:
                assert cli.json("current-user", "me")["userName"] == user["userName"]
                assert cli.json("auth", "describe")["status"] == "success"
                assert cli.postgres("get-project", f"projects/{project}")["name"] == f"projects/{project}"
            token = issuer.token(user["userName"], "others")
            with DatabricksCli(oidc_environment(platform, how, token, tmp_path)) as cli:
                with pytest.raises(CliError, match="audience"):
                    cli.run("current-user", "me")
        finally:
            admin.run("account", "federation-policy", "delete", general["policy_id"])
            admin.run("account", "service-principal-federation-policy", "delete", principal["id"], "ci")


ME = """
data "databricks_current_user" "me" {}
output "me" { value = data.databricks_current_user.me.user_name }
"""


def test_terraform_manages_trust_and_logs_in_by_it(platform, people, issuer, tmp_path):
    principal, _ = people.robot()
    user = make_user(people)
    text = f"""
resource "databricks_account_federation_policy" "company" {{
  policy_id   = "company"
  description = "%s"
  oidc_policy = {{ issuer = "{issuer.url}", audiences = ["tarn"] }}
}}
resource "databricks_service_principal_federation_policy" "ci" {{
  service_principal_id = {principal["id"]}
  policy_id            = "ci"
  oidc_policy          = {{ issuer = "{issuer.url}", subject = "workload", audiences = ["tarn"] }}
}}
"""
    with Terraform({**platform.env(), "DATABRICKS_ACCOUNT_ID": account_of(platform)}) as terraform:
        terraform.write(text % "first")
        terraform.apply()
        assert terraform.plan() == {}
        rest = access(platform, issuer.token("workload", "tarn"), principal["applicationId"])
        assert rest.user() == principal["applicationId"]
        assert access(platform, issuer.token(user["userName"], "tarn")).user() == user["userName"]
        token = issuer.token("workload", "tarn")
        with Terraform(oidc_environment(platform, "env-oidc", token, tmp_path, DATABRICKS_CLIENT_ID=principal["applicationId"])) as theirs:
            theirs.write(ME)
            theirs.apply()
            assert theirs.outputs()["me"] == principal["applicationId"]
        terraform.write(text % "second")
        terraform.apply()
        assert platform.rest.get(policies(platform) + "/company")["description"] == "second"
        terraform.destroy()
    assert not is_accepted(rest)


def test_tarn_itself(platform, people, issuer, tmp_path, new_name):
    """`tarn auth trust` and a login of `tarn` with nothing but a token of the issuer."""

    def tarn(*arguments, check=True, **environment):
        return platform.tarn(*arguments, check=check, **environment)

    robot, user = new_name("robot"), make_user(people)
    application = tarn("auth", "service-principals", "create", robot).stdout.strip()
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [key.public() for key in issuer.keys]}))
    name = new_name("company")
    assert tarn("auth", "trust", "add", issuer.url, "--audience", "tarn,other", "--name", name, "--claim", "upn",
                "--comment", "ours").stdout == f"{name}\n"  # fmt: skip
    table = tarn("auth", "trust", "list").stdout.splitlines()
    assert table[0].split() == ["POLICY", "ISSUER", "AUDIENCES", "CLAIM", "DESCRIPTION"]  # none has a subject
    row = next(line for line in table if line.startswith(name))
    assert re.split(r"  +", row.strip()) == [name, issuer.url, "tarn, other", "upn", "ours"]
    made = json.loads(tarn("auth", "trust", "add", "https://idp.example.com", "--for", robot, "--subject", "s", "--keys-file", keys,
                           "-o", "json").stdout)  # fmt: skip
    assert made["oidc_policy"]["jwks_json"] == keys.read_text()
    listed = json.loads(tarn("auth", "trust", "list", "--for", robot, "-o", "json").stdout)
    assert [policy["policy_id"] for policy in listed] == [made["policy_id"]]

    outside = {"DATABRICKS_HOST": platform.host, "DATABRICKS_OIDC_TOKEN": issuer.token("x", "tarn", upn=user["userName"])}
    described = json.loads(platform.tarn_as(outside, "auth", "describe", "-o", "json").stdout)
    assert (described["user"], described["auth_type"]) == (user["userName"], "env-oidc")
    token = platform.tarn_as(outside, "auth", "token").stdout.strip()
    assert Rest(platform.host, token).user() == user["userName"]
    for mistake, message in (
        (("auth", "trust", "add", "http://idp.example.com"), "must begin with https://"),
        (("auth", "trust", "add", issuer.url, "--for", robot), "--subject"),
        (("auth", "trust", "remove", "nothing"), 'there is no federation policy "nothing"'),
    ):
        result = tarn(*mistake, check=False)
        assert result.returncode == 1 and message in result.stderr, result
    tarn("auth", "trust", "remove", name)
    tarn("auth", "trust", "remove", made["policy_id"], "--for", application)
    result = platform.tarn_as(outside, "auth", "describe", check=False)
    assert result.returncode == 1 and "no federation policy accepts the token" in result.stderr
    assert outside["DATABRICKS_OIDC_TOKEN"] not in result.stderr
    assert not is_accepted(Rest(platform.host, token))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_all_algorithms(platform, people, issuer, trust, algorithm):
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    issuer.keys = [SigningKey(algorithm)]
    assert access(platform, issuer.token(user["userName"], "tarn")).user() == user["userName"]


def test_tokens_that_are_not_good(platform, people, issuer, trust):
    user = make_user(people)
    name = user["userName"]
    trust(issuer, audiences=["tarn"])
    good = issuer.token(name, "tarn")
    assert access(platform, good).user() == name

    assert "expired at" in refusal(platform, issuer.token(name, "tarn", life=-120))
    assert "audience" in refusal(platform, issuer.token(name, account_of(platform)))
    assert "audience" in refusal(platform, issuer.token(name, []))
    assert "not valid yet" in refusal(platform, issuer.token(name, "tarn", nbf=4000000000))
    assert "no user or service principal" in refusal(platform, issuer.token("nobody@example.com", "tarn"))
    assert "no user or service principal" in refusal(platform, issuer.token("users", "tarn"))
    untrusted = "no federation policy accepts the token"
    # Somebody else's signature, somebody else's token, for a client that there is not.
    assert untrusted in refusal(platform, issuer.token(name, "tarn", key=SigningKey()))
    with Issuer() as other:
        assert untrusted in refusal(platform, other.token(name, "tarn"))
        assert untrusted in refusal(platform, other.token(name, "tarn", iss=issuer.url))
        assert other.asked == []
    principal, _ = people.robot()
    assert untrusted in refusal(platform, good, principal["applicationId"])
    assert untrusted in refusal(platform, good, "11111111-2222-3333-4444-555555555555")
    # No signature; the public key as a secret; parts exchanged.
    header, claims, signature = good.split(".")
    for algorithm in ("none", "None", "HS256"):
        unsigned = encode(json.dumps({"alg": algorithm, "kid": issuer.keys[0].kid}).encode()) + "." + claims
        public = json.dumps(issuer.keys[0].public()).encode()
        forged = encode(hmac.new(public, unsigned.encode(), hashlib.sha256).digest())
        for text in (f"{unsigned}.{forged}", f"{unsigned}.", f"{unsigned}.{signature}"):
            assert "token" in refusal(platform, text)
    admin = json.loads(base64.urlsafe_b64decode(claims + "=="))
    admin["sub"] = "admin@localhost"
    assert untrusted in refusal(platform, f"{header}.{encode(json.dumps(admin).encode())}.{signature}")
    assert "longer than" in refusal(platform, issuer.token(name, "tarn", groups=["x" * 100] * 200))
    # Deactivated, and deleted.
    rest = access(platform, good)
    people.admin.call("PATCH", f"{SCIM}Users/{user['id']}", {"Operations": [{"op": "replace", "path": "active", "value": False}]})
    assert "deactivated" in refusal(platform, good) and not is_accepted(rest)
    people.admin.call("DELETE", f"{SCIM}Users/{user['id']}")
    assert "no user or service principal" in refusal(platform, good) and not is_accepted(rest)


def test_the_result_lives_no_longer_than_what_was_shown(platform, people, issuer, trust):
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    status, short = exchange(platform, issuer.token(user["userName"], "tarn", life=120))
    assert status == 200 and 60 < short["expires_in"] <= 180
    status, long = exchange(platform, issuer.token(user["userName"], "tarn", life=86400))
    assert status == 200 and long["expires_in"] == 3600


# -- an issuer that changes, lies, is down -----------------------------------------------------------------------------


def test_rotation(platform, people, issuer, trust):
    """New keys are found when a token names one; the old ones go on until the issuer takes them away and they are asked for again."""
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    old, new = issuer.keys[0], SigningKey("ES256", "key-2")
    assert access(platform, issuer.token(user["userName"], "tarn", key=old)).user() == user["userName"]
    before = len(issuer.asked)
    for _ in range(5):
        access(platform, issuer.token(user["userName"], "tarn", key=old))
    assert len(issuer.asked) == before
    issuer.keys = [old, new]
    for key in (new, old):
        assert access(platform, issuer.token(user["userName"], "tarn", key=key)).user() == user["userName"]
    assert len(issuer.asked) == before + 2  # its document and its keys
    # The old one is withdrawn: an unknown key makes Tarn ask, and then the old one is unknown, too.
    issuer.keys = [new]
    refusal(platform, issuer.token(user["userName"], "tarn", key=SigningKey("ES256", "key-3")))
    refusal(platform, issuer.token(user["userName"], "tarn", key=old))
    assert access(platform, issuer.token(user["userName"], "tarn", key=new)).user() == user["userName"]
    # Tokens with keys that nobody has do not turn into requests to the issuer.
    before = len(issuer.asked)
    for i in range(20):
        refusal(platform, issuer.token(user["userName"], "tarn", key=SigningKey("ES256", f"made-up-{i}")))
    assert len(issuer.asked) - before <= 10


def test_an_issuer_that_is_down(platform, people, issuer, trust):
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    token = issuer.token(user["userName"], "tarn")
    issuer.stop()
    message = refusal(platform, token, status=503, error="temporarily_unavailable")
    assert "could not be fetched" in message and "127.0.0.1" not in message
    trace = re.search(r"trace ([0-9a-f]{32})", message).group(1)
    log = (platform.directory / "run" / "control.log").read_text()
    assert "could not get" in next(line for line in log.splitlines() if trace in line and issuer.url in line)
    issuer.start()
    assert access(platform, token).user() == user["userName"]
    issuer.stop()
    assert access(platform, token).user() == user["userName"]  # its keys are known


@pytest.mark.parametrize("lie", [
    {"issuer": "https://idp.example.com"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": None}, {"jwks_uri": "http://example.com/keys"},
])  # fmt: skip
def test_an_issuer_that_lies(platform, people, issuer, trust, lie):
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    issuer.document_changes = lie
    refusal(platform, issuer.token(user["userName"], "tarn"), status=503, error="temporarily_unavailable")
    assert issuer.asked == ["/.well-known/openid-configuration"]


def test_an_issuer_that_is_silent_holds_up_nobody(platform, people, issuer, trust):
    """Its request waits, and is answered in the end; everything else goes on meanwhile."""
    user = make_user(people)
    trust(issuer, audiences=["tarn"])
    token = issuer.token(user["userName"], "tarn")
    issuer.silent.set()
    results = []
    waiting = threading.Thread(target=lambda: results.append(exchange(platform, token)))
    waiting.start()
    wait_until(lambda: issuer.asked, "the issuer is asked", 30)
    with Issuer() as other:
        trust(other, audiences=["tarn"])
        assert access(platform, other.token(user["userName"], "tarn")).user() == user["userName"]
    assert platform.rest.user() == "admin@localhost" and results == []
    waiting.join(60)
    assert results[0][0] == 503, results
    issuer.silent.clear()


def test_https_with_a_certificate(own_platform, tmp_path):
    """An authority of the company's own is trusted when Tarn is told of it, and is needed."""
    with Issuer(tmp_path) as issuer:
        for environment, status in (({"SSL_CERT_FILE": str(issuer.authority)}, 200), ({}, 503)):
            platform = own_platform(environment=environment)
            user = make_user(People(platform))
            platform.rest.call("POST", policies(platform), {"oidc_policy": {"issuer": issuer.url, "audiences": ["tarn"]}})
            assert exchange(platform, issuer.token(user["userName"], "tarn"))[0] == status


# -- crashes, and what must not be seen --------------------------------------------------------------------------------


def test_trust_outlives_kills(own_platform):
    platform = own_platform()
    with Issuer() as issuer:
        user = make_user(People(platform))
        platform.rest.call("POST", policies(platform), {"oidc_policy": {"issuer": issuer.url, "audiences": ["tarn"]}}, policy_id="a")
        token = issuer.token(user["userName"], "tarn")
        rest = access(platform, token)
        kill_control(platform)
        # What was given out is known; the trust is; the keys are fetched again.
        assert rest.user() == user["userName"]
        assert access(platform, token).user() == user["userName"]
        assert issuer.asked.count("/keys") == 2
        # Killed while it waits for the issuer: that request breaks off, and the next one does what it could not.
        kill_control(platform)
        issuer.silent.set()
        before = len(issuer.asked)
        broken = []

        def wait():
            try:
                exchange(platform, token)
            except OSError as error:
                broken.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: len(issuer.asked) > before, "the issuer is asked", 30)
        pid = platform.role_pid("control")
        os.kill(pid, signal.SIGKILL)
        waiting.join(60)
        assert broken
        issuer.silent.clear()
        wait_until(lambda: platform.role_pid("control") not in (None, pid), "another control runs", 60)
        platform.wait_ready()
        assert access(platform, token).user() == user["userName"] and rest.user() == user["userName"]
        # Taken away, and then killed: it stays away.
        platform.rest.call("DELETE", policies(platform) + "/a")
        kill_control(platform)
        assert not is_accepted(rest)
        refusal(platform, token)
        # It stops while a request is held, in seconds.
        platform.rest.call("POST", policies(platform), {"oidc_policy": {"issuer": issuer.url}}, policy_id="b")
        issuer.silent.set()
        before = len(issuer.asked)
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: len(issuer.asked) > before, "the issuer is asked", 30)
        assert platform.stop() == 0
        issuer.silent.clear()
        waiting.join(60)


def test_failures_are_limited(own_platform):
    platform = own_platform(settings={"failures_per_min": 5})
    with Issuer() as issuer:
        user = make_user(People(platform))
        platform.rest.call("POST", policies(platform), {"oidc_policy": {"issuer": issuer.url, "audiences": ["tarn"]}})
        for _ in range(5):
            refusal(platform, issuer.token(user["userName"], "others"))
        status, _, body = send_form(platform, "/oidc/v1/token", {
            "grant_type": GRANT, "subject_token_type": JWT, "subject_token": issuer.token(user["userName"], "tarn")})  # fmt: skip
        assert status == 429 and b"too many failed attempts" in body


def test_no_token_is_written_down_and_the_audit_says_by_whom(own_platform):
    platform = own_platform()
    with Issuer() as issuer:
        people = People(platform)
        user = make_user(people)
        where = policies(platform)
        platform.rest.call("POST", where, {"oidc_policy": {"issuer": issuer.url, "audiences": ["tarn"]}}, policy_id="company")
        good, bad = issuer.token(user["userName"], "tarn"), issuer.token(user["userName"], "others")
        nobody = issuer.token("nobody@example.com", "tarn")
        rest = access(platform, good)
        for token in (bad, nobody):
            refusal(platform, token)
        refusal(platform, good[:-8])
        result = platform.tarn_as({"DATABRICKS_HOST": platform.host, "DATABRICKS_OIDC_TOKEN": bad}, "auth", "describe", "--debug",
                                  check=False)  # fmt: skip
        assert result.returncode == 1
        platform.rest.call("DELETE", where + "/company")
        known = [part for token in (good, bad, nobody) for part in token.split(".")[1:]] + [rest.token]
        seen = set()

        def places():
            for pid in processes.of_directory(platform.directory):
                yield f"/proc/{pid}/cmdline", Path(f"/proc/{pid}/cmdline").read_bytes()
            for path in platform.directory.rglob("*"):
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 64 << 20:
                    yield str(path), path.read_bytes()
            yield "tarn up", platform.up_log().encode()
            yield "tarn", (result.stdout + result.stderr).encode()

        for place, content in places():
            seen.add(Path(place).name)
            assert not any(text.encode() in content for text in known), place
        assert {"metadata.db", "control.log"} <= seen
        lines = [json.loads(line) for path in sorted((platform.directory / "audit").glob("*.jsonl")) for line in path.open()]
        calls = [line for line in lines if line["event"] == "call"]
        policy = where.removeprefix("/api/2.0/") + "/company"
        shown = [call for call in calls if call["resource"] == "/oidc/v1/token"]
        assert [(call["status"], call.get("login"), call.get("policy")) for call in shown[:3]] == [
            (200, user["userName"], policy), (400, None, None), (400, None, policy)]  # fmt: skip
        changes = [(call["method"], call["resource"], call.get("parameters"), call["login"]) for call in calls
                   if "federationPolicies" in call["resource"]]  # fmt: skip
        assert changes == [("POST", where, {"policy_id": "company"}, "admin@localhost"),
                           ("DELETE", where + "/company", None, "admin@localhost")]  # fmt: skip

"""Which server `tarn` talks to, and as whom: profiles, variables, the data directory; what it says about that, and what never."""

import json
import os
import subprocess

import pytest

from harness.platform import clean_environment


@pytest.fixture
def config(platform, tmp_path):
    path = tmp_path / "databrickscfg"
    token = platform.env()["DATABRICKS_TOKEN"]
    path.write_text(f"""; profiles of a test
[DEFAULT]
host  = http://127.0.0.1:9
token = nobody

[here]
host  = {platform.host}/?o=1
token = {token} # the admin's

[wrong]
host  = {platform.host}
token = dapi0000000000000000
""")
    return path


@pytest.fixture
def tarn(platform, config, tmp_path):
    """`tarn …` with a home folder that has only profiles."""

    def run(*arguments, **environment):
        environment = {"HOME": str(tmp_path), "TARN_DATA": "/tmp/no-tarn-is-here", "DATABRICKS_CONFIG_FILE": str(config), **environment}
        return subprocess.run([platform.binary, *arguments], env=clean_environment(**environment), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)  # fmt: skip

    return run


def projects(result):
    assert result.returncode == 0, result.stderr
    return [one["project_id"] for one in json.loads(result.stdout)]


def test_a_profile_by_flag_and_by_variable(tarn, platform, shared_project):
    for arguments in (["postgres", "list-projects", "--profile", "here"], ["postgres", "list-projects", "-p", "here"],
                      ["-p", "here", "postgres", "list-projects"], ["--profile=here", "-o", "json", "postgres", "list-projects"]):  # fmt: skip
        assert shared_project in projects(tarn(*arguments)), arguments
    assert shared_project in projects(tarn("postgres", "list-projects", DATABRICKS_CONFIG_PROFILE="here"))
    # The flag goes before the environment, the environment before a profile that it names.
    assert shared_project in projects(tarn("postgres", "list-projects", "-p", "here", DATABRICKS_HOST="http://127.0.0.1:9", DATABRICKS_TOKEN="x"))
    token = platform.env()["DATABRICKS_TOKEN"]
    assert shared_project in projects(
        tarn("postgres", "list-projects", DATABRICKS_CONFIG_PROFILE="wrong", DATABRICKS_TOKEN=token))
    assert tarn("psql", "-p", "here", "--project", shared_project, "--", "-h", "127.0.0.1", "--version").stdout.startswith("psql")


def test_the_data_directory_here_goes_before_the_default_profile(tarn, platform, shared_project):
    elsewhere = tarn("postgres", "list-projects")
    assert elsewhere.returncode == 1 and "127.0.0.1:9" in elsewhere.stderr and 'profile "DEFAULT"' in tarn("--debug", "postgres", "list-projects").stderr
    assert shared_project in projects(tarn("postgres", "list-projects", TARN_DATA=str(platform.directory)))
    assert shared_project in projects(tarn("postgres", "list-projects", "--data", str(platform.directory), DATABRICKS_HOST="http://127.0.0.1:9"))


def test_a_refused_token_is_traced_to_where_it_is_from(tarn, platform, config):
    result = tarn("postgres", "list-projects", "-p", "wrong")
    assert result.returncode == 1 and f'host and token from profile "wrong" of file "{config}"' in result.stderr
    result = tarn("postgres", "list-projects", DATABRICKS_HOST=platform.host, DATABRICKS_TOKEN="dapi1")
    assert result.returncode == 1 and "host from DATABRICKS_HOST, token from DATABRICKS_TOKEN" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("[here]\nhost\n", "line 2"), ("[here]\nhost http://x\n", "says neither a host"), ("[here\n", "line 1"), ("[here]\ntoken = x\n", "no host"), ("[there]\n", 'has no profile "here"'),
     ("[here]\nhost = http://127.0.0.1:9\n", "no token"), ("[here]\nhost = file:///etc/passwd\ntoken = x\n", "must be a URL"),
     ("[here]\nhost = http://127.0.0.1:9\ntoken = x\nclient_id = a\nclient_secret = b\n", "more than one authorization method"),
     ("[here]\nhost = http://127.0.0.1:9\nauth_type = azure-cli\n", "azure-cli")],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(tarn, config, text, words):
    config.write_text(text)
    result = tarn("postgres", "list-projects", "-p", "here")
    assert result.returncode == 1 and result.stdout == ""
    assert str(config) in result.stderr and words in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def test_debug_shows_requests_without_secrets(platform, shared_project):
    endpoint = platform.rest.endpoint(shared_project)["name"]
    result = platform.tarn("postgres", "generate-database-credential", endpoint, "--debug", "-o", "json")
    token = json.loads(result.stdout)["token"]
    assert "> POST " in result.stderr and "< HTTP 200" in result.stderr and '"**REDACTED**"' in result.stderr
    assert token not in result.stderr and platform.env()["DATABRICKS_TOKEN"] not in result.stderr


def test_a_client_with_a_secret_logs_in(platform, tarn, shared_project):
    """OAuth client credentials, as a service principal has them."""
    config = platform.rest.ask("GET", "/.well-known/databricks-config").json
    made = platform.rest.ask("POST", "/api/2.0/preview/scim/v2/ServicePrincipals", {"displayName": "cli-test"})
    if made.status == 501 or made.status == 404 or "oidc_endpoint" not in config:
        pytest.skip("this server has no service principals yet")
    principal = made.json
    secret = platform.rest.ask("POST", f"/api/2.0/accounts/servicePrincipals/{principal['id']}/credentials/secrets", {})
    if secret.status in (404, 501) or platform.rest.ask("POST", "/oidc/v1/token", {}).status == 501:
        pytest.skip("this server gives service principals no secrets yet")
    client = {"DATABRICKS_HOST": platform.host, "DATABRICKS_CLIENT_ID": principal["applicationId"], "DATABRICKS_CLIENT_SECRET": secret.json["secret"]}
    result = tarn("postgres", "list-projects", "--debug", **client)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [], "a principal without permissions sees no project"
    assert "/oidc/v1/token" in result.stderr and client["DATABRICKS_CLIENT_SECRET"] not in result.stderr
    refused = tarn("postgres", "list-projects", **{**client, "DATABRICKS_CLIENT_SECRET": "wrong"})
    assert refused.returncode == 1 and "gave no token to client" in refused.stderr and "DATABRICKS_CLIENT_SECRET" in refused.stderr
    both = tarn("postgres", "list-projects", **client, DATABRICKS_TOKEN="x")
    assert both.returncode == 1 and "more than one authorization method" in both.stderr


def test_nothing_secret_is_an_argument_of_a_process(platform, shared_project):
    """psql gets its password in its environment; nobody else's process list shows it."""
    out = platform.tarn("psql", "--project", shared_project, "--", "-XAtc", r"\! tr '\0' ' ' </proc/$PPID/cmdline; echo").stdout
    assert "--username=" in out and "eyJ" not in out


def test_flags_and_arguments_of_psql(platform, shared_project):
    def psql(*arguments):
        return platform.tarn("psql", *arguments, check=False)

    count = ["--", "-XAtc", "select 1"]
    assert psql("--project", shared_project, "--max-retries", "0", *count).stdout == "1\n"
    assert psql("--project", shared_project, "--branch", "production", "-o", "json", *count).stdout == "1\n"
    assert psql(f"projects/{shared_project}", "--autoscaling", *count).stdout == "1\n"
    assert psql("--project", shared_project, "--", "-d", "postgres_is_not_here", "-c", "select 1").returncode == 2
    gone = psql("--project", shared_project, "--max-retries", "2", "--", "-p", "1", "-c", "select 1")
    assert gone.returncode == 2 and "tried" not in gone.stderr, "a port of the user's is psql's to try"
    for wrong in (["--max-retries", "-1"], ["--provisioned", "--autoscaling"], ["x", "--autoscaling"], ["x", "--project", "y"],
                  ["--provisioned", f"projects/{shared_project}"], ["a", "b"], ["--branch", "b"], ["projects/"]):  # fmt: skip
        result = psql(*wrong, *count)
        assert result.returncode == 2 and result.stderr.startswith("Error: "), (wrong, result.stderr)
    nobody = psql("no-such-instance", *count)
    assert nobody.returncode == 1 and len(nobody.stderr.splitlines()) == 1, nobody.stderr


def test_psql_tries_again_until_the_proxy_is_back(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    os.kill(platform.up.pid, 19)  # so that nobody starts the proxy again yet
    proxy = platform.role_pid("proxy")
    os.kill(proxy, 9)
    query = ["psql", "--project", "p", "--", "-XAtc", "select 1"]
    waiting = subprocess.Popen([platform.binary, *query], env=clean_environment(**platform.env()), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    said = waiting.stderr.readline()
    os.kill(platform.up.pid, 18)
    assert "tried 1 of 3 times" in said, said
    out, rest = waiting.communicate(timeout=90)
    assert out == "1\n", rest

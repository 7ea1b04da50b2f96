"""IP access lists: from where one may come, to the REST API and to Postgres, as administrators say with the clients they have."""

import json
import os
import signal

import psycopg
import pytest

from clients.databricks_cli import DatabricksCli
from clients.installed import PYTHON_SDKS
from clients.python_sdk import PythonSdk
from clients.terraform import Terraform
from harness.metrics import scrape, value
from harness.namespace import Machine
from harness.people import People
from harness.platform import Platform
from harness.rest import Rest
from harness.waiting import wait_until

DOMAIN = "db.test"
LISTS, CONF = "/api/2.0/ip-access-lists", "/api/2.0/workspace-conf"


@pytest.fixture(scope="module")
def machine():
    with Machine() as one:
        yield one


@pytest.fixture(scope="module")
def served(machine):
    """A Tarn that another machine reaches, with its API, too; and its one endpoint."""
    arguments = ["--domain", DOMAIN, "--pg-address", f"{machine.server},127.0.0.1"]
    with Platform(settings={"suspend_timeout_min_sec": 1}, arguments=arguments, api_address="0.0.0.0") as platform:
        platform.rest.create_project("p")
        endpoint = platform.rest.endpoint("p")
        machine.name_hosts(endpoint["status"]["hosts"]["host"])
        yield platform, endpoint


@pytest.fixture(autouse=True)
def nobody_is_kept_out(request):
    yield
    if "served" in request.fixturenames:
        platform, _ = request.getfixturevalue("served")
        clear(platform)


def clear(platform):
    assert platform.rest.ask("PATCH", CONF, {"enableIpAccessLists": "false"}).status == 204
    for one in platform.rest.ask("GET", LISTS).json["ip_access_lists"]:
        assert platform.rest.ask("DELETE", f"{LISTS}/{one['list_id']}").status == 200


def create(platform, kind, *addresses):
    answer = platform.rest.ask("POST", LISTS, {"label": "test", "list_type": kind, "ip_addresses": list(addresses)})
    assert answer.status == 200, answer.raw
    return answer.json["ip_access_list"]["list_id"]


def enforce(platform):
    assert platform.rest.ask("PATCH", CONF, {"enableIpAccessLists": "true"}).status == 204


def here(endpoint):
    """How a client on this machine connects, which has nobody to resolve names."""
    return {"host": "127.0.0.1", "options": f"endpoint={endpoint['uid']}"}


def psql(machine, platform, endpoint, query, check=True, **parameters):
    parameters = platform.connection_parameters(endpoint, **parameters)
    password = parameters.pop("password")
    return machine.run("psql", "-XAt", psycopg.conninfo.make_conninfo(**parameters), "-c", query, check=check, PGPASSWORD=password)


def curl(machine, platform, method, path, body=None):
    """A call from there: (status, JSON)."""
    extra = ["-d", json.dumps(body)] if body is not None else []
    done = machine.run("curl", "-sS", "-X", method, "-H", f"Authorization: Bearer {platform.rest.token}", "-w", "\n%{http_code}", *extra,
                       f"http://{machine.server}:{platform.api_port}{path}")  # fmt: skip
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text) if text else None


def test_postgres_from_an_address_that_is_blocked(machine, served):
    platform, endpoint = served
    assert psql(machine, platform, endpoint, "select 1").stdout == "1\n"
    create(platform, "BLOCK", f"{machine.address}/30")
    platform.sleep("p")
    enforce(platform)
    blocked = f"Source IP address: {machine.address} is blocked by the IP access lists of workspace"
    assert f"FATAL:  {blocked}" in psql(machine, platform, endpoint, "select 1", check=False).stderr
    # Whoever it is, and whatever he asks for: nothing else is told.
    for parameters in ({"user": "stranger", "password": "wrong"}, {"options": "endpoint=ep-there-is-none", "host": machine.server}):
        assert blocked in psql(machine, platform, endpoint, "select 1", check=False, **parameters).stderr
    assert platform.is_asleep(endpoint), "nothing was woken"
    assert platform.sql(endpoint, "select 'here'", **here(endpoint)) == [("here",)]
    log = (platform.directory / "run" / "proxy.log").read_text()
    assert f"client={machine.address}:" in log and 'refused=address reason="Source IP address' in log
    wait_until(lambda: value(scrape(platform), "tarn_proxy_refusals_total", reason="address") >= 3, "refusals are counted", pause=0.5)
    clear(platform)
    assert psql(machine, platform, endpoint, "select 2").stdout == "2\n"


def held_session(machine, platform, endpoint, mark):
    """psql on the other machine, within a query of some minutes."""
    parameters = platform.connection_parameters(endpoint)
    password = parameters.pop("password")
    client = machine.start("psql", "-XAt", psycopg.conninfo.make_conninfo(**parameters), "-c", f"select pg_sleep(600) /* {mark} */",
                           PGPASSWORD=password)  # fmt: skip

    def runs():
        with platform.direct(endpoint) as watcher:
            query = "select 1 from pg_stat_activity where query like %s and pid <> pg_backend_pid()"
            return watcher.execute(query, (f"%{mark}%",)).fetchone()

    wait_until(runs, "its query runs")
    return client, runs


def test_sessions_end_when_their_address_is_blocked(machine, served):
    platform, endpoint = served
    platform.sql(endpoint, "select 1", **here(endpoint))
    client, runs = held_session(machine, platform, endpoint, "blocked later")
    with platform.connect(endpoint, **here(endpoint)) as mine:
        try:
            enforce(platform)
            create(platform, "ALLOW", "203.0.113.0/24", machine.address)
            assert mine.execute("select 1").fetchone() == (1,) and client.poll() is None
            create(platform, "BLOCK", machine.address)
            client.communicate(timeout=20)
            assert client.returncode != 0
            wait_until(lambda: not runs(), "its query has ended, too")
            assert mine.execute("select 1").fetchone() == (1,), "who is on this machine stays"
        finally:
            client.kill()
            client.communicate()
    assert "the IP access lists have changed" in (platform.directory / "run" / "proxy.log").read_text()


def test_a_change_that_the_proxy_has_missed(machine, served):
    """Control was killed, and knows in its next life what was committed; the proxy asks when it finds it again."""
    platform, endpoint = served
    platform.sql(endpoint, "select 1", **here(endpoint))
    client, runs = held_session(machine, platform, endpoint, "missed")
    try:
        enforce(platform)
        proxy = platform.role_pid("proxy")
        os.kill(proxy, signal.SIGSTOP)  # it hears nothing
        create(platform, "BLOCK", machine.address)
        os.kill(platform.role_pid("control"), signal.SIGKILL)
        os.kill(proxy, signal.SIGCONT)
        client.communicate(timeout=60)
        wait_until(lambda: not runs(), "its query has ended")
    finally:
        client.kill()
        client.communicate()
    wait_until(lambda: Rest(platform.host, None).ask("GET", "/healthz").status == 200, "control is back")
    assert "is blocked" in psql(machine, platform, endpoint, "select 1", check=False).stderr


def test_rest_from_elsewhere(machine, served):
    platform, _ = served
    assert curl(machine, platform, "GET", "/api/2.0/postgres/projects")[0] == 200
    # Nobody locks himself out.
    body = {"label": "x", "list_type": "BLOCK", "ip_addresses": [machine.address]}
    code, said = curl(machine, platform, "POST", LISTS, body)
    assert (code, said["error_code"]) == (400, "INVALID_STATE") and machine.address in said["message"]
    assert curl(machine, platform, "POST", LISTS, {**body, "list_type": "ALLOW"})[0] == 200
    assert curl(machine, platform, "PATCH", CONF, {"enableIpAccessLists": "true"})[0] == 204
    assert curl(machine, platform, "GET", "/api/2.0/postgres/projects")[0] == 200
    create(platform, "BLOCK", machine.address)
    for path in ("/api/2.0/postgres/projects", "/oidc/.well-known/oauth-authorization-server", "/metrics"):
        code, said = curl(machine, platform, "GET", path)
        assert code == 403 and f"Source IP address: {machine.address} is blocked" in said["message"]
    assert curl(machine, platform, "GET", "/healthz")[0] == 200
    assert platform.rest.ask("GET", "projects").status == 200
    # It is in the audit trail, who changed what and who was kept out; of the latter not each.
    for _ in range(20):
        curl(machine, platform, "GET", "/api/2.0/postgres/projects")
    trail = [json.loads(line) for line in platform.tarn("audit", "--data", platform.directory, "-o", "json").stdout.splitlines()]
    assert [one for one in trail if one.get("resource") == LISTS and one["status"] == 200 and one["method"] == "POST"]
    kept_out = [one for one in trail if one.get("address") == machine.address and one["status"] == 403]
    assert 1 <= len(kept_out) <= 2


def test_only_administrators(served):
    platform, _ = served
    _, robot = People(platform).robot()
    for method, path in (("GET", LISTS), ("POST", LISTS), ("GET", f"{CONF}?keys=enableIpAccessLists"), ("PATCH", CONF)):
        assert robot.ask(method, path, {} if method in ("POST", "PATCH") else None).status == 403


@pytest.mark.parametrize("version", PYTHON_SDKS)
def test_python_sdk(served, version):
    platform, _ = served
    with PythonSdk(version, platform.env()) as sdk:
        made = sdk("ip_access_lists.create", label="office", list_type="ALLOW", ip_addresses=["198.51.100.0/24", "2001:db8::/48"])
        made = made["ip_access_list"]
        assert made["enabled"] is True and made["address_count"] == 2 and made["created_by"] == made["updated_by"] > 0
        assert sdk("ip_access_lists.get", ip_access_list_id=made["list_id"])["ip_access_list"] == made
        assert [one["list_id"] for one in sdk("ip_access_lists.list")] == [made["list_id"]]
        sdk("ip_access_lists.update", ip_access_list_id=made["list_id"], enabled=False)
        sdk("ip_access_lists.replace", ip_access_list_id=made["list_id"], label="home", list_type="BLOCK", enabled=True,
            ip_addresses=["203.0.113.5"])  # fmt: skip
        shown = sdk("ip_access_lists.get", ip_access_list_id=made["list_id"])["ip_access_list"]
        assert (shown["label"], shown["list_type"], shown["enabled"], shown["ip_addresses"]) == ("home", "BLOCK", True, ["203.0.113.5"])
        sdk("workspace_conf.set_status", contents={"enableIpAccessLists": "true"})
        assert sdk("workspace_conf.get_status", keys="enableIpAccessLists") == {"enableIpAccessLists": "true"}
        refused = sdk.refused("ip_access_lists.create", label="x", list_type="ALLOW", ip_addresses=["somewhere"])
        assert (refused.kind, refused.code) == ("InvalidParameterValue", "INVALID_PARAMETER_VALUE")
        sdk("ip_access_lists.delete", ip_access_list_id=made["list_id"])
        assert sdk.refused("ip_access_lists.get", ip_access_list_id=made["list_id"]).kind == "NotFound"


def test_databricks_cli(served):
    platform, _ = served
    with DatabricksCli(platform.env()) as cli:
        body = {"label": "office", "list_type": "ALLOW", "ip_addresses": ["198.51.100.7"]}
        made = cli.json("ip-access-lists", "create", body=body)["ip_access_list"]
        assert [one["label"] for one in cli.json("ip-access-lists", "list")] == ["office"]
        cli.run("ip-access-lists", "update", made["list_id"], "--json", '{"enabled": false}')
        assert cli.json("ip-access-lists", "get", made["list_id"])["ip_access_list"]["enabled"] is False
        cli.run("workspace-conf", "set-status", "--json", '{"enableIpAccessLists": "true"}')
        assert cli.json("workspace-conf", "get-status", "enableIpAccessLists") == {"enableIpAccessLists": "true"}
        cli.run("ip-access-lists", "delete", made["list_id"])
        assert cli.json("ip-access-lists", "list") == []


TERRAFORM = """
resource "databricks_workspace_conf" "this" {
  custom_config = { "enableIpAccessLists" = true }
}
resource "databricks_ip_access_list" "office" {
  label        = "office"
  list_type    = "ALLOW"
  ip_addresses = [%s]
  depends_on   = [databricks_workspace_conf.this]
}
"""


@pytest.mark.timeout(900)
def test_terraform(served):
    platform, _ = served
    with Terraform(platform.env()) as terraform:
        terraform.write(TERRAFORM % '"198.51.100.0/24"')
        terraform.apply()
        assert terraform.plan() == {}
        assert platform.rest.ask("GET", f"{CONF}?keys=enableIpAccessLists").json == {"enableIpAccessLists": "true"}
        terraform.write(TERRAFORM % '"198.51.100.0/24", "203.0.113.5"')
        terraform.apply()
        (shown,) = platform.rest.ask("GET", LISTS).json["ip_access_lists"]
        assert shown["ip_addresses"] == ["198.51.100.0/24", "203.0.113.5"]
        terraform.destroy()
        assert platform.rest.ask("GET", LISTS).json["ip_access_lists"] == []


def test_tarn_auth(served):
    platform, _ = served
    made = platform.tarn("auth", "ip-access-lists", "create", "office", "allow", "198.51.100.0/24", "2001:db8::1", "-o", "text").stdout.strip()
    shown = platform.tarn("auth", "ip-access-lists", "list", "-o", "text").stdout
    assert "office" in shown and "198.51.100.0/24, 2001:db8::1" in shown and "They do not count yet" in shown
    platform.tarn("auth", "ip-access-lists", "enforce")
    platform.tarn("auth", "ip-access-lists", "set-enabled", made, "--off")
    (one,) = json.loads(platform.tarn("auth", "ip-access-lists", "list", "-o", "json").stdout)
    assert one["list_id"] == made and one["enabled"] is False
    assert platform.rest.ask("GET", f"{CONF}?keys=enableIpAccessLists").json == {"enableIpAccessLists": "true"}
    refused = platform.tarn("auth", "ip-access-lists", "create", "x", "allow", "nowhere", check=False)
    assert refused.returncode == 1 and "must be an IP address or a range" in refused.stderr
    refused = platform.tarn("auth", "ip-access-lists", "create", "x", "maybe", "192.0.2.1", check=False)
    assert refused.returncode == 1 and 'allow or block, not "maybe"' in refused.stderr
    platform.tarn("auth", "ip-access-lists", "delete", made)
    platform.tarn("auth", "ip-access-lists", "enforce", "--off")
    assert platform.rest.ask("GET", LISTS).json["ip_access_lists"] == []

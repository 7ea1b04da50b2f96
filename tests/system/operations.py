"""Who runs Tarn sees what it does: health, metrics, the audit trail; and floods of all kinds do not stop it."""

import json
import os
import socket
import subprocess
import threading
import time

from harness.metrics import scrape, value
from harness.platform import BINARY, clean_environment
from harness.rest import Rest
from harness.waiting import wait_until

def audit(platform, *arguments):
    done = subprocess.run([BINARY, "audit", "--data", platform.directory, "-o", "json", *arguments],
                          capture_output=True, text=True, env=clean_environment(), timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_metrics_are_what_prometheus_reads(platform, project, primary):
    platform.wake(primary)
    before = scrape(platform)
    platform.rest.get(f"projects/{project}")
    platform.rest.refused("GET", "projects/there-is-none")
    after = scrape(platform)
    got = {"route": "/api/2.0/postgres/projects/{}", "method": "GET"}  # other methods of the route have their own
    assert value(after, "tarn_http_requests_total", **got, code="200") == value(
        before, "tarn_http_requests_total", **got, code="200") + 1  # fmt: skip
    assert value(after, "tarn_http_requests_total", **got, code="404") >= 1
    assert value(after, "tarn_operations_total", kind="PROJECT_CREATE", result="done") >= 1
    assert value(after, "tarn_compute_wake_duration_seconds_count") >= 1
    assert value(after, "tarn_computes", state="running") >= 1
    assert value(after, "tarn_projects") >= 1 and value(after, "tarn_disk_free_bytes") > 0
    assert value(after, "process_resident_memory_bytes") > 1 << 20 and value(after, "process_open_fds") > 5
    assert abs(value(after, "process_start_time_seconds") - time.time()) < 24 * 3600
    text = Rest(platform.host, None).ask("GET", "/metrics").raw.decode()
    assert "localhost" not in text  # no name of a user or database is a label
    assert all(line.startswith("tarn_endpoint_") for line in text.splitlines() if project in line)
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        return
    assert len(list(text_string_to_metric_families(text))) > 20


def test_labels_do_not_grow_with_what_is_asked_for(platform):
    scrape(platform)
    before = sum(len(samples) for _, samples in scrape(platform).values())
    for number in range(50):
        Rest(platform.host, None).ask("GET", f"/nowhere/{number}")
        platform.rest.ask("GET", f"projects/p-{number}/branches/b-{number}")
        platform.rest.ask(f"VERB{number}", "projects")
    after = sum(len(samples) for _, samples in scrape(platform).values())
    assert after - before < 120  # three routes, their codes and buckets


def test_metrics_from_elsewhere_want_a_token(platform):
    token = (platform.directory / "metrics.token").read_text().strip()
    assert os.stat(platform.directory / "metrics.token").st_mode & 0o777 == 0o600
    for header in ("X-Forwarded-For", "Forwarded", "Via"):
        assert Rest(platform.host, None).ask("GET", "/metrics", headers={header: "10.1.2.3"}).status == 401
    scrape(platform, token, {"X-Forwarded-For": "10.1.2.3"})
    assert Rest(platform.host, token).ask("GET", "projects").status == 401


def test_health(platform):
    anybody = Rest(platform.host, None)
    assert anybody.ask("GET", "/healthz").json == {"status": "ok"}
    ready = anybody.ask("GET", "/readyz")
    assert ready.status == 200 and ready.json["ready"] is True
    assert {name: check["ok"] for name, check in ready.json["checks"].items()} == dict.fromkeys(
        ("metadata", "reconciler", "disk", "proxy", "audit"), True)  # fmt: skip
    assert anybody.ask("HEAD", "/healthz").status == 200


def test_the_audit_trail_says_who_did_what(platform, new_name):
    name = new_name("audited")
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    platform.rest.ask("POST", "projects", {}, {"project_id": name}, {"User-Agent": "me/1", "X-Forwarded-For": "10.1.2.3"})
    platform.rest.refused("POST", "projects", {}, project_id=name)
    Rest(platform.host, "wrong").ask("DELETE", f"projects/{name}")
    wait_until(lambda: not platform.rest.get("projects/" + name).get("delete_time") and any(
        line.get("resource") == f"projects/{name}" and line["event"] == "operation" for line in audit(platform)), "it is made")  # fmt: skip
    platform.rest.delete_project(name)
    lines = [line for line in audit(platform, "--since", begin) if name in json.dumps(line)]
    calls = [line for line in lines if line["event"] == "call"]
    assert [(c["method"], c["status"], c.get("error_code")) for c in calls] == [
        ("POST", 200, None), ("POST", 409, "ALREADY_EXISTS"), ("DELETE", 401, "UNAUTHENTICATED"), ("DELETE", 200, None)]  # fmt: skip
    assert calls[0]["login"] == platform.rest.user() and "login" not in calls[2]
    assert calls[0]["address"] == "127.0.0.1" and calls[0]["forwarded"] is True and calls[0]["user_agent"] == "me/1"
    assert calls[3]["parameters"] == {"purge": "true"}
    ends = {line["operation"]: line["result"] for line in lines if line["event"] == "operation"}
    assert ends[calls[0]["operation"]] == "done" and ends[calls[3]["operation"]] == "done"
    assert [line["trace_id"] for line in audit(platform, "--refused", "--since", begin) if name in json.dumps(line)] == [
        calls[1]["trace_id"], calls[2]["trace_id"]]  # fmt: skip
    text = subprocess.run([BINARY, "audit", "--data", platform.directory, "--since", "1h"], capture_output=True, text=True).stdout
    assert text.startswith("TIME") and name in text


def test_a_killed_control_has_lost_no_line(own_platform):
    platform = own_platform()
    for number in range(10):
        platform.rest.ask("POST", "projects", {"spec": {"display_name": ""}}, {"project_id": f"UPPER-{number}"})
    os.kill(platform.role_pid("control"), 9)
    seen = [line["parameters"]["project_id"] for line in audit(platform) if line.get("parameters")]
    assert seen == [f"UPPER-{number}" for number in range(10)]
    platform.wait_ready()


# -- floods ------------------------------------------------------------------------------------------------------------


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) * 1024


def test_a_storm_of_bad_clients_stops_nobody(own_platform):
    """Slow senders, silent connections, garbage, bodies without a token, bad tokens, all at once; one good client works all the time."""
    platform = own_platform(settings={"suspend_timeout_min_sec": 1, "failures_per_min": 10})
    rest = platform.rest
    rest.user()
    pid = platform.role_pid("control")
    stop, failures = threading.Event(), []

    def connect():
        return socket.create_connection(("127.0.0.1", platform.api_port), timeout=10)

    def guarded(work):
        def run():
            while not stop.is_set():
                try:
                    work()
                except OSError:
                    pass  # thrown out: that is what is tested

        return run

    held = []

    def hoard():
        """More connections than there may be: silent ones, and ones that send a header a second."""
        held.append(connect())
        if len(held) % 2:
            held[-1].sendall(b"POST /api/2.0/postgres/projects HTTP/1.1\r\nHost: h\r\nX-")
        if len(held) > 700:
            for s in held[:100]:
                s.close()
            del held[:100]
            time.sleep(0.2)

    def drip():
        with connect() as s:
            for byte in b"GET / HTTP/1.1\r\nHost: a.very.slow.client\r\n":
                s.send(bytes([byte]))
                time.sleep(0.05)
                if stop.is_set():
                    return

    def garbage():
        with connect() as s:
            s.sendall(os.urandom(4096))
            s.recv(100)

    def bodies():
        with connect() as s:
            s.sendall(b"POST /api/2.0/postgres/projects HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer nobody\r\nContent-Length: 8000000\r\n\r\n")
            for _ in range(125):
                s.sendall(b"x" * 64000)
            s.recv(1000)

    def guesses():
        answer = Rest(platform.host, "dapi" + os.urandom(16).hex()).ask("GET", "projects")
        if answer.status not in (401, 429):
            failures.append(answer.status)
        if answer.status == 429 and not 1 <= int(answer.headers["Retry-After"]) <= 60:
            failures.append(dict(answer.headers))

    threads = [threading.Thread(target=guarded(work)) for work in (hoard, drip, drip, garbage, bodies, bodies, guesses)]
    for thread in threads:
        thread.start()
    try:
        deadline, served, peak = time.monotonic() + 15, 0, 0
        while time.monotonic() < deadline:
            try:
                assert rest.user()
                served += 1
            except ConnectionError:
                pass  # may have to make room like any other connection from here; clients try again
            peak = max(peak, memory(pid))
            time.sleep(0.05)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for s in held:
            s.close()
    assert not failures
    assert served >= 20
    if "clang" not in str(BINARY):  # sanitizers keep what was freed
        assert peak < 160 << 20
    assert platform.role_pid("control") == pid
    assert rest.ask("GET", "/readyz").status == 200
    numbers = scrape(platform)
    assert value(numbers, "tarn_http_connections_given_up_total") > 0
    assert value(numbers, "tarn_http_requests_limited_total") > 0
    lines = audit(platform)
    assert sum(line.get("status") == 429 for line in lines) <= 2  # one a minute
    assert sum(line.get("status") == 401 for line in lines) <= 60  # the burst, and one in six seconds

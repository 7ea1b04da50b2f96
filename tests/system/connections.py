"""Connections to Postgres, watched and limited: what is counted of each endpoint, what the log says, who has to wait outside."""

import os
import re
import signal
import socket
import struct
import threading

import psycopg
import pytest

from harness.metrics import scrape, value
from harness.waiting import wait_until

LINE = re.compile(
    r'session ended: endpoint=(?P<endpoint>\S+) user="(?P<user>(?:[^"\\]|\\.)*)" database="(?P<database>(?:[^"\\]|\\.)*)" '
    r'application="(?P<application>(?:[^"\\]|\\.)*)" client=(?P<client>\S+) tls=(?P<tls>\S+) login=(?P<login>\S+) '
    r'seconds=(?P<seconds>[0-9.]+) login_seconds=(?P<login_seconds>\S+) wake=(?P<wake>yes|no) received=(?P<received>\d+) '
    r'sent=(?P<sent>\d+) refused=(?P<refused>\S+) reason="(?P<reason>(?:[^"\\]|\\.)*)"$'
)


def lines(platform, **wanted):
    """What the proxy's log says of sessions that have ended; those with these fields."""
    text = (platform.directory / "run" / "proxy.log").read_text(errors="replace")
    found = []
    for line in text.splitlines():
        if "session ended:" not in line:
            continue
        match = LINE.search(line)
        assert match, line
        if wanted.items() <= match.groupdict().items():
            found.append(match.groupdict())
    return found


def line(platform, **wanted):
    return wait_until(lambda: lines(platform, **wanted), f"a line with {wanted}")[-1]


def wait_for(platform, number, name, **labels):
    """The proxy tells every five seconds."""
    wait_until(lambda: value(scrape(platform), name, **labels) == number, f"{name}{labels} is {number}", pause=0.5)


# -- what is counted ----------------------------------------------------------------------------------------------------


def test_each_endpoint_has_its_numbers(platform, project, primary):
    mine = {"endpoint": primary["uid"], "project": project, "branch": "production"}
    platform.wake(primary)
    platform.sleep(project)
    before = scrape(platform)
    held = [platform.connect(primary) for _ in range(3)]  # the first of them wakes it
    wait_for(platform, 3, "tarn_endpoint_connections", **mine, state="open")
    after = scrape(platform)
    wakes = "tarn_endpoint_wake_duration_seconds"
    assert value(after, f"{wakes}_count", **mine) == value(before, f"{wakes}_count", **mine) + 1
    assert value(after, f"{wakes}_sum", **mine) > value(before, f"{wakes}_sum", **mine)
    assert value(after, "tarn_endpoint_login_duration_seconds_count", **mine) >= 2
    assert value(after, "tarn_proxy_up") == 1 and value(after, "tarn_proxy_sessions") >= 3
    status = platform.tarn("status", "--data", platform.directory, "-o", "json").stdout
    assert f'"uid": "{primary["uid"]}"' in status and '"connections": 3' in status

    # Bytes of a session that goes on are counted, too.
    text = held[0].execute("select repeat('x', 1000000)").fetchone()[0]
    sent = value(after, "tarn_endpoint_sent_bytes_total", **mine)
    wait_until(lambda: value(scrape(platform), "tarn_endpoint_sent_bytes_total", **mine) >= sent + len(text), "a megabyte is sent",
               pause=0.5)  # fmt: skip

    for connection in held:
        connection.close()
    with pytest.raises(psycopg.OperationalError):
        platform.connect(primary, password="a.b.c")
    with pytest.raises(psycopg.OperationalError):
        platform.connect(primary, dbname="there-is-none")
    wait_for(platform, 0, "tarn_endpoint_connections", **mine, state="open")
    wait_for(platform, 1, "tarn_endpoint_refusals_total", **mine, reason="authentication")
    wait_for(platform, 1, "tarn_endpoint_refusals_total", **mine, reason="postgres")
    assert value(scrape(platform), "tarn_proxy_refusals_total", reason="other") == 0


def test_cancel_requests_are_counted(platform, project, primary):
    mine = {"endpoint": primary["uid"]}
    before = value(scrape(platform), "tarn_proxy_cancel_requests_total", result="unmatched")
    with platform.connect(primary) as connection:
        connection.cancel_safe(timeout=20)
        with socket.create_connection((primary["status"]["hosts"]["host"], platform.pg_port), timeout=20) as stranger:
            stranger.sendall(struct.pack("!IIII", 16, 80877102, 1, 1))
            assert stranger.recv(1) == b""
    wait_for(platform, 1, "tarn_endpoint_cancel_requests_total", **mine)
    wait_until(lambda: value(scrape(platform), "tarn_proxy_cancel_requests_total", result="unmatched") > before, "the stranger's is counted",
               pause=0.5)  # fmt: skip


def test_numbers_only_grow(own_platform):
    """Through a killed proxy, and they are all there again after a killed control."""
    platform = own_platform()
    platform.rest.create_project("counted")
    endpoint = platform.rest.endpoint("counted")
    mine = {"endpoint": endpoint["uid"]}
    for _ in range(3):
        platform.sql(endpoint, "select 1")
    wait_for(platform, 3, "tarn_endpoint_connections_opened_total", **mine)
    received = value(scrape(platform), "tarn_endpoint_received_bytes_total", **mine)
    held = platform.connect(endpoint)
    wait_for(platform, 1, "tarn_endpoint_connections", **mine, state="open")

    os.kill(platform.role_pid("proxy"), signal.SIGKILL)
    wait_for(platform, 0, "tarn_endpoint_connections", **mine, state="open")
    held.close()
    platform.wait_ready()
    wait_for(platform, 1, "tarn_proxy_up")
    again = wait_until(lambda: platform.connect(endpoint), "the new proxy lets in")
    wait_for(platform, 5, "tarn_endpoint_connections_opened_total", **mine)
    again.execute("select 1")
    wait_until(lambda: value(scrape(platform), "tarn_endpoint_received_bytes_total", **mine) > received, "more was received", pause=0.5)

    os.kill(platform.role_pid("control"), signal.SIGKILL)
    platform.wait_ready()
    wait_for(platform, 1, "tarn_endpoint_connections", **mine, state="open")
    again.close()
    wait_for(platform, 0, "tarn_endpoint_connections", **mine, state="open")


def test_a_deleted_endpoint_is_forgotten(platform, new_name):
    name = new_name()
    platform.rest.create_project(name)
    endpoint = platform.rest.endpoint(name)
    platform.wake(endpoint)
    wait_for(platform, 1, "tarn_endpoint_connections_opened_total", endpoint=endpoint["uid"])
    platform.rest.delete_project(name)
    wait_until(lambda: endpoint["uid"] not in str(scrape(platform)), "nothing is said of it any more", pause=0.5)


# -- the line in the log -------------------------------------------------------------------------------------------------


def test_each_session_leaves_one_line(platform, project, primary):
    with platform.connect(primary, application_name='mine" client=6.6.6.6:6') as connection:
        port = connection.info.backend_pid and socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM).getsockname()[1]
        connection.execute("select 1")
    said = line(platform, endpoint=primary["uid"], refused="-")
    assert said["user"] == "admin@localhost" and said["database"] == "databricks_postgres"
    assert said["application"] == 'mine\\" client=6.6.6.6:6' and said["client"] == f"127.0.0.1:{port}"
    assert said["tls"] == "TLSv1.3" and said["login"] == "token" and said["reason"] in ("client closed", "server closed")
    assert int(said["received"]) > 0 and int(said["sent"]) > 0 and float(said["seconds"]) >= float(said["login_seconds"]) >= 0

    for user in ('x" refused=- reason="', "new\nline", "\\"):
        with pytest.raises(psycopg.OperationalError):
            platform.connect(primary, user=user, password="a.b.c")
    refused = lines(platform, endpoint=primary["uid"], refused="permission")
    assert [one["user"] for one in refused] == ['x\\" refused=- reason=\\"', "new?line", "\\\\"]
    with pytest.raises(psycopg.OperationalError):
        platform.connect(primary, password="a.b.c")
    assert "password authentication failed" in line(platform, endpoint=primary["uid"], refused="authentication")["reason"]


def test_who_waited_for_a_start_is_in_the_log(platform, project, primary):
    platform.wake(primary)
    platform.sleep(project)
    threads = [threading.Thread(target=platform.sql, args=(primary, "select 1")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert line(platform, endpoint=primary["uid"], wake="yes")["refused"] == "-"

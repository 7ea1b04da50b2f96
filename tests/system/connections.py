"""Connections to Postgres, watched and limited: what is counted of each endpoint, what the log says, who has to wait outside."""

import os
import re
import shlex
import signal
import socket
import struct
import threading

import psycopg
import pytest

from harness.metrics import scrape, value
from harness.platform import BINARY
from harness.waiting import wait_until

SSL_REQUEST = struct.pack("!II", 8, 80877103)

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


# -- limits ----------------------------------------------------------------------------------------------------------------


def refused(platform, endpoint, **parameters):
    with pytest.raises(psycopg.OperationalError) as caught:
        platform.connect(endpoint, **parameters)
    return str(caught.value)


def test_an_endpoint_takes_what_its_compute_takes(platform, rest, project, primary):
    """All come at once while it sleeps: the surplus is refused before anything is started for it."""
    smallest = {"autoscaling_limit_min_cu": 0.5, "autoscaling_limit_max_cu": 0.5}
    rest.update_endpoint(project, "production", "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu", smallest)
    platform.wake(primary)
    platform.sleep(project)
    parameters = platform.connection_parameters(primary)
    opened, failures = [], []

    def client():
        try:
            opened.append(psycopg.connect(**parameters))
        except psycopg.OperationalError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=client) for _ in range(112)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(opened) == 97 and len(failures) == 15, failures  # 104 connections, of which 7 are the system's
    for text in failures:
        assert f'too many connections to endpoint "{primary["name"]}": the limit is 97' in text
    assert opened[0].execute("select 1").fetchone() == (1,)
    wait_for(platform, 15, "tarn_endpoint_refusals_total", endpoint=primary["uid"], reason="limit")
    opened.pop().close()
    wait_until(lambda: opened.append(platform.connect(primary)) is None, "one goes, one comes")
    for connection in opened:
        connection.close()


def test_a_project_has_a_limit_of_its_own(own_platform):
    platform = own_platform(settings={"connections_per_project": 3, "suspend_timeout_min_sec": 1})
    for name in ("small", "other"):
        platform.rest.create_project(name)
    primary = platform.rest.endpoint("small")
    platform.rest.create_branch("small", "dev")
    dev = platform.rest.endpoint("small", "dev")
    platform.wake(dev)
    platform.sleep("small", "dev")
    held = [platform.connect(primary) for _ in range(3)]
    text = refused(platform, dev)
    assert 'too many connections to the endpoints of "projects/small": the limit is 3' in text and "connections_per_project" in text
    assert platform.is_asleep(dev), "nothing was started for it"
    assert "password authentication failed" in refused(platform, dev, password="a.b.c"), "told to those who may log in only"
    platform.wake(platform.rest.endpoint("other"))
    held.pop().close()
    wait_until(lambda: platform.sql(dev, "select 1") == [(1,)], "there is room again")
    for connection in held:
        connection.close()


class Flood(threading.Thread):
    """Connections that ask for TLS and say nothing more; those that are closed are made anew."""

    def __init__(self, address, port, count):
        super().__init__(daemon=True)
        self.place, self.count = (address, port), count
        self.stopped = threading.Event()
        self.sockets, self.made = [], 0

    def open_one(self):
        sock = socket.create_connection(self.place, timeout=20)
        sock.sendall(SSL_REQUEST)
        sock.setblocking(False)
        self.made += 1
        return sock

    def is_closed(self, sock):
        try:
            while data := sock.recv(100):
                assert data == b"S"
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def run(self):
        while not self.stopped.wait(0.05):
            for sock in [sock for sock in self.sockets if self.is_closed(sock)]:
                self.sockets.remove(sock)
                sock.close()
            for _ in range(min(20, self.count - len(self.sockets))):
                try:
                    self.sockets.append(self.open_one())
                except OSError:
                    pass

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join(30)
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def narrow_platform(own_platform, tmp_path):
    """One with few descriptors: at most 200 connections may be half-open, 150 of them at one endpoint."""
    wrapper = tmp_path / "tarn"
    wrapper.write_text(f"#!/bin/sh\nulimit -n {64 + 2 * 400}\nexec {shlex.quote(str(BINARY))} \"$@\"\n")
    wrapper.chmod(0o755)
    os.chmod(tmp_path, 0o711)
    return own_platform(binary=wrapper)


def test_a_flood_of_silent_clients_locks_nobody_out(narrow_platform):
    platform = narrow_platform
    for name in ("flooded", "quiet"):
        platform.rest.create_project(name)
    flooded, quiet = platform.rest.endpoint("flooded"), platform.rest.endpoint("quiet")
    platform.wake(flooded)
    platform.wake(quiet)
    before = platform.descriptors("proxy")
    with Flood(flooded["status"]["hosts"]["host"], platform.pg_port, 300) as flood:
        wait_until(lambda: flood.made > 600, "many were turned away and came again")
        for _ in range(10):  # never more than one attempt
            assert platform.sql(quiet, "select 1") == [(1,)]
        assert platform.descriptors("proxy") <= before + 150 + 10
        wait_for(platform, 150, "tarn_proxy_sessions_logging_in")
        # Its own clients get through, too: silent ones of three seconds make room for who comes then.
        for _ in range(3):
            wait_until(lambda: platform.sql(flooded, "select 1") == [(1,)], "a login gets through", 60)
    # Told every five seconds.
    wait_until(lambda: value(scrape(platform), "tarn_proxy_refusals_total", reason="limit") > 300, "they are counted", pause=0.5)
    log = (platform.directory / "run" / "proxy.log").read_text()
    told = [text for text in log.splitlines() if "too many logins are in progress" in text]
    assert 1 <= len(told) <= 3 and "from this machine for " + flooded["status"]["hosts"]["host"] in told[0]
    wait_until(lambda: platform.descriptors("proxy") <= before, "descriptors are given back")


def test_many_slow_readers_cost_little(platform, project, primary, shared_primary):
    """Fifty clients that ask for more than they read: the proxy holds a block for each, and others do not wait."""

    def memory():
        with open(f"/proc/{platform.role_pid('proxy')}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])

    platform.sql(primary, "create table wide as select repeat('x', 10000) as text from generate_series(1, 5000)")
    before = memory()
    slow = [platform.connect(primary) for _ in range(50)]
    copies = [connection.cursor().copy("copy wide to stdout") for connection in slow]
    for copy in copies:
        assert len(copy.__enter__().read()) > 0
    wait_until(lambda: 0 < value(scrape(platform), "tarn_proxy_buffer_bytes") <= 50 * 65536 * 2, "blocks are held", pause=0.5)
    # Neither here nor elsewhere.
    for endpoint in (primary, shared_primary):
        with platform.connect(endpoint) as quick:
            for i in range(100):
                assert quick.execute("select %s::int", (i,)).fetchone() == (i,)
    assert memory() - before < 50 * 300, "kilobytes, of which TLS has most"
    for connection in slow:
        connection.cancel_safe(timeout=20)
        connection.close()

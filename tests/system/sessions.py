"""What a session is to its client, beside a bare connection to the same Postgres: cancelling, copying, replication, large messages,
pipelines; and how it ends, whoever goes first."""

import contextlib
import hashlib
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import psycopg
import psycopg.errors
import pytest
from psycopg import pq

from harness import load, wire
from harness.platform import clean_environment
from harness.processes import processor_seconds
from harness.terminal import Terminal
from harness.waiting import NotInTime, wait_until
from harness.wire import RawClient

SLEEP = "select pg_sleep(600)"


@pytest.fixture(scope="module")
def watcher(platform, shared_primary):
    with platform.connect(shared_primary) as connection:
        yield connection


def running(watcher, pattern):
    """Backends that carry out a query like that now."""
    rows = watcher.execute(
        "select pid from pg_stat_activity where query like %s and state = 'active' and pid <> pg_backend_pid() order by pid", (pattern,)
    ).fetchall()
    return [pid for (pid,) in rows]


def is_there(watcher, pid):
    return watcher.execute("select 1 from pg_stat_activity where pid = %s", (pid,)).fetchone() is not None


def wait_running(watcher, pattern, count=1):
    return wait_until(lambda: (lambda p: p if len(p) == count else None)(running(watcher, pattern)), f"{count} × {pattern}")


def wait_gone(watcher, pid, timeout=15):
    wait_until(lambda: not is_there(watcher, pid), f"backend {pid} has ended", timeout)


# -- cancelling ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sleeping(platform, endpoint, watcher, tag, **parameters):
    """A connection whose query sleeps in a thread of its own; yields it and the list that gets the outcome."""
    outcome = []
    with platform.connect(endpoint, **parameters) as connection:

        def work():
            try:
                connection.execute(f"select pg_sleep(20) /* {tag} */")
                outcome.append("finished")
            except psycopg.Error as error:
                outcome.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        wait_running(watcher, f"%{tag}%")
        yield connection, outcome, thread
        thread.join(30)
        assert not thread.is_alive()
        assert connection.execute("select 1").fetchone() == (1,), "the session goes on"


CANCELLED = "canceling statement due to user request"


def test_psql_ctrl_c(platform, shared_primary, watcher):
    """The key itself, in the real psql at a terminal; it goes on with its next statement."""
    parameters = platform.connection_parameters(shared_primary)
    password = parameters.pop("password")
    terminal = Terminal(["psql", "-X", psycopg.conninfo.make_conninfo(**parameters)],
                        clean_environment(PGPASSWORD=password, TERM="dumb", PAGER="cat"))  # fmt: skip
    try:
        terminal.wait_for("=> ")
        os.write(terminal.fd, b"select pg_sleep(600) /* ctrl-c */;\r")
        wait_running(watcher, "%ctrl-c%")
        terminal.type("\x03", until=CANCELLED)
        terminal.type("select 6 * 7;\r", until=r"\b42\b")
        terminal.type("\\q\r", until="")
        assert terminal.wait() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("how", ["PQcancel, in clear", "PQcancelBlocking, in TLS"])
def test_libpq_cancels(platform, shared_primary, watcher, how):
    if "Blocking" in how and pq.version() < 170000:
        pytest.skip(f"libpq {pq.version()} has no PQcancelBlocking")
    with sleeping(platform, shared_primary, watcher, "libpq") as (connection, outcome, thread):
        if "Blocking" in how:
            connection.cancel_safe(timeout=20)
        else:
            connection.cancel()
        thread.join(20)
        assert outcome == [CANCELLED]


def cancel_in_clear(platform, host, packet):
    with RawClient(platform, host, tls=False) as client:
        client.sock.sendall(packet)
        assert client.rest_is_closed(), "nothing is said to a cancel request"


def cancel_in_tls(platform, host, packet):
    with RawClient(platform, host) as client:
        client.sock.sendall(packet)
        assert client.rest_is_closed()


def cancel_in_direct_tls(platform, host, packet):
    with RawClient(platform, host, direct=True, alpn=["postgresql"]) as client:
        client.sock.sendall(packet)
        assert client.rest_is_closed()


def cancel_and_leave(platform, host, packet):
    """Old clients do not wait for the server to close."""
    with RawClient(platform, host, tls=False) as client:
        client.sock.sendall(packet)


def cancel_in_pieces(platform, host, packet):
    with RawClient(platform, host, tls=False) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # when it is no cancel request of this protocol
            for byte in packet:
                client.sock.sendall(bytes([byte]))
        assert client.rest_is_closed()


WAYS = [cancel_in_clear, cancel_in_tls, cancel_in_direct_tls, cancel_and_leave, cancel_in_pieces]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_a_cancel_request_can_come(platform, shared_primary, watcher, way):
    host = shared_primary["status"]["hosts"]["host"]
    with RawClient.session(platform, shared_primary) as one, RawClient.session(platform, shared_primary) as other:
        one.sock.sendall(wire.query("select pg_sleep(600) /* named */"))
        other.sock.sendall(wire.query("select pg_sleep(600) /* other */"))
        wait_running(watcher, "%named%")
        (bystander,) = wait_running(watcher, "%other%")
        way(platform, host, wire.cancel_request(*one.key))
        errors = [wire.fields(body) for kind, body in one.until_ready() if kind == b"E"]
        assert [(e["C"], e["M"]) for e in errors] == [("57014", CANCELLED)]
        assert running(watcher, "%other%") == [bystander]
        way(platform, host, wire.cancel_request(*other.key))
        assert any(kind == b"E" for kind, _ in other.until_ready())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_key_that_names_nothing_does_nothing(platform, shared_primary, watcher, way):
    host = shared_primary["status"]["hosts"]["host"]
    with RawClient.session(platform, shared_primary) as gone:
        old = gone.key
    wait_gone(watcher, old[0])
    with RawClient.session(platform, shared_primary) as client:
        client.sock.sendall(wire.query("select pg_sleep(600) /* safe */"))
        (backend,) = wait_running(watcher, "%safe%")
        pid, secret = client.key
        flipped = bytes([secret[0] ^ 1]) + secret[1:]
        for wrong in ((pid, flipped), (pid + 1, secret), (pid, old[1]), old, (pid, b"\0" * 4), (pid, secret + b"\0" * 28)):
            way(platform, host, wire.cancel_request(*wrong))
        assert running(watcher, "%safe%") == [backend]
        way(platform, host, wire.cancel_request(pid, secret))
        assert any(kind == b"E" for kind, _ in client.until_ready())


def test_a_cancel_reaches_the_endpoint_of_its_session(platform, project, shared_primary):
    """Keys are looked up over all endpoints: the request may come to the address of another one."""
    mine = platform.rest.endpoint(project)
    with platform.connect(mine) as own_watcher, RawClient.session(platform, mine) as client:
        client.sock.sendall(wire.query(SLEEP))
        wait_running(own_watcher, SLEEP)
        cancel_in_clear(platform, shared_primary["status"]["hosts"]["host"], wire.cancel_request(*client.key))
        assert any(kind == b"E" for kind, _ in client.until_ready())


# -- copying ------------------------------------------------------------------------------------------------------------


def test_a_copy_that_the_server_refuses_in_the_middle(platform, shared_primary):
    """Megabytes are on their way when the error comes; the client reads it, and the session goes on."""
    with platform.connect(shared_primary) as connection:
        connection.execute("create temp table numbers (i int, filler text)")
        block = "".join(f"{i}\t{'x' * 100}\n" for i in range(10000))
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
            with connection.cursor().copy("copy numbers from stdin") as copy:
                for number in range(60):
                    copy.write(block if number != 20 else "not a number\tx\n")
        assert "not a number" in str(caught.value)
        assert connection.execute("select count(*) from numbers").fetchone() == (0,)


def test_a_copy_that_the_client_gives_up(platform, shared_primary):
    class Stop(Exception):
        pass

    with platform.connect(shared_primary) as connection:
        connection.execute("create temp table numbers (i int)")
        with pytest.raises(Stop), connection.cursor().copy("copy numbers from stdin") as copy:
            for _ in range(1000):
                copy.write("1\n" * 1000)
            raise Stop
        assert connection.execute("select count(*) from numbers").fetchone() == (0,)
        # And one out of which only the first rows are wanted.
        with pytest.raises(Stop), connection.cursor().copy("copy (select generate_series(1, 10000000)) to stdout") as copy:
            next(iter(copy))
            raise Stop
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_client_that_dies_in_the_middle_of_a_copy_has_copied_nothing(platform, shared_primary, watcher):
    watcher.execute("create table half (i int)")
    with RawClient.session(platform, shared_primary) as client:
        client.sock.sendall(wire.query("copy half from stdin"))
        assert client.message()[0] == b"G"
        for _ in range(100):
            client.sock.sendall(wire.message(b"d", b"1\n" * 1000))
        client.sock.sendall(b"d" + struct.pack("!I", 5000) + b"2\n" * 100)  # within a message
        pid = client.key[0]
    wait_gone(watcher, pid)
    assert watcher.execute("select count(*) from half").fetchone() == (0,)


# -- replication --------------------------------------------------------------------------------------------------------


def test_logical_replication(platform, project, primary, tmp_path):
    """pg_recvlogical, as whoever moves away uses it: a slot, changes as they are committed, and the slot's end."""
    with platform.connect(primary) as connection:
        connection.execute("create table fruit (name text primary key)")
        parameters = platform.connection_parameters(primary)
        password = parameters.pop("password")
        out = tmp_path / "changes"
        command = ["pg_recvlogical", "--dbname", psycopg.conninfo.make_conninfo(**parameters), "--slot", "moving"]
        environment = clean_environment(PGPASSWORD=password)
        subprocess.run([*command, "--create-slot", "--plugin", "test_decoding"], env=environment, check=True, timeout=60)
        reader = subprocess.Popen([*command, "--start", "--no-loop", "--fsync-interval", "0", "--file", out], env=environment)
        try:
            connection.execute("insert into fruit values ('apple')")
            connection.execute("insert into fruit select i::text || repeat('x', 1000) from generate_series(1, 5000) i")
            wait_until(lambda: out.exists() and out.read_text().count("table public.fruit: INSERT") == 5001, "all changes are there")
        finally:
            reader.send_signal(signal.SIGINT)
            assert reader.wait(20) == 0
        subprocess.run([*command, "--drop-slot"], env=environment, check=True, timeout=60)
        assert connection.execute("select count(*) from pg_replication_slots").fetchone() == (0,)


def test_physical_replication(platform, project, primary, tmp_path):
    """A base backup is a Postgres of its own, and WAL is received as it is written: to whom has REPLICATION."""
    with platform.connect(primary) as connection:
        connection.execute("create table kept as select i from generate_series(1, 1000) i")
        parameters = platform.connection_parameters(primary, dbname="postgres")
        password = parameters.pop("password")
        conninfo, environment = psycopg.conninfo.make_conninfo(**parameters), clean_environment(PGPASSWORD=password)
        backup, wal = tmp_path / "backup", tmp_path / "wal"
        done = subprocess.run(["pg_basebackup", "--dbname", conninfo, "-D", backup, "-X", "stream", "-c", "fast"],
                              env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        verified = subprocess.run(["pg_verifybackup", backup], env=clean_environment(), capture_output=True, text=True, timeout=120)
        assert verified.returncode == 0, verified.stderr
        wal.mkdir()
        receiver = subprocess.Popen(["pg_receivewal", "--dbname", conninfo, "-D", wal, "--no-loop"], env=environment)
        try:
            wait_until(lambda: list(wal.glob("*.partial")), "WAL is being received")
            connection.execute("insert into kept select generate_series(1, 1000)")
            lsn = connection.execute("select pg_current_wal_flush_lsn()").fetchone()[0]
            wait_until(
                lambda: connection.execute(
                    "select count(*) from pg_stat_replication where application_name = 'pg_receivewal' and write_lsn >= %s", (lsn,)
                ).fetchone() == (1,),
                "what was committed has been received",
            )  # fmt: skip
        finally:
            receiver.send_signal(signal.SIGINT)
            assert receiver.wait(20) == 0


def test_without_replication_postgres_own_error(platform, project, primary):
    rest = platform.rest
    rest.run("PATCH", f"projects/{project}", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")
    role = rest.run("POST", f"projects/{project}/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    password = rest.call("POST", f"{role['name']}/password", {})["password"]
    said = {}
    for replication in ("true", "database"):
        with pytest.raises(psycopg.OperationalError) as through:
            platform.connect(primary, user="app", password=password, replication=replication)
        with pytest.raises(psycopg.OperationalError) as direct:
            platform.direct(primary, user="app", replication=replication)
        said[replication] = [str(e.value).split("FATAL:")[1].strip() for e in (through, direct)]
    for ours, stock in said.values():
        assert ours == stock and "REPLICATION" in ours


# -- large messages -----------------------------------------------------------------------------------------------------


def test_a_parameter_of_200_megabytes(platform, shared_primary):
    value = os.urandom(1 << 20) * 200
    with platform.connect(shared_primary) as connection:
        length, digest, back = connection.execute(
            "select length(v), md5(v), substr(v, 1000001, 10) from (select %b::bytea) _(v)", (value,), binary=True
        ).fetchone()
    assert length == len(value) and back == value[1000000:1000010]
    assert digest == hashlib.md5(value).hexdigest()


def test_a_row_set_of_500_megabytes(platform, shared_primary):
    """Read as it comes; every byte counted by the client, and none kept by the proxy."""
    proxy = platform.role_pid("proxy")
    before = resident_kilobytes(proxy)
    rows, total = 0, 0
    with platform.connect(shared_primary) as connection, connection.cursor() as cursor:
        for (text,) in cursor.stream("select repeat(chr(65 + i % 26), 10000) from generate_series(1, 50000) i", size=100):
            rows += 1
            assert text == chr(65 + rows % 26) * 10000
            total += len(text)
            if rows % 10000 == 0:
                assert resident_kilobytes(proxy) - before < 40_000
    assert (rows, total) == (50000, 500_000_000)


def resident_kilobytes(pid):
    return int(open(f"/proc/{pid}/status").read().split("VmRSS:")[1].split()[0])


class DirectRaw(RawClient):
    """The same protocol on the compute's own socket: what stock Postgres says."""

    def __init__(self, platform, endpoint):  # noqa: super-init-not-called
        self.key = None
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(platform.socket_directory(endpoint) / ".s.PGSQL.5432"))
        self.startup(user="cloud_admin", database="databricks_postgres")
        self.until_ready()


@pytest.mark.parametrize("length", [0, 3, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_message_with_an_impossible_length(platform, shared_primary, length):
    """What a length beyond a gigabyte, or below four, is answered with is Postgres' to say, and it says the same through the proxy."""
    said = []
    for open_session in (lambda: RawClient.session(platform, shared_primary), lambda: DirectRaw(platform, shared_primary)):
        with open_session() as client:
            client.sock.sendall(b"Q" + struct.pack("!I", length) + b"select 1\0")
            words = b""
            with contextlib.suppress(ConnectionError):
                while more := client.sock.recv(1000):
                    words += more
            said.append(words)
    assert said[0] == said[1] == b"", said  # stock tells its log only, since nobody knows what the client would understand


def test_values_beyond_a_gigabyte(platform, shared_primary):
    """Postgres' own limits, in its words, and the session goes on."""
    with platform.connect(shared_primary) as through, platform.direct(shared_primary) as direct:
        for statement in ("select repeat('x', 1 << 30)", "select repeat('x', 1073741820) || 'xxxxxxxxxx'"):
            said = []
            for connection in (through, direct):
                with pytest.raises(psycopg.Error) as caught:
                    connection.execute(statement)
                said.append((caught.value.diag.sqlstate, caught.value.diag.message_primary))
                assert connection.execute("select 1").fetchone() == (1,)
            assert said[0] == said[1], said


# -- pipelines ----------------------------------------------------------------------------------------------------------


def test_a_pipeline_of_thousands(platform, shared_primary):
    """libpq's pipeline mode, with more under way in both directions than all buffers hold."""
    with platform.connect(shared_primary) as connection:
        with connection.pipeline():
            cursors = [connection.execute("select %s::int, %s::text", (i, "x" * 20000), prepare=True) for i in range(5000)]
        for i, cursor in enumerate(cursors):
            assert cursor.fetchone() == (i, "x" * 20000)


def test_both_directions_full_at_once(platform, shared_primary):
    """A writer that does not wait for a reader, a hundred megabytes each way: neither direction waits for the other one."""
    count, filler = 2000, b"y" * 50000
    parse = wire.message(b"P", b"\0select $1::text\0\0\0")
    bind = wire.message(b"B", b"\0\0" + struct.pack("!HHI", 0, 1, len(filler)) + filler + struct.pack("!H", 0))
    one = bind + wire.message(b"E", b"\0" + struct.pack("!I", 0))
    answers = exchange(platform, shared_primary, parse + one * count + wire.message(b"S"), until=b"Z\0\0\0\5I")
    kinds = {}
    for kind, body in wire.messages(answers):
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind == b"D":
            assert body[6:] == filler
    assert kinds == {b"1": 1, b"2": count, b"D": count, b"C": count, b"Z": 1}


def exchange(platform, endpoint, data, until, patience=60):
    """Sends and reads whatever goes, in one thread (an SSL connection is not for two), until the answers end like that."""
    with RawClient.session(platform, endpoint) as client:
        client.sock.setblocking(False)
        answers, sent, moved = bytearray(), 0, time.monotonic()
        while not answers.endswith(until):
            before = sent + len(answers)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent += client.sock.send(data[sent : sent + 65536]) if sent < len(data) else 0
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                more = client.sock.recv(1 << 20)
                assert more, f"closed after {sent} of {len(data)} bytes and {len(answers)} of answers"
                answers += more
            if sent + len(answers) > before:
                moved = time.monotonic()
            else:
                assert time.monotonic() - moved < patience, f"stuck after {sent} of {len(data)} bytes and {len(answers)} of answers"
                select.select([client.sock], [client.sock] if sent < len(data) else [], [], 1)
        assert sent == len(data)
        return bytes(answers)


def test_a_client_that_writes_and_does_not_read_stops_itself_only(platform, shared_primary, watcher):
    """Until its buffers are full, as with stock; then it reads, and all is there."""
    with RawClient.session(platform, shared_primary) as client:
        client.sock.settimeout(60)
        client.sock.setblocking(False)
        sent, wanted = 0, wire.query("select repeat('z', 100000)")
        data = wanted * 2000
        full_since = None
        while sent < len(data):
            try:
                sent += client.sock.send(data[sent:sent + 65536])
                full_since = None
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                full_since = full_since or time.monotonic()
                if time.monotonic() - full_since > 1:
                    break
                time.sleep(0.01)
        assert watcher.execute("select 1").fetchone() == (1,)
        client.sock.setblocking(True)
        client.sock.settimeout(60)
        whole = sent // len(wanted)
        for _ in range(whole):
            assert [kind for kind, _ in client.until_ready()] == [b"T", b"D", b"C", b"Z"]


# -- protocol versions --------------------------------------------------------------------------------------------------


def negotiation(client):
    kind, body = client.message()
    assert kind == b"v", (kind, body)
    version, count = struct.unpack("!II", body[:8])
    names = [name.decode() for name in body[8:].split(b"\0")[:-1]]
    assert len(names) == count
    return version, names


def test_newer_protocols_are_negotiated(platform, shared_primary):
    """3.2, and what libpq 18 sends to find servers that cannot negotiate; the session that follows is an ordinary one."""
    host = shared_primary["status"]["hosts"]["host"]
    for version, options in ((3 << 16 | 2, {}), (3 << 16 | 9999, {"_pq_.test_protocol_negotiation": ""}),
                             (3 << 16, {"_pq_.command_tag_format": "x", "_pq_.b": "y"})):  # fmt: skip
        with RawClient(platform, host) as client:
            client.startup(version, user="admin@localhost", database="databricks_postgres", **options)
            assert negotiation(client) == (wire.VERSION_3_0, list(options))
            assert client.message() == (b"R", struct.pack("!I", 3))
            client.password(platform.rest.database_token(shared_primary["name"]))
            client.until_ready()
            assert len(client.key[1]) == 4, "a key of protocol 3.0"
            assert client.query("select 1")[1] == (b"D", b"\0\x01\0\0\0\x011")


def test_the_newest_protocol_that_libpq_knows(platform, shared_primary):
    if pq.version() < 180000:
        pytest.skip(f"libpq {pq.version()} has no max_protocol_version")
    with platform.connect(shared_primary, max_protocol_version="latest") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


# -- ends ---------------------------------------------------------------------------------------------------------------


def dying_client(platform, endpoint, query):
    """psql in a process of its own, carrying out a query."""
    parameters = platform.connection_parameters(endpoint)
    password = parameters.pop("password")
    return subprocess.Popen(
        ["psql", "-X", psycopg.conninfo.make_conninfo(**parameters), "-c", query], env=clean_environment(PGPASSWORD=password),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_client_that_is_killed_takes_its_query_along(platform, shared_primary, watcher):
    client = dying_client(platform, shared_primary, "select pg_sleep(600) /* killed */")
    try:
        (pid,) = wait_running(watcher, "%killed%")
    finally:
        client.kill()
        client.wait(10)
    wait_gone(watcher, pid)


def unread(client):
    """How many bytes of a client lie in the proxy's kernel, and the proxy does not take them."""
    (theirs, their_port), (ours, our_port) = client.sock.getpeername(), client.sock.getsockname()
    ends = [f"{struct.unpack('=I', socket.inet_aton(ip))[0]:08X}:{port:04X}" for ip, port in ((theirs, their_port), (ours, our_port))]
    for line in open("/proc/net/tcp"):
        fields = line.split()
        if fields[1:3] == ends:
            return int(fields[4].split(":")[1], 16)
    raise AssertionError("no such connection")


def test_one_that_cannot_be_read_is_missed_as_well(platform, shared_primary, watcher):
    """Its bytes are stuck behind a query that sleeps, so that its end stands behind them: as many as the proxy and the socket behind it hold,
    and a few more. (So many that the window is full, and the end would never leave its own machine.)"""
    with RawClient.session(platform, shared_primary) as client:
        client.sock.sendall(wire.query("select pg_sleep(600) /* stuck */"))
        (pid,) = wait_running(watcher, "%stuck%")
        client.sock.sendall(b"Q" + struct.pack("!I", 1 << 24))
        sent = 0
        while unread(client) < 8192:
            client.sock.sendall(b"x" * 4096)
            sent += 4096
            assert sent < 8 << 20
            with contextlib.suppress(NotInTime):
                wait_until(lambda: unread(client) == 0, "the proxy has read it", 0.3, pause=0.001)
        assert sent > 65536
        os.close(client.sock.detach())
    wait_gone(watcher, pid, 30)


def test_one_that_reads_nothing_is_missed_as_well(platform, shared_primary, watcher):
    with RawClient.session(platform, shared_primary) as client:
        client.sock.sendall(wire.query("select repeat('r', 1000000) /* unread */ from generate_series(1, 1000)"))
        (pid,) = wait_running(watcher, "%unread%")
        os.close(client.sock.detach())
    wait_gone(watcher, pid)


def test_a_client_that_says_good_bye_early_gets_its_answers(platform, shared_primary):
    """As with stock: a Terminate right behind the query, or a half-closed connection, takes nothing away from what was asked before."""
    with RawClient.session(platform, shared_primary) as client:
        client.sock.sendall(wire.query("select repeat('b', 5000000)") + wire.message(b"X"))
        kinds = [kind for kind, _ in client.until_ready()]
        assert kinds == [b"T", b"D", b"C", b"Z"] and client.rest_is_closed()


def test_a_server_that_goes_while_its_client_is_deaf_costs_no_processor(platform, shared_primary, watcher):
    """Both directions are full, the backend is ended, and the client does nothing: neither may the proxy."""
    proxy = platform.role_pid("proxy")
    with RawClient.session(platform, shared_primary) as client:
        client.sock.settimeout(1)
        client.sock.sendall(wire.query("select repeat('d', 1000000) /* deaf */ from generate_series(1, 100)"))
        (pid,) = wait_running(watcher, "%deaf%")
        with contextlib.suppress(TimeoutError):
            client.sock.sendall(wire.query("select 1 /*" + "x" * (64 << 20) + "*/"))
        watcher.execute("select pg_terminate_backend(%s)", (pid,))
        wait_gone(watcher, pid, 30)
        begin, used = time.monotonic(), processor_seconds(proxy)
        while time.monotonic() - begin < 3:
            assert watcher.execute("select 1").fetchone() == (1,)
            time.sleep(0.1)
        used = processor_seconds(proxy) - used
        assert used < 0.3, f"{used:.1f} of 3 seconds"


def test_when_the_proxy_is_killed_its_queries_end(own_platform):
    """Nobody is left to tell Postgres; it looks by itself. Clients connect again, and nothing of before is left."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    parameters = platform.connection_parameters(endpoint)
    clients = [dying_client(platform, endpoint, "select pg_sleep(600) /* orphan */") for _ in range(5)]
    try:
        with platform.direct(endpoint) as watcher:
            wait_running(watcher, "%orphan%", 5)
            victim = platform.role_pid("proxy")
            os.kill(victim, signal.SIGKILL)
            for client in clients:
                assert client.wait(20) != 0
            wait_until(lambda: not running(watcher, "%orphan%"), "no query of before is left", 15)
            wait_until(lambda: platform.role_pid("proxy") not in (None, victim), "a new proxy")
            with psycopg.connect(**parameters) as again:
                assert again.execute("select 1").fetchone() == (1,)
    finally:
        for client in clients:
            client.kill()


def test_a_proxy_that_is_killed_again_and_again_leaves_nothing(own_platform):
    """Under load: clients connect again, no acknowledged row is lost, and no backend of a client that is gone is left."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    token = platform.rest.database_token(endpoint["name"])
    with platform.connect(endpoint) as connection:
        load.prepare(connection)
    with platform.direct(endpoint) as watcher:
        with load.WriteLoad(lambda: platform.connect(endpoint, password=token), workers=8) as writing:
            for _ in range(5):
                victim = platform.role_pid("proxy")
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: platform.role_pid("proxy") not in (None, victim), "a new proxy")  # noqa: B023
                writing.wait_for_progress()
        clients = "select count(*) from pg_stat_activity where backend_type = 'client backend' and usename = 'admin@localhost'"
        wait_until(lambda: watcher.execute(clients).fetchone() == (0,), "no backend is left", 15)
        load.check(watcher, writing.acknowledged)


# -- stopping the proxy -------------------------------------------------------------------------------------------------


def test_a_proxy_that_is_stopped_lets_queries_finish(own_platform):
    """Who rests is let go at once, who is served is served, and a new proxy takes over."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    platform.sql(endpoint, "create table t (i int)")
    parameters = platform.connection_parameters(endpoint)
    with platform.direct(endpoint) as watcher, platform.connect(endpoint) as idle, platform.connect(endpoint) as busy, \
            platform.connect(endpoint, autocommit=False) as within:  # fmt: skip
        idle.execute("select 1")
        within.execute("insert into t values (1)")
        outcome = []

        def work():
            try:
                outcome.append(busy.execute("select pg_sleep(2), 'served' /* busy */").fetchone()[1])
            except psycopg.Error as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        wait_running(watcher, "%busy%")
        victim = platform.role_pid("proxy")
        os.kill(victim, signal.SIGTERM)
        wait_until(lambda: not answers(idle), "the idle one is let go", 3)
        within.execute("insert into t values (2)")
        within.commit()
        thread.join(20)
        assert outcome == ["served"]
        wait_until(lambda: platform.role_pid("proxy") not in (None, victim), "a new proxy", 20)
        with wait_until(lambda: psycopg.connect(**parameters), "it lets clients in", 20) as again:
            assert again.execute("select count(*) from t").fetchone() == (2,)


def test_a_proxy_that_is_stopped_does_not_wait_for_ever(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.direct(endpoint) as watcher:
        client = dying_client(platform, endpoint, "select pg_sleep(600) /* endless */")
        try:
            wait_running(watcher, "%endless%")
            victim = platform.role_pid("proxy")
            os.kill(victim, signal.SIGTERM)
            wait_until(lambda: platform.role_pid("proxy") not in (None, victim), "a new proxy", 20)
            assert client.wait(20) != 0
            wait_until(lambda: not running(watcher, "%endless%"), "its query has ended", 15)
        finally:
            client.kill()


def answers(connection):
    try:
        connection.execute("select 1")
        return True
    except psycopg.Error:
        return False


def test_a_session_without_a_byte_is_ended(own_platform):
    """Of a day by default; any byte begins it anew."""
    platform = own_platform(settings={"suspend_timeout_min_sec": 60, "idle_session_sec": 3})
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.direct(endpoint) as watcher, platform.connect(endpoint) as quiet, platform.connect(endpoint) as lively:
        pid = quiet.info.backend_pid
        begin = time.monotonic()
        while time.monotonic() - begin < 6:
            assert lively.execute("select 1").fetchone() == (1,)
            time.sleep(0.5)
        wait_gone(watcher, pid)
        assert not answers(quiet) and answers(lively)
    assert "idle for 3 s" in (platform.directory / "run" / "proxy.log").read_text()

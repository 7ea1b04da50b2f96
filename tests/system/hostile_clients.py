"""Clients that mean harm, or are broken, in every state that a connection goes through: rubbish, silence, drops of bytes, half-closed
sockets. Each is let go, others are served meanwhile, and nothing is left. ./check runs this file against a sanitized build too."""

import contextlib
import os
import random
import select
import socket
import ssl
import struct
import time

import psycopg
import pytest

from harness import wire
from harness.waiting import wait_until
from harness.wire import GSS_REQUEST, SSL_REQUEST

pytestmark = pytest.mark.bad_input

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))  # the beginning of a ClientHello


@pytest.fixture(scope="module")
def app(platform, shared_project):
    """A role that is asked for SCRAM."""
    rest = platform.rest
    rest.run("PATCH", f"projects/{shared_project}", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")
    role = rest.run("POST", f"projects/{shared_project}/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    return rest.call("POST", f"{role['name']}/password", {})["password"]


@pytest.fixture
def nothing_is_left(platform, shared_primary, app):
    platform.sql(shared_primary, "select 1")
    before, pid = platform.descriptors("proxy"), platform.role_pid("proxy")
    yield
    assert platform.role_pid("proxy") == pid, "the proxy did not survive it"
    wait_until(lambda: platform.descriptors("proxy") <= before, "descriptors are given back", 30)
    assert platform.sql(shared_primary, "select 1") == [(1,)]


class Visitor:
    """A connection that has been brought into one of the states below."""

    def __init__(self, platform, endpoint, state):
        self.platform, self.endpoint = platform, endpoint
        self.sock = socket.create_connection((endpoint["status"]["hosts"]["host"], platform.pg_port), timeout=20)
        self.tls = False
        getattr(self, state)()

    def close(self):
        self.sock.close()

    # States; each is what the one before it did, and more.

    def connected(self):
        pass

    def half_a_request(self):
        self.sock.sendall(SSL_REQUEST[:5])

    def half_a_cancel_request(self):
        self.sock.sendall(wire.cancel_request(1, b"abcd")[:10])

    def after_gss(self):
        self.sock.sendall(GSS_REQUEST)
        assert self.sock.recv(1) == b"N"

    def asked_for_tls(self):
        self.sock.sendall(SSL_REQUEST)
        assert self.sock.recv(1) == b"S"

    def half_a_handshake(self):
        self.asked_for_tls()
        self.sock.sendall(HELLO)

    def half_a_direct_handshake(self):
        self.sock.sendall(HELLO[:7])

    def in_tls(self):
        self.asked_for_tls()
        context = ssl.create_default_context(cafile=self.platform.ca)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.endpoint["status"]["hosts"]["host"])
        self.tls = True

    def half_a_startup_packet(self):
        self.in_tls()
        self.sock.sendall(self._startup("admin@localhost")[:20])

    def half_a_cancel_request_in_tls(self):
        self.in_tls()
        self.sock.sendall(wire.cancel_request(1, b"abcd")[:13])

    def asked_for_a_token(self):
        self._start("admin@localhost", 3)

    def half_a_token(self):
        self.asked_for_a_token()
        self.sock.sendall(b"p" + struct.pack("!I", 500) + b"eyJ")

    def asked_for_scram(self):
        self._start("app", 10)

    def half_a_choice(self):
        self.asked_for_scram()
        self.sock.sendall(b"p" + struct.pack("!I", 60) + b"SCRAM-SHA-256\0")

    def within_scram(self):
        self.asked_for_scram()
        first = b"n,,n=,r=abcdefgh"
        self.sock.sendall(wire.message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first))
        kind, body = self._message()
        assert (kind, body[:4]) == (b"R", struct.pack("!I", 11))

    def half_a_proof(self):
        self.within_scram()
        self.sock.sendall(b"p" + struct.pack("!I", 100) + b"c=biws,r=")

    def in_a_session(self):
        self.asked_for_a_token()
        self.sock.sendall(wire.message(b"p", self.platform.rest.database_token(self.endpoint["name"]).encode() + b"\0"))
        while self._message()[0] != b"Z":
            pass

    def half_a_query(self):
        self.in_a_session()
        self.sock.sendall(wire.query("select 1")[:8])

    # What they are made of.

    def _startup(self, user):
        return wire.startup_packet(user=user, database="databricks_postgres")

    def _start(self, user, wanted):
        self.in_tls()
        self.sock.sendall(self._startup(user))
        kind, body = self._message()
        assert (kind, struct.unpack("!I", body[:4])[0]) == (b"R", wanted)

    def _message(self):
        head = self._exactly(5)
        return head[:1], self._exactly(struct.unpack("!I", head[1:])[0] - 4)

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def send(self, data):
        """As far as the other side takes it."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def send_past_tls(self, data):
        with contextlib.suppress(OSError):
            socket.socket.send(self.sock, data)

    def half_close(self):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def words_until_closed(self, timeout):
        """What it is told before the connection ends; None: it does not end in time."""
        words, deadline = b"", time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.sock.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                return words
            if not more:
                return words
            words += more
        return None


IN_CLEAR = ["connected", "half_a_request", "half_a_cancel_request", "after_gss", "asked_for_tls", "half_a_handshake", "half_a_direct_handshake"]
IN_LOGIN = ["in_tls", "half_a_startup_packet", "half_a_cancel_request_in_tls", "asked_for_a_token", "half_a_token", "asked_for_scram",
            "half_a_choice", "within_scram", "half_a_proof"]  # fmt: skip
IN_SESSION = ["in_a_session", "half_a_query"]


@pytest.mark.parametrize("state", IN_CLEAR + IN_LOGIN + IN_SESSION)
def test_a_half_closed_connection_ends(platform, shared_primary, nothing_is_left, state):
    """Nothing more can come from it, so there is nothing to wait for."""
    visitor = Visitor(platform, shared_primary, state)
    visitor.half_close()
    assert visitor.words_until_closed(15) is not None, "it is still open"
    visitor.close()


@pytest.mark.parametrize("state", IN_CLEAR + IN_LOGIN + IN_SESSION)
def test_a_connection_that_is_dropped_leaves_nothing(platform, shared_primary, nothing_is_left, state):
    """With a reset, as of a process that was killed with bytes unread; in a session its backend goes as well."""
    visitor = Visitor(platform, shared_primary, state)
    visitor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(visitor.sock.detach())


@pytest.mark.parametrize("state", IN_CLEAR + IN_LOGIN + IN_SESSION)
def test_rubbish_ends_a_connection(platform, shared_primary, nothing_is_left, state):
    """Random bytes, of lengths that end anywhere, in the clear and inside TLS."""
    dice = random.Random(state)
    for _ in range(12):
        visitor = Visitor(platform, shared_primary, state)
        rubbish = dice.randbytes(dice.choice([1, 4, 5, 8, 9, 100, 5000, 40000]))
        visitor.send(rubbish)
        if visitor.tls and dice.random() < 0.5:  # what is on the wire is not TLS any more
            visitor.send_past_tls(dice.randbytes(50))
        visitor.half_close()
        assert visitor.words_until_closed(15) is not None, (state, len(rubbish))
        visitor.close()


@pytest.mark.timeout(200)
def test_who_sends_drops_of_bytes_is_let_go(platform, shared_primary, nothing_is_left):
    """A byte every few seconds, in every state of a login: a minute after it came each is told so, or just closed where nothing can be
    told, and no byte of it has put that off."""
    visitors = {state: Visitor(platform, shared_primary, state) for state in IN_CLEAR + IN_LOGIN}
    begin = time.monotonic()
    open_, words = dict(visitors), {state: b"" for state in visitors}
    # What is sent byte by byte, and never complete. A handshake or a cancel request would be judged before its time.
    drops = {state: b"x" * 100 for state in visitors} | {
        "connected": SSL_REQUEST, "after_gss": SSL_REQUEST, "in_tls": b"\0\0\0\x50\0\x03\0\0user\0", "half_a_request": b"",
        "asked_for_tls": b"", "half_a_handshake": b"", "half_a_direct_handshake": b"", "half_a_cancel_request": b"",
        "half_a_cancel_request_in_tls": b"", "asked_for_a_token": b"p\0\0\x01\xf0eyJhbGciO", "asked_for_scram": b"p\0\0\0\x60SCRAM-SHA",
        "within_scram": b"p\0\0\0\x60c=biws,r=",
    }  # fmt: skip
    count = 0
    while open_ and time.monotonic() - begin < 100:
        assert platform.sql(shared_primary, "select 1") == [(1,)], "others are served meanwhile"
        for state, visitor in list(open_.items()):
            if count < len(drops[state]) - 1:
                visitor.send(drops[state][count : count + 1])
            visitor.sock.settimeout(0.05)
            try:
                more = visitor.sock.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                more = b""
            words[state] += more
            if not more:
                assert time.monotonic() - begin > 50, f"{state} was hurried"
                del open_[state]
        count += 1
        select.select([], [], [], 4)
    assert not open_, f"still open after {time.monotonic() - begin:.0f} s: {list(open_)}"
    for state in IN_LOGIN:
        assert words[state][:1] == b"E", state
        error = wire.fields(words[state][5:])
        assert (error["C"], error["M"]) == ("57014", "canceling authentication due to timeout"), state
    for visitor in visitors.values():
        visitor.close()


class Direct(Visitor):
    """Past the proxy."""

    def __init__(self, platform, endpoint):  # noqa: super-init-not-called
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.tls = False
        self.sock.settimeout(20)
        self.sock.connect(str(platform.socket_directory(endpoint) / ".s.PGSQL.5432"))
        self.sock.sendall(self._startup("cloud_admin"))
        while self._message()[0] != b"Z":
            pass


def test_messages_that_postgres_does_not_know(platform, shared_primary, nothing_is_left):
    """After the login it is Postgres that reads, and it says what it says to anybody."""
    said = []
    for visitor in (Visitor(platform, shared_primary, "in_a_session"), Direct(platform, shared_primary)):
        visitor.send(wire.message(b"\x07", b"what is this"))
        error = wire.fields(visitor.words_until_closed(15)[5:])
        said.append((error["S"], error["C"], error["M"]))
        visitor.close()
    assert said[0] == said[1] == ("FATAL", "08P01", "invalid frontend message type 7")


def test_a_flood_of_connections_that_say_nothing(platform, shared_primary, nothing_is_left):
    """Each costs a descriptor and little else, and who means it gets in between."""
    host = shared_primary["status"]["hosts"]["host"]
    pid = platform.role_pid("proxy")
    resident = lambda: int(open(f"/proc/{pid}/status").read().split("VmRSS:")[1].split()[0])  # noqa: E731
    before, held = resident(), []
    try:
        for _ in range(900):
            held.append(socket.create_connection((host, platform.pg_port), timeout=20))
        assert platform.sql(shared_primary, "select 1") == [(1,)]
        assert resident() - before < 60_000
    finally:
        for sock in held:
            sock.close()


def test_logins_that_are_given_up_while_it_wakes(platform, project, primary, nothing_is_left):
    """Who hangs up while a start is under way leaves nothing; the start goes on for the others."""
    token = platform.rest.database_token(primary["name"])
    platform.wake(primary)
    platform.sleep(project)
    visitors = [Visitor(platform, primary, "asked_for_a_token") for _ in range(20)]
    for visitor in visitors:
        visitor.send(wire.message(b"p", token.encode() + b"\0"))
    for visitor in visitors:
        visitor.close()
    with psycopg.connect(**platform.connection_parameters(primary, password=token)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)

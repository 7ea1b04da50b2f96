"""Which way a connection comes in and which endpoint it means; what a stock server says to the same bytes is asked of one."""

import contextlib
import socket
import ssl
import struct

import psycopg
import pytest

from harness import wire
from harness.stock import StockServer
from harness.wire import GSS_REQUEST, SSL_REQUEST, RawClient


@pytest.fixture(scope="module")
def stock():
    with StockServer() as server:
        yield server


@pytest.fixture(scope="module")
def host(shared_primary):
    return shared_primary["status"]["hosts"]["host"]


# -- the first bytes, beside stock --------------------------------------------------------------------------------------


def words(sock):
    """What comes until it closes or falls silent: an error as its fields that programs look at, anything else as bytes."""
    sock.settimeout(3)
    data = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while more := sock.recv(4096):
            data += more
    if data.startswith((b"E\0", b"NE\0")):  # stock answers "N" first where bytes stand behind a request
        error = wire.fields(data[data.index(b"E") + 5 :])
        return error["S"], error["C"], error["M"]
    return data


def conversation(server, host, steps):
    """Sends each of the steps; a byte of answer is awaited behind each but the last."""
    seen = []
    with socket.create_connection((host, server.pg_port), timeout=20) as sock:
        for step in steps[:-1]:
            sock.sendall(step)
            seen.append(sock.recv(1))
        sock.sendall(steps[-1])
        seen.append(words(sock))
    return seen


PLAIN = wire.startup_packet(user="stock", database="postgres")

SAME_AS_STOCK = {
    "GSS encryption": [GSS_REQUEST, b""],
    "GSS, then GSS again": [GSS_REQUEST, GSS_REQUEST],
    "GSS with bytes behind it": [GSS_REQUEST + b"x"],
    "protocol 2": [wire.startup_packet(version=2 << 16, user="stock")],
    "protocol 4": [wire.startup_packet(version=4 << 16, user="stock")],
    "GSS, then protocol 2": [GSS_REQUEST, wire.startup_packet(version=2 << 16, user="stock")],
    "a cancel request": [wire.cancel_request(1, b"abcd")],
    "GSS, then a cancel request": [GSS_REQUEST, wire.cancel_request(1, b"abcd")],
    "a direct handshake behind a refused GSS": [GSS_REQUEST, b"\x16\x03\x01\x00\x05hello"],
}


@pytest.mark.parametrize("name", SAME_AS_STOCK)
def test_first_bytes_are_answered_as_by_stock(platform, host, stock, name):
    ours, theirs = (conversation(server, address, SAME_AS_STOCK[name]) for server, address in ((platform, host), (stock, "127.0.0.1")))
    if isinstance(theirs[-1], bytes) and theirs[-1].startswith(b"E"):  # as it talks to clients older than protocol 3
        assert theirs[-1].decode().strip("E\0\n") in ours[-1][2] or ours[-1][2] in theirs[-1].decode()
        theirs[-1] = ours[-1]
    if theirs[-1] == b"" and ours[-1] != b"":  # where stock says why in its log only, we tell the client
        assert ours.pop()[:2] == ("FATAL", "08P01")
        theirs.pop()
    assert ours == theirs


def test_in_clear_the_error_is_that_of_a_stock_server_with_tls_only(platform, host, stock):
    for steps in ([PLAIN], [GSS_REQUEST, PLAIN]):
        ours, theirs = (conversation(server, address, steps) for server, address in ((platform, host), (stock, "127.0.0.1")))
        assert ours[:-1] == theirs[:-1]
        assert ours[-1][:2] == theirs[-1][:2] == ("FATAL", "28000")
        assert "TLS" in ours[-1][2]


def test_gss_is_refused_and_tls_asked_for_on_the_same_connection(platform, host, shared_primary):
    """What libpq does with gssencmode=prefer where it was built with GSS."""
    with socket.create_connection((host, platform.pg_port), timeout=20) as sock:
        sock.sendall(GSS_REQUEST)
        assert sock.recv(1) == b"N"
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        client = RawClient.__new__(RawClient)
        client.key = None
        client.sock = ssl.create_default_context(cafile=platform.ca).wrap_socket(sock, server_hostname=host)
        client.log_in(platform.rest.database_token(shared_primary["name"]))
        assert client.query("select 1")[1][0] == b"D"


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSS_REQUEST], ids=["SSL", "GSS"])
def test_encryption_inside_encryption(platform, host, stock, request_):
    said = []
    for server, address in ((platform, host), (stock, "127.0.0.1")):
        with RawClient(server, address) as client:
            client.sock.sendall(request_)
            said.append(words(client.sock))
    # Stock answers GSS within TLS with "N" and waits on; nobody sends that.
    if request_ == GSS_REQUEST and said[1] == b"N":
        assert said[0][:2] == ("FATAL", "0A000")
        return
    assert said[0] == said[1]


# -- direct TLS ---------------------------------------------------------------------------------------------------------


def test_direct_tls(platform, host, shared_primary):
    with RawClient(platform, host, direct=True, alpn=["postgresql"]) as client:
        assert client.sock.selected_alpn_protocol() == "postgresql"
        client.log_in(platform.rest.database_token(shared_primary["name"]))
        assert client.query("select 1")[1][0] == b"D"
    if psycopg.pq.version() >= 170000:
        rows = platform.sql(shared_primary, "select 1", sslnegotiation="direct")
        assert rows == [(1,)]


def test_alpn_by_the_older_way_is_agreed_on_as_well(platform, host, stock):
    for server, address in ((platform, host), (stock, "127.0.0.1")):
        with RawClient(server, address, alpn=["http/1.1", "postgresql"]) as client:
            assert client.sock.selected_alpn_protocol() == "postgresql"
        with RawClient(server, address) as client:
            assert client.sock.selected_alpn_protocol() is None


@pytest.mark.parametrize("direct", [True, False])
def test_another_protocol_by_alpn_ends_the_handshake(platform, host, stock, direct):
    said = []
    for server, address in ((platform, host), (stock, "127.0.0.1")):
        with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
            RawClient(server, address, direct=direct, alpn=["h2", "http/1.1"])
        said.append(str(caught.value))
    assert said[0] == said[1] and "alert" in said[0].lower(), said


def test_direct_tls_without_alpn_is_ended(platform, host, stock):
    """Stock closes without a word; we say why, which a client that is not about Postgres will not read."""
    with RawClient(stock, "127.0.0.1", direct=True) as client:
        assert client.rest_is_closed()
    with RawClient(platform, host, direct=True) as client:
        error = client.error_fields()
        assert error["C"] == "08P01" and "ALPN" in error["M"]
        assert client.rest_is_closed()


def test_old_tls_is_refused_as_by_stock(platform, host, stock):
    for server, address in ((platform, host), (stock, "127.0.0.1")):
        with socket.create_connection((address, server.pg_port), timeout=20) as sock:
            sock.sendall(SSL_REQUEST)
            assert sock.recv(1) == b"S"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(sock)


# -- which endpoint -----------------------------------------------------------------------------------------------------


def login_error(platform, address, sni, **startup):
    """What the client reads in the place of a request for a password."""
    with socket.create_connection((address, platform.pg_port), timeout=20) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        context = ssl.create_default_context(cafile=platform.ca)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = RawClient.__new__(RawClient)
        client.key, client.sock = None, context.wrap_socket(sock, server_hostname=sni)
        client.startup(**{"user": "admin@localhost", "database": "databricks_postgres", **startup})
        kind, body = client.message()
        return wire.fields(body) if kind == b"E" else None


@pytest.fixture(scope="module")
def two(platform, shared_project, shared_primary):
    platform.rest.create_branch(shared_project, "second")
    return shared_primary, platform.rest.endpoint(shared_project, "second")


def here(platform, endpoint, **parameters):
    """Which compute one gets to: its cluster_name is the endpoint's uid."""
    return platform.sql(endpoint, "select current_setting('cluster_name')", **parameters)[0][0]


def test_by_address_by_name_and_by_option(platform, two):
    for endpoint in two:
        uid = endpoint["uid"]
        token = platform.rest.database_token(endpoint["name"])
        assert here(platform, endpoint, password=token) == uid
        # A name below "localhost" is this machine, by whichever resolver.
        name = f"{uid}.localhost"
        assert here(platform, endpoint, password=token, host=name, hostaddr="127.0.0.1") == uid
        assert here(platform, endpoint, password=token, host=name.upper(), hostaddr="127.0.0.1") == uid
        for options in (f"endpoint={uid}", f"-c work_mem=5MB endpoint={uid}", f"endpoint={uid} -c work_mem=5MB", f"  endpoint={uid}  "):
            assert here(platform, endpoint, password=token, host="127.0.0.1", sslmode="verify-full", options=options) == uid, options
        # Both, when they agree; and an option beats the address, which says nothing about what was meant.
        assert here(platform, endpoint, password=token, host=name, hostaddr="127.0.0.1", options=f"endpoint={uid}") == uid
        other = two[0] if endpoint is two[1] else two[1]
        assert here(platform, endpoint, password=token, host=other["status"]["hosts"]["host"], options=f"endpoint={uid}") == uid


def test_name_and_option_that_contradict_each_other(platform, two):
    one, other = two
    error = login_error(platform, "127.0.0.1", f"{one['uid']}.localhost", options=f"endpoint={other['uid']}")
    assert error["S"] == "FATAL" and error["C"] == "08P01"
    assert one["uid"] in error["M"] and other["uid"] in error["M"] and "options=endpoint" in error["H"]
    error = login_error(platform, "127.0.0.1", None, options=f"endpoint={one['uid']} endpoint={other['uid']}")
    assert error["C"] == "08P01" and "more than one" in error["M"]
    # The same one twice, in two ways, is no contradiction.
    assert login_error(platform, "127.0.0.1", f"{one['uid']}.localhost", options=f"endpoint={one['uid']}") is None


def test_endpoints_of_nobody(platform, two):
    one, _ = two
    for sni, options in ((None, "endpoint=ep-no-such-00000000"), ("ep-no-such-00000000.localhost", ""), (None, "endpoint=x"),
                         (None, "endpoint="), (None, "endpoint=projects/p")):  # fmt: skip
        error = login_error(platform, "127.0.0.1", sni, options=options)
        assert error["C"] == "3D000" and "does not exist" in error["M"], (sni, options, error)
        assert "status.hosts.host" in error["H"] or "list-endpoints" in error["H"], error
    # What is behind "-c" is Postgres' own, and no name of an endpoint.
    assert login_error(platform, one["status"]["hosts"]["host"], None, options="-c endpoint=ep-no-such-00000000") is None


def test_a_name_that_is_not_ours_leaves_it_to_the_address(platform, two):
    one, _ = two
    token = platform.rest.database_token(one["name"])
    for name in ("db.example.com", "localhost", "x.localhost"):
        address = one["status"]["hosts"]["host"]
        assert here(platform, one, password=token, host=name, hostaddr=address, sslmode="require") == one["uid"], name


def test_a_read_only_host_of_an_endpoint_that_has_none(platform, two):
    """A read-write endpoint without readable secondaries has a host and no other one (status.hosts)."""
    one, _ = two
    assert "read_only_host" not in one["status"]["hosts"]
    for sni, options in ((f"{one['uid']}-ro.localhost", ""), (None, f"endpoint={one['uid']}-ro")):
        error = login_error(platform, "127.0.0.1", sni, options=options)
        assert (error["C"], error["M"]) == ("3D000", f"read-only host of endpoint \"{one['uid']}\" does not exist")
        assert "status.hosts.host" in error["H"]
    error = login_error(platform, "127.0.0.1", f"{one['uid']}.localhost", options=f"endpoint={one['uid']}-ro")
    assert error["C"] == "08P01", "the read-write host and the read-only one are not the same"
    error = login_error(platform, "127.0.0.1", "ep-no-such-00000000-ro.localhost")
    assert error["C"] == "3D000"


def test_a_user_name_in_place_of_a_password_prompt(platform, host):
    """No user at all is told as stock tells it."""
    with RawClient(platform, host) as client:
        client.sock.sendall(struct.pack("!II", 9, wire.VERSION_3_0) + b"\0")
        error = client.error_fields()
        assert (error["C"], error["M"]) == ("28000", "no PostgreSQL user name specified in startup packet")

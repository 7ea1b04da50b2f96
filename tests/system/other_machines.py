"""Clients on other machines: a domain, addresses to listen on, certificates of one's own, and networks that go away."""

import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import psycopg
import pytest

from harness.namespace import Machine
from harness.platform import BINARY, Platform, clean_environment
from harness.ports import free_port
from harness.waiting import wait_until
from harness.wire import SSL_REQUEST

SETTINGS = {"suspend_timeout_min_sec": 60, "silent_client_sec": 4}
DOMAIN = "db.test"


@pytest.fixture(scope="module")
def machine():
    with Machine() as one:
        yield one


@pytest.fixture(scope="module")
def served(machine):
    """A Tarn with a domain, on the address that the other machine sees, and its one endpoint."""
    platform = Platform(settings=SETTINGS, arguments=["--domain", DOMAIN, "--pg-address", f"{machine.server},127.0.0.1"])
    with platform:
        platform.rest.create_project("p")
        endpoint = platform.rest.endpoint("p")
        machine.name_hosts(endpoint["status"]["hosts"]["host"])
        yield platform, endpoint


def psql(machine, platform, endpoint, *arguments, check=True, root=None, password=None, **parameters):
    """The real psql on the other machine, which knows the endpoint's host by name."""
    parameters = platform.connection_parameters(endpoint, password=password or platform.rest.database_token(endpoint["name"]), **parameters)
    environment = {"PGPASSWORD": parameters.pop("password")}
    parameters["sslrootcert"] = root or parameters["sslrootcert"]
    return machine.run("psql", "-XAt", psycopg.conninfo.make_conninfo(**parameters), *arguments, check=check, **environment)


def direct(platform, endpoint):
    return platform.direct(endpoint)


def backends(watcher, pattern):
    rows = watcher.execute("select pid from pg_stat_activity where query like %s and pid <> pg_backend_pid()", (pattern,)).fetchall()
    return [pid for (pid,) in rows]


# -- reaching it --------------------------------------------------------------------------------------------------------


def test_by_name_with_a_verified_certificate(machine, served):
    platform, endpoint = served
    host = endpoint["status"]["hosts"]["host"]
    assert host == f"{endpoint['uid']}.{DOMAIN}"
    assert psql(machine, platform, endpoint, "-c", "select current_user, 'from elsewhere'").stdout == "admin@localhost|from elsewhere\n"


def test_by_option_where_no_name_is_sent(machine, served):
    platform, endpoint = served
    said = psql(machine, platform, endpoint, "-c", "select current_setting('cluster_name')", host=machine.server,
                options=f"endpoint={endpoint['uid']}").stdout  # fmt: skip
    assert said == f"{endpoint['uid']}\n"
    # And a certificate for that address, which verify-full has just looked at. Without the option there is an error that says how.
    refused = psql(machine, platform, endpoint, "-c", "select 1", host=machine.server, check=False)
    assert refused.returncode == 2 and f"endpoint with address {machine.server} does not exist" in refused.stderr
    assert "options=endpoint=" in refused.stderr


def test_it_listens_where_it_was_told_to_only(machine, served):
    platform, _ = served
    for address, is_served in ((machine.server, True), ("127.0.0.1", True), ("127.0.0.2", False)):
        with socket.socket() as probe:
            assert (probe.connect_ex((address, platform.pg_port)) == 0) == is_served, address


def test_without_a_domain_nobody_else_gets_in(machine, own_platform):
    """All endpoints are loopback addresses then, and the port is not there for others."""
    platform = own_platform()
    assert socket.create_connection(("127.0.0.1", platform.pg_port)).close() is None
    assert machine.connect_error(platform.pg_port) != 0 and machine.connect_error(platform.api_port) != 0


def test_ipv6(machine, own_platform):
    platform = own_platform(arguments=["--domain", DOMAIN, "--pg-address", f"{machine.server6},127.0.0.1"])
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    said = psql(machine, platform, endpoint, "-c", "select 6", hostaddr=machine.server6)
    assert said.stdout == "6\n"


def failed_up(*arguments):
    """A first start that ends with an error, which is returned."""
    with tempfile.TemporaryDirectory(prefix="tarn-", dir="/tmp") as folder:
        os.chmod(folder, 0o711)
        done = subprocess.run(
            [BINARY, "up", "--data", f"{folder}/d", "--api", f"127.0.0.1:{free_port()}", "--pg-port", str(free_port()), *map(str, arguments)],
            env=clean_environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done


def test_addresses_that_cannot_be_listened_on(machine):
    done = failed_up("--domain", DOMAIN, "--pg-address", "192.0.2.77")
    assert done.returncode == 1 and "192.0.2.77" in done.stderr and "--pg-address" in done.stderr, done.stderr
    done = failed_up("--pg-address", machine.server)
    assert done.returncode == 1 and 'needs a "domain"' in done.stderr, done.stderr
    done = failed_up("--domain", DOMAIN, "--pg-address", "localhost")
    assert done.returncode == 1 and "must be IP addresses" in done.stderr, done.stderr


# -- networks that go away ----------------------------------------------------------------------------------------------


@pytest.fixture
def cable(machine):
    yield machine
    machine.plug_it_in()


def test_a_network_that_goes_during_a_query(cable, served):
    """Nothing comes any more, not even a reset: the backend is gone within the time of silence, and some."""
    platform, endpoint = served
    client = start_psql(cable, platform, endpoint, "select pg_sleep(600) /* unplugged */")
    try:
        with direct(platform, endpoint) as watcher:
            (pid,) = wait_until(lambda: backends(watcher, "%unplugged%"), "the query runs")
            cable.pull_the_cable()
            wait_until(lambda: pid not in backends(watcher, "%unplugged%"), "its backend has ended", 30)
    finally:
        client.kill()
        client.communicate()


def test_a_network_that_goes_while_rows_are_on_their_way(cable, served):
    """Bytes are under way then, and the kernel asks nothing: it is for the proxy to see that they are sent again and again."""
    platform, endpoint = served
    client = start_psql(cable, platform, endpoint, "copy (select repeat('u', 100000) /* streaming */ from generate_series(1, 10000000)) to stdout")
    try:
        with direct(platform, endpoint) as watcher:
            (pid,) = wait_until(lambda: backends(watcher, "%streaming%"), "rows are sent")
            assert client.stdout.read(1 << 20), "and arrive"
            cable.pull_the_cable()
            wait_until(lambda: pid not in backends(watcher, "%streaming%"), "its backend has ended", 30)
    finally:
        client.kill()
        client.communicate()


def test_who_takes_his_time_to_read_is_not_taken_for_dead(cable, served):
    """Three times the silence without reading a byte: his machine answers, so the rest comes when he goes on."""
    platform, endpoint = served
    count = 300
    client = start_psql(cable, platform, endpoint, f"copy (select repeat('s', 100000) /* slow */ from generate_series(1, {count})) to stdout")
    try:
        with direct(platform, endpoint) as watcher:
            wait_until(
                lambda: watcher.execute(
                    "select 1 from pg_stat_activity where query like '%slow%' and wait_event = 'ClientWrite'").fetchone(),
                "all buffers are full")  # fmt: skip
            pause = time.monotonic() + 3 * SETTINGS["silent_client_sec"]
            wait_until(lambda: time.monotonic() > pause, "he has not read for long", 60)
        text, error = client.communicate(timeout=60)
    finally:
        client.kill()
    assert (client.returncode, error) == (0, "") and text == ("s" * 100000 + "\n") * count


def start_psql(machine, platform, endpoint, query):
    parameters = platform.connection_parameters(endpoint)
    password = parameters.pop("password")
    return machine.start("psql", "-XAt", psycopg.conninfo.make_conninfo(**parameters), "-c", query, PGPASSWORD=password)


# -- a certificate of one's own -----------------------------------------------------------------------------------------


class Authority:
    """One that signs certificates for hosts below the domain, as a company or a public authority would."""

    def __init__(self, folder):
        self.folder = folder
        self.root, self.certificate, self.key = folder / "root.crt", folder / "own.crt", folder / "own.key"
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=our root", "-keyout", folder / "root.key",
                      "-out", self.root)  # fmt: skip
        # An intermediate one in between, which the server has to send along.
        self._sign("between", "/CN=between", "basicConstraints=critical,CA:TRUE", self.root, folder / "root.key")
        self.issue()

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

    def _sign(self, name, subject, extensions, issuer, issuer_key):
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.folder / f"{name}.ext").write_text(extensions)
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", issuer, "-CAkey", issuer_key, "-CAcreateserial", "-days", "2",
                      "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip

    def issue(self, names=(f"*.{DOMAIN}",)):
        """A new certificate and key, put in place as certificate clients do: each beside the old one, then renamed."""
        names = ",".join(f"DNS:{name}" for name in names)
        self._sign("leaf", "/CN=own", f"subjectAltName={names}", self.folder / "between.crt", self.folder / "between.key")
        (self.folder / "leaf.chain").write_text((self.folder / "leaf.crt").read_text() + (self.folder / "between.crt").read_text())
        (self.folder / "leaf.key").chmod(0o600)
        os.rename(self.folder / "leaf.key", self.key)
        os.rename(self.folder / "leaf.chain", self.certificate)

    def arguments(self):
        return ["--tls-certificate", self.certificate, "--tls-key", self.key, "--tls-root", self.root]


def serial(platform, host, root):
    """The serial number of what is served under a name, verified with that root."""
    with socket.create_connection(("127.0.0.1", platform.pg_port), timeout=20) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        with ssl.create_default_context(cafile=str(root)).wrap_socket(sock, server_hostname=host) as tls:
            return tls.getpeercert()["serialNumber"]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_a_certificate_of_ones_own(machine, authority, own_platform):
    """Served for the domain, with its chain; renewed without a restart; and what is wrong with a new one changes nothing."""
    platform = own_platform(settings=SETTINGS, arguments=["--domain", DOMAIN, *map(str, authority.arguments())])
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    host = endpoint["status"]["hosts"]["host"]
    machine.name_hosts(host)
    assert platform.env()["PGSSLROOTCERT"] == platform.env()["NODE_EXTRA_CA_CERTS"] == str(authority.root)
    assert psql(machine, platform, endpoint, "-c", "select 1", root=authority.root).stdout == "1\n"
    # Where no name is sent it is the domain's as well: without one, verify-ca is what is left.
    said = psql(machine, platform, endpoint, "-c", "select 2", root=authority.root, host=machine.server, sslmode="verify-ca", sslsni="0",
                options=f"endpoint={endpoint['uid']}")  # fmt: skip
    assert said.stdout == "2\n"
    refused = psql(machine, platform, endpoint, "-c", "select 1", root=platform.ca, check=False)
    assert "certificate verify failed" in refused.stderr
    # `tarn psql` knows what `tarn env` knows.
    (machine.etc / "hosts").write_text(f"127.0.0.1 localhost {host}\n")
    log = platform.directory / "run" / "proxy.log"

    first = serial(platform, host, authority.root)
    with platform.connect(endpoint, hostaddr="127.0.0.1", sslrootcert=str(authority.root)) as session:
        authority.issue()
        wait_until(lambda: serial(platform, host, authority.root) != first, "the new one is served, without being told", 30)
        second = serial(platform, host, authority.root)
        # Told so, at once; and a session of before goes on.
        authority.issue()
        os.kill(platform.role_pid("proxy"), signal.SIGHUP)
        wait_until(lambda: serial(platform, host, authority.root) not in (first, second), "at once when told", 2)
        third = serial(platform, host, authority.root)
        assert session.execute("select 3").fetchone() == (3,)

        authority.key.write_text("rubbish")
        os.kill(platform.role_pid("proxy"), signal.SIGHUP)
        wait_until(lambda: "the new certificate is not taken" in log.read_text(), "the log says so")
        assert serial(platform, host, authority.root) == third
        authority.issue()
        wait_until(lambda: serial(platform, host, authority.root) != third, "the next good one is served", 30)
    assert log.read_text().count("the new certificate is not taken") == 1, "told once"


def test_native_login_binds_to_a_certificate_of_ones_own(authority, own_platform):
    """SCRAM-SHA-256-PLUS proves which certificate the client saw: it must be the one that is served."""
    platform = own_platform(arguments=["--domain", DOMAIN, *map(str, authority.arguments())])
    rest = platform.rest
    rest.create_project("p")
    rest.run("PATCH", "projects/p", {"spec": {"enable_pg_native_login": True}}, update_mask="spec.enable_pg_native_login")
    role = rest.run("POST", "projects/p/branches/production/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
    password = rest.call("POST", f"{role['name']}/password", {})["password"]
    rows = platform.sql(rest.endpoint("p"), "select current_user", user="app", password=password, hostaddr="127.0.0.1",
                        sslrootcert=str(authority.root), channel_binding="require")  # fmt: skip
    assert rows == [("app",)]


def test_hosts_that_it_does_not_name_get_one_of_tarns_own(authority, own_platform):
    authority.issue(["somewhere.else.example"])
    platform = own_platform(arguments=["--domain", DOMAIN, *map(str, authority.arguments())])
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    assert platform.sql(endpoint, "select 1", hostaddr="127.0.0.1") == [(1,)]
    assert f"is not for *.{DOMAIN}" in (platform.directory / "run" / "proxy.log").read_text()
    # One that leads here under another name, such as a CNAME in the DNS: the option says which endpoint.
    rows = platform.sql(endpoint, "select 2", host="somewhere.else.example", hostaddr="127.0.0.1", sslrootcert=str(authority.root),
                        options=f"endpoint={endpoint['uid']}")  # fmt: skip
    assert rows == [(2,)]


def test_certificates_that_cannot_be_served_are_an_error_at_the_start(authority):
    arguments = ["--domain", DOMAIN, *authority.arguments()]

    def error(*more):
        done = failed_up(*more)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        return done.stderr

    authority.key.chmod(0o644)
    assert "has group or world access" in error(*arguments)
    authority.key.chmod(0o600)
    good = authority.key.read_bytes()
    authority.key.write_bytes((authority.folder / "root.key").read_bytes())
    assert "does not belong to the first certificate" in error(*arguments)
    authority.key.write_bytes(b"")
    assert "no readable private key" in error(*arguments)
    subprocess.run(["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", "/dev/stdin", "-out", authority.key], input=good,
                   check=True, capture_output=True)  # fmt: skip
    assert "without a pass phrase" in error(*arguments), "it must not wait for one at a terminal either"
    authority.key.write_bytes(good)
    authority.certificate.write_text("nothing")
    assert "has no certificate" in error(*arguments)
    authority.certificate.unlink()
    assert str(authority.certificate) in error(*arguments)
    assert '"tls_key" is missing' in error("--domain", DOMAIN, "--tls-certificate", authority.root)
    assert 'needs a "domain"' in error("--tls-certificate", authority.root, "--tls-key", authority.key)


def test_each_leaf_lives_for_three_months(served):
    """They are made anew a month before they end, without a restart (tests/unit/proxy/certificate_cache.c)."""
    platform, endpoint = served
    host = endpoint["status"]["hosts"]["host"]
    with socket.create_connection(("127.0.0.1", platform.pg_port), timeout=20) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        with ssl.create_default_context(cafile=platform.ca).wrap_socket(sock, server_hostname=host) as tls:
            ends = ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"])
    assert 89 < (ends - time.time()) / 86400 < 91

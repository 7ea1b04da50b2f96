"""Native login: roles with a password of Postgres, checked before anything is woken."""

import base64
import concurrent.futures
import contextlib
import functools
import hashlib
import hmac
import os
import re
import signal
import socket
import ssl
import struct
import subprocess

import psycopg
import pytest

from harness.platform import clean_environment
from harness.waiting import wait_until

# -- calls --------------------------------------------------------------------------------------------------------------


def branch_name(project, branch="production"):
    return f"projects/{project}/branches/{branch}"


def allow(rest, project, value=True):
    return rest.run("PATCH", f"projects/{project}", {"spec": {"enable_pg_native_login": value}},
                    update_mask="spec.enable_pg_native_login")  # fmt: skip


def make_role(rest, project, name, branch="production", **spec):
    """A role with a generated password, which is the answer."""
    role = rest.run("POST", f"{branch_name(project, branch)}/roles", {"spec": {"postgres_role": name, **spec}}, role_id=name)
    return password_of(rest, role["name"])


def password_of(rest, role):
    return rest.call("POST", f"{role}/password", {})["password"]


def who(platform, endpoint, user, password, **more):
    """Logs in; what Postgres calls the session."""
    return platform.sql(endpoint, "select session_user", user=user, password=password, **more)[0][0]


def refused(platform, endpoint, user, password, **more):
    """What the server said, of an attempt that must fail."""
    with pytest.raises(psycopg.OperationalError) as error:
        platform.sql(endpoint, "select 1", user=user, password=password, **more)
    text = str(error.value)
    return text[text.index("FATAL"):].strip() if "FATAL" in text else text


def wrong(user):
    return f'FATAL:  password authentication failed for user "{user}"'


@pytest.fixture(scope="module")
def native(platform):
    """A project with native login, shared by the stories that do not disturb each other."""
    name = f"native-{os.getpid()}"
    platform.rest.create_project(name, {"spec": {"enable_pg_native_login": True}})
    yield name
    platform.rest.delete_project(name)


@pytest.fixture(scope="module")
def endpoint(platform, native):
    return platform.rest.endpoint(native)


# -- a client that says exactly what it is told --------------------------------------------------------------------------


class Scram:
    """A client of SCRAM on a raw connection inside TLS; everything that the server says is kept as it came."""

    def __init__(self, platform, endpoint, user, source="127.0.0.1"):
        host = endpoint["status"]["hosts"]["host"]
        context = ssl.create_default_context(cafile=platform.ca)
        plain = socket.create_connection((host, platform.pg_port), 60, (source, 0))
        plain.sendall(struct.pack("!II", 8, 80877103))
        assert plain.recv(1) == b"S"
        self.socket = context.wrap_socket(plain, server_hostname=host)
        packet = struct.pack("!I", 3 << 16) + f"user\0{user}\0database\0databricks_postgres\0\0".encode()
        self.socket.sendall(struct.pack("!I", len(packet) + 4) + packet)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def message(self):
        """(type, payload); None when the server has closed."""
        head = self._take(5)
        return (head[:1], self._take(struct.unpack("!I", head[1:])[0] - 4)) if head else None

    def _take(self, count):
        taken = b""
        while len(taken) < count:
            part = self.socket.recv(count - len(taken))
            if not part:
                return b""
            taken += part
        return taken

    def send(self, payload):
        self.socket.sendall(b"p" + struct.pack("!I", len(payload) + 4) + payload)

    def first(self, mechanism="SCRAM-SHA-256", bare="n=,r=0123456789", header="n,,"):
        """Ours is sent; the server's, as text."""
        message = (header + bare).encode()
        self.send(mechanism.encode() + b"\0" + struct.pack("!I", len(message)) + message)
        kind, payload = self.message()
        assert (kind, payload[:4]) == (b"R", struct.pack("!I", 11)), payload
        self.bare, self.server_first = bare, payload[4:].decode()
        return self.server_first

    def final_message(self, password, header="n,,"):
        nonce, salt, count = re.fullmatch(r"r=([^,]+),s=([^,]+),i=(\d+)", self.server_first).groups()
        salted = salted_password(password, salt, int(count))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c={base64.b64encode(header.encode()).decode()},r={nonce}"
        said = f"{self.bare},{self.server_first},{without}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        return f"{without},p={proof}".encode()

    def final(self, password):
        self.send(self.final_message(password))
        return self.message()

    def try_password(self, password):
        """True, or the fields of the error."""
        kind, payload = self.message()
        if kind == b"R":
            assert payload[:4] == struct.pack("!I", 10), "asks for SCRAM"
            self.first()
            kind, payload = self.final(password)
        return True if kind == b"R" else fields_of(payload)


@functools.cache
def salted_password(password, salt, count):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), count)


def fields_of(payload):
    return {part[:1].decode(): part[1:].decode() for part in payload.split(b"\0") if part}


# -- stories ------------------------------------------------------------------------------------------------------------


def test_a_role_logs_in_with_its_password(platform, rest, native, endpoint):
    password = make_role(rest, native, "app")
    assert who(platform, endpoint, "app", password) == "app"
    for bad in (password + "x", password[:-1], password.swapcase(), rest.database_token(endpoint["name"])[:900]):
        assert refused(platform, endpoint, "app", bad) == wrong("app")
    # psql, and both ways of channel binding.
    for binding in ("require", "prefer", "disable"):
        answer = platform.psql(endpoint, "-Atc", "select session_user", user="app", password=password, channel_binding=binding)
        assert answer.stdout == "app\n"
        assert who(platform, endpoint, "app", password, channel_binding=binding) == "app"
    answer = platform.psql(endpoint, "-Atc", "select 1", user="app", password="no", check=False)
    assert answer.returncode == 2 and answer.stderr.strip().endswith(wrong("app")), answer.stderr
    # Identities go on with tokens, which are asked for in clear, inside TLS.
    assert platform.sql(endpoint, "select session_user")[0][0] == "admin@localhost"
    assert "not a database token" in refused(platform, endpoint, "admin@localhost", password)


def test_pgbench_connects_for_every_transaction(platform, rest, native, endpoint):
    password = make_role(rest, native, "bench")
    parameters = platform.connection_parameters(endpoint, user="bench", password=password)
    script = platform.scratch / "one.sql"
    script.write_text("select 1;\n")
    environment = clean_environment(PGPASSWORD=password, PGSSLMODE="verify-full", PGSSLROOTCERT=platform.ca)
    answer = subprocess.run(
        ["pgbench", "-n", "-C", "-c", "4", "-j", "2", "-t", "5", "-f", script, "-h", parameters["host"],
         "-p", str(platform.pg_port), "-U", "bench", "databricks_postgres"],
        env=environment, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "transactions actually processed: 20/20" in answer.stdout, answer.stdout


def test_only_the_right_password_wakes(platform, rest, native, endpoint):
    password = make_role(rest, native, "sleeper")
    platform.sleep(native)
    started = rest.get(endpoint["name"])["status"]
    for user, bad in (("sleeper", "wrong"), ("sleeper", ""), ("nobody", password), ("sleeper ", password)):
        with pytest.raises(psycopg.OperationalError):
            platform.sql(endpoint, "select 1", user=user, password=bad or "x")
        assert platform.supervisor_pid(endpoint) is None
    assert rest.get(endpoint["name"])["status"] == started
    # Many at once wake it once, and all get in.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: who(platform, endpoint, "sleeper", password), range(8)))
    assert found == ["sleeper"] * 8
    assert platform.supervisor_pid(endpoint) is not None


def test_what_sql_changes_is_in_effect_at_once(platform, rest, native, endpoint):
    password = make_role(rest, native, "worker")
    with platform.connect(endpoint) as admin:
        for number in range(8):
            old, password = password, f"secret {number}"
            admin.execute(f"alter role worker password '{password}'")
            assert refused(platform, endpoint, "worker", old) == wrong("worker")
            assert who(platform, endpoint, "worker", password) == "worker"
        admin.execute("alter role worker nologin")
        assert refused(platform, endpoint, "worker", password) == 'FATAL:  role "worker" is not permitted to log in'
        assert refused(platform, endpoint, "worker", "x") == wrong("worker")
        admin.execute("alter role worker login valid until '2001-01-01'")
        assert refused(platform, endpoint, "worker", password) == wrong("worker")
        admin.execute("alter role worker valid until 'infinity'")
        assert who(platform, endpoint, "worker", password) == "worker"
        admin.execute("alter role worker valid until '294276-12-31'")
        assert who(platform, endpoint, "worker", password) == "worker"
        admin.execute("alter role worker password null")
        assert refused(platform, endpoint, "worker", password) == wrong("worker")
        admin.execute("set password_encryption to md5")
        admin.execute(f"alter role worker password '{password}'")
        assert refused(platform, endpoint, "worker", password) == wrong("worker")
        admin.execute("set password_encryption to 'scram-sha-256'")
        admin.execute(f"alter role worker password '{password}'")
        admin.execute("alter role worker rename to labourer")
        assert refused(platform, endpoint, "worker", password) == wrong("worker")
        assert who(platform, endpoint, "labourer", password) == "labourer"
        admin.execute("drop role labourer")
        assert refused(platform, endpoint, "labourer", password) == wrong("labourer")
        admin.execute("create role labourer login password 'of its own'")
        assert who(platform, endpoint, "labourer", "of its own") == "labourer"
        # What SQL says is what a sleeping compute is opened by, too.
        admin.execute("alter role labourer password 'in its sleep'")
    platform.sleep(native)
    assert refused(platform, endpoint, "labourer", "of its own") == wrong("labourer")
    assert platform.supervisor_pid(endpoint) is None
    assert who(platform, endpoint, "labourer", "in its sleep") == "labourer"
    rest.run("DELETE", f"{branch_name(native)}/roles/labourer")
    assert refused(platform, endpoint, "labourer", "in its sleep") == wrong("labourer")


# What happens to a role: by SQL (None: through the API), and who then logs in with which password (None: the old one).
CHANGES = {
    "password": ("alter role {0} password 'new'", [("{0}", "new")]),
    "rename": ("alter role {0} rename to {0}_2", [("{0}_2", None)]),
    "drop": ("drop role {0}", []),
    "nologin": ("alter role {0} nologin", []),
    "drop through the API": (None, []),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("state", ["running", "asleep"])
def test_changes_hold_whether_it_runs_or_sleeps(platform, rest, native, endpoint, state, change):
    """The old password gets nobody in, and wakes nothing; who may come in is woken for."""
    statement, let_in = CHANGES[change]
    role = f"r{list(CHANGES).index(change)}_{state}"
    name = f"{branch_name(native)}/roles/{role.replace('_', '-')}"
    rest.run("POST", f"{branch_name(native)}/roles", {"spec": {"postgres_role": role}}, role_id=role.replace("_", "-"))
    password = password_of(rest, name)
    with platform.connect(endpoint, user=role, password=password) as session:
        if statement:
            platform.sql(endpoint, statement.format(role))
        elif state == "running":
            rest.run("DELETE", name)
        # As in any Postgres who is in stays in, also when his role is no more; only the API ends what a role had.
        if statement or state == "asleep":
            assert session.execute("select 1").fetchone() == (1,)
        else:
            with pytest.raises(psycopg.errors.AdminShutdown):
                session.execute("select 1")
    if state == "asleep":
        platform.sleep(native)
        if not statement:
            rest.run("DELETE", name)  # which wakes it
            platform.sleep(native)
    expected = f'FATAL:  role "{role}" is not permitted to log in' if change == "nologin" else wrong(role)
    assert refused(platform, endpoint, role, password) == expected
    assert refused(platform, endpoint, role, "never right") == wrong(role)
    assert (platform.supervisor_pid(endpoint) is None) == (state == "asleep"), "a refused login starts nothing"
    for user, new in let_in:
        assert who(platform, endpoint, user.format(role), new or password) == user.format(role)


def test_the_switch_of_a_project_holds_while_it_sleeps(platform, rest, native, endpoint, project, primary):
    password = make_role(rest, project, "app")
    allow(rest, project)
    assert who(platform, primary, "app", password) == "app"
    with platform.connect(primary, user="app", password=password) as session:
        allow(rest, project, False)
        assert "native login is switched off" in refused(platform, primary, "app", password)
        assert session.execute("select 1").fetchone() == (1,), "who is in stays in"
    platform.sleep(project)
    assert "native login is switched off" in refused(platform, primary, "app", password)
    allow(rest, project)
    allow(rest, project, False)
    assert "native login is switched off" in refused(platform, primary, "app", password)
    assert platform.supervisor_pid(primary) is None
    other = make_role(rest, native, "elsewhere")
    assert who(platform, endpoint, "elsewhere", other) == "elsewhere", "another project's switch is its own"
    allow(rest, project)
    assert refused(platform, primary, "app", "wrong") == wrong("app")
    assert platform.supervisor_pid(primary) is None
    assert who(platform, primary, "app", password) == "app"


def test_a_password_from_before_a_crash_is_worth_nothing(platform, rest, native, endpoint):
    old = make_role(rest, native, "crasher")
    with platform.connect(endpoint) as admin:
        admin.execute("alter role crasher password 'new'")
    # Control has not seen it yet, and does not see it before everything is gone.
    control, supervisor = platform.role_pid("control"), platform.supervisor_pid(endpoint)
    os.kill(control, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: platform.role_pid("control") not in (None, control), "another control", 60)
    assert refused(platform, endpoint, "crasher", old) == wrong("crasher")
    assert who(platform, endpoint, "crasher", "new") == "crasher"


def test_native_login_is_off_until_it_is_switched_on(platform, rest, project, primary):
    password = make_role(rest, project, "app")

    def expect_off(user):
        text = refused(platform, primary, user, password)
        assert text.startswith(
            f'FATAL:  user "{user}" cannot log in with a password: native login is switched off for projects/{project}')
        hint = text[text.index("HINT"):]
        assert f"tarn postgres update-project projects/{project} spec.enable_pg_native_login" in hint
        return text.replace(f'"{user}"', "?")

    # Whether there is such a role or not.
    assert expect_off("app") == expect_off("nobody") == expect_off("postgres")
    with Scram(platform, primary, "app") as client:
        kind, payload = client.message()
        assert kind == b"E" and fields_of(payload)["C"] == "28000"
    assert "native login" in refused(platform, primary, "admin@localhost", password)
    assert platform.sql(primary, "select 1") == [(1,)]
    allow(rest, project)
    assert who(platform, primary, "app", password) == "app"
    with platform.connect(primary, user="app", password=password) as connection:
        allow(rest, project, False)
        expect_off("app")
        assert connection.execute("select 1").fetchone() == (1,)  # who is in stays in


def test_branches_inherit_passwords_except_from_a_protected_one(platform, rest, native, endpoint):
    password = make_role(rest, native, "heir")
    rest.create_branch(native, "plain")
    plain = rest.endpoint(native, "plain")
    assert who(platform, plain, "heir", password) == "heir"
    with platform.connect(plain) as admin:
        admin.execute("alter role heir password 'its own'")
    assert refused(platform, plain, "heir", password) == wrong("heir")
    assert who(platform, endpoint, "heir", password) == "heir"
    rest.run("PATCH", branch_name(native), {"spec": {"is_protected": True}}, update_mask="spec.is_protected")
    try:
        rest.create_branch(native, "child")
        child = rest.endpoint(native, "child")
        own = password_of(rest, f"{branch_name(native, 'child')}/roles/heir")
        assert own != password
        platform.sleep(native, "child")
        assert refused(platform, child, "heir", password) == wrong("heir")
        assert platform.supervisor_pid(child) is None
        assert who(platform, child, "heir", own) == "heir"
        assert refused(platform, endpoint, "heir", own) == wrong("heir")
    finally:
        rest.run("PATCH", branch_name(native), {"spec": {"is_protected": False}}, update_mask="spec.is_protected")
        for branch in ("plain", "child"):
            rest.delete_branch(native, branch)


def test_names_cannot_be_probed(platform, rest, native, endpoint):
    make_role(rest, native, "known")
    seen = {}
    for user in ("known", "other", "third"):
        for attempt in range(2):
            with Scram(platform, endpoint, user) as client:
                offer = client.message()
                nonce, salt, count = re.fullmatch(r"r=0123456789([^,]+),s=([^,]+),i=(\d+)", client.first()).groups()
                kind, payload = client.final("guess")
                assert client.message() is None
                form = (offer, len(nonce), len(salt), count, kind, payload.replace(user.encode(), b"?"))
                seen.setdefault("form", form)
                assert seen["form"] == form, user
                # The same salt each time, as of a role that is there; and the same on a child, which would inherit it.
                assert seen.setdefault(user, salt) == salt
    assert offer == (b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
    assert fields_of(payload) == {"S": "FATAL", "V": "FATAL", "C": "28P01",
                                  "M": 'password authentication failed for user "third"'}  # fmt: skip
    assert len({seen["known"], seen["other"], seen["third"]}) == 3
    log = (platform.directory / "run" / "proxy.log").read_text(errors="replace")
    assert "the role does not exist" in log


def test_messages_that_are_no_scram_are_refused_as_by_postgres(platform, rest, native, endpoint):
    password = make_role(rest, native, "odd")

    def error_after(*payloads, user="odd"):
        with Scram(platform, endpoint, user) as client:
            client.message()
            for payload in payloads:
                client.send(payload)
                kind, answer = client.message()
            assert kind == b"E" and client.message() is None
            fields = fields_of(answer)
            return fields["C"], fields["M"], fields.get("D")

    def choice(mechanism, message):
        return mechanism + b"\0" + struct.pack("!i", -1 if message is None else len(message)) + (message or b"")

    plus = b"SCRAM-SHA-256-PLUS"
    assert error_after(choice(b"PLAIN", b"x"))[:2] == ("08P01", "client selected an invalid SASL authentication mechanism")
    assert error_after(choice(plus, b"n,,n=,r=x"))[:2] == ("08P01", "malformed SCRAM message")
    assert error_after(choice(b"SCRAM-SHA-256", b"y,,n=,r=x"))[:2] == ("28000", "SCRAM channel binding negotiation error")
    assert error_after(choice(b"SCRAM-SHA-256", b"n,a=root,n=,r=x"))[0] == "0A000"
    assert error_after(choice(b"SCRAM-SHA-256", b""))[2] == "The message is empty."
    assert error_after(b"rubbish")[:2] == ("08P01", "invalid message format")
    assert error_after(b"x" * 1025)[0] == "08P01"
    first = choice(plus, b"p=tls-server-end-point,,n=,r=x")
    binding = base64.b64encode(b"p=tls-server-end-point,," + bytes(32))
    assert error_after(first, b"c=" + binding + b",r=x,p=")[:2] == ("28000", "SCRAM channel binding check failed")
    # Without an initial response the server asks for it.
    with Scram(platform, endpoint, "odd") as client:
        client.message()
        client.send(choice(b"SCRAM-SHA-256", None))
        assert client.message() == (b"R", struct.pack("!I", 11))
        client.send(b"n,,n=,r=0123456789")
        client.bare, client.server_first = "n=,r=0123456789", client.message()[1][4:].decode()
        kind, payload = client.final(password)
        assert (kind, payload[:4]) == (b"R", struct.pack("!I", 12))


def test_failures_are_limited_by_who_makes_them(own_platform):
    platform = own_platform(settings={"suspend_timeout_min_sec": 60, "failures_per_min": 5})
    rest, attacker = platform.rest, "127.0.0.66"
    rest.create_project("p", {"spec": {"enable_pg_native_login": True}})
    endpoint = rest.endpoint("p")
    password, other = make_role(rest, "p", "target"), make_role(rest, "p", "bystander")

    def attempt(secret, user="target"):
        with Scram(platform, endpoint, user, attacker) as client:
            return client.try_password(secret)

    assert attempt(password) is True
    # Ten have been asked before the first of them fails; then all come at once, and behind them the right one.
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Scram(platform, endpoint, "target", attacker)) for _ in range(11)]
        for client in clients:
            client.message()
            client.first()
        finals = [client.final_message("guess") for client in clients[:-1]] + [clients[-1].final_message(password)]
        for client, final in zip(clients[:-1], finals):
            client.send(final)
        answers = [client.message() for client in clients[:-1]]
        clients[-1].send(finals[-1])
        answers.append(clients[-1].message())
    codes = [kind == b"R" or fields_of(payload)["C"] for kind, payload in answers]
    assert codes[-1] == "53300" and set(codes) == {"28P01", "53300"} and 5 <= codes.count("28P01") <= 7, codes
    fields = attempt(password)
    assert fields["C"] == "53300" and fields["M"] == 'too many failed logins of user "target" from this address', fields
    assert re.match(r"Try again in \d+ s\.", fields["H"])
    # Not other addresses, and not other roles.
    assert who(platform, endpoint, "target", password) == "target"
    assert attempt(other, "bystander") is True
    # A good token is let in however many bad ones there were, from the same address.
    for _ in range(8):
        text = refused(platform, endpoint, "admin@localhost", "rubbish")
    assert text.startswith('FATAL:  too many failed logins of user "admin@localhost"')
    assert platform.sql(endpoint, "select 1") == [(1,)]


def test_no_secret_is_in_a_log(platform, rest, native, endpoint):
    password = make_role(rest, native, "quiet")
    assert who(platform, endpoint, "quiet", password) == "quiet"
    refused(platform, endpoint, "quiet", "a wrong one 4711")
    with platform.direct(endpoint) as direct:
        verifier = direct.execute("select rolpassword from pg_authid where rolname = 'quiet'").fetchone()[0]
    secrets = [password, "a wrong one 4711", "SCRAM-SHA-256$", *re.split(r"[$:]", verifier)[2:]]
    for path in platform.log_files():
        text = path.read_text(errors="replace")
        for secret in secrets:
            assert secret not in text, f"{path.name} has {secret}"

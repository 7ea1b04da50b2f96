"""Connect storm: clients that connect, query, stop in the middle, vanish, dawdle, talk nonsense or are killed, while Postgres and control are killed, too.

What is checked: an answer is the right one or the connection breaks; nobody polite waits for ever; afterwards a polite client is served at once, and the
proxy, which was not restarted, has no descriptor more than before and ends cleanly. With `--binary` of a sanitized build that also means: no bad access, no
race, no leak. One seed chooses what each client does; what the others do in between differs from run to run.
"""

import argparse
import contextlib
import logging
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

from harness.platform import BINARY, Platform, clean_environment
from harness.proxy_alone import DATABASE, SSL_REQUEST, USER, ProxyAlone, TlsSession, client_context
from harness.waiting import wait_until

PATIENCE = 90  # nothing polite takes as long, also while Postgres recovers from a kill on a loaded machine
MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
# What a client that is not at fault may see while servers are killed.
BROKEN = (psycopg.OperationalError, ConnectionError, TimeoutError, ssl.SSLError, OSError)


class WrongAnswer(AssertionError):
    pass


def expect(is_right, what):
    if not is_right:
        raise WrongAnswer(what)


class Client(threading.Thread):
    def __init__(self, storm, number):
        super().__init__(name=f"client {number}", daemon=True)
        self.storm, self.dice = storm, random.Random(storm.options.seed * 1000 + number)

    ACTIONS = {
        "queries": 8, "large_result": 3, "pipeline": 3, "copies": 2, "killed": 3, "reset": 3, "half_close": 3, "close_notify": 2, "no_reader": 2,
        "plain_garbage": 4, "broken_handshake": 3, "broken_record": 3, "broken_startup": 3, "dawdle": 2, "cancels": 3, "foreign_key": 2,
        "wrong_password": 2, "terminates": 1,
    }  # fmt: skip

    ENDED = (b"57014",)  # besides 57P..

    def run(self):
        while not self.storm.is_over:
            action = self.dice.choices(list(self.ACTIONS), list(self.ACTIONS.values()))[0]
            begin = time.monotonic()
            try:
                getattr(self, action)()
                self.storm.count(action)
            except WrongAnswer as failure:
                self.storm.fail(f"{self.name}, {action}: {failure}")
            except BROKEN:
                self.storm.count(f"{action} (broken)")
            except BaseException as failure:  # noqa: B902 - whatever it is, the storm has failed
                self.storm.fail(f"{self.name}, {action}: {type(failure).__name__}: {failure}")
            took = time.monotonic() - begin
            if took > PATIENCE:
                self.storm.fail(f"{self.name}, {action}: took {took:.0f} s")

    # -- clients as they should be ------------------------------------------------------------------------------------------

    def connect(self):
        return psycopg.connect(**self.storm.parameters, autocommit=True)

    def queries(self):
        with self.connect() as connection:
            for _ in range(self.dice.randrange(1, 20)):
                text = self.dice.randbytes(self.dice.choice([1, 100, 5000, 50000])).hex()
                expect(connection.execute("select %s::text", (text,)).fetchone() == (text,), "another text came back")

    def large_result(self):
        size, rows = self.dice.choice([(10, 20000), (8191, 500), (8192, 500), (1 << 20, 8), (3 << 20, 3)])
        with self.connect() as connection:
            lengths = connection.execute("select length(r) from (select repeat('x', %s) r from generate_series(1, %s)) t", (size, rows)).fetchall()
            expect(lengths == [(size,)] * rows, "another number of rows")
            texts = connection.execute("select repeat('x', %s) from generate_series(1, %s)", (size, rows)).fetchall()
            expect(len(texts) == rows and all(text == ("x" * size,) for text in texts), "another result")

    def pipeline(self):
        with self.connect() as connection:
            count = self.dice.randrange(1, 300)
            with connection.pipeline():
                cursors = [connection.execute("select %s::int", (i,), prepare=True) for i in range(count)]
            expect([cursor.fetchone()[0] for cursor in cursors] == list(range(count)), "answers of a pipeline in another order")

    def copies(self):
        rows = self.dice.randrange(1, 30000)
        with self.connect() as connection:
            connection.execute("create temp table t (i int, filler text)")
            with connection.cursor().copy("copy t from stdin") as copy:
                for i in range(rows):
                    copy.write_row((i, "y" * (i % 100)))
            size = 0
            with connection.cursor().copy("copy t to stdout") as copy:
                for data in copy:
                    size += len(data)
            expect(size == sum(len(f"{i}\t{'y' * (i % 100)}\n") for i in range(rows)), "another number of bytes copied")

    def cancels(self):
        with contextlib.closing(self.connect()) as connection:
            connection.pgconn.send_query(b"select pg_sleep(20)")
            time.sleep(self.dice.uniform(0, 0.2))
            connection.cancel_safe(timeout=30)
            result = connection.pgconn.get_result()
            if result is None or result.status == psycopg.pq.ExecStatus.TUPLES_OK:
                return  # the request came before the query had begun: then it cancels nothing, as with Postgres itself
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            expect(state is None or state[:3] == b"57P" or state in self.ENDED, f"SQLSTATE {state}")

    def wrong_password(self):
        try:
            psycopg.connect(**{**self.storm.parameters, "password": self.dice.randbytes(200).hex()}).close()
        except psycopg.OperationalError:
            return
        raise WrongAnswer("it was let in")

    def terminates(self):
        with self.connect() as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = current_user and pid <> pg_backend_pid() limit 3")

    # -- clients that stop in the middle ---------------------------------------------------------------------------------------

    def session(self):
        return TlsSession(self.storm.host, self.storm.proxy.port, self.storm.context, self.storm.parameters["password"], timeout=PATIENCE)

    def killed(self):
        parameters = dict(self.storm.parameters)
        environment = clean_environment(PGPASSWORD=parameters.pop("password"))
        query = self.dice.choice(["select pg_sleep(30)", "select repeat('x', 1000) from generate_series(1, 10000000)", "select 1"])
        psql = subprocess.Popen(["psql", "-XAtqc", query, psycopg.conninfo.make_conninfo(**parameters)], env=environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.dice.uniform(0, 0.5))
        psql.kill()
        psql.wait()

    def reset(self):
        session = self.session()
        session.send(b"Q", b"select repeat('x', 1000) from generate_series(1, 100000)\0")
        if self.dice.random() < 0.5:
            session.message()
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        session.socket.close()

    def half_close(self):
        """The client's side ends within a message: Postgres sees an end of input, and the client the end of everything."""
        session = self.session()
        session.socket.sendall(b"Q\0\0\1\0select 1"[: self.dice.randrange(1, 12)])
        raw = socket.socket(fileno=os.dup(session.socket.fileno()))
        with raw:
            raw.settimeout(PATIENCE)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
        session.socket.close()

    def close_notify(self):
        session = self.session()
        if self.dice.random() < 0.5:
            session.send(b"Q", b"select 1\0")
        with contextlib.suppress(ssl.SSLError):  # what was on its way comes before the other's close_notify
            session.socket.unwrap()
        session.socket.close()

    def no_reader(self):
        session = self.session()
        session.send(b"Q", b"select repeat('x', 1000) from generate_series(1, 200000)\0")
        time.sleep(self.dice.uniform(0, 1))
        session.socket.close()

    # -- clients that are none -----------------------------------------------------------------------------------------------------

    def plain(self, bytes_=b""):
        plain = socket.create_connection((self.storm.host, self.storm.proxy.port), timeout=PATIENCE)
        plain.sendall(bytes_)
        return plain

    def linger(self, plain):
        """Reads for a moment, or not at all."""
        with plain:
            if self.dice.random() < 0.5:
                plain.settimeout(self.dice.uniform(0.01, 0.3))
                with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
                    while plain.recv(4096):
                        pass

    def plain_garbage(self):
        noise = self.dice.choice([
            b"", b"\0", b"\x16", b"\x16\3\1", b"\0\0\0\x08", SSL_REQUEST[:5], b"\xff" * 8, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", SSL_REQUEST * 2,
            struct.pack("!II", 8, 80877104), struct.pack("!II", 16, 80877102), self.dice.randbytes(self.dice.randrange(1, 5000)),
        ])  # fmt: skip
        self.linger(self.plain(noise))

    def broken_handshake(self):
        """A ClientHello that ends early, or has other bytes in its middle."""
        hello = ssl.MemoryBIO()
        tls = self.storm.context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=self.storm.host)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        bytes_ = bytearray(hello.read())
        if self.dice.random() < 0.5:
            bytes_ = bytes_[: self.dice.randrange(1, len(bytes_))]
        else:
            for _ in range(self.dice.randrange(1, 6)):
                bytes_[self.dice.randrange(len(bytes_))] = self.dice.randrange(256)
        self.linger(self.plain((SSL_REQUEST if self.dice.random() < 0.5 else b"") + bytes_))

    def broken_record(self):
        """Bytes that are not TLS, in a session that is."""
        session = self.session()
        with socket.socket(fileno=os.dup(session.socket.fileno())) as raw:
            raw.sendall(self.dice.choice([b"\x17\3\3\0\x20", b"", b"\x15\3\3\0\2"]) + self.dice.randbytes(self.dice.randrange(1, 3000)))
        self.linger(session.socket)

    def broken_startup(self):
        plain = self.plain(SSL_REQUEST)
        plain.recv(1)
        tls = self.storm.context.wrap_socket(plain, server_hostname=self.storm.host)
        body = b"\0\3\0\0user\0" + USER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
        whole = struct.pack("!I", len(body) + 4) + body
        if self.dice.random() < 0.5:
            tls.sendall(whole + self.dice.randbytes(self.dice.randrange(1, 9000)))
        else:
            tls.sendall(whole[: self.dice.randrange(1, len(whole))] if self.dice.random() < 0.5 else self.dice.randbytes(self.dice.randrange(1, 500)))
        self.linger(tls)

    def dawdle(self):
        """Byte by byte, and gives up somewhere."""
        with self.plain() as plain:
            for byte in SSL_REQUEST[: self.dice.randrange(1, 9)]:
                plain.sendall(bytes([byte]))
                time.sleep(self.dice.uniform(0, 0.1))

    def foreign_key(self):
        with self.plain(struct.pack("!IIII", 16, 80877102, self.dice.randrange(1, 40000), self.dice.randrange(1 << 32))) as plain:
            expect(plain.recv(1) == b"", "an answer to a cancel request")


class BaseStorm:
    """What clients tell of themselves, and their hour."""

    def __init__(self, options):
        self.options, self.lock, self.dice = options, threading.Lock(), random.Random(options.seed)
        self.counts, self.failures, self.is_over = {}, [], False

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        self.is_over = True

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def rage(self, clients, seconds, disturb):
        """Lets them loose, disturbs them now and then, and has them end."""
        until = time.monotonic() + seconds
        for client in clients:
            client.start()
        while time.monotonic() < until and not self.is_over:
            time.sleep(self.dice.uniform(1, 5))
            disturb()
        self.is_over = True
        for client in clients:
            client.join(2 * PATIENCE)
            if client.is_alive():
                self.fail(f"{client.name} got no answer")
        assert not self.failures, "\n".join(self.failures)


def kill(pid):
    """That may be gone already, or never have been."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Storm(BaseStorm):
    def __init__(self, options):
        super().__init__(options)
        self.platform = Platform(settings={"requests_per_sec": 100000, "failures_per_min": 1000000})

    def disturb(self):
        what = self.dice.choice(["postgres", "control", "sleep", "nothing"])
        if what == "postgres":
            pid = self.platform.postmaster_pid(self.branch_uid)
        elif what == "control":
            pid = self.platform.role_pid("control")
        else:
            pid = None
        kill(pid)
        if what == "sleep":
            # Control may be the one that has just been killed.
            with contextlib.suppress(OSError, AssertionError):
                self.platform.sleep("storm", timeout=30)
        self.count(f"({what})")

    def settle(self, files):
        def is_served():
            with psycopg.connect(**self.parameters, autocommit=True) as connection:
                return connection.execute("select 1").fetchone() == (1,)

        # Control may be the last one that was killed.
        wait_until(lambda: self.platform.rest.update_endpoint("storm", "production", "spec.disabled", {"disabled": False}), "control answers", PATIENCE)
        wait_until(is_served, "a polite client is served", PATIENCE)
        for _ in range(20):
            assert is_served()
        wait_until(lambda: self.proxy.open_files() <= files, "descriptors are given back", PATIENCE)

    def run(self):
        with self.platform:
            self.platform.rest.create_project("storm")
            endpoint = self.platform.rest.endpoint("storm")
            self.branch_uid = self.platform.branch_uid("storm")
            with ProxyAlone(self.platform.directory, binary=self.options.binary) as self.proxy:
                self.parameters = self.platform.connection_parameters(endpoint, port=self.proxy.port, connect_timeout=PATIENCE)
                self.host, self.context = self.parameters["host"], client_context(self.proxy.ca)
                psycopg.connect(**self.parameters).close()
                wait_until(lambda: self.proxy.sessions_ended() == 1, "the first session has ended")
                files = self.proxy.open_files() + 1  # what keeps processors awake
                self.rage([Client(self, number) for number in range(self.options.clients)], self.options.seconds, self.disturb)
                self.settle(files)
                self.proxy.process.send_signal(signal.SIGTERM)
                code, log = self.proxy.process.wait(PATIENCE), self.proxy.log()
                for mark in MARKS:
                    assert mark not in log, log[log.index(mark) :][:6000]
                assert code == 0, f"the proxy ended with {code}:\n{log[-3000:]}"
            self.platform.rest.delete_project("storm")
        return f"{sum(n for what, n in self.counts.items() if what[0] != '(')} clients"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="connect_storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=30, help="how long the storm lasts (default 30)")
    parser.add_argument("--clients", type=int, default=8, help="clients at once (default 8)")
    parser.add_argument("--binary", type=Path, default=BINARY, help="the tarn whose proxy is tried, such as build-clang/tarn (default build/tarn)")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    print(f"seed {options.seed}", flush=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it says of each connection that breaks in a pipeline that it breaks
    storm = Storm(options)
    print(storm.run())
    print(dict(sorted(storm.counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

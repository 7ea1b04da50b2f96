"""What the proxy costs, counted and not timed: system calls and allocations per query, bytes per system call of a large result, memory of an idle
session, and nothing of a session that is over. bench/proxy has the times.
"""

import os
import struct
from pathlib import Path

import pytest

from harness import system_calls
from harness.platform import BINARY
from harness.proxy_alone import ProxyAlone, StandIn, TlsSession, client_context, database_token
from harness.waiting import wait_until

QUERIES = 1000
COPY_MB = 100
IDLE = 500
CHURN = 3000
COUNTING_MALLOC = Path(os.environ.get("TARN_COUNTING_MALLOC", BINARY.parent / "tests/allocations/counting_malloc.so"))


def refuse_sanitizers():
    if b"__asan_init" in BINARY.read_bytes():
        pytest.skip("a sanitized binary has an allocator of its own")


class Allocations:
    """What counting_malloc.c has counted so far."""

    def __init__(self, path):
        self.path = path

    def read(self):
        return struct.unpack("3Q", self.path.read_bytes())

    def during(self, work):
        """Calls of (the program, OpenSSL, other libraries)."""
        before = self.read()
        work()
        return tuple(now - then for now, then in zip(self.read(), before))


@pytest.fixture(scope="module")
def counted(platform, shared_primary, tmp_path_factory):
    """A proxy whose allocations are counted, before a compute of the platform that runs."""
    refuse_sanitizers()
    path = tmp_path_factory.mktemp("allocations") / "counts"
    platform.wake(shared_primary)
    with ProxyAlone(platform.directory, environment={"LD_PRELOAD": str(COUNTING_MALLOC), "TARN_ALLOCATIONS": str(path)}) as proxy:
        proxy.allocations = Allocations(path)
        yield proxy


@pytest.fixture
def connection(platform, shared_primary, counted):
    with platform.connect(shared_primary, port=counted.port) as connection:
        connection.execute("select 1")
        yield connection


def simple(connection):
    for _ in range(QUERIES):
        connection.pgconn.exec_(b"select 1")


def prepared(connection):
    for i in range(QUERIES):
        connection.pgconn.exec_prepared(b"one", [str(i).encode()])


def pipelined(connection):
    with connection.pipeline():
        for i in range(QUERIES):
            connection.execute("select %s::int", (i,), prepare=True)


def larger(connection):
    """300 KB each time: Postgres sends it in pieces of 8 KiB."""
    for _ in range(QUERIES // 10):
        assert len(connection.pgconn.exec_(b"select repeat('x', 300000)").get_value(0, 0)) == 300000


def copy_out(connection):
    size = 0
    query = f"copy (select repeat('x', 999) from (select generate_series(1, {COPY_MB * 1000})) s) to stdout"
    with connection.cursor().copy(query) as copy:
        for data in copy:
            size += len(data)
    assert size == COPY_MB * 1000 * 1000


WORK = {"simple": simple, "prepared": prepared, "pipelined": pipelined, "larger results": larger, "copy out": copy_out}
# At most so many system calls. A round trip is wait, read, send, and the same back. Of larger results each of Postgres' pieces of 8 KiB may come alone; but
# COPY under strace is mostly slow enough for whole blocks (wait, read 64 KiB, write four records), less so on a busy machine.
SYSTEM_CALLS = {
    "simple": 6 * QUERIES, "prepared": 6 * QUERIES, "pipelined": 6 * QUERIES, "larger results": QUERIES // 10 * (6 + 3 * 300000 / 8192),
    "copy out": 2 * COPY_MB * 1e6 / 8192,
}  # fmt: skip


@pytest.mark.parametrize("kind", WORK)
def test_system_calls(counted, connection, kind):
    connection.pgconn.prepare(b"one", b"select $1::int")
    try:
        calls = system_calls.count(counted.pid, lambda: WORK[kind](connection))
    except system_calls.CannotCount as why:
        pytest.skip(str(why))
    assert sum(calls.values()) <= SYSTEM_CALLS[kind] * 1.02 + 20, calls
    assert calls.get("epoll_ctl", 0) <= 20, calls


@pytest.mark.parametrize("kind", WORK)
def test_nothing_is_allocated(counted, connection, kind):
    """Not by us; OpenSSL takes its record buffers from the allocator and gives them back, so that idle sessions have none."""
    connection.pgconn.prepare(b"one", b"select $1::int")
    WORK[kind](connection)  # what is kept from then on has been allocated
    program, openssl, others = counted.allocations.during(lambda: WORK[kind](connection))
    # Its reports to control, every five seconds, are all it allocates for: not one thing for each query, of which there are more.
    assert max(program, others) <= QUERIES // 20, f"{program} by the proxy, {others} by libraries"
    assert openssl > 0, "the counter does not count"


# -- sessions without queries -------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(platform):
    """(proxy, how to open a session) before a stand-in: what is measured is the proxy and nothing else."""
    refuse_sanitizers()
    with StandIn() as stand_in, ProxyAlone(platform.directory, control=stand_in.control) as proxy:
        context, token = client_context(proxy.ca), database_token(platform.directory / "token.key", stand_in.uid)
        yield proxy, lambda: TlsSession("127.0.0.1", proxy.port, context, token)


def test_an_idle_session_costs_16_kib(alone):
    proxy, open_session = alone
    for session in [open_session() for _ in range(20)]:
        session.close()
    wait_until(lambda: proxy.sessions_ended() == 20, "those that made the proxy warm have ended")
    files, before = proxy.open_files(), proxy.resident()
    sessions = [open_session() for _ in range(IDLE)]
    for session in sessions:
        session.query("select 1")
    each = (proxy.resident() - before) / IDLE
    assert proxy.open_files() <= files + 2 * IDLE + 1, "the client's, the server's, and what keeps processors awake"
    for session in sessions:
        session.close()
    wait_until(lambda: proxy.open_files() == files, "descriptors are given back")
    assert each <= 16384, f"{each:.0f} bytes for a session"


def test_sessions_that_are_over_leave_nothing(alone):
    proxy, open_session = alone

    def open_and_close(count):
        ended = proxy.sessions_ended()
        for _ in range(count):
            open_session().close()
        wait_until(lambda: proxy.sessions_ended() == ended + count, "all have ended")

    open_and_close(200)
    files, before = proxy.open_files(), proxy.resident()
    open_and_close(CHURN)
    wait_until(lambda: proxy.open_files() == files, "descriptors are given back")
    grown = proxy.resident() - before
    assert grown <= 100 * CHURN, f"{grown} bytes more after {CHURN} sessions"

"""Write load that knows what it was promised: each commit that was acknowledged is remembered, nothing else is.

A worker moves money between two accounts and writes a receipt in the same transaction. So two things can be checked
at any time and on any branch: the sum of all accounts never changes, and every acknowledged receipt is there.
"""

import random
import threading
import time

import psycopg

from harness.waiting import wait_until

ACCOUNTS = 50
BALANCE = 1000


def prepare(connection):
    connection.execute("create table account (id int primary key, balance bigint not null)")
    connection.execute("create table receipt (worker int, number bigint, primary key (worker, number))")
    connection.execute(f"insert into account select i, {BALANCE} from generate_series(1, {ACCOUNTS}) i")


def check(connection, acknowledged):
    """Every promise kept, and each transaction whole. How many receipts there are."""
    (total,) = connection.execute("select sum(balance) from account").fetchone()
    assert total == ACCOUNTS * BALANCE, f"money appeared or vanished: {total}"
    there = set(connection.execute("select worker, number from receipt").fetchall())
    lost = set(acknowledged) - there
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged commits are lost, such as {sorted(lost)[:5]}"
    return len(there)


class WriteLoad:
    """Workers that write until stopped; a worker whose connection breaks connects again."""

    def __init__(self, connect, workers=4):
        self._connect = connect
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._acknowledged = []
        self.failures = []
        self._threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(workers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_progress()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads), "a worker hangs"

    @property
    def acknowledged(self):
        with self._lock:
            return list(self._acknowledged)

    def wait_for_progress(self, commits=20, timeout=60):
        goal = len(self.acknowledged) + commits
        wait_until(
            lambda: len(self.acknowledged) >= goal,
            f"{commits} more commits (failures so far: {self.failures[-3:]})",
            timeout,
        )

    def _work(self, worker):
        number = 0
        dice = random.Random(worker)
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    while not self._stop.is_set():
                        number += 1  # never used twice: a commit of unknown outcome may be there or not
                        with connection.transaction():
                            # In one order, so that workers do not deadlock.
                            a, b = sorted(dice.sample(range(1, ACCOUNTS + 1), 2))
                            connection.execute("update account set balance = balance - 1 where id = %s", (a,))
                            connection.execute("update account set balance = balance + 1 where id = %s", (b,))
                            connection.execute("insert into receipt values (%s, %s)", (worker, number))
                        with self._lock:
                            self._acknowledged.append((worker, number))
            except (psycopg.Error, OSError, AssertionError) as error:
                with self._lock:
                    self.failures.append(error)
                time.sleep(0.05)  # as a client that tries again would

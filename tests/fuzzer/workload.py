"""The load: money moves between accounts, each transfer writes its number into a journal and its share of a table with long values."""

import random
import threading
import time

import psycopg

ACCOUNTS = 400
BALANCE = 1000
KEYS = 200

SCHEMA = f"""
create table account (id int primary key, balance bigint not null);
create table journal (number bigint primary key, session int not null, source int not null, target int not null,
    amount int not null, made timestamptz not null default clock_timestamp());
create index journal_by_session on journal (session, number desc);
create index journal_by_time on journal (made);
create table long_value (key int primary key, writes bigint not null, last bigint not null, content text not null);
create index long_value_by_content on long_value (md5(content));
create unlogged table scratch (i bigint);
insert into account select i, {BALANCE} from generate_series(1, {ACCOUNTS}) i;
insert into long_value select i, 0, 0, '' from generate_series(0, {KEYS - 1}) i;
"""

# Each in one query and one snapshot: the journal, and whether the other tables are what the journal says they must be.
CHECKS = {
    "sum of all accounts": f"select sum(balance) = {ACCOUNTS} * {BALANCE} from account",
    "accounts as the journal says": f"""
        select count(*) = 0 from (
            select id, sum(d) d from (
                select source id, -amount::bigint d from journal union all select target, amount from journal) both_sides
            group by id) moved
        full join account using (id)
        where balance is distinct from {BALANCE} + coalesce(d, 0)""",
    "long values as the journal says": f"""
        select count(*) = 0 from (select number % {KEYS} key, count(*) n from journal group by 1) j
        full join long_value using (key) where coalesce(n, 0) is distinct from writes""",
    "long values whole": f"""
        select count(*) = 0 from long_value v
        where last <> 0 and (content <> repeat(md5(last::text), (last % 300)::int) or last % {KEYS} <> key
            or not exists (select from journal where number = last))""",
    "journal by index": "select (select count(*) from journal where made is not null) = (select count(session) from journal)",
}

TRANSFER = f"""
update account set balance = balance - %(amount)s where id = %(source)s;
update account set balance = balance + %(amount)s where id = %(target)s;
insert into journal (number, session, source, target, amount) values (%(number)s, %(session)s, %(source)s, %(target)s, %(amount)s);
update long_value set writes = writes + 1, last = %(number)s,
    content = repeat(md5(%(number)s::text), (%(number)s %% 300)::int) where key = %(number)s %% {KEYS};
"""


class Numbers:
    def __init__(self):
        self._lock, self._last = threading.Lock(), 0

    def next(self):
        with self._lock:
            self._last += 1
            return self._last


def lsn(connection):
    (value,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return int(value)


class Writer(threading.Thread):
    """One session on one branch, until stopped; connects again whenever its connection breaks."""

    def __init__(self, branch, session, connect, numbers, seed, pause):
        super().__init__(daemon=True)
        self.branch, self.session, self.numbers, self.pause = branch, session, numbers, pause
        self._connect, self._dice, self._halt = connect, random.Random(seed), threading.Event()
        self.commits, self.errors, self.last_error = 0, 0, None

    def halt(self):
        self._halt.set()

    def run(self):
        while not self._halt.is_set():
            try:
                with self._connect() as connection:
                    connection.execute("set lock_timeout = '5s'")
                    while not self._halt.is_set():
                        self._one(connection)
                        if self._dice.random() < 0.01:
                            self._chore(connection)
                        self._halt.wait(self.pause)
            except (psycopg.Error, OSError, AssertionError) as error:
                self.errors += 1
                self.last_error = error
                self._halt.wait(0.1)

    def _one(self, connection):
        dice = self._dice
        source, target = sorted(dice.sample(range(1, ACCOUNTS + 1), 2))  # in one order: no deadlocks
        number = self.numbers.next()
        commit = self.branch.begin(number)
        try:
            connection.execute("begin")
            values = {"amount": dice.randint(1, 9), "source": source, "target": target, "number": number, "session": self.session}
            for statement in TRANSFER.strip().split(";\n"):
                if statement.strip():
                    connection.execute(statement.rstrip(";\n "), values)
            commit.lsn_from, commit.time_from = lsn(connection), time.time()
            connection.execute("commit")
        except BaseException:
            self.branch.fail(commit)
            raise
        commit.time_to = time.time()
        self.branch.acknowledge(commit)
        self.commits += 1
        commit.lsn_to = lsn(connection)  # may fail: then the commit has no upper bound

    def _chore(self, connection):
        """What makes, grows, shrinks and removes files."""
        statement = self._dice.choice([
            "vacuum (analyze) account", "vacuum journal", "vacuum (full) long_value", "reindex index journal_by_time",
            f"create table if not exists extra_{self.session} as select i, md5(i::text) from generate_series(1, 2000) i",
            f"drop table if exists extra_{self.session}", "truncate scratch", "insert into scratch select generate_series(1, 500)",
            "create index if not exists account_by_balance on account (balance)", "drop index if exists account_by_balance",
        ])  # fmt: skip
        try:
            connection.execute(statement)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation,
                psycopg.errors.UndefinedObject, psycopg.errors.DuplicateTable, psycopg.errors.UndefinedTable):  # fmt: skip
            pass  # another session was in the way

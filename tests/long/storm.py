"""Clients of every kind come, go, are killed and do harm, by every route, while the proxy, its computes and control are killed and stopped
under them. Afterwards nobody has read a wrong answer, no acknowledged row is lost, nothing is left, and no sanitizer has said a word."""

import argparse
import collections
import contextlib
import http.client
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

import psycopg

from harness import load
from harness.platform import NO_LIMITS, Platform
from harness.waiting import wait_until
from system.hostile_clients import IN_CLEAR, IN_LOGIN, IN_SESSION, Visitor

STATES = IN_CLEAR + IN_LOGIN + IN_SESSION
ROWS = 20000


class Storm:
    """What is shared by all clients: where they go, with what, and what they met."""

    def __init__(self, platform, seed):
        self.platform, self.seed = platform, seed
        self.over = threading.Event()
        self.done, self.broken = collections.Counter(), collections.Counter()
        self.wrong = []
        rest = platform.rest
        self.endpoints = []
        for name in ("calm", "driven"):
            rest.create_project(name, {"spec": {"enable_pg_native_login": True}})
            self.endpoints.append(rest.endpoint(name))
        self.driven = self.endpoints[1]
        self.passwords = {}
        for endpoint in self.endpoints:
            branch = endpoint["name"].rsplit("/endpoints/", 1)[0]
            role = rest.run("POST", f"{branch}/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
            self.passwords[endpoint["uid"]] = rest.call("POST", f"{role['name']}/password", {})["password"]
            platform.sql(endpoint, f"create table numbers as select i, repeat('x', 500) as words from generate_series(1, {ROWS}) i")
            platform.sql(endpoint, "grant select on numbers to app")
        self.tokens = {endpoint["uid"]: rest.database_token(endpoint["name"]) for endpoint in self.endpoints}

    def expect(self, true, words):
        if not true:
            self.wrong.append(words)
            self.over.set()

    def parameters(self, endpoint, dice):
        hosts = endpoint["status"]["hosts"]
        host = dice.choice([hosts["host"], hosts["read_write_pooled_host"]])
        if dice.random() < 0.5:
            who = {"user": "app", "password": self.passwords[endpoint["uid"]]}
        else:
            who = {"password": self.tokens[endpoint["uid"]]}
        return self.platform.connection_parameters(endpoint, host=host, connect_timeout=90, **who)


# -- what clients do --------------------------------------------------------------------------------------------------


def ask(storm, endpoint, dice):
    with psycopg.connect(**storm.parameters(endpoint, dice), autocommit=True) as connection:
        for _ in range(dice.randrange(1, 20)):
            number = dice.randrange(1 << 30)
            try:
                (row,) = connection.execute("select %s::int, current_database()", (number,)).fetchall()
            except ValueError:  # psycopg's word for two errors at once: that it was ended, and that nothing comes any more
                storm.expect(connection.broken, "two answers to one question")
                raise psycopg.OperationalError("ended twice") from None
            storm.expect(row == (number, "databricks_postgres"), f"asked for {number}, read {row}")


def copy_out(storm, endpoint, dice, give_up=False):
    with psycopg.connect(**storm.parameters(endpoint, dice), autocommit=True) as connection:
        cursor = connection.cursor()
        count = 0
        with cursor.copy("copy numbers to stdout") as copy:
            for block in copy:
                count += bytes(block).count(b"\n")
                if give_up and count > ROWS // 3:
                    drop(connection)
                    return
        storm.expect(count == ROWS, f"COPY of {ROWS} rows gave {count}")


def copy_and_drop(storm, endpoint, dice):
    with contextlib.suppress(psycopg.Error):
        copy_out(storm, endpoint, dice, give_up=True)


def drop(connection):
    """As the kernel does it for a process that was killed."""
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)


def sleep_and_drop(storm, endpoint, dice):
    connection = psycopg.connect(**storm.parameters(endpoint, dice), autocommit=True)
    connection.pgconn.send_query(b"select pg_sleep(600)")
    connection.pgconn.flush()
    time.sleep(dice.random() / 5)
    drop(connection)


def cancel(storm, endpoint, dice):
    with psycopg.connect(**storm.parameters(endpoint, dice), autocommit=True) as connection:
        answered = threading.Event()
        canceller = threading.Thread(target=cancel_until, args=(connection, answered, dice.random() / 5))
        canceller.start()
        try:
            connection.execute("select pg_sleep(60)")
            storm.expect(False, "a query of 60 s was not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            answered.set()
            canceller.join()


def cancel_until(connection, answered, pause):
    """One that comes before its query has begun hits nothing, as everywhere."""
    while not answered.wait(pause):
        with contextlib.suppress(psycopg.Error, OSError):
            connection.cancel()
        pause = 2


def wrong_password(storm, endpoint, dice):
    try:
        psycopg.connect(**{**storm.parameters(endpoint, dice), "password": f"wrong {dice.random()}"})
        storm.expect(False, "a wrong password was good")
    except psycopg.OperationalError:
        pass


def rubbish(storm, endpoint, dice):
    visitor = Visitor(storm.platform, endpoint, dice.choice(STATES))
    try:
        visitor.send(dice.randbytes(dice.choice([1, 5, 100, 5000, 40000])))
        visitor.half_close()
        visitor.sock.settimeout(10)
        visitor.sock.recv(100)
    finally:
        visitor.close()


def hang_up(storm, endpoint, dice):
    visitor = Visitor(storm.platform, endpoint, dice.choice(STATES))
    if dice.random() < 0.5:
        visitor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(visitor.sock.detach())


ACTS = [ask] * 6 + [copy_out, copy_and_drop, sleep_and_drop, cancel, wrong_password, rubbish, hang_up]


def live(storm, number):
    dice = random.Random(f"{storm.seed}/{number}")
    while not storm.over.is_set():
        act = dice.choice(ACTS)
        endpoint = dice.choice(storm.endpoints)
        try:
            act(storm, endpoint, dice)
            storm.done[act.__name__] += 1
        except (psycopg.Error, OSError) as error:  # killed under it
            storm.broken[f"{act.__name__}: {' '.join(str(error).split())[-90:]}"] += 1


# -- what is done to them ---------------------------------------------------------------------------------------------


def kill_proxy(storm, dice):
    _end_role(storm, "proxy", signal.SIGKILL)


def kill_control(storm, dice):
    _end_role(storm, "control", signal.SIGKILL)


def suspend(storm, dice):
    storm.platform.sleep("driven")


def kill_postgres(storm, dice):
    with contextlib.suppress(psycopg.Error, OSError):
        with storm.platform.direct(storm.driven) as connection:
            (pid,) = connection.execute("select pg_backend_pid()").fetchone()
            os.kill(pid, signal.SIGKILL)


def kill_supervisor(storm, dice):
    pid = storm.platform.supervisor_pid(storm.driven)
    if pid:
        os.kill(pid, signal.SIGKILL)


def _end_role(storm, role, how):
    platform = storm.platform
    victim = platform.role_pid(role)
    if victim:
        os.kill(victim, how)
        wait_until(lambda: platform.role_pid(role) not in (None, victim), f"a new {role}", 60)


BLOWS = [kill_proxy, suspend, suspend, kill_postgres, kill_supervisor, kill_control]


def strike(storm, end):
    dice = random.Random(f"{storm.seed}/blows")
    count = collections.Counter()
    while time.monotonic() < end and not storm.over.is_set():
        storm.over.wait(dice.uniform(2, 8))
        blow = dice.choice(BLOWS)
        try:
            blow(storm, dice)
            count[blow.__name__] += 1
        except (AssertionError, OSError, ConnectionError, http.client.HTTPException):
            if blow is not suspend:
                raise
            count["suspend, which control did not live to do"] += 1
    return count


def main():
    parser = argparse.ArgumentParser(prog="tests/long/storm", description=__doc__)
    parser.add_argument("--sanitizer", choices=["thread", "address", "none"], default="thread", help="what the binary is built with (thread)")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with Platform(settings={"suspend_timeout_min_sec": 60, **NO_LIMITS}) as platform:
        storm = Storm(platform, options.seed)
        calm, driven = storm.endpoints
        with platform.connect(calm) as connection:
            load.prepare(connection)
        platform.sql(calm, "select 1")
        proxies = {platform.role_pid("proxy"): platform.descriptors("proxy")}
        threads = [threading.Thread(target=live, args=(storm, i), daemon=True) for i in range(options.clients)]
        token = storm.tokens[calm["uid"]]
        with load.WriteLoad(lambda: platform.connect(calm, password=token), workers=2) as writing:
            for thread in threads:
                thread.start()
            blows = strike(storm, time.monotonic() + 60 * options.minutes)
            storm.over.set()
            for thread in threads:
                thread.join(120)
            hang = sum(thread.is_alive() for thread in threads)
            assert not hang, f"{hang} clients hang"
            writing.wait_for_progress()
        assert not storm.wrong, storm.wrong[0]
        with platform.connect(calm) as connection:
            receipts = load.check(connection, writing.acknowledged)
        check_rest(platform, storm, max(proxies.values()))
        print(f"clients: {dict(storm.done.most_common())}")
        print(f"{sum(storm.broken.values())} were broken off, such as {dict(storm.broken.most_common(8))}")
        print(f"blows: {dict(blows)}; {receipts} receipts, none lost")
    print("nothing is left, and no sanitizer has said anything")


def check_rest(platform, storm, descriptors):
    """No backend, no session and no descriptor of a client that is gone."""
    for endpoint in storm.endpoints:
        assert platform.sql(endpoint, "select count(*) from numbers") == [(ROWS,)]
        with platform.direct(endpoint) as watcher:
            query = "select count(*) from pg_stat_activity where backend_type = 'client backend' and usename = any (%s) and state <> 'idle'"
            users = ["app", "admin@localhost"]
            wait_until(lambda: watcher.execute(query, (users,)).fetchone() == (0,), "no query goes on", 30)  # noqa: B023
    wait_until(lambda: platform.descriptors("proxy") <= descriptors + 4, "descriptors are given back", 60)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"FAILED: {error}")

"""The connect storm (tests/fuzzer) at a whole Tarn: by every route and login, direct and pooled, while proxy, control, supervisors and Postgres are killed and
computes are suspended under the clients, and others write. Afterwards nobody has read a wrong answer, no acknowledged row is lost, no query goes on for
somebody who is gone, no process is left, and no sanitizer has said a word, whichever process it was in."""

import argparse
import contextlib
import http.client
import logging
import random
import sys

import psycopg

from fuzzer.connect_storm import PATIENCE, BaseStorm, Client, expect, kill
from harness import load
from harness.platform import NO_LIMITS, Platform
from harness.proxy_alone import client_context
from harness.waiting import wait_until


class Visitor(Client):
    """Of any endpoint, by any route, with a token or a password."""

    # A pooler whose server connection has died under a query says so with this one.
    ENDED = (*Client.ENDED, b"08P01")

    ACTIONS = {name: weight for name, weight in Client.ACTIONS.items() if name != "copies"}  # a temporary table is no use behind a pooler

    def connect(self):
        self.last = psycopg.connect(**self.storm.route(self.dice), autocommit=True)
        return self.last

    def queries(self):
        try:
            super().queries()
        except ValueError:  # psycopg's word for two errors at once: that it was ended, and that nothing comes any more
            expect(self.last.broken, "two answers to one question")


class Storm(BaseStorm):
    def __init__(self, platform, options):
        super().__init__(options)
        self.platform = platform
        self.proxy = self  # what a client asks it for: its port
        self.port, self.context = platform.pg_port, client_context(platform.ca)
        rest = platform.rest
        self.endpoints = []
        for name in ("calm", "driven"):
            rest.create_project(name, {"spec": {"enable_pg_native_login": True}})
            self.endpoints.append(rest.endpoint(name))
        self.calm, self.driven = self.endpoints
        self.branch_uid = platform.branch_uid("driven")
        self.logins = {}
        for endpoint in self.endpoints:
            branch = endpoint["name"].rsplit("/endpoints/", 1)[0]
            role = rest.run("POST", f"{branch}/roles", {"spec": {"postgres_role": "app"}}, role_id="app")
            password = rest.call("POST", f"{role['name']}/password", {})["password"]
            token = rest.database_token(endpoint["name"])
            self.logins[endpoint["uid"]] = [{"user": "app", "password": password}, {"password": token}]
        self.parameters = self._parameters(self.driven, self.logins[self.driven["uid"]][1])
        self.host = self.parameters["host"]

    def _parameters(self, endpoint, login, **more):
        return self.platform.connection_parameters(endpoint, connect_timeout=PATIENCE, **login, **more)

    def route(self, dice):
        endpoint = dice.choice(self.endpoints)
        hosts = endpoint["status"]["hosts"]
        host = dice.choice([hosts["host"], hosts["read_write_pooled_host"]])
        return self._parameters(endpoint, dice.choice(self.logins[endpoint["uid"]]), host=host)

    # -- what is done to the clients ------------------------------------------------------------------------------------

    BLOWS = {"proxy": 1, "control": 1, "supervisor": 1, "postgres": 2, "sleep": 2}

    def strike(self):
        what = self.dice.choices(list(self.BLOWS), list(self.BLOWS.values()))[0]
        platform = self.platform
        if what in ("proxy", "control"):
            victim = platform.role_pid(what)
            kill(victim)
            wait_until(lambda: platform.role_pid(what) not in (None, victim), f"a new {what}", 60)
        elif what == "supervisor":
            kill(platform.supervisor_pid(self.driven))
        elif what == "postgres":
            kill(platform.postmaster_pid(self.branch_uid))
        else:
            # Control may be the one that has just been killed.
            with contextlib.suppress(OSError, AssertionError, http.client.HTTPException):
                platform.sleep("driven", timeout=30)
        self.count(f"({what})")

    def run(self):
        """What was acknowledged to those who wrote meanwhile."""
        clients = [Visitor(self, number) for number in range(self.options.clients)]
        token = self.logins[self.calm["uid"]][1]["password"]
        with load.WriteLoad(lambda: self.platform.connect(self.calm, password=token), workers=2) as writing:
            self.rage(clients, 60 * self.options.minutes, self.strike)
            writing.wait_for_progress()
        return writing.acknowledged

    def settle(self, acknowledged, descriptors):
        platform = self.platform
        wait_until(lambda: platform.rest.update_endpoint("driven", "production", "spec.disabled", {"disabled": False}), "control answers", PATIENCE)
        with platform.connect(self.calm) as connection:
            receipts = load.check(connection, acknowledged)
        going_on = "select count(*) from pg_stat_activity where backend_type = 'client backend' and usename = any (%s) and state <> 'idle'"
        for endpoint in self.endpoints:
            platform.wake(endpoint)
            with platform.direct(endpoint) as watcher:
                wait_until(lambda: watcher.execute(going_on, (["app", "admin@localhost"],)).fetchone() == (0,), "no query goes on", 30)  # noqa: B023
        wait_until(lambda: platform.descriptors("proxy") <= descriptors + 4, "descriptors are given back", PATIENCE)
        return receipts


def main():
    parser = argparse.ArgumentParser(prog="tests/long/storm", description=__doc__)
    parser.add_argument("--sanitizer", choices=["thread", "address", "none"], default="thread", help="what the binary is built with (thread)")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it says of each connection that breaks in a pipeline that it breaks
    settings = {"suspend_timeout_min_sec": 60, "requests_per_sec": 100000, "failures_per_min": 1000000, **NO_LIMITS}
    with Platform(settings=settings) as platform:
        storm = Storm(platform, options)
        with platform.connect(storm.calm) as connection:
            load.prepare(connection)
        descriptors = platform.descriptors("proxy")
        receipts = storm.settle(storm.run(), descriptors)
        print(dict(sorted(storm.counts.items())))
        print(f"{receipts} rows of others, none lost")
    print("nothing is left, and no sanitizer has said anything")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"FAILED: {error}")

"""Branch fuzzer: random branches, resets, restores, snapshots, suspends and kills under load, each result compared with a model.

One seed chooses the sequence of actions and the writers' transfers. What the machine does in between differs from run to run, so a failure comes
back with its seed often, not always; the log of actions tells the whole story.
"""

import argparse
import datetime
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import psycopg

from fuzzer import stock, workload
from fuzzer.model import Branch, Content, Snapshot, lsn_number, lsn_text
from harness import mounts, processes
from harness.platform import NO_LIMITS, Platform, clean_environment
from harness.rest import OperationFailed, RestError
from harness.store import disk_usage
from harness.waiting import wait_until

PROJECT = "fuzz"
BRANCHES_MAX = 8
WRITERS = 2
VICTIMS = ("pagefs", "postgres", "supervisor", "control", "proxy", "everything")
EPOCH_STEPS = 120  # after so many steps the project is deleted and a new one begun: the journal stays readable in a second

TABLES = ("account", "journal", "long_value")


class Failure(AssertionError):
    pass


def rfc3339(moment):
    when = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Fuzzer:
    def __init__(self, options):
        self.options = options
        self.dice = random.Random(options.seed)
        self.numbers = workload.Numbers()
        self.step = 0
        self.epoch = 0
        self.next_name = 0
        self.sessions = 0
        self.branches, self.snapshots = {}, {}
        self.counts = {}
        self.heal_ms = {}
        self.stock = None
        self.tokens = {}
        self.token_lock = threading.Lock()
        self.log_path = Path(options.log)
        self.log_file = open(self.log_path, "a", buffering=1)
        self.started = time.monotonic()
        self.platform = Platform(directory=options.data, settings={"suspend_timeout_min_sec": 1, **NO_LIMITS})

    # -- telling ------------------------------------------------------------------------------------------------------

    def say(self, text, **details):
        line = {"t": round(time.monotonic() - self.started, 3), "step": self.step, "what": text, **details}
        self.log_file.write(json.dumps(line, default=str) + "\n")
        print(f"{line['t']:8.2f}  {self.step:4d}  {text}  " + " ".join(f"{k}={v}" for k, v in details.items()), flush=True)

    # -- connections --------------------------------------------------------------------------------------------------

    def endpoint(self, name):
        return self.platform.rest.endpoint(PROJECT, name)

    def parameters(self, name):
        """With a token that is minted again after half its life; usable while control is down."""
        with self.token_lock:
            found = self.tokens.get(name)
            if found is None or time.monotonic() - found[1] > 1500:
                found = (self.platform.connection_parameters(self.endpoint(name)), time.monotonic())
                self.tokens[name] = found
            return dict(found[0], connect_timeout=30, keepalives_idle=5, keepalives_interval=2, keepalives_count=3)

    def connect(self, name):
        return psycopg.connect(**self.parameters(name), autocommit=True)

    def connect_surely(self, name, timeout=90):
        return wait_until(lambda: self.connect(name), f"a connection to {name}", timeout, pause=0.1)

    # -- writers ------------------------------------------------------------------------------------------------------

    def start_writers(self, branch):
        for _ in range(WRITERS):
            self.sessions += 1
            seed = self.options.seed * 1_000_003 + self.sessions
            writer = workload.Writer(branch, self.sessions, lambda: self.connect(branch.name), self.numbers, seed, self.options.pause)
            branch.writers.append(writer)
            writer.start()

    def stop_writers(self, branch):
        for writer in branch.writers:
            writer.halt()
        for writer in branch.writers:
            writer.join(120)
            if writer.is_alive():
                raise Failure(f"a session on {branch.name} hangs (last error: {writer.last_error!r})")
        branch.writers.clear()

    def wait_for_progress(self, branch, timeout=90):
        """Its clients can write again, without anybody's help. How long that took."""
        begin = time.monotonic()
        goal = [(w, w.commits + 1) for w in branch.writers]
        try:
            wait_until(lambda: all(w.commits >= n for w, n in goal), "progress", timeout)
        except AssertionError:
            raise Failure(f"{branch.name} does not come back: {[repr(w.last_error) for w in branch.writers]}") from None
        return (time.monotonic() - begin) * 1000

    # -- checks -------------------------------------------------------------------------------------------------------

    def check(self, branch, expected=None):
        """Contents against the model (or against `expected`), and the tables against each other. Its numbers."""
        connection = self.connect_surely(branch.name)
        with connection:
            connection.execute("begin isolation level repeatable read")
            before, asked_at = branch.now(), time.time()
            actual = {n for (n,) in connection.execute("select number from journal")}
            after = branch.now()
            wrong = (expected or branch.between(before, after)).difference(actual)
            if wrong:
                raise Failure(f"branch {branch.name}: {wrong}")
            for name, query in workload.CHECKS.items():
                if connection.execute(query).fetchone() != (True,):
                    raise Failure(f"branch {branch.name}: not true: {name}")
            connection.execute("commit")
        branch.observe(actual, asked_at)
        return actual

    def check_new(self, branch, expected):
        """A branch that nobody has written to: its content is settled by looking once, and frozen."""
        actual = self.check(branch, expected)
        with self.connect_surely(branch.name) as connection:
            (scratch,) = connection.execute("select count(*) from scratch").fetchone()
            if scratch:
                raise Failure(f"branch {branch.name}: an unlogged table has {scratch} rows of its parent")
            branch.first_lsn = workload.lsn(connection)
        return actual

    def amcheck(self, branch):
        """Every table and index of every database, by Postgres' own checker, as superuser."""
        self.connect_surely(branch.name).close()  # awake
        endpoint = self.endpoint(branch.name)
        for attempt in range(3):
            done = subprocess.run(
                ["pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--parent-check", "--no-strict-names",
                 "-h", str(self.platform.socket_directory(endpoint)), "-p", "5432", "-U", "cloud_admin"],
                env=clean_environment(), capture_output=True, text=True, timeout=600)  # fmt: skip
            # A lock that a writer holds in the other order, or a table that went away meanwhile, says nothing about the data.
            excusable = ("deadlock detected", "could not open relation", "does not exist", "lock timeout")
            if done.returncode and attempt < 2 and any(text in done.stderr + done.stdout for text in excusable):
                continue
            break
        if done.returncode or done.stdout.strip():
            raise Failure(f"branch {branch.name}: pg_amcheck: {(done.stdout + done.stderr)[-3000:]}")

    def hashes(self, name):
        with self.connect_surely(name) as connection:
            return stock.hashes(connection, TABLES)

    # -- making -------------------------------------------------------------------------------------------------------

    def new_name(self, kind="b"):
        self.next_name += 1
        return f"{kind}{self.next_name}"

    def begin_epoch(self):
        self.epoch += 1
        self.branches, self.snapshots, self.tokens = {}, {}, {}
        rest = self.platform.rest
        rest.create_project(PROJECT, {"spec": {"default_endpoint_settings": {"no_suspension": True}}})
        root = Branch("production", None, Content())
        with self.connect_surely("production") as connection:
            connection.execute(workload.SCHEMA)
            root.first_lsn = workload.lsn(connection)
        self.branches["production"] = root
        self.take_base()
        self.start_writers(root)
        self.wait_for_progress(root)

    def take_base(self):
        if self.stock:
            self.stock.close()
        endpoint = self.endpoint("production")
        self.connect_surely("production").close()
        self.stock = stock.BaseBackup(self.platform, endpoint)

    def end_epoch(self):
        for branch in list(self.branches.values()):
            self.stop_writers(branch)
        if self.stock:
            self.stock.close()
            self.stock = None
        for name in list(self.snapshots):
            self.platform.rest.delete_snapshot(PROJECT, name)
        self.platform.rest.delete_project(PROJECT)

        def is_gone():
            volumes = list((self.platform.directory / "volumes").iterdir())
            stores = [s.name for s in self.platform.stores() if not s.name.startswith("template-")]
            return not volumes and not stores

        wait_until(is_gone, "the space of a deleted project is given back", 60)

    def adopt(self, name, parent, expected, point):
        """After a create: the new branch is compared with what it must be, then its own life begins."""
        branch = Branch(name, parent.name if parent else None, expected)
        self.branches[name] = branch
        actual = self.check_new(branch, expected)
        self.say("made", branch=name, rows=len(actual), point=point)
        return branch, actual

    def create(self, name, **spec):
        begin = time.monotonic()
        answer = self.platform.rest.create_branch(PROJECT, name, **spec)
        self.say("created", branch=name, ms=round((time.monotonic() - begin) * 1000), **{
            k: v for k, v in answer["status"].items() if k in ("source_branch_lsn", "source_branch_time")})  # fmt: skip
        return answer

    # -- actions ------------------------------------------------------------------------------------------------------

    def pick_branch(self, fit=lambda branch: True):
        fitting = sorted(name for name, branch in self.branches.items() if fit(branch))
        return self.branches[self.dice.choice(fitting)] if fitting else None

    def source(self, branch):
        return f"projects/{PROJECT}/branches/{branch.name}"

    def room(self):
        return len(self.branches) < BRANCHES_MAX

    def act_branch_head(self):
        parent = self.pick_branch()
        name = self.new_name()
        self.say("branch at head", parent=parent.name, branch=name)
        before = parent.now()
        self.create(name, source_branch=self.source(parent))
        after = parent.now()
        branch, _ = self.adopt(name, parent, parent.between(before, after), "head")
        self.start_writers(branch)
        return [parent, branch]

    def past(self, parent):
        """A commit in the parent's own past, not the very last ones."""
        known = parent.moments()
        if len(known) < 8:
            return None
        return known[int(self.dice.random() * (len(known) - 4))]

    def act_branch_lsn(self):
        parent = self.pick_branch()
        commit = self.past(parent)
        if commit is None:
            return None
        # Mostly ends of records, sometimes in the middle of one.
        lsn = max(commit.lsn_to + self.dice.choice((0, 0, 1, 8, 25, -3)), (parent.first_lsn or 0) + 1)
        name = self.new_name()
        self.say("branch at LSN", parent=parent.name, branch=name, lsn=lsn_text(lsn))
        expected = parent.at_lsn(lsn)
        answer = self.create(name, source_branch=self.source(parent), source_branch_lsn=lsn_text(lsn))
        effective = lsn_number(answer["status"]["source_branch_lsn"])
        if effective > lsn:
            raise Failure(f"branch {name}: asked for {lsn_text(lsn)}, says it has {lsn_text(effective)}")
        branch, actual = self.adopt(name, parent, expected, lsn_text(lsn))
        if parent.name == "production" and self.stock and self.stock.covers(effective) and self.dice.random() < self.options.compare:
            self.compare_with_stock(branch, effective)
        if self.dice.random() < 0.25 and self.room():
            twin = self.new_name("twin")
            self.create(twin, source_branch=self.source(parent), source_branch_lsn=lsn_text(lsn))
            self.adopt(twin, parent, Content(actual), "the same")
            if self.hashes(twin) != self.hashes(name):
                raise Failure(f"{name} and {twin} are branches at one LSN and differ")
            self.delete(self.branches[twin])
        self.start_writers(branch)
        return [parent, branch]

    def compare_with_stock(self, branch, lsn):
        ours = self.hashes(branch.name)
        begin = time.monotonic()
        theirs = self.stock.hashes_at(lsn, TABLES)
        self.say("compared with stock Postgres", branch=branch.name, lsn=lsn_text(lsn), ms=round((time.monotonic() - begin) * 1000))
        if ours != theirs:
            raise Failure(f"branch {branch.name} at {lsn_text(lsn)}: stock Postgres restored to the same LSN has {theirs}, we have {ours}")

    def act_branch_time(self):
        parent = self.pick_branch()
        commit = self.past(parent)
        if commit is None:
            return None
        moment = commit.time_to + self.dice.choice((0.0, 0.000001, 0.0005, 0.02))
        moment = round(moment, 6)
        name = self.new_name()
        self.say("branch at time", parent=parent.name, branch=name, time=rfc3339(moment))
        expected = parent.at_time(moment)
        self.create(name, source_branch=self.source(parent), source_branch_time=rfc3339(moment))
        branch, _ = self.adopt(name, parent, expected, rfc3339(moment))
        self.start_writers(branch)
        return [parent, branch]

    def act_snapshot(self):
        if len(self.snapshots) >= 4:
            name = self.dice.choice(sorted(self.snapshots))
            self.say("delete snapshot", snapshot=name)
            self.platform.rest.delete_snapshot(PROJECT, name)
            del self.snapshots[name]
            return []
        parent = self.pick_branch()
        name = self.new_name("s")
        commit = self.past(parent) if self.dice.random() < 0.5 else None
        if commit:
            lsn = commit.lsn_to
            self.say("snapshot at LSN", parent=parent.name, snapshot=name, lsn=lsn_text(lsn))
            content = parent.at_lsn(lsn)
            self.platform.rest.create_snapshot(PROJECT, name, parent.name, source_branch_lsn=lsn_text(lsn))
        else:
            self.say("snapshot", parent=parent.name, snapshot=name)
            before = parent.now()
            self.platform.rest.create_snapshot(PROJECT, name, parent.name)
            content = parent.between(before, parent.now())
        self.snapshots[name] = Snapshot(name, content)
        return [parent]

    def act_branch_snapshot(self):
        if not self.snapshots:
            return None
        snapshot = self.snapshots[self.dice.choice(sorted(self.snapshots))]
        name = self.new_name()
        self.say("branch of snapshot", snapshot=snapshot.name, branch=name)
        self.create(name, source_snapshot=f"projects/{PROJECT}/snapshots/{snapshot.name}")
        expected = Content(snapshot.exact) if snapshot.exact is not None else snapshot.content
        branch, actual = self.adopt(name, None, expected, snapshot.name)
        snapshot.exact = actual
        self.start_writers(branch)
        return [branch]

    def children(self, branch):
        return [b for b in self.branches.values() if b.parent == branch.name]

    def act_reset(self):
        branch = self.pick_branch(lambda b: b.parent in self.branches and not self.children(b))
        if branch is None:
            return None
        parent = self.branches[branch.parent]
        self.say("reset", branch=branch.name, parent=parent.name)
        self.stop_writers(branch)
        before = parent.now()
        self.platform.rest.reset_branch(PROJECT, branch.name)
        expected = parent.between(before, parent.now())
        branch.begin_life(expected)
        self.check_new(branch, expected)
        self.start_writers(branch)
        return [parent, branch]

    def act_restore(self):
        branch = self.pick_branch()
        commit = self.past(branch)
        if commit is None or not self.room():
            return None
        by_time = self.dice.random() < 0.5
        self.stop_writers(branch)
        kept = self.new_name("old")
        now = branch.now()
        if by_time:
            expected, moment = branch.at_time(commit.time_to), {"source_branch_time": rfc3339(commit.time_to)}
        else:
            expected, moment = branch.at_lsn(commit.lsn_to), {"source_branch_lsn": lsn_text(commit.lsn_to)}
        self.say("restore in place", branch=branch.name, kept_as=kept, **moment)
        self.platform.rest.restore_branch(PROJECT, branch.name, kept, **moment)
        was = Branch(kept, branch.parent, now)
        self.branches[kept] = was
        self.check(was, now)
        with self.connect_surely(kept) as connection:
            was.first_lsn = workload.lsn(connection)
        for child in self.children(branch):
            child.parent = self.platform.rest.get(f"projects/{PROJECT}/branches/{child.name}")["status"].get("source_branch", "").rpartition("/")[2]
        branch.begin_life(expected)
        self.check_new(branch, expected)
        if branch.name == "production":
            self.take_base()
        self.start_writers(was)
        self.start_writers(branch)
        return [was, branch]

    def act_suspend(self):
        branch = self.pick_branch()
        how = self.dice.choice(("wait", "force"))
        self.say("suspend", branch=branch.name, how=how)
        rest, endpoint = self.platform.rest, self.endpoint(branch.name)
        if how == "wait":
            self.stop_writers(branch)
            rest.update_endpoint(PROJECT, branch.name, "spec.suspension", {"suspend_timeout_duration": "1s"})
            self.platform.wait_asleep(endpoint, 90)
            rest.update_endpoint(PROJECT, branch.name, "spec.suspension", {"no_suspension": True})
            self.start_writers(branch)
        else:
            rest.update_endpoint(PROJECT, branch.name, "spec.disabled", {"disabled": True})
            self.platform.wait_asleep(endpoint, 90)
            rest.update_endpoint(PROJECT, branch.name, "spec.disabled", {"disabled": False})
        self.wait_for_progress(branch)
        return [branch]

    def act_delete(self):
        branch = self.pick_branch(lambda b: b.name != "production" and not self.children(b))
        if branch is None:
            return None
        self.say("delete", branch=branch.name)
        self.delete(branch)
        return []

    def delete(self, branch):
        self.stop_writers(branch)
        self.platform.rest.delete_branch(PROJECT, branch.name)
        del self.branches[branch.name]
        self.tokens.pop(branch.name, None)

    def pid_of(self, role, branch):
        platform = self.platform
        if role in ("control", "proxy"):
            return platform.role_pid(role)
        endpoint = {"uid": self.endpoint_uid(branch)}
        if role == "supervisor":
            return platform.supervisor_pid(endpoint)
        if role == "pagefs":
            return platform.pagefs_pid(endpoint)
        supervisor = platform.supervisor_pid(endpoint)
        found = [p for p in processes.children(supervisor) if "/postgres" in processes.command_line(p)] if supervisor else []
        return found[0] if found else None

    def endpoint_uid(self, branch):
        return self.endpoint(branch.name)["uid"]

    def act_kill(self):
        role = self.dice.choice(self.options.victims or VICTIMS)
        branch = self.pick_branch()
        after = self.dice.random() * 0.3
        if role == "everything":
            return self.kill_everything()
        self.say("kill -9", role=role, branch=branch.name)
        time.sleep(after)
        pid = wait_until(lambda: self.pid_of(role, branch), f"a {role} to kill", 60)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pid), f"{role} is dead")
        if role == "control":
            wait_until(lambda: self.platform.role_pid("control") not in (None, pid), "a new control")
            wait_until(lambda: self.platform.rest.get(f"projects/{PROJECT}"), "the API answers")
        took = self.wait_for_progress(branch)
        self.heal_ms.setdefault(role, []).append(took)
        self.say("healed", role=role, ms=round(took))
        return [branch]

    def kill_everything(self):
        self.say("kill -9 everything")
        platform = self.platform
        processes.kill_all([platform.up.pid])
        platform.up.wait(10)
        wait_until(lambda: not processes.of_directory(platform.directory) or processes.kill_all(
            processes.of_directory(platform.directory)), "all are dead", 30)  # fmt: skip
        platform.start()
        for branch in self.branches.values():
            self.wait_for_progress(branch)
        return list(self.branches.values())

    def act_down_and_up(self):
        self.say("tarn down, tarn up")
        platform = self.platform
        code = platform.stop(120)
        if code != 0:
            raise Failure(f"tarn up ended with {code}")
        left = mounts.below(platform.directory)
        if left:
            raise Failure(f"mounts left after tarn down: {left}")
        platform.check_stores()
        platform.start()
        for branch in self.branches.values():
            self.wait_for_progress(branch)
        return list(self.branches.values())

    # -- the run ------------------------------------------------------------------------------------------------------

    def actions(self):
        making = [(self.act_branch_head, 10), (self.act_branch_lsn, 12), (self.act_branch_time, 8), (self.act_branch_snapshot, 6)]
        others = [(self.act_snapshot, 6), (self.act_reset, 8), (self.act_restore, 6), (self.act_suspend, 7), (self.act_delete, 5),
                  (self.act_kill, 14), (self.act_down_and_up, 2)]  # fmt: skip
        if not self.room():
            return [*others, (self.act_delete, 30)]
        return [*making, *others]

    def one_step(self):
        self.step += 1
        actions = [a for a in self.actions() if not self.options.only or a[0].__name__[4:] in self.options.only]
        action = self.dice.choices([a for a, _ in actions], [w for _, w in actions])[0]
        touched = action()
        self.counts[action.__name__[4:]] = self.counts.get(action.__name__[4:], 0) + (touched is not None)
        time.sleep(self.dice.random() * 0.5)  # the load goes on for a moment
        for branch in touched or []:
            if branch.name in self.branches:
                self.check(branch)
        if touched and self.dice.random() < 0.3:
            self.amcheck(self.dice.choice([b for b in touched if b.name in self.branches] or [self.branches["production"]]))

    def check_everything(self):
        for branch in self.branches.values():
            self.stop_writers(branch)
        for branch in self.branches.values():
            self.check(branch)
            self.amcheck(branch)
            with self.connect_surely(branch.name) as connection:
                # Checksums of Postgres itself, over every page of the cluster that anybody read.
                (bad,) = connection.execute("select coalesce(sum(checksum_failures), 0) from pg_stat_database").fetchone()
            if bad:
                raise Failure(f"branch {branch.name}: {bad} pages with a wrong checksum")
        for name, snapshot in self.snapshots.items():
            probe = self.new_name("p")
            self.create(probe, source_snapshot=f"projects/{PROJECT}/snapshots/{name}")
            expected = Content(snapshot.exact) if snapshot.exact is not None else snapshot.content
            branch, _ = self.adopt(probe, None, expected, name)
            self.amcheck(branch)
            self.delete(branch)
        self.say("all branches checked", branches=len(self.branches), snapshots=len(self.snapshots))

    def run(self):
        options = self.options
        deadline = self.started + options.minutes * 60 if options.minutes else None
        self.platform.start()
        try:
            self.begin_epoch()
            while (deadline is None or time.monotonic() < deadline) and (not options.steps or self.step < options.steps):
                self.one_step()
                if self.step % EPOCH_STEPS == 0:
                    self.check_everything()
                    self.end_epoch()
                    self.begin_epoch()
            self.check_everything()
            before = disk_usage(self.platform.directory / "stores")
            self.end_epoch()
            self.say("store", bytes_before=before, bytes_after=disk_usage(self.platform.directory / "stores"))
        except BaseException as error:
            for branch in self.branches.values():
                for writer in branch.writers:
                    writer.halt()
            if not isinstance(error, KeyboardInterrupt):
                self.say("FAILED", error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
            raise
        self.say("done", steps=self.step, actions=self.counts, heal_ms={
            role: f"median {sorted(v)[len(v) // 2]:.0f}, max {max(v):.0f}" for role, v in self.heal_ms.items()})  # fmt: skip


def parse(arguments=None):
    parser = argparse.ArgumentParser(prog="tests/fuzzer/branch_fuzzer", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, help="repeats a run (default: random, printed)")
    parser.add_argument("--minutes", type=float, help="how long to go on")
    parser.add_argument("--steps", type=int, help="how many actions; with --minutes, whichever ends first")
    parser.add_argument("--data", help="data directory to make (default: in /tmp, removed afterwards; kept after a failure)")
    parser.add_argument("--log", help="file of actions (default: /tmp/branch-fuzzer-SEED.log)")
    parser.add_argument("--only", nargs="+", help="only these actions, such as: branch_lsn kill")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, help="only these are killed")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two transactions of a session (default %(default)s)")
    parser.add_argument("--compare", type=float, default=0.4, help="share of LSN branches compared with stock Postgres (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    if not options.minutes and not options.steps:
        options.minutes = 5
    if options.data:
        Path(options.data).mkdir(mode=0o711, exist_ok=True)
    options.log = options.log or f"/tmp/branch-fuzzer-{options.seed}.log"
    return options


def command_of(options):
    words = ["tests/fuzzer/branch_fuzzer", "--seed", options.seed, "--pause", options.pause, "--compare", options.compare]
    for name in ("minutes", "steps"):
        if getattr(options, name):
            words += [f"--{name}", getattr(options, name)]
    for name in ("only", "victims"):
        if getattr(options, name):
            words += [f"--{name}", *getattr(options, name)]
    return shlex.join(map(str, words))


def run(options):
    """True when all was well; what went wrong has been printed."""
    print(f"seed {options.seed}; the actions go to {options.log}", flush=True)
    fuzzer = Fuzzer(options)
    try:
        fuzzer.run()
        fuzzer.platform.close()
    except Exception as error:
        text = error.error if isinstance(error, OperationFailed) else error
        print(f"\nFAILED at step {fuzzer.step}: {type(error).__name__}: {text}", flush=True)
        if not isinstance(error, (Failure, OperationFailed, RestError)):
            traceback.print_exc()
        print(f"\nagain: {command_of(options)}\nactions: {options.log}\ndata directory, as it was: {fuzzer.platform.directory}", flush=True)
        if fuzzer.stock:
            fuzzer.stock.close()
        if options.stop_after_failure:
            processes.end_directory(fuzzer.platform.directory)
            mounts.detach_all(fuzzer.platform.directory)
            if fuzzer.platform in Platform.running:
                Platform.running.remove(fuzzer.platform)
        return False
    except KeyboardInterrupt:
        fuzzer.platform.close()
        raise
    return True


def main():
    options = parse()
    options.stop_after_failure = True
    sys.exit(0 if run(options) else 1)


if __name__ == "__main__":
    main()

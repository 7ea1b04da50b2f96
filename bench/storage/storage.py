"""The page store beside stock Postgres on the plain file system of the same disk, in one run.

Both sides have the same settings (the compute's own file), except that stock keeps what protects it there: full_page_writes=on, recycled WAL,
its own checkpoints. Rounds are interleaved (stock, Tarn, stock, Tarn …), numbers are medians. Storage is measured on Unix sockets on both sides;
what a user would feel (a branch's or a wake's first row) through the proxy, TLS and token included.
"""

import argparse
import contextlib
import datetime
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import psycopg  # noqa: E402
from tarn_bench import Stock, Tarn, disk_usage, drop_caches, machine, median, percentile, table  # noqa: E402

MB = 1 << 20
SECTIONS = ["tpcb", "select", "cold", "bulk", "fpw", "cut", "size", "load", "past", "wake", "space"]


def arguments():
    parser = argparse.ArgumentParser(prog="bench/storage/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"which of: {' '.join(SECTIONS)} (default: all)")
    parser.add_argument("--scale", type=int, default=100, help="pgbench scale (default 100: 1.5 GB)")
    parser.add_argument("--seconds", type=int, default=20, help="length of one measurement (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each pair (default 3)")
    parser.add_argument("--clients", type=int, default=8, help="clients of the loads (default 8)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], metavar="MB",
                        help="sizes of the parents that are branched (default 100 1000; 10000 takes minutes and 25 GB)")
    parser.add_argument("--history", type=int, default=120, help="seconds of load whose moments are branched (default 120)")
    parser.add_argument("--branches", type=int, default=20, help="branches at random LSNs of that history (default 20)")
    parser.add_argument("--json", default="bench-storage.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of tarn up, such as polling_requests_per_sec=1000000000")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=VALUE",
                        help="tpcb, select, cold, bulk: a second Tarn takes part, with this setting more")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {' '.join(sorted(unknown))}")
    options.sections = options.sections or SECTIONS
    return options


def run_pgbench(route, options, clients, seconds, log_prefix=None):
    command = ["pgbench", "-n", "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds), *options]
    if log_prefix:
        command += ["--log", f"--log-prefix={log_prefix}"]
    done = subprocess.run(command, env={**os.environ, **route}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"pgbench failed: {done.stderr[-2000:]}")
    return {"tps": float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1)),
            "latency_ms": float(re.search(r"latency average = ([0-9.]+) ms", done.stdout).group(1)),
            "transactions": int(re.search(r"transactions actually processed: ([0-9]+)", done.stdout).group(1))}


def connect(route):
    return psycopg.connect(host=route["PGHOST"], port=route["PGPORT"], user=route["PGUSER"], dbname=route["PGDATABASE"],
                           password=route.get("PGPASSWORD"), sslmode=route.get("PGSSLMODE", "prefer"),
                           sslrootcert=route.get("PGSSLROOTCERT"), autocommit=True, connect_timeout=60)


def ask(route, statement):
    with connect(route) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def timed(call):
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def lsn(route):
    return int(ask(route, "select pg_current_wal_insert_lsn() - '0/0'"))


def lsn_text(number):
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def ratio_row(name, stock, tarn, unit, higher_is_better=True, goal=None):
    s, t = median(stock), median(tarn)
    ratio = t / s if higher_is_better else s / t
    return [name, f"{s:.1f} {unit}", f"{t:.1f} {unit}", f"{ratio:.2f}", f">= {goal}" if goal else ""]


class Load:
    """TPC-B in the background, until the end of the block."""

    def __init__(self, route, clients, rate=None):
        command = ["pgbench", "-n", "-c", str(clients), "-j", "2", "-T", "36000"] + (["-R", str(rate)] if rate else [])
        self.command, self.environment = command, {**os.environ, **route}

    def __enter__(self):
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(2)
        return self

    def __exit__(self, *exception):
        if self.process.poll() is not None:
            print(f"the load ended by itself: {self.process.stderr.read()[-1000:]}", file=sys.stderr)
        self.process.terminate()
        self.process.wait(30)


class Bench:
    def __init__(self, options, tarn, second=None):
        self.options, self.tarn, self.second = options, tarn, second
        self.result = {"benchmark": "storage", "version": 1, "machine": machine(), "scale": options.scale, "seconds": options.seconds,
                       "rounds": options.rounds, "clients": options.clients, "sections": {}}
        self.rows = []
        self.branches = 0

    # -- set-up ---------------------------------------------------------------------------------------------------------

    def project(self, name, tarn=None):
        tarn = tarn or self.tarn
        tarn.json("create-project", name, "--json", '{"spec":{"default_endpoint_settings":{"no_suspension":true}}}')
        endpoint = tarn.endpoint(name)
        ask(tarn.login(name), "select 1")
        return endpoint

    def prepare(self):
        print("creating a project and its stock twin …", flush=True)
        self.endpoint = self.project("bench")
        self.ours = self.tarn.socket(self.endpoint)
        self.stock = Stock(self.tarn, self.endpoint, self.tarn.folder)
        self.stock.start()
        self.theirs = self.stock.route
        self.sides = [("stock", self.theirs), ("tarn", self.ours)]
        if self.second:
            self.sides.append(("beside", self.second.socket(self.project("bench", self.second))))

    def each_side(self):
        return {side: [] for side, _ in self.sides}

    def compare(self, name, found, unit, higher_is_better=True, goal=None):
        """A row for each Tarn."""
        self.rows.append(ratio_row(name, found["stock"], found["tarn"], unit, higher_is_better, goal))
        if self.second:
            name += f" ({' '.join(self.options.beside)})"
            self.rows.append(ratio_row(name, found["stock"], found["beside"], unit, higher_is_better, goal))

    def fill(self):
        """On both sides alike; the time it takes is itself a result."""
        print(f"filling both, scale {self.options.scale} …", flush=True)
        self.fill_ms = {}
        for side, route in self.sides:
            self.fill_ms[side] = timed(lambda: self.pgbench_init(route, self.options.scale))  # noqa: B023
            ask(route, "checkpoint")

    @staticmethod
    def pgbench_init(route, scale, steps="dtgvp"):
        done = subprocess.run(["pgbench", "-i", "-I", steps, "-q", "-s", str(scale)], env={**os.environ, **route}, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"pgbench -i failed: {done.stderr[-2000:]}")

    def restart(self, side):
        """Empty shared buffers; what the kernel has is dropped by drop_caches()."""
        if side == "stock":
            self.stock.stop()
            self.stock.start()
        else:
            tarn = self.tarn if side == "tarn" else self.second
            self.suspend("bench", tarn=tarn)
            ask(tarn.login("bench"), "select 1")

    def suspend(self, project, branch="production", tarn=None):
        tarn = tarn or self.tarn
        name = f"projects/{project}/branches/{branch}/endpoints/primary"
        tarn.json("update-endpoint", name, "spec.disabled", "--json", '{"spec":{"disabled":true}}')
        state = lambda: tarn.json("get-endpoint", name)["status"]["current_state"]  # noqa: E731
        tarn.wait(lambda: state() == "IDLE", 120, "the endpoint to sleep")
        tarn.json("update-endpoint", name, "spec.disabled", "--json", '{"spec":{"disabled":false}}')

    def branch(self, project="bench", **spec):
        """Creates one and waits for its first row, as a user would. Its id, milliseconds until created, until the first row, and the answer."""
        self.branches += 1
        name = f"b{self.branches}"
        spec = {"no_expiry": True, **spec}
        begin = time.perf_counter()
        answer = self.tarn.json("create-branch", f"projects/{project}", name, "--json", json.dumps({"spec": spec}))
        created = (time.perf_counter() - begin) * 1000
        with connect(self.tarn.login(project, name)) as connection:
            connection.execute("select 1").fetchone()
        return name, created, (time.perf_counter() - begin) * 1000, answer

    def drop_branch(self, name, project="bench"):
        self.tarn.json("delete-branch", f"projects/{project}/branches/{name}", "--purge")

    def save(self, section, values):
        self.result["sections"][section] = values
        with open(self.options.json, "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)

    # -- what Postgres does on it -----------------------------------------------------------------------------------------

    def pairs(self, options):
        runs = self.each_side()
        for side, route in self.sides:
            run_pgbench(route, options, self.options.clients, 3)  # warm
        for _ in range(self.options.rounds):
            for side, route in self.sides:
                ask(route, "checkpoint")
                runs[side].append(run_pgbench(route, options, self.options.clients, self.options.seconds)["tps"])
        return runs

    def tpcb(self):
        runs = self.pairs(["-M", "prepared"])
        self.compare(f"TPC-B, {self.options.clients} clients", runs, "tps", goal=0.95)
        self.save("tpcb", runs)

    def select(self):
        runs = self.pairs(["-S", "-M", "prepared"])
        self.compare(f"select-only, {self.options.clients} clients", runs, "tps", goal=0.9)
        self.save("select", runs)

    def cold(self):
        found = {"sequential_ms": self.each_side(), "random_tps": self.each_side()}
        dropped = True
        for _ in range(self.options.rounds):
            for side, route in self.sides:
                self.restart(side)
                dropped = drop_caches() and dropped
                with connect(route) as connection:
                    connection.execute("set max_parallel_workers_per_gather = 0")
                    found["sequential_ms"][side].append(timed(lambda: connection.execute("select sum(abalance) from pgbench_accounts")))  # noqa: B023
                self.restart(side)
                dropped = drop_caches() and dropped
                found["random_tps"][side].append(run_pgbench(route, ["-S", "-M", "prepared"], 1, min(self.options.seconds, 10))["tps"])
        what = "cold" if dropped else "not cold (needs root)"
        self.compare(f"sequential scan, {what}", found["sequential_ms"], "ms", False, 0.8)
        self.compare(f"random reads, {what}, 1 client", found["random_tps"], "tps", goal=0.9)
        self.save("cold", {**found, "caches_dropped": dropped})

    def bulk(self):
        found = {"load_ms": self.each_side(), "index_ms": self.each_side()}
        rows = self.options.scale * 40000
        for _ in range(self.options.rounds):
            for side, route in self.sides:
                with connect(route) as connection:
                    connection.execute("drop table if exists bulk")
                    connection.execute("checkpoint")
                    found["load_ms"][side].append(timed(lambda: connection.execute(  # noqa: B023
                        f"create table bulk as select i, hashint8(i) h, repeat('x', 80) pad from generate_series(1, {rows}) i; checkpoint")))  # noqa: B023
                    found["index_ms"][side].append(timed(lambda: connection.execute("create index on bulk (h); checkpoint")))  # noqa: B023
        for _, route in self.sides:
            ask(route, "drop table bulk")
        self.compare("bulk load", found["load_ms"], "ms", False, 0.85)
        self.compare("index build", found["index_ms"], "ms", False, 0.85)
        self.save("bulk", found)

    def fpw(self):
        """WAL per transaction and TPC-B with and without full-page images: on stock as the question, on Tarn as the answer."""
        found = {}
        configured = ask(self.ours, "show full_page_writes")
        sides = [("stock", self.theirs, os.path.join(self.stock.data, "postgresql.auto.conf")),
                 ("tarn", self.ours, os.path.join(self.tarn.volume(self.endpoint), "data", "postgresql.auto.conf"))]
        for _ in range(self.options.rounds):
            for side, route, path in sides:
                with open(path, encoding="utf-8") as file:
                    before = file.read()
                for value in ("on", "off"):
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(f"{before}full_page_writes = {value}\n")
                    ask(route, "select pg_reload_conf()")
                    time.sleep(0.3)
                    ask(route, "checkpoint")
                    start = lsn(route)
                    run = run_pgbench(route, ["-M", "prepared"], self.options.clients, self.options.seconds)
                    found.setdefault(f"{side}_{value}", []).append({"tps": run["tps"], "wal_per_transaction": (lsn(route) - start) / run["transactions"]})
                with open(path, "w", encoding="utf-8") as file:
                    file.write(before)
                ask(route, "select pg_reload_conf()")
        print()
        table(["TPC-B", "full_page_writes", "tps", "WAL bytes per transaction"],
              [[side, value, f"{median([r['tps'] for r in found[f'{side}_{value}']]):.0f}",
                f"{median([r['wal_per_transaction'] for r in found[f'{side}_{value}']]):.0f}"]
               for side in ("stock", "tarn") for value in ("on", "off")])
        print(f"Tarn's own setting: {configured}\n")
        self.save("fpw", {**found, "configured": configured})

    # -- what only a page store does --------------------------------------------------------------------------------------

    def supervisor_logs(self):
        folder = os.path.join(self.tarn.data, "computes", self.endpoint["uid"])
        text = ""
        for name in ("supervisor.log", "pagefs.log"):
            with contextlib.suppress(OSError), open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text += file.read()
        return text

    def cut(self):
        """Restore points under full load, by snapshots: their pauses as pagefs says, and what the clients saw of them."""
        pattern = re.compile(r"writers waited (\d+) us")
        before = len(pattern.findall(self.supervisor_logs()))
        prefix = os.path.join(self.tarn.folder, "latency")
        latencies = {}
        for kind in ("quiet", "cuts"):
            stop = threading.Event()

            def cuts():
                number = 0
                while not stop.wait(0.2):
                    number += 1
                    self.tarn.json("create-snapshot", "projects/bench", f"cut{number}", "--json",
                                   '{"spec":{"source_branch":"projects/bench/branches/production"}}')
                    self.tarn.json("delete-snapshot", f"projects/bench/snapshots/cut{number}")

            worker = threading.Thread(target=cuts)
            if kind == "cuts":
                worker.start()
            run_pgbench(self.ours, ["-M", "prepared"], self.options.clients, max(self.options.seconds, 30), prefix)
            stop.set()
            if kind == "cuts":
                worker.join()
            values = []
            for name in os.listdir(self.tarn.folder):
                if name.startswith("latency."):
                    with open(os.path.join(self.tarn.folder, name), encoding="ascii") as file:
                        values += [int(line.split()[2]) / 1000 for line in file]
                    os.unlink(os.path.join(self.tarn.folder, name))
            latencies[kind] = {str(p): percentile(values, p) for p in (0.5, 0.99, 0.999)} | {"max": max(values), "n": len(values)}
        pauses = [int(p) / 1000 for p in pattern.findall(self.supervisor_logs())[before:]]
        print()
        table(["latency of a transaction under TPC-B", "n", "p50 ms", "p99", "p99.9", "max"],
              [[name, v["n"], *(f"{v[k]:.1f}" for k in ("0.5", "0.99", "0.999", "max"))] for name, v in latencies.items()])
        if pauses:
            limits = [0.1, 0.2, 0.5, 1, 2, 5, 10, 1e9]
            counts = [sum(1 for p in pauses if low <= p < high) for low, high in zip([0, *limits], limits)]
            table(["pause of a cut", *(f"< {limit:g} ms" if limit < 1e9 else "more" for limit in limits)], [["cuts", *counts]])
            print(f"p50 {percentile(pauses, 0.5):.2f} ms, p99 {percentile(pauses, 0.99):.2f} ms of {len(pauses)} (goal: p99 <= 5 ms)\n")
        else:
            print("no pauses in the logs\n")
        self.save("cut", {"latency_ms": latencies, "pauses_ms": pauses})

    def size(self):
        """Time and bytes of a branch by the size of its parent, beside what a user has today."""
        found, rows = {}, []
        for size in self.options.sizes:
            project = f"size{size}"
            endpoint = self.project(project)
            route = self.tarn.socket(endpoint)
            with connect(route) as connection:
                connection.execute(f"create table t as select i, repeat('x', 960) pad from generate_series(1, {size * 1000}) i")
                connection.execute("checkpoint")
            paths = [os.path.join(self.tarn.data, "stores"), os.path.join(self.tarn.data, "volumes")]
            ask(route, "select pg_switch_wal()")
            times, bytes_ = [], []
            for _ in range(max(3, self.options.rounds)):
                subprocess.run(["sync"], check=True)
                before = disk_usage(*paths)
                name, created, first_row, _ = self.branch(project)
                subprocess.run(["sync"], check=True)
                bytes_.append(disk_usage(*paths) - before)
                times.append((created, first_row))
                self.drop_branch(name, project)
            backup = os.path.join(self.tarn.folder, "backup")
            backup_ms = timed(lambda: subprocess.run(["pg_basebackup", "-D", backup, "-X", "stream", "-c", "fast"],  # noqa: B023
                                                     env={**os.environ, **route}, check=True, capture_output=True))  # noqa: B023
            backup_bytes = disk_usage(backup)
            shutil.rmtree(backup)
            with connect({**self.theirs, "PGDATABASE": "template1"}) as stock:
                stock.execute("create database original")
                with connect({**self.theirs, "PGDATABASE": "original"}) as connection:
                    connection.execute(f"create table t as select i, repeat('x', 960) pad from generate_series(1, {size * 1000}) i")
                stock.execute("checkpoint")
                before = disk_usage(self.stock.data)
                template_ms = timed(lambda: stock.execute("create database copy template original strategy file_copy"))  # noqa: B023
                template_bytes = disk_usage(self.stock.data) - before
                stock.execute("drop database copy")
                stock.execute("drop database original")
            created, first_row = median([t[0] for t in times]), median([t[1] for t in times])
            found[size] = {"created_ms": [t[0] for t in times], "first_row_ms": [t[1] for t in times], "bytes": bytes_, "basebackup_ms": backup_ms,
                           "basebackup_bytes": backup_bytes, "template_ms": template_ms, "template_bytes": template_bytes}
            rows.append([f"{size} MB", f"{created:.0f}", f"{first_row:.0f}", f"{median(bytes_) / MB:.1f}", f"{backup_ms:.0f}", f"{backup_bytes / MB:.0f}",
                         f"{template_ms:.0f}", f"{template_bytes / MB:.0f}"])
            self.tarn.json("delete-project", f"projects/{project}", "--purge")
        print()
        table(["size of the parent", "branch ms", "first row ms", "MB", "pg_basebackup ms", "MB", "file_copy ms", "MB"], rows)
        print()
        self.save("size", found)

    def load(self):
        """A branch at the head of a parent under full TPC-B, until its first row."""
        with Load(self.ours, self.options.clients):
            times = []
            for _ in range(max(5, self.options.rounds)):
                time.sleep(3)
                name, _, first_row, _ = self.branch()
                times.append(first_row)
                self.drop_branch(name)
        self.rows.append(["branch of a parent under TPC-B, first row", "", f"{median(times):.0f} ms", f"max {max(times):.0f}", "<= 1500 ms"])
        self.save("load", times)

    def past(self):
        """Branches at random LSNs of a stretch of load, on an idle machine, and how fast they replayed."""
        moments = []
        begin_lsn, begin = lsn(self.ours), time.monotonic()
        with Load(self.ours, self.options.clients), connect(self.ours) as connection:
            transactions = lambda: connection.execute(  # noqa: E731
                "select xact_commit from pg_stat_database where datname = current_database()").fetchone()[0]
            first = transactions()
            while time.monotonic() - begin < self.options.history:
                time.sleep(0.5)
                moments.append(int(connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()[0]))
            count = transactions() - first
        seconds = time.monotonic() - begin
        wal = lsn(self.ours) - begin_lsn
        dice = random.Random(4)
        times, replays = [], []
        for _ in range(self.options.branches):
            at = dice.choice(moments) + dice.randrange(0, 4000)
            name, _, first_row, _ = self.branch(source_branch_lsn=lsn_text(at))
            times.append(first_row)
            uid = self.tarn.endpoint("bench", name)["uid"]
            with open(os.path.join(self.tarn.data, "computes", uid, "postgres.log"), encoding="utf-8", errors="replace") as file:
                text = file.read()
            start = re.search(r"redo starts at ([0-9A-F]+)/([0-9A-F]+)", text)
            end = re.search(r"redo done at ([0-9A-F]+)/([0-9A-F]+) system usage: .*elapsed: ([0-9.]+) s", text)
            if start and end:
                number = lambda m: (int(m[1], 16) << 32) | int(m[2], 16)  # noqa: E731
                replays.append((number(end) - number(start), float(end[3])))
            self.drop_branch(name)
        replayed = sum(b for b, _ in replays) / max(sum(s for _, s in replays), 0.01)
        self.rows.append([f"branch at {len(times)} random LSNs, first row", "", f"p50 {percentile(times, 0.5):.0f} ms", f"p95 {percentile(times, 0.95):.0f}",
                          "p95 <= 3000 ms"])
        self.rows.append(["replay against load, WAL per second", f"{wal / seconds / MB:.1f} MB/s", f"{replayed / MB:.1f} MB/s",
                          f"{replayed / max(wal / seconds, 1):.1f}", ""])
        self.save("past", {"first_row_ms": times, "replays": replays, "load_bytes_per_s": wal / seconds, "replay_bytes_per_s": replayed,
                           "load_tps": count / seconds})

    def wake(self):
        times, bare = [], []
        for _ in range(max(5, self.options.rounds)):
            self.suspend("bench")
            route = self.tarn.login("bench")
            times.append(timed(lambda: ask(route, "select 1")))  # noqa: B023
            self.stock.stop()
            bare.append(timed(lambda: (self.stock.start(), ask(self.theirs, "select 1"))))
        self.rows.append(ratio_row("wake to the first row (proxy, TLS), beside a bare start", bare, times, "ms", False))
        self.save("wake", {"tarn_ms": times, "bare_ms": bare})

    def space(self):
        """What a byte of WAL costs on disk while it and its restore points are kept."""
        paths = [os.path.join(self.tarn.data, "stores"), os.path.join(self.tarn.data, "volumes")]
        ask(self.ours, "checkpoint")
        subprocess.run(["sync"], check=True)
        before, start = disk_usage(*paths), lsn(self.ours)
        run = run_pgbench(self.ours, ["-M", "prepared"], self.options.clients, max(self.options.seconds, 30))
        wal = lsn(self.ours) - start
        time.sleep(5)  # folds and the sealer catch up
        subprocess.run(["sync"], check=True)
        grown = disk_usage(*paths) - before
        self.rows.append(["disk per byte of WAL kept", "", f"{grown / max(wal, 1):.2f}", f"{grown / MB:.0f} MB for {wal / MB:.0f} MB", ""])
        self.save("space", {"wal_bytes": wal, "disk_bytes": grown, "transactions": run["transactions"]})


def main():
    options = arguments()
    if not shutil.which("pgbench"):
        sys.exit("pgbench is missing: run tools/setup")
    settings = ["suspend_timeout_min_sec=1", "active_computes_per_project=1000", "unarchived_branches_per_project=1000", *options.set]
    with contextlib.ExitStack() as stack:
        tarn = stack.enter_context(Tarn(options.tarn, settings=settings))
        second = stack.enter_context(Tarn(options.tarn, settings=[*settings, *options.beside])) if options.beside else None
        bench = Bench(options, tarn, second)
        bench.prepare()
        if set(options.sections) - {"size"}:
            bench.fill()
        for section in SECTIONS:
            if section in options.sections:
                print(f"{datetime.datetime.now():%H:%M:%S} {section} …", flush=True)
                getattr(bench, section)()
        bench.stock.stop()
        print()
        table(["", "stock", "Tarn", "ratio", "goal"], bench.rows)
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()

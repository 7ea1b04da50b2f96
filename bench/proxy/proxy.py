"""Every way to connect to one Postgres, side by side: what each adds to a query, a large result and a connect, and what its process uses.

  unix            the compute's Unix socket: no relay at all, the base of every comparison
  tcp, tcp+tls    a stock Postgres with the same settings, on TCP; with TLS 1.3 and SCRAM where it says so
  session, transaction   PgBouncer (pool_mode) in front of the same compute, plain; "+tls" with TLS 1.3 and SCRAM
  tarn            Tarn's proxy: TLS 1.3 and a token (or a password, SCRAM, where it says so)
  tarn-pooler     the same by the endpoint's "-pooler" host, when there is one

Sections: query (latency and throughput), copy (a large result), connect (connects per second), calls (system calls, by strace; not timed),
idle (memory of idle TLS sessions), churn (memory and descriptors after many connects).
Rounds are interleaved, numbers are medians. Compare tarn with session+tls: both are one process that encrypts and relays, so the difference is ours.
Clients, relay and Postgres share the cores: on two of them a relay also costs what it takes from the others.
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import psycopg
from harness import processes, system_calls
from harness.proxy_alone import ProxyAlone, StandIn, TlsSession, allow_descriptors, client_context, database_token, resident_bytes
from pgbouncer import PgBouncer, issue_leaf
from tarn_bench import Stock, Tarn, free_port, machine, median, table

SECTIONS = ["query", "copy", "connect", "calls", "idle", "churn"]
PASSWORD = "of-the-benchmark-only"  # noqa: S105
WORKLOADS = {"select 1, simple": ["-M", "simple"], "select 1, prepared": ["-M", "prepared"], "pgbench -S, prepared": ["-M", "prepared", "-S"]}
ROW_BYTES = 1000
SIZE = {"autoscaling_limit_min_cu": 4, "autoscaling_limit_max_cu": 4}  # connections enough for all routes, whose ends overlap


def arguments():
    parser = argparse.ArgumentParser(prog="bench/proxy/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"which of: {' '.join(SECTIONS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of half an hour; for trying out, not for comparing")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement (default %(default)g)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind (default %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 64], help="numbers of clients (default 1 64)")
    parser.add_argument("--copy-mb", type=int, default=1000, help="size of the large result (default %(default)s)")
    parser.add_argument("--idle", type=int, default=10000, help="idle sessions (default %(default)s)")
    parser.add_argument("--churn", type=int, default=50000, help="connects and closes (default %(default)s)")
    parser.add_argument("--routes", nargs="+", help="only these routes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of tarn up, such as polling_requests_per_sec=1000000000")
    parser.add_argument("--json", default="bench-proxy.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {' '.join(sorted(unknown))}")
    options.sections = options.sections or SECTIONS
    if options.quick:
        options.seconds, options.rounds = min(options.seconds, 1), min(options.rounds, 3)
        options.copy_mb, options.idle, options.churn = min(options.copy_mb, 200), min(options.idle, 1000), min(options.churn, 2000)
    return options


def scram_verifier(password):
    """As pg_authid has it (RFC 5803)."""
    salt, iterations = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(value).decode() for value in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def cpu_seconds(pids):
    """Of all threads, from the scheduler's own clock: a tick is too coarse."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total / 1e9


def run(command, route):
    done = subprocess.run(command, env={**os.environ, **route.environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} by the route {route.name} failed: {done.stderr[-2000:]}")
    return done.stdout


class Route:
    def __init__(self, name, environment, pids=(), control=()):
        self.name, self.environment, self.pids, self.control = name, environment, list(pids), list(control)


def open_or_refused(open_session):
    """None when the server says that it has as many as the machine's descriptor limit allows: the rest is measured without these."""
    try:
        return open_session()
    except ConnectionError as refused:
        if "C53300" not in str(refused):
            raise
        return None


class Bench:
    def __init__(self, options, tarn, stack):
        self.options, self.tarn, self.stack = options, tarn, stack
        self.result = {"benchmark": "proxy", "version": 1, "machine": machine(), "quick": options.quick, "seconds": options.seconds,
                       "rounds": options.rounds, "set": options.set, "sections": {}}
        self.script = os.path.join(tarn.folder, "select1.sql")
        with open(self.script, "w", encoding="ascii") as file:
            file.write("select 1;\n")

    def save(self, section, found):
        self.result["sections"][section] = found
        with open(self.options.json, "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)

    # -- set-up ---------------------------------------------------------------------------------------------------------

    def project(self, name, **spec):
        self.tarn.json("create-project", name, "--json", json.dumps({"spec": {**spec, "default_endpoint_settings": {**SIZE, "no_suspension": True}}}))
        return self.tarn.endpoint(name)

    def pid(self, role):
        with open(os.path.join(self.tarn.data, "run", f"{role}.lock"), encoding="utf-8") as file:
            return json.load(file)["pid"]

    def prepare(self):
        endpoint = self.project("bench")
        tarn, unix = self.tarn.login("bench"), self.tarn.socket(endpoint)
        subprocess.run(["pgbench", "-i", "-q", "-s", "10"], env={**os.environ, **tarn}, capture_output=True, check=True)
        proxy, control = [self.pid("proxy")], [self.pid("control")]
        verifier = scram_verifier(PASSWORD)
        bouncer = self.stack.enter_context(PgBouncer(self.tarn.data, os.path.join(self.tarn.folder, "pgbouncer"), unix["PGHOST"], unix, verifier))
        bouncer.wait(bouncer.route("session", PASSWORD))
        self.bouncer, self.unix = bouncer, unix
        tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": tarn["PGSSLROOTCERT"], "PGPASSWORD": PASSWORD}
        tcp = self.stock(endpoint, verifier)
        routes = [Route("unix", unix), Route("tcp", tcp), Route("tcp+tls", {**tcp, **tls})]
        for mode in ("session", "transaction"):
            plain = bouncer.route(mode, PASSWORD)
            routes += [Route(mode, plain, [bouncer.pid]), Route(f"{mode}+tls", {**plain, **tls}, [bouncer.pid])]
        routes.append(Route("tarn", tarn, proxy, control))
        hosts = self.tarn.endpoint("bench")["status"]["hosts"]
        if hosts.get("read_write_pooled_host"):
            poolers = [pid for pid in processes.of_directory(self.tarn.data) if "pgbouncer" in processes.command_line(pid)]
            routes.append(Route("tarn-pooler", {**tarn, "PGHOST": hosts["read_write_pooled_host"]}, proxy + poolers, control))
        else:
            print("tarn-pooler is not there: the endpoint has no pooled host")
        self.routes = [route for route in routes if not self.options.routes or route.name in self.options.routes]
        self.with_password = Route("tarn, password", self.native(), proxy, control)

    def stock(self, endpoint, verifier):
        """A stock Postgres with TLS and SCRAM on TCP; the environment for the plain route."""
        stock, port = Stock(self.tarn, endpoint, self.tarn.folder), free_port()
        folder = os.path.join(stock.folder, "tls")
        os.mkdir(folder, 0o755)
        certificate, key = issue_leaf(self.tarn.data, folder)
        os.chown(key, stock.user.pw_uid, stock.user.pw_gid)
        with open(stock.settings_path, "a", encoding="utf-8") as file:
            file.write(f"listen_addresses = '127.0.0.1'\nport = {port}\nssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n")
        with open(os.path.join(stock.folder, "hba.conf"), "a", encoding="ascii") as file:
            file.write("hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all 127.0.0.1/32 trust\n")
        stock.start()
        self.stack.callback(stock.stop)
        stock.route["PGPORT"] = str(port)
        with psycopg.connect(host=stock.folder, port=port, user="cloud_admin", dbname="databricks_postgres", autocommit=True) as connection:
            connection.execute(f"alter role cloud_admin password '{verifier}'")
        return {**stock.route, "PGHOST": "127.0.0.1", "PGSSLMODE": "disable"}

    def native(self):
        """A project whose roles may have passwords, and one such role."""
        self.project("native", enable_pg_native_login=True)
        route = self.tarn.login("native")
        with psycopg.connect(host=route["PGHOST"], port=route["PGPORT"], user=route["PGUSER"], dbname=route["PGDATABASE"], password=route["PGPASSWORD"],
                             autocommit=True) as connection:
            connection.execute(f"create role app login password '{PASSWORD}'")
        return {**route, "PGUSER": "app", "PGPASSWORD": PASSWORD}

    # -- measuring ------------------------------------------------------------------------------------------------------

    def interleaved(self, title, routes, measure):
        """{route: [what measure(route) says]}, and for relays "cpu" and "control_cpu": seconds of their processes."""
        found = {route.name: [] for route in routes}
        for number in range(self.options.rounds):
            print(f"  {title}: round {number + 1} of {self.options.rounds}", flush=True)
            for route in routes[:: 1 if number % 2 == 0 else -1]:
                before, before_control = cpu_seconds(route.pids), cpu_seconds(route.control)
                one = measure(route)
                if route.pids:
                    one["cpu"] = cpu_seconds(route.pids) - before
                if route.control:
                    one["control_cpu"] = cpu_seconds(route.control) - before_control
                found[route.name].append(one)
        return found

    def pgbench(self, route, flags, clients):
        script = [] if "-S" in flags else ["-f", self.script]
        out = run(["pgbench", "-n", "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(max(1, round(self.options.seconds))), *script, *flags], route)
        number = lambda pattern: float(re.search(pattern, out).group(1))  # noqa: E731
        return {"per_second": number(r"tps = ([0-9.]+)"), "latency_us": number(r"latency average = ([0-9.]+) ms") * 1000,
                "count": number(r"actually processed: ([0-9]+)")}

    def query(self):
        found, rows = {}, []
        for name, flags in WORKLOADS.items():
            for clients in self.options.clients:
                title = f"{name}, {clients} client{'s' if clients > 1 else ''}"
                measured = self.interleaved(title, self.routes, lambda route: self.pgbench(route, flags, clients))  # noqa: B023
                base = median([one["latency_us"] for one in measured["unix"]]) if "unix" in measured else None
                entry = found[title] = {}
                for route, runs in measured.items():
                    entry[route] = summary = {key: median([one[key] for one in runs]) for key in ("per_second", "latency_us")}
                    summary["runs"] = runs
                    if base:
                        summary["added_us"] = summary["latency_us"] - base
                    if "cpu" in runs[0]:
                        summary["cpu_us"] = median([one["cpu"] / one["count"] * 1e6 for one in runs])
                    rows.append([title, route, f"{summary['per_second']:.0f}", f"{summary['latency_us']:.0f}",
                                 f"{summary['added_us']:+.0f}" if base else "", f"{summary['cpu_us']:.1f}" if "cpu_us" in summary else ""])
                    title = ""
        print()
        table(["query", "route", "per second", "latency us", "added us", "relay's CPU us"], rows)
        print()
        self.save("query", found)

    def copy_out(self, route, megabytes):
        statement = f"copy (select repeat('x', {ROW_BYTES - 1}) from (select generate_series(1, {megabytes * 1000})) s) to stdout"
        begin = time.perf_counter()
        with subprocess.Popen(["psql", "-XAtqc", statement], env={**os.environ, **route.environment}, stdout=subprocess.DEVNULL) as psql:
            if psql.wait() != 0:
                sys.exit(f"COPY by the route {route.name} failed")
        return {"seconds": time.perf_counter() - begin}

    def copy(self):
        megabytes = self.options.copy_mb
        found = self.interleaved(f"COPY out of {megabytes} MB", self.routes, lambda route: self.copy_out(route, megabytes))
        summary, rows = {}, []
        for route, runs in found.items():
            summary[route] = one = {"mb_per_second": megabytes / median([one["seconds"] for one in runs]), "runs": runs}
            if "cpu" in runs[0]:
                one["cpu_ms_per_mb"] = median([one["cpu"] for one in runs]) * 1000 / megabytes
            rows.append([route, f"{one['mb_per_second']:.0f}", f"{one['cpu_ms_per_mb']:.2f}" if "cpu_ms_per_mb" in one else ""])
        print()
        table([f"COPY out of {megabytes} MB", "MB per second", "relay's CPU ms per MB"], rows)
        print()
        self.save("copy", summary)

    def connect(self):
        routes = [route for route in self.routes if route.name not in ("session", "transaction")]
        routes.append(self.with_password)
        found, rows = {}, []
        for clients in sorted({1, min(8, max(self.options.clients))}):
            title = f"connects, {clients} client{'s' if clients > 1 else ''}"
            measured = self.interleaved(title, routes, lambda route: self.pgbench(route, ["-C"], clients))  # noqa: B023
            entry = found[title] = {}
            for route, runs in measured.items():
                entry[route] = summary = {key: median([one[key] for one in runs]) for key in ("per_second", "latency_us")}
                summary["runs"] = runs
                for key in ("cpu", "control_cpu"):
                    if key in runs[0]:
                        summary[f"{key}_us"] = median([one[key] / one["count"] * 1e6 for one in runs])
                rows.append([title, route, f"{summary['per_second']:.0f}", f"{summary['latency_us'] / 1000:.2f}",
                             *(f"{summary[key]:.0f}" if key in summary else "" for key in ("cpu_us", "control_cpu_us"))])
                title = ""
        print()
        table(["connect, select 1, close", "route", "per second", "ms", "relay's CPU us", "control's CPU us"], rows)
        print("PgBouncer keeps its server connections, so a connect there starts no backend of Postgres; by the other routes each does.\n")
        self.save("connect", found)

    def calls(self):
        found, rows = {}, []
        count, megabytes = 2000, 100
        for route in self.routes:
            if not route.pids:
                continue
            found[route.name] = entry = {}
            for kind in ("simple", "prepared"):
                command = ["pgbench", "-n", "-c", "1", "-t", str(count), "-f", self.script, "-M", kind]
                made = system_calls.count(route.pids[0], lambda: run(command, route))  # noqa: B023
                entry[kind] = {name: round(n / count, 2) for name, n in made.items() if n >= count / 100}
            made = system_calls.count(route.pids[0], lambda: self.copy_out(route, megabytes))  # noqa: B023
            entry["copy_bytes_per_call"] = round(megabytes * 1e6 / sum(made.values()))
            rows.append([route.name, *(f"{sum(entry[kind].values()):.1f}" for kind in ("simple", "prepared")), entry["copy_bytes_per_call"]])
        print()
        table(["system calls", "simple query", "prepared query", "bytes of COPY per call"], rows)
        for route, entry in found.items():
            print(f"{route}, prepared: {entry['prepared']}")
        print()
        self.save("calls", found)

    # -- idle sessions, and sessions that are over ----------------------------------------------------------------------------

    def alone(self, stack):
        """Tarn's proxy before a stand-in whose backends cost nothing, so that there can be ten thousand: (pid, how to open a session)."""
        stand_in = stack.enter_context(StandIn())
        proxy = stack.enter_context(ProxyAlone(self.tarn.data, control=stand_in.control, binary=self.tarn.binary, descriptors=65536))
        context, token = client_context(proxy.ca), database_token(os.path.join(self.tarn.data, "token.key"), stand_in.uid)
        return proxy.pid, lambda: TlsSession("127.0.0.1", proxy.port, context, token)

    def alone_bouncer(self, stack):
        """A PgBouncer that lets everybody in; its idle clients of the transaction pool have no server connection."""
        folder = os.path.join(self.tarn.folder, "pgbouncer-idle")
        bouncer = stack.enter_context(PgBouncer(self.tarn.data, folder, self.unix["PGHOST"], self.unix, None))
        stack.callback(shutil.rmtree, folder)
        bouncer.wait(bouncer.route("transaction"))
        context = client_context(os.path.join(self.tarn.data, "authority.crt"))
        return bouncer.pid, lambda: TlsSession("127.0.0.1", bouncer.port, context, user="cloud_admin", database="transaction")

    @staticmethod
    def in_threads(count, work, threads=4):
        """work() `count` times; what it returned."""
        results, failures = [], []

        def worker(share):
            try:
                for _ in range(share):
                    results.append(work())
            except Exception as failure:  # noqa: BLE001
                failures.append(failure)

        workers = [threading.Thread(target=worker, args=(count // threads + (i < count % threads),)) for i in range(threads)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        if failures:
            raise failures[0]
        return results

    def idle(self):
        allow_descriptors(65536)
        found, rows, wanted = {}, [], self.options.idle
        for name, make in (("tarn", self.alone), ("PgBouncer", self.alone_bouncer)):
            with contextlib.ExitStack() as stack:
                pid, open_session = make(stack)
                for session in self.in_threads(100, open_session):
                    session.close()
                time.sleep(1)
                before = resident_bytes(pid)
                sessions = self.in_threads(wanted, lambda: open_or_refused(open_session))  # noqa: B023
                sessions = [session for session in sessions if session]
                wanted = len(sessions)
                time.sleep(2)
                each = (resident_bytes(pid) - before) / len(sessions)
                for session in sessions[:: max(1, len(sessions) // 100)]:
                    session.query("select 1")  # they live
                busy_each = (resident_bytes(pid) - before) / len(sessions)
                for session in sessions:
                    session.close()
                time.sleep(12)  # given back with a report to control, every five seconds
                after = resident_bytes(pid) - before
                found[name] = {"sessions": len(sessions), "bytes_each": each, "bytes_each_after_queries": busy_each, "bytes_kept_after_close": after}
                rows.append([f"{name}, {len(sessions)} idle TLS sessions", f"{each / 1024:.1f}", f"{after / (1 << 20):.1f}"])
        print()
        table(["memory", "KiB each", "MiB kept after all closed"], rows)
        print("Of the process itself; the kernel's buffers of sockets are not in it, and not those of Postgres.\n")
        self.save("idle", found)

    def churn(self):
        with contextlib.ExitStack() as stack:
            pid, open_session = self.alone(stack)
            steps = []
            for share in (0.02, 0.18, 0.3, 0.5):
                self.in_threads(int(self.options.churn * share), lambda: open_session().close())
                time.sleep(1)
                steps.append({"connects": int(self.options.churn * share), "resident": resident_bytes(pid), "descriptors": len(os.listdir(f"/proc/{pid}/fd"))})
        total, rows = 0, []
        for step in steps:
            total += step["connects"]
            rows.append([f"after {total} connects and closes", f"{step['resident'] / (1 << 20):.2f}", step["descriptors"]])
        print()
        table(["tarn", "MiB resident", "descriptors"], rows)
        print()
        self.save("churn", steps)

    # -- verdict -----------------------------------------------------------------------------------------------------------

    def verdict(self):
        """tarn beside PgBouncer (session), TLS against TLS: above 1 is ours better."""
        rows, sections = [], self.result["sections"]
        for title, entry in [*sections.get("query", {}).items(), *sections.get("connect", {}).items()]:
            ours, theirs = entry.get("tarn"), entry.get("session+tls")
            if ours and theirs:
                cpu = f"{theirs['cpu_us'] / ours['cpu_us']:.2f}"
                rows.append([title, f"{ours['per_second'] / theirs['per_second']:.2f}", f"{theirs['latency_us'] / ours['latency_us']:.2f}", cpu])
        ours, theirs = (sections.get("copy", {}).get(name) for name in ("tarn", "session+tls"))
        if ours and theirs:
            rows.append(["COPY out", f"{ours['mb_per_second'] / theirs['mb_per_second']:.2f}", "", f"{theirs['cpu_ms_per_mb'] / ours['cpu_ms_per_mb']:.2f}"])
        if rows:
            table(["tarn to session+tls, > 1: ours is better", "rate", "latency", "CPU"], rows)
            self.result["verdict"] = rows


def main():
    options = arguments()
    if not shutil.which("pgbench"):
        sys.exit("pgbench is missing: run tools/setup")
    with Tarn(options.tarn, settings=["failures_per_min=100000", *options.set]) as tarn, contextlib.ExitStack() as stack:
        bench = Bench(options, tarn, stack)
        print("preparing two projects, a stock Postgres and a PgBouncer …", flush=True)
        bench.prepare()
        for section in options.sections:
            print(f"{section} …", flush=True)
            getattr(bench, section)()
        bench.verdict()
        bench.save("end", machine())
        print(f"\nwritten to {options.json}")


main()

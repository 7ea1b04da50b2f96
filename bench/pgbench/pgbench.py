"""pgbench through Tarn's proxy (TLS, token login) against the same Postgres directly on its Unix socket.

One run, interleaved rounds (direct, proxy, direct, proxy ...), medians. All routes end in the same server, so the
ratio is what the proxy and TLS cost. The direct route logs in as the superuser, because nobody else may use that socket.
With --pgbouncer there is a third route, PgBouncer with TLS and session pooling in the proxy's place: what a proxy of
this kind costs on this machine.
"""

import argparse
import contextlib
import glob
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tarn_bench import Tarn, free_port, machine, median, table  # noqa: E402

WORKLOADS = {
    "select-only, simple": ["-S", "-M", "simple"],
    "select-only, prepared": ["-S", "-M", "prepared"],
    "TPC-B, simple": ["-M", "simple"],
}


def arguments():
    parser = argparse.ArgumentParser(prog="bench/pgbench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=10, help="pgbench scale (default 10: 1 million accounts)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each pair (default 5)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="numbers of clients (default 1 8)")
    parser.add_argument("--strace", action="store_true",
                        help="also count the proxy's system calls per query (needs strace; slow, not timed)")
    parser.add_argument("--pgbouncer", action="store_true", help="measure PgBouncer in the proxy's place as well")
    parser.add_argument("--json", default="bench-pgbench.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    return parser.parse_args()


def pgbench(route, options, clients, seconds):
    command = ["pgbench", "-n", "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds), *options]
    done = subprocess.run(command, env={**os.environ, **route}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"pgbench failed: {done.stderr}")
    tps = float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))
    latency = float(re.search(r"latency average = ([0-9.]+) ms", done.stdout).group(1))
    queries = int(re.search(r"number of transactions actually processed: ([0-9]+)", done.stdout).group(1))
    return {"tps": tps, "latency_ms": latency, "transactions": queries}


def proxy_pid(tarn):
    with open(os.path.join(tarn.data, "run", "proxy.lock"), encoding="utf-8") as f:
        return json.load(f)["pid"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class PgBouncer:
    """`with PgBouncer(...)`: one that relays to the same socket, with TLS; .route is the environment for pgbench."""

    def __init__(self, folder, socket_folder, direct):
        self.direct = direct
        self.folder = os.path.join(folder, "pgbouncer")
        self.socket_folder = socket_folder
        self.port = free_port()
        self.route = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "cloud_admin",
                      "PGDATABASE": "databricks_postgres", "PGSSLMODE": "require", "PGPASSWORD": "x", "PGCONNECT_TIMEOUT": "5"}

    def __enter__(self):
        program = shutil.which("pgbouncer") or sys.exit("pgbouncer is missing: run tools/setup")
        os.mkdir(self.folder, 0o755)
        key, certificate, settings = (os.path.join(self.folder, n) for n in ("key.pem", "certificate.pem", "settings"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        with open(settings, "w", encoding="utf-8") as f:
            f.write(f"""[databases]
databricks_postgres = host={self.socket_folder} port=5432 user=cloud_admin
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = session
ignore_startup_parameters = extra_float_digits
default_pool_size = 100
server_login_retry = 1
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
log_connections = 0
log_disconnections = 0
""")
        command = [program, "-q", settings]
        if os.getuid() == 0:
            # It refuses to run as root; the owner of the socket's folder is the one user who may enter it.
            owner = os.stat(self.socket_folder).st_uid
            os.chown(self.folder, owner, -1)
            os.chown(key, owner, -1)
            user = pwd.getpwuid(owner).pw_name
            command[1:1] = ["-u", user]
            with open(os.path.join(self.socket_folder, "..", "ident.conf"), "a", encoding="utf-8") as f:
                f.write(f"tarn {user} all\n")  # Tarn lets in nobody but the user it runs as
            subprocess.run(["psql", "-XAtqc", "select pg_reload_conf()"], env={**os.environ, **self.direct},
                           capture_output=True, check=True)
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while subprocess.run(["psql", "-XAtqc", "select 1"], env={**os.environ, **self.route},
                             capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                sys.exit("PgBouncer does not answer")
            time.sleep(0.1)
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait(30)


def count_system_calls(tarn, route, options):
    """System calls of the proxy per query, counted by strace while one client runs a fixed number of queries."""
    counted = 2000
    out = os.path.join(tarn.data, "strace.out")
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(proxy_pid(tarn))],
                              stderr=subprocess.PIPE, text=True)
    strace.stderr.readline()  # "attached": from here on every call is counted
    command = ["pgbench", "-n", "-c", "1", "-t", str(counted), *options]
    subprocess.run(command, env={**os.environ, **route}, capture_output=True, check=True)
    strace.terminate()
    strace.wait(30)
    calls = {}
    with open(out, encoding="utf-8") as f:
        for line in f:
            match = re.match(r"\s*[0-9.]+\s+[0-9.]+\s+[0-9]+\s+([0-9]+)(?:\s+[0-9]+)?\s+(\w+)$", line)
            if match and match.group(2) != "total":
                calls[match.group(2)] = round(int(match.group(1)) / counted, 2)
    return {name: number for name, number in calls.items() if number >= 0.01}


def main():
    options = arguments()
    if not shutil.which("pgbench"):
        sys.exit("pgbench is missing: run tools/setup")
    with Tarn(options.tarn) as tarn, contextlib.ExitStack() as stack:
        print("creating a project …", flush=True)
        tarn.json("create-project", "bench", "--json", '{"spec":{"default_endpoint_settings":{"no_suspension":true}}}')
        proxy = tarn.login("bench")
        sockets = glob.glob(os.path.join(tarn.data, "computes", "*", "socket"))
        direct = {"PGHOST": sockets[0], "PGPORT": "5432", "PGUSER": "cloud_admin", "PGDATABASE": "databricks_postgres"}
        print(f"filling it, scale {options.scale} …", flush=True)
        subprocess.run(["pgbench", "-i", "-q", "-s", str(options.scale)], env={**os.environ, **proxy},
                       capture_output=True, check=True)
        routes = {"direct": direct, "proxy": proxy}
        pids = {"proxy": proxy_pid(tarn)}
        if options.pgbouncer:
            pgbouncer = stack.enter_context(PgBouncer(tarn.folder, sockets[0], direct))
            routes["pgbouncer"], pids["pgbouncer"] = pgbouncer.route, pgbouncer.process.pid
        result = {"benchmark": "pgbench", "version": 2, "machine": machine(), "scale": options.scale,
                  "seconds": options.seconds, "rounds": options.rounds, "results": []}
        rows = []
        for name, flags in WORKLOADS.items():
            for clients in options.clients:
                measured = {route: [] for route in routes}
                pgbench(direct, flags, clients, 1)  # all routes start from the same warm cache
                for number in range(options.rounds):
                    for route in list(routes)[:: 1 if number % 2 == 0 else -1]:
                        before = cpu_seconds(pids[route]) if route in pids else 0
                        one = pgbench(routes[route], flags, clients, options.seconds)
                        if route in pids:
                            one["cpu_us"] = (cpu_seconds(pids[route]) - before) * 1e6 / one["transactions"]
                        measured[route].append(one)
                        print(f"  {name}, {clients} clients, {route}: {one['tps']:.0f} tps", flush=True)
                entry = {"workload": name, "clients": clients, "runs": measured}
                for route, runs in measured.items():
                    entry[f"{route}_tps"] = median([one["tps"] for one in runs])
                    entry[f"{route}_latency_ms"] = median([one["latency_ms"] for one in runs])
                    cpu = f"{median([one['cpu_us'] for one in runs]):.0f}" if route in pids else ""
                    if route in pids:
                        entry[f"{route}_cpu_us_per_transaction"] = median([one["cpu_us"] for one in runs])
                        entry[f"{route}_ratio"] = entry[f"{route}_tps"] / entry["direct_tps"]
                    ratio = f"{entry[f'{route}_ratio']:.2f}" if route in pids else ""
                    rows.append([f"{name}, {clients} client{'s' if clients > 1 else ''}", route,
                                 f"{entry[f'{route}_tps']:.0f}", ratio, f"{entry[f'{route}_latency_ms']:.3f}", cpu])
                result["results"].append(entry)
        if options.strace:
            result["system_calls_per_query"] = count_system_calls(tarn, proxy, WORKLOADS["select-only, prepared"])
        print()
        table(["medians", "route", "tps", "to direct", "latency ms", "relay's CPU µs"], rows)
        if options.strace:
            print("\nsystem calls of the proxy per query:", result["system_calls_per_query"])
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
        print(f"\nwritten to {options.json}")


main()

"""pgbench through Tarn's proxy (TLS, token login) against the same Postgres directly on its Unix socket.

One run, interleaved rounds (direct, proxy, direct, proxy ...), medians. Both routes end in the same server, so the
ratio is what the proxy and TLS cost. The direct route logs in as the superuser, because nobody else may use that socket.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tarn_bench import Tarn, machine, median, table  # noqa: E402

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
    with Tarn(options.tarn) as tarn:
        print("creating a project …", flush=True)
        tarn.json("create-project", "bench", "--json", '{"spec":{"default_endpoint_settings":{"no_suspension":true}}}')
        proxy = tarn.login("bench")
        sockets = glob.glob(os.path.join(tarn.data, "computes", "*", "socket"))
        direct = {"PGHOST": sockets[0], "PGPORT": "5432", "PGUSER": "cloud_admin", "PGDATABASE": "databricks_postgres"}
        print(f"filling it, scale {options.scale} …", flush=True)
        subprocess.run(["pgbench", "-i", "-q", "-s", str(options.scale)], env={**os.environ, **proxy},
                       capture_output=True, check=True)
        result = {"benchmark": "pgbench", "version": 1, "machine": machine(), "scale": options.scale,
                  "seconds": options.seconds, "rounds": options.rounds, "results": []}
        rows = []
        for name, flags in WORKLOADS.items():
            for clients in options.clients:
                measured = {"direct": [], "proxy": []}
                cpu = []
                pgbench(direct, flags, clients, 1)  # both routes start from the same warm cache
                for number in range(options.rounds):
                    order = ["direct", "proxy"] if number % 2 == 0 else ["proxy", "direct"]
                    for route in order:
                        before = cpu_seconds(proxy_pid(tarn))
                        one = pgbench(direct if route == "direct" else proxy, flags, clients, options.seconds)
                        if route == "proxy":
                            cpu.append((cpu_seconds(proxy_pid(tarn)) - before) * 1e6 / one["transactions"])
                        measured[route].append(one)
                        print(f"  {name}, {clients} clients, {route}: {one['tps']:.0f} tps", flush=True)
                tps = {route: median([one["tps"] for one in runs]) for route, runs in measured.items()}
                latency = {route: median([one["latency_ms"] for one in runs]) for route, runs in measured.items()}
                result["results"].append({
                    "workload": name, "clients": clients, "direct_tps": tps["direct"], "proxy_tps": tps["proxy"],
                    "ratio": tps["proxy"] / tps["direct"], "direct_latency_ms": latency["direct"],
                    "proxy_latency_ms": latency["proxy"], "proxy_cpu_us_per_transaction": median(cpu),
                    "runs": measured})
                rows.append([name, clients, f"{tps['direct']:.0f}", f"{tps['proxy']:.0f}",
                             f"{tps['proxy'] / tps['direct']:.2f}", f"{latency['direct']:.3f}",
                             f"{latency['proxy']:.3f}", f"{median(cpu):.0f}"])
        if options.strace:
            result["system_calls_per_query"] = count_system_calls(tarn, proxy, WORKLOADS["select-only, prepared"])
        print()
        table(["medians", "clients", "direct tps", "proxy tps", "ratio", "direct ms", "proxy ms", "proxy CPU µs"], rows)
        if options.strace:
            print("\nsystem calls of the proxy per query:", result["system_calls_per_query"])
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
        print(f"\nwritten to {options.json}")


main()

"""How many clients an endpoint's pooler holds and serves, and what it costs beside the direct route.

pgbench (select-only, prepared statements of the protocol, TLS, token login) with a few clients past the pooler, the same through it, then with
thousands of clients at once, all connected before the first of them works.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tarn_bench import Tarn, machine, table  # noqa: E402

ROUTES = {"direct": "host", "pooled": "read_write_pooled_host"}


def arguments():
    parser = argparse.ArgumentParser(prog="bench/pooler/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10000, help="at once (default %(default)s), as far as the proxy lets them in")
    parser.add_argument("--transactions", type=int, default=10, help="of each (default %(default)s)")
    parser.add_argument("--few", type=int, default=16, help="clients of the comparison (default %(default)s)")
    parser.add_argument("--scale", type=int, default=5, help="pgbench scale (default %(default)s)")
    parser.add_argument("--json", default="bench-pooler.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    return parser.parse_args()


def pgbench(route, clients, transactions):
    """A number of transactions, not of seconds: those would begin before all have connected."""
    command = ["pgbench", "-n", "-S", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(transactions)]
    done = subprocess.run(command, env={**os.environ, **route}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"pgbench failed: {done.stderr[-2000:]}")
    found = {
        "tps": r"tps = ([0-9.]+)", "latency_ms": r"latency average = ([0-9.]+) ms", "connect_ms": r"initial connection time = ([0-9.]+) ms",
        "transactions": r"number of transactions actually processed: ([0-9]+)/", "failed": r"number of failed transactions: ([0-9]+)",
    }  # fmt: skip
    return {"clients": clients, **{name: float(re.search(pattern, done.stdout).group(1)) for name, pattern in found.items()}}


def status(tarn, uid):
    answer = json.loads(subprocess.run(tarn.command("status", "-o", "json"), stdout=subprocess.PIPE, check=True).stdout)
    pids = {one["name"]: one.get("pid") for one in answer["services"]}
    return next(one for one in answer["computes"] if one["uid"] == uid), pids


def possible_clients(tarn):
    """Of one endpoint: the last eighth of the proxy's places is for endpoints that have few (src/proxy/admission.h)."""
    url = f"http://127.0.0.1:{tarn.api_port}/metrics"
    found = []

    def is_told():
        with urllib.request.urlopen(url, timeout=10) as answer:
            found[:] = re.findall(r"^tarn_proxy_connections_max (\d+)", answer.read().decode(), re.MULTILINE)
        return found and int(found[0]) > 0

    tarn.wait(is_told, 30, "the proxy's limit in /metrics")
    most = int(found[0])
    return most - most // 8 - 20


def memory_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


class Watch(threading.Thread):
    """The highest numbers that `tarn status` tells while pgbench runs."""

    def __init__(self, tarn, uid):
        super().__init__(daemon=True)
        self.tarn, self.uid, self.done = tarn, uid, threading.Event()
        self.peak = {}

    def run(self):
        while not self.done.wait(1):
            compute, pids = status(self.tarn, self.uid)
            pooler = compute.get("pooler")
            if not pooler or not pids["proxy"]:
                continue
            seen = {name: pooler[name] for name in ("clients", "waiting", "servers_active")}
            seen |= {"connections": pooler["servers_active"] + pooler["servers_idle"], "pooler_mb": memory_mb(pooler["pid"]),
                     "proxy_mb": memory_mb(pids["proxy"])}  # fmt: skip
            for name, value in seen.items():
                self.peak[name] = max(self.peak.get(name, 0), value)


def main():
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Tarn(options.tarn) as tarn:
        print("creating a project …", flush=True)
        tarn.json("create-project", "bench", "--json", '{"spec":{"default_endpoint_settings":{"no_suspension":true}}}')
        login, endpoint = tarn.login("bench"), tarn.endpoint("bench")
        possible = possible_clients(tarn)
        if options.clients > possible:
            print(f"a process may open {hard} files here, with which the proxy takes {possible} clients of one endpoint, not {options.clients}")
            options.clients = possible
        routes = {name: {**login, "PGHOST": endpoint["status"]["hosts"][field]} for name, field in ROUTES.items()}
        print(f"filling it, scale {options.scale} …", flush=True)
        subprocess.run(["pgbench", "-i", "-q", "-s", str(options.scale)], env={**os.environ, **login}, capture_output=True, check=True)
        result = {"benchmark": "pooler", "version": 1, "machine": machine(), "runs": {}}
        rows = []
        for name, route, clients, transactions in (("direct", "direct", options.few, 3000), ("pooled", "pooled", options.few, 3000),
                                                   ("many", "pooled", options.clients, options.transactions)):  # fmt: skip
            print(f"{clients} clients, {route} …", flush=True)
            watch = Watch(tarn, endpoint["uid"])
            watch.start()
            began = time.monotonic()
            run = {**pgbench(routes[route], clients, transactions), "route": route}
            run["wall_s"] = time.monotonic() - began
            watch.done.set()
            watch.join()
            run["peak"] = watch.peak
            result["runs"][name] = run
            peak = watch.peak
            rows.append([f"{clients} clients, {route}", f"{run['tps']:.0f}", f"{run['latency_ms']:.1f}", f"{run['connect_ms'] / clients:.2f}",
                         f"{run['failed']:.0f}", *(f"{peak[key]:.0f}" if key in peak else "" for key in
                                                   ("clients", "waiting", "connections", "pooler_mb", "proxy_mb"))])  # fmt: skip
        print()
        table(["", "tps", "latency ms", "connect ms", "failed", "clients", "waiting", "connections", "pooler MB", "proxy MB"], rows)
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
        print(f"\nwritten to {options.json}")
        if result["runs"]["many"]["failed"] > 0:
            sys.exit("some transactions failed")


main()

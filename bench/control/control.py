"""The control plane with many projects on one machine: how long calls take, and what projects that sleep cost.

Makes --projects projects with three branches each (production and two children of it). Every compute sleeps a second after it was
made, and no more than a few are awake at once, so that memory and processes stay bounded. Then, with everything asleep: list calls
(every page of the projects; branches, endpoints, databases and roles of projects taken at random), a start of `tarn up` until both
ports answer, control's memory, descriptors and processor time at rest, and the disk a project takes. "create-project" is from the
request until its operation says done, as the other projects are there already.

The goals are those of the design; a number that misses one is marked.
"""

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tarn_bench import Tarn, disk_usage, machine, percentile, table  # noqa: E402

API = "/api/2.0/postgres/"
CHILDREN = ("dev", "test")


def arguments():
    parser = argparse.ArgumentParser(prog="bench/control/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--at-once", type=int, default=2, help="projects that are made side by side (default 2)")
    parser.add_argument("--awake", type=int, default=12, help="computes that may be awake meanwhile (default 12)")
    parser.add_argument("--creates", type=int, default=20, help="projects made one by one, for create-project (default 20)")
    parser.add_argument("--calls", type=int, default=400, help="list calls of each kind (default 400)")
    parser.add_argument("--rest", type=float, default=30, help="seconds of rest that are measured (default 30)")
    parser.add_argument("--json", default="bench-control.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    return parser.parse_args()


class Client:
    """One connection that is kept, like those of the SDKs."""

    def __init__(self, tarn, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", tarn.api_port, timeout=120)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method, path, body=None):
        self.connection.request(method, API + path, body=None if body is None else json.dumps(body), headers=self.headers)
        answer = self.connection.getresponse()
        raw = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: HTTP {answer.status}: {raw[:500].decode(errors='replace')}")
        return json.loads(raw)

    def finish(self, operation):
        while not operation["done"]:
            time.sleep(0.005)
            operation = self.call("GET", operation["name"])
        if "error" in operation:
            raise SystemExit(f"{operation['name']}: {operation['error']}")

    def create_project(self, name):
        spec = {"default_endpoint_settings": {"suspend_timeout_duration": "1s"}}
        self.finish(self.call("POST", f"projects?project_id={name}", {"spec": spec}))

    def create_branch(self, project, name):
        self.finish(self.call("POST", f"projects/{project}/branches?branch_id={name}", {"spec": {"no_expiry": True}}))


def control_pid(tarn):
    with open(os.path.join(tarn.data, "run", "control.lock"), encoding="utf-8") as f:
        return json.loads(f.read())["pid"]


def awake(pid):
    """Computes: the children of control."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return len(f.read().split())


def memory_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def work_of(pid):
    """(processor seconds, times it was woken) of all threads so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    woken = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as f:
            woken += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), woken


def wait_awake_at_most(pid, limit):
    while awake(pid) > limit:
        time.sleep(0.02)


def fill(tarn, options, token):
    """All projects but those that are made one by one afterwards."""
    names = [f"p-{number:05d}" for number in range(options.projects - options.creates)]
    pid, lock, begin = control_pid(tarn), threading.Lock(), time.monotonic()
    failures, made = [], [0]

    def work():
        client = Client(tarn, token)
        try:
            while not failures:
                with lock:
                    if not names:
                        return
                    name = names.pop()
                wait_awake_at_most(pid, options.awake)
                client.create_project(name)
                for branch in CHILDREN:
                    wait_awake_at_most(pid, options.awake)
                    client.create_branch(name, branch)
                with lock:
                    made[0] += 1
                    if made[0] % 50 == 0:
                        print(f"  {made[0]} projects, {time.monotonic() - begin:.0f} s", flush=True)
        except (SystemExit, OSError, http.client.HTTPException) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(options.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"could not make the projects: {failures[0]}")


def measure_creates(tarn, options, token):
    client, pid, taken = Client(tarn, token), control_pid(tarn), []
    for number in range(options.creates):
        name = f"q-{number:05d}"
        wait_awake_at_most(pid, 0)
        begin = time.perf_counter()
        client.create_project(name)
        taken.append((time.perf_counter() - begin) * 1000)
        for branch in CHILDREN:
            client.create_branch(name, branch)
    wait_awake_at_most(pid, 0)
    return taken


def timed(client, path, key, taken):
    begin = time.perf_counter()
    answer = client.call("GET", path)
    taken.append((time.perf_counter() - begin) * 1000)
    return len(answer.get(key, [])), answer.get("next_page_token", "")


def measure_lists(tarn, options, token):
    client = Client(tarn, token)
    names, token_text = [], ""
    while True:
        answer = client.call("GET", f"projects?page_size=100&page_token={token_text}")
        names += [project["name"] for project in answer["projects"]]
        token_text = answer.get("next_page_token", "")
        if not token_text:
            break
    assert len(names) == options.projects, f"{len(names)} projects are listed"
    taken = {"projects (pages of 100)": []}
    while len(taken["projects (pages of 100)"]) < options.calls:
        seen, page = 0, ""
        while True:
            count, page = timed(client, f"projects?page_size=100&page_token={page}", "projects", taken["projects (pages of 100)"])
            seen += count
            if not page:
                break
        assert seen == options.projects
    for key, below in (("branches", ""), ("endpoints", "/branches/dev"), ("databases", "/branches/dev"), ("roles", "/branches/dev")):
        taken[key] = []
        for _ in range(options.calls):
            count, page = timed(client, f"{random.choice(names)}{below}/{key}", key, taken[key])
            assert count == (1 + len(CHILDREN) if key == "branches" else 1) and not page, f"{count} {key}"
    return taken


def answers(tarn):
    for port in (tarn.api_port, tarn.pg_port):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) != 0:
                return False
    try:
        connection = http.client.HTTPConnection("127.0.0.1", tarn.api_port, timeout=30)
        connection.request("GET", "/.well-known/databricks-config")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def restart(tarn):
    """Seconds of `tarn down`, and of `tarn up` until the API answers and the Postgres port accepts."""
    begin = time.monotonic()
    subprocess.run(tarn.command("down"), check=True, stdout=subprocess.DEVNULL)
    tarn.up.wait(60)
    down = time.monotonic() - begin
    begin = time.monotonic()
    tarn.up = subprocess.Popen([tarn.binary, "up", "--data", tarn.data], stdout=tarn.log, stderr=subprocess.STDOUT)
    tarn.wait(lambda: answers(tarn), 120, "the ports to answer")
    return down, time.monotonic() - begin


def measure_rest(pid, seconds):
    processor, woken = work_of(pid)
    begin = time.monotonic()
    time.sleep(seconds)
    processor_after, woken_after = work_of(pid)
    span = time.monotonic() - begin
    return {"processor_percent": 100 * (processor_after - processor) / span, "woken_per_sec": (woken_after - woken) / span}


def settle(pid, limit=300):
    """Every volume is looked at once after a start, in a worker thread. Waits for the end of that: (seconds, processor seconds)."""
    begin, before = time.monotonic(), work_of(pid)[0]
    while time.monotonic() - begin < limit:
        last = work_of(pid)[0]
        time.sleep(3)
        if work_of(pid)[0] - last < 0.03:
            break
    return time.monotonic() - begin, work_of(pid)[0] - before


def times(values):
    return {"n": len(values), "p50_ms": percentile(values, 0.5), "p95_ms": percentile(values, 0.95),
            "p99_ms": percentile(values, 0.99), "max_ms": max(values)}


def main():
    options = arguments()
    options.creates = min(options.creates, options.projects)
    about = machine()
    settings = ["suspend_timeout_min_sec=1", f"projects={options.projects + 1}", "requests_per_sec=1000000"]
    with Tarn(options.tarn, settings=settings) as tarn:
        with open(os.path.join(tarn.data, "admin.token"), encoding="utf-8") as f:
            token = f.read().strip()
        Client(tarn, token).create_project("first")  # makes the template
        Client(tarn, token).call("DELETE", "projects/first?purge=true")
        pid = control_pid(tarn)
        wait_awake_at_most(pid, 0)
        empty = {"disk": disk_usage(tarn.data), "descriptors": descriptors(pid), "memory": memory_bytes(pid)}
        print(f"making {options.projects} projects with {1 + len(CHILDREN)} branches each …", flush=True)
        begin = time.monotonic()
        fill(tarn, options, token)
        filled = time.monotonic() - begin
        wait_awake_at_most(pid, 0)
        creates = measure_creates(tarn, options, token)
        after_creating = {"memory": memory_bytes(pid), "descriptors": descriptors(pid)}
        print("list calls …", flush=True)
        lists = measure_lists(tarn, options, token)
        print("a start …", flush=True)
        down, up = restart(tarn)
        pid = control_pid(tarn)
        settled, settled_cpu = settle(pid)
        print(f"{options.rest:.0f} seconds of rest …", flush=True)
        rest = measure_rest(pid, options.rest)
        memory = {"after_creating": after_creating["memory"], "after_start": memory_bytes(pid)}
        again = measure_lists(tarn, options, token)
        memory["after_lists"] = memory_bytes(pid)
        disk = disk_usage(tarn.data)

        print()
        rows = []
        for name, values, key, goal in [("create-project until done", creates, "p50_ms", 500),
                                        *[(f"list {kind}", values, "p99_ms", 50) for kind, values in lists.items()],
                                        *[(f"list {kind}, after a start", values, "p99_ms", 50) for kind, values in again.items()]]:
            s = times(values)
            verdict = f"{key[:3]} {'≤' if s[key] <= goal else 'MISSES'} {goal}"
            rows.append([name, s["n"], *(f"{s[k]:.1f}" for k in ("p50_ms", "p95_ms", "p99_ms", "max_ms")), verdict])
        table(["ms", "n", "p50", "p95", "p99", "max", "goal"], rows)
        print()

        def goal(value, limit):
            return f"{'≤' if value <= limit else 'MISSES'} {limit}"

        mib = 1 << 20
        worst = max(memory.values()) / mib
        table(["what", "value", "goal"], [
            ["control's memory, most, MiB", f"{worst:.1f}", goal(worst, 100)],
            ["  of it with no project, MiB", f"{empty['memory'] / mib:.1f}", ""],
            ["start of tarn up until both ports answer, s", f"{up:.2f}", goal(up, 2)],
            ["tarn down, s", f"{down:.2f}", ""],
            ["first look at all volumes after it, processor s", f"{settled_cpu:.2f}", ""],
            ["processor at rest, %", f"{rest['processor_percent']:.2f}", goal(rest["processor_percent"], 1)],
            ["woken at rest, per s", f"{rest['woken_per_sec']:.2f}", ""],
            ["disk per project, KiB", f"{(disk - empty['disk']) / options.projects / 1024:.0f}", ""],
            ["descriptors of control, idle", after_creating["descriptors"], ""],
            ["  of it with no project", empty["descriptors"], ""],
            ["making one project with its branches, s", f"{filled / max(1, options.projects - options.creates):.2f}", ""],
        ])
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"benchmark": "control", "version": 1, "machine": about, "projects": options.projects,
                       "branches_per_project": 1 + len(CHILDREN), "create_project": times(creates),
                       "lists": {kind: times(values) for kind, values in lists.items()},
                       "lists_after_start": {kind: times(values) for kind, values in again.items()},
                       "memory_bytes": {**memory, "without_projects": empty["memory"]}, "up_sec": up, "down_sec": down, "rest": rest,
                       "first_look": {"sec": settled, "processor_sec": settled_cpu},
                       "disk_bytes_per_project": (disk - empty["disk"]) / options.projects,
                       "descriptors": {"idle": after_creating["descriptors"], "without_projects": empty["descriptors"]},
                       "fill_sec": filled}, f, indent=1)
        print(f"\nwritten to {options.json}")


main()

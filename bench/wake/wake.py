"""Wake of a sleeping endpoint, from TCP connect to the first row, beside Postgres started by hand.

Both in one run, alternately. "Wake" is what a user waits for: TCP, TLS with verification, token login, supervisor, start
of Postgres, its first backend, SELECT 1. "Bare" is `postgres` executed on a plain copy of the same cluster with the same
settings, until SELECT 1 answers on its Unix socket: no proxy, no TLS, no token. "Awake" is the same connect to an
endpoint that runs, which says how much of a wake is connecting.
"""

import argparse
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import psycopg  # noqa: E402
from tarn_bench import Tarn, machine, percentile, table  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="bench/wake/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=60, help="how many of each (default 60)")
    parser.add_argument("--json", default="bench-wake.json", help="where the result goes (default %(default)s)")
    parser.add_argument("--tarn", help="the binary (default build/tarn)")
    return parser.parse_args()


def first_row(connection_info):
    """Milliseconds from the first TCP packet to the first row; the client library is loaded already."""
    begin = time.perf_counter()
    with psycopg.connect(**connection_info, autocommit=True) as connection:
        row = connection.execute("SELECT 1").fetchone()
        taken = (time.perf_counter() - begin) * 1000
    assert row == (1,)
    return taken


class Bare:
    """A copy of the sleeping endpoint's cluster, started by hand with the configuration the compute had."""

    def __init__(self, tarn, user):
        self.user = user
        self.folder = os.path.join(tarn.data, "bare")
        volume = glob.glob(os.path.join(tarn.data, "volumes", "*"))[0]
        self.data = os.path.join(self.folder, "data")
        shutil.copytree(volume, self.folder, symlinks=True)
        settings = glob.glob(os.path.join(tarn.data, "computes", "*", "postgresql.conf"))[0]
        self.socket = os.path.join(self.folder, "socket")
        os.mkdir(self.socket, 0o700)
        shutil.copy(settings, self.socket)
        with open(os.path.join(self.socket, "hba.conf"), "w", encoding="ascii") as f:
            f.write("local all all trust\n")  # the socket's folder lets in only its user and root
        for root, folders, files in os.walk(self.folder):
            for name in [".", *folders, *files]:
                os.lchown(os.path.join(root, name), user.pw_uid, user.pw_gid)
        self.info = {"host": self.socket, "port": 5432, "user": "cloud_admin", "dbname": "databricks_postgres"}

    def is_ready(self, pid):
        """The last line of postmaster.pid is the server's own word (src/include/utils/pidfile.h)."""
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii", errors="replace") as f:
                lines = f.read().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def start_and_ask(self):
        as_user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        begin = time.perf_counter()
        server = subprocess.Popen(
            ["postgres", "-D", self.data, "-c",
             f"config_file={self.socket}/postgresql.conf", "-c", f"hba_file={self.socket}/hba.conf",
             "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.socket}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)
        try:
            # Connecting again and again would fork a backend each time and slow down the start that is measured.
            while not self.is_ready(server.pid):
                if server.poll() is not None or time.perf_counter() - begin > 30:
                    sys.exit("the bare Postgres did not start")
                time.sleep(0.0005)
            with psycopg.connect(**self.info, autocommit=True) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
                return (time.perf_counter() - begin) * 1000
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def compute(tarn):
    out = subprocess.run(tarn.command("status", "-o", "json"), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)["computes"][0]


def main():
    options = arguments()
    about = machine()
    user_name = "tarn" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with Tarn(options.tarn, settings=["suspend_timeout_min_sec=1"]) as tarn:
        print("creating a project …", flush=True)
        tarn.json("create-project", "bench", "--json",
                  '{"spec":{"default_endpoint_settings":{"suspend_timeout_duration":"1s"}}}')
        login = tarn.login("bench")
        info = {"host": login["PGHOST"], "port": login["PGPORT"], "user": login["PGUSER"],
                "password": login["PGPASSWORD"], "dbname": login["PGDATABASE"], "sslmode": login["PGSSLMODE"],
                "sslrootcert": login["PGSSLROOTCERT"]}

        def asleep():
            return compute(tarn)["state"] == "asleep"

        tarn.wait(asleep, 60, "the endpoint to fall asleep")
        bare = Bare(tarn, pwd.getpwnam(user_name))
        bare.start_and_ask()  # both sides: everything has been read from disk once
        first_row(info)
        measured = {"wake": [], "awake": [], "bare": []}
        parts = {"process start of the supervisor, messages": [], "supervisor until Postgres is executed": [],
                 "Postgres until it accepts writes": [], "roles and databases (SQL)": [],
                 "TCP, TLS, token and relay, as when awake": [],
                 "route and open, first backend of a fresh Postgres": []}
        for number in range(options.wakes):
            tarn.wait(asleep, 60, "the endpoint to fall asleep")
            measured["bare"].append(bare.start_and_ask())
            measured["wake"].append(first_row(info))
            measured["awake"].append(first_row(info))
            timing = compute(tarn)["timing"]
            supervised = timing["prepare_ms"] + timing["postgres_ms"] + timing["reconcile_ms"]
            shares = [timing["start_ms"] - supervised, timing["prepare_ms"], timing["postgres_ms"], timing["reconcile_ms"],
                      measured["awake"][-1], measured["wake"][-1] - timing["start_ms"] - measured["awake"][-1]]
            for values, share in zip(parts.values(), shares):
                values.append(share)
            if (number + 1) % 10 == 0:
                print(f"  {number + 1} of {options.wakes} wakes", flush=True)

        def summary(values):
            return {"n": len(values), "p50_ms": percentile(values, 0.5), "p95_ms": percentile(values, 0.95),
                    "min_ms": min(values), "max_ms": max(values)}

        def row(name, values):
            s = summary(values)
            return [name, s["n"], *(f"{s[key]:.1f}" for key in ("p50_ms", "p95_ms", "min_ms", "max_ms"))]

        print()
        table(["connect to first row", "n", "p50 ms", "p95 ms", "min", "max"],
              [row("wake through Tarn", measured["wake"]), row("bare postgres start", measured["bare"]),
               row("connect while awake", measured["awake"])])
        ratio = percentile(measured["wake"], 0.5) / percentile(measured["bare"], 0.5)
        print(f"\nwake / bare: {ratio:.2f} (medians)\n")
        table(["where a wake's time goes", "n", "p50 ms", "p95 ms", "min", "max"],
              [row(name, values) for name, values in parts.items()])
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"benchmark": "wake", "version": 2, "machine": about,
                       "results": {name: summary(values) for name, values in measured.items()},
                       "ratio_p50": ratio, "parts": {name: summary(values) for name, values in parts.items()},
                       "values_ms": measured, "parts_ms": parts}, f, indent=1)
        print(f"\nwritten to {options.json}")


main()

"""Wake of a sleeping endpoint, from TCP connect to the first row, beside Postgres started by hand.

Both in one run, alternately. "Wake" is what a user waits for: TCP, TLS with verification, token login, supervisor, start
of Postgres, its first backend, SELECT 1. "Bare" is `postgres` executed on a plain copy of the same cluster with the same
settings, until SELECT 1 answers on its Unix socket: no proxy, no TLS, no token. "Awake" is the same connect to an
endpoint that runs, which says how much of a wake is connecting.
"""

import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import psycopg  # noqa: E402
from tarn_bench import Stock, Tarn, machine, percentile, table  # noqa: E402


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


def start_and_ask(bare):
    """Milliseconds from executing `postgres` to its first row."""
    begin = time.perf_counter()
    bare.start()
    try:
        with psycopg.connect(**bare.info, autocommit=True) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            return (time.perf_counter() - begin) * 1000
    finally:
        bare.stop()


def compute(tarn):
    out = subprocess.run(tarn.command("status", "-o", "json"), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)["computes"][0]


def main():
    options = arguments()
    about = machine()
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

        first_row(info)
        bare = Stock(tarn, tarn.endpoint("bench"), tarn.folder)
        tarn.wait(asleep, 60, "the endpoint to fall asleep")
        start_and_ask(bare)  # both sides: everything has been read from disk once
        first_row(info)
        measured = {"wake": [], "awake": [], "bare": []}
        parts = {"process start of the supervisor, messages": [], "supervisor until Postgres is executed": [],
                 "Postgres until it accepts writes": [], "roles and databases (SQL)": [],
                 "TCP, TLS, token and relay, as when awake": [],
                 "route and open, first backend of a fresh Postgres": []}
        for number in range(options.wakes):
            tarn.wait(asleep, 60, "the endpoint to fall asleep")
            measured["bare"].append(start_and_ask(bare))
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

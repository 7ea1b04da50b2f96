"""Thousands of clients connect to one sleeping endpoint at the same moment: one start, all served, nobody reads an error."""

import argparse
import math
import sys

from harness.platform import NO_LIMITS, Platform
from system.crowds import check_crowd, resize

CONNECTIONS_PER_CU = 209  # the limit follows the largest size of the endpoint


def main():
    parser = argparse.ArgumentParser(prog="tests/long/crowd", description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    with Platform(settings={"suspend_timeout_min_sec": 60, **NO_LIMITS}) as platform:
        platform.rest.create_project("crowd")
        most = math.ceil((options.clients + 50) / CONNECTIONS_PER_CU)
        resize(platform, "crowd", most, max(0.5, most - 15))
        for _ in range(options.times):
            seconds = check_crowd(platform, "crowd", options.clients)
            print(f"{options.clients} clients, up to {most} CU: all served, one start, {seconds:.1f} s with their handshakes", flush=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"FAILED: {error}")

"""Postgres' own reading of a branch's WAL: where it is, and when its commits were."""

import datetime
import re
import subprocess

from harness.platform import clean_environment

SEGMENT_BYTES = 16 << 20


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def lsn_text(number):
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def insert_lsn(connection):
    (value,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return int(value)


def rfc3339(moment):
    """Of a datetime, or of seconds since 1970; to the microsecond."""
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def commit_times(folder, timeline, first, last):
    """{xid: datetime} of the commits in [first, last), as pg_waldump reads them."""
    done = subprocess.run(
        ["pg_waldump", "-p", str(folder), "-t", str(timeline), "-s", lsn_text(first), "-e", lsn_text(last), "-r", "Transaction"],
        env=clean_environment(TZ="UTC"), capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    found = {}
    for line in done.stdout.splitlines():
        match = re.search(r"tx:\s+(\d+),.*desc: COMMIT (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC", line)
        if match:
            moment = datetime.datetime.strptime(match[2], "%Y-%m-%d %H:%M:%S.%f")
            found[int(match[1])] = moment.replace(tzinfo=datetime.timezone.utc)
    return found

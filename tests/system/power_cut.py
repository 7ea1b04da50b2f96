"""The page store loses power under a write load, again and again: what was not synced is kept, lost or torn by chance
(recording_disk.c). No acknowledged row is lost, and amcheck finds nothing: with full_page_writes off only whole pages make that so.

The last story takes the protection away (both slot files of a page are one), and must then find damage: a test that
cannot fail proves nothing.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from harness import load, processes
from harness.platform import BINARY
from harness.waiting import NotInTime, wait_until

POWER_BINARY = Path(os.environ.get("TARN_POWER_CUT_BINARY", BINARY.parent / "tests/power_cut/tarn-power-cut"))
CUTS = int(os.environ.get("TARN_POWER_CUTS", "6"))


def pagefs_pids(platform):
    """The file systems of this platform's volumes."""
    return [pid for pid in processes.of_directory(platform.directory) if " pagefs " in processes.command_line(pid)]


def cut_power(platform):
    pid = wait_until(lambda: next(iter(pagefs_pids(platform)), None), "a pagefs to cut off")
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not processes.is_alive(pid), "the pagefs without power is gone")


def verify(platform, endpoint, acknowledged):
    """Every row is there, every page has its checksum, every index fits its table."""
    with platform.connect(endpoint) as connection:
        connection.execute("create extension if not exists amcheck")
        load.check(connection, acknowledged)
        connection.execute("select count(*), sum(length(filler)) from ballast").fetchone()
        bad = connection.execute(
            "select c.relname, v.* from pg_class c, lateral verify_heapam(c.oid) v where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace"
        ).fetchall()
        assert not bad, f"verify_heapam: {bad[:3]}"
        connection.execute(
            "select bt_index_check(c.oid, true) from pg_class c join pg_index i on i.indexrelid = c.oid "
            "where c.relkind = 'i' and c.relam = (select oid from pg_am where amname = 'btree') and c.relnamespace = 'public'::regnamespace"
        ).fetchall()


def prepare(platform):
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.connect(endpoint) as connection:
        load.prepare(connection)
        # Many pages that change in place, more than fit into shared buffers at once would be slow; enough to be written between checkpoints.
        connection.execute("create table ballast (id int primary key, number int, filler text) with (fillfactor = 70)")
        connection.execute("insert into ballast select i, 0, repeat('x', 200) from generate_series(1, 60000) i")
    return endpoint


def stir(connection, chance):
    """Changes pages all over the table, and has them written: a checkpoint is when pages of a live database reach the disk."""
    for _ in range(6):
        low = chance.randrange(60000)
        connection.execute("update ballast set number = number + 1 where id between %s and %s", (low, low + 2500))
    connection.execute("checkpoint" if chance.random() < 0.5 else "select 1")


def run(platform, cuts, seed):
    chance = random.Random(seed)
    endpoint = prepare(platform)
    parameters = platform.connection_parameters(endpoint)

    def connect():
        return platform.connect(endpoint, password=parameters["password"])

    with load.WriteLoad(connect, workers=2) as writing:
        for _ in range(cuts):
            until = time.monotonic() + chance.uniform(1, 4)
            while time.monotonic() < until:
                try:
                    with connect() as connection:
                        stir(connection, chance)
                except psycopg.Error:
                    pass
            cut_power(platform)
            wait_until(lambda: pagefs_pids(platform), "the volume is mounted again", timeout=60)
            promised = writing.acknowledged
            writing.wait_for_progress()
            verify(platform, endpoint, promised)


@pytest.fixture
def seed(request):
    number = int(os.environ.get("TARN_POWER_SEED", random.randrange(1 << 31)))
    print(f"repeat with TARN_POWER_SEED={number}")
    return number


needs_binary = pytest.mark.skipif(not POWER_BINARY.exists(), reason=f"there is no {POWER_BINARY}")


@needs_binary
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost(own_platform, seed):
    run(own_platform(binary=POWER_BINARY, environment={"TARN_POWER_SEED": str(seed)}), CUTS, seed)


@needs_binary
@pytest.mark.timeout(900)
def test_it_would_find_a_torn_page(own_platform, seed):
    platform = own_platform(binary=POWER_BINARY, environment={"TARN_POWER_SEED": str(seed), "TARN_POWER_ONE_SLOT": "1"})
    with pytest.raises((AssertionError, psycopg.Error, NotInTime, subprocess.SubprocessError)):
        run(platform, 10, seed)

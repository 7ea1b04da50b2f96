"""A full disk: the operation fails with the reason, nothing half-made stays, and it works again with space."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

from harness import load, processes
from harness.platform import Platform
from harness.rest import OperationFailed, RestError
from harness.waiting import NotInTime, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of limited size needs root to mount it")


@pytest.fixture
def small_disk():
    """A platform whose data directory lies in a file system of its own: ext4, on a loop device, of 8 GB."""
    folder = Path(tempfile.mkdtemp(prefix="tarn-", dir="/tmp"))
    device, mount = folder / "device", folder / "m"
    mount.mkdir()
    with open(device, "wb") as file:
        file.truncate(8 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", device], check=True)
    attached = subprocess.run(["mount", "-o", "loop", device, mount], capture_output=True, text=True, check=False)
    if attached.returncode != 0:
        shutil.rmtree(folder)
        pytest.skip(f"no loop device here: {attached.stderr.strip()}")
    os.chmod(folder, 0o711)
    os.chmod(mount, 0o711)
    (mount / "d").mkdir()
    try:
        with Platform(directory=mount / "d", settings={"suspend_timeout_min_sec": 1}) as platform:
            yield platform
    finally:
        subprocess.run(["umount", mount], check=True)
        shutil.rmtree(folder)


def free_bytes(platform):
    stat = os.statvfs(platform.directory)
    return stat.f_bavail * stat.f_frsize


def fill(platform, leave):
    """A file of somebody else's that takes all space but `leave` bytes."""
    path = platform.directory.parent / "somebody-elses-film"
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free_bytes(platform) - leave, 4096))
    return path


def volumes(platform):
    return sorted(p.name for p in (platform.directory / "volumes").iterdir())


def expect_no_space(create):
    with pytest.raises((OperationFailed, RestError)) as caught:
        create()
    error = caught.value.error if isinstance(caught.value, OperationFailed) else caught.value.body
    assert "no space left on device" in error["message"].lower() or "disk" in error["message"], error
    assert error["error_code"] in ("RESOURCE_EXHAUSTED", "IO_ERROR", "QUOTA_EXCEEDED", "RESOURCE_LIMIT_EXCEEDED"), error


@pytest.mark.parametrize("leave", [1 << 20, 12 << 20], ids=lambda n: f"{n >> 20} MB free")
def test_creating_a_project_and_a_branch(small_disk, leave):
    platform = small_disk
    platform.rest.create_project("first")
    first = platform.rest.endpoint("first")
    platform.sql(first, "create table t as select generate_series(1, 1000) i")
    before = volumes(platform)
    computes = sorted(p.name for p in (platform.directory / "computes").iterdir())
    film = fill(platform, leave)
    expect_no_space(lambda: platform.rest.create_project("second"))
    expect_no_space(lambda: platform.rest.create_branch("first", "dev"))
    wait_until(lambda: volumes(platform) == before, "nothing half-made")
    wait_until(lambda: sorted(p.name for p in (platform.directory / "computes").iterdir()) == computes, "no compute left")
    assert [p["project_id"] for p in platform.rest.get("projects")["projects"]] == ["first"]
    assert [b["branch_id"] for b in platform.rest.get("projects/first/branches")["branches"]] == ["production"]
    assert platform.sql(first, "select count(*) from t") == [(1000,)], "those who have their space are served"

    film.unlink()
    platform.rest.create_project("second")
    assert platform.sql(platform.rest.endpoint("second"), "select 1") == [(1,)]
    platform.rest.create_branch("first", "dev")
    assert platform.sql(platform.rest.endpoint("first", "dev"), "select count(*) from t") == [(1000,)]


def test_the_first_project_of_all(small_disk):
    """The template cluster is made on that occasion: it must not stay half-made either."""
    platform = small_disk
    film = fill(platform, 10 << 20)
    expect_no_space(lambda: platform.rest.create_project("first"))
    assert not platform.half_made() and not volumes(platform)
    film.unlink()
    platform.rest.create_project("first")
    assert platform.sql(platform.rest.endpoint("first"), "select 1") == [(1,)]


def grow(platform, leave):
    """The film gets longer, or shorter, until so much is free."""
    path = platform.directory.parent / "somebody-elses-film"
    size = path.stat().st_size if path.exists() else 0
    with open(path, "ab") as file:
        size += free_bytes(platform) - leave
        while size > file.tell():
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                break
            except OSError as error:  # others took some meanwhile
                if error.errno != errno.ENOSPC:
                    raise
                size = min(size - 1, path.stat().st_blocks * 512 + free_bytes(platform))
        else:
            file.truncate(max(size, 0))
    return path


def is_read_only(error):
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def test_writers_are_slowed_then_refused_before_the_disk_is_full(small_disk):
    """Postgres never meets the end of the disk: it is told earlier, everybody can read, and space can be freed by SQL."""
    platform = small_disk
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.connect(endpoint) as connection:
        load.prepare(connection)
        connection.execute("create table ballast as select repeat('x', 1000) x from generate_series(1, 20000)")
    with load.WriteLoad(lambda: platform.connect(endpoint)) as writing:
        grow(platform, 1800 << 20)
        wait_until(lambda: platform.sql(endpoint, "show commit_delay") != [("0",)], "writers are slowed down", 60)
        writing.wait_for_progress(timeout=120)
        assert not writing.failures, writing.failures[:2]
        status = lambda: platform.tarn("status", "--data", platform.directory).stdout  # noqa: E731
        wait_until(lambda: "disk" in status().partition("STORAGE OF")[2], "the alarm is in the status")
        grow(platform, 700 << 20)
        wait_until(lambda: any(is_read_only(f) for f in writing.failures), "writers are refused", 60)
        promised = writing.acknowledged
        with platform.connect(endpoint) as connection:
            load.check(connection, promised)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("create table more (i int)")
            with connection.transaction():
                connection.execute("set transaction read write")
                connection.execute("drop table ballast")
        film = grow(platform, 100 << 20)
        time.sleep(3)  # nothing is to happen: writers stay refused, nobody crashes
        assert platform.sql(endpoint, "select count(*) >= 0 from receipt") == [(True,)]
        film.unlink()
        writing.wait_for_progress(timeout=120)
    with platform.connect(endpoint) as connection:
        load.check(connection, writing.acknowledged)
    log = (platform.directory / "computes" / endpoint["uid"] / "postgres.log").read_text(errors="replace")
    assert "PANIC" not in log and "No space left" not in log


@pytest.mark.parametrize("leave", [0, 6 << 20, 40 << 20], ids=lambda n: f"{n >> 20} MB free")
def test_a_disk_that_is_full_at_once_loses_nothing(small_disk, leave):
    """Somebody else takes all space in a moment, too fast for any brake; with space again, nobody has to repair anything."""
    platform = small_disk
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.connect(endpoint) as connection:
        load.prepare(connection)
    password = platform.connection_parameters(endpoint)["password"]
    connect = lambda: platform.connect(endpoint, password=password, connect_timeout=10)  # noqa: E731
    with load.WriteLoad(connect) as writing:
        filler = threading.Thread(target=fill_with_rows, args=(connect,), daemon=True)
        filler.start()
        writing.wait_for_progress()
        film = grow(platform, leave)
        wait_until(lambda: writing.failures, "writers are told", 120)
        promised = writing.acknowledged
        filler.join(60)
        film.unlink()
        writing.wait_for_progress(timeout=120)
        with connect() as connection:
            load.check(connection, promised)
    with connect() as connection:
        load.check(connection, writing.acknowledged)
        connection.execute("drop table if exists ballast")
    platform.rest.create_branch("p", "dev")
    with platform.connect(platform.rest.endpoint("p", "dev")) as connection:
        load.check(connection, writing.acknowledged)


def fill_with_rows(connect):
    """Until it fails: pages and WAL."""
    try:
        with connect() as connection:
            connection.execute("create table ballast (t text)")
            for _ in range(500):
                connection.execute("insert into ballast select repeat(md5(i::text), 100) from generate_series(1, 1000) i")
    except psycopg.Error:
        pass


def test_suspend_and_wake_on_a_full_disk(small_disk):
    """What is committed is there after a suspend that had no space, and the operation ends once there is some."""
    platform = small_disk
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.connect(endpoint) as connection:
        connection.execute("create table t as select i, repeat('x', 100) x from generate_series(1, 50000) i")
        connection.execute("update t set x = repeat('y', 100) where i % 2 = 0")
    film = fill(platform, 1 << 20)
    operation = platform.rest.call("PATCH", endpoint["name"], {"spec": {"disabled": True}}, update_mask="spec.disabled")
    wait_until(lambda: platform.supervisor_pid(endpoint) is None, "the compute has ended", 120)
    film.unlink()
    platform.rest.finish(operation)
    platform.wait_asleep(endpoint)
    platform.rest.update_endpoint("p", "production", "spec.disabled", {"disabled": False})
    query = "select count(*), count(*) filter (where x = repeat('y', 100)) from t"
    assert wait_until(lambda: platform.sql(endpoint, query), "it wakes", 60) == [(50000, 25000)]


def stop_before_promotion(platform, known):
    """
    The supervisor of a branch that is being created, stopped between the start of its Postgres and the request for the promotion, and the
    branch's PGDATA; None when it was too fast.
    """
    lock = wait_until(lambda: next((p for p in platform.directory.glob("computes/*/supervisor.lock") if p.parent.name not in known), None), "a compute", 30, pause=0.001)  # fmt: skip
    supervisor = wait_until(lambda: json.loads(lock.read_text())["pid"], "its supervisor", pause=0.001)
    wait_until(lambda: any("postgres" in processes.command_line(pid).split(" ")[0] for pid in processes.children(supervisor)), "its Postgres", pause=0.001)
    os.kill(supervisor, signal.SIGSTOP)
    data = platform.directory / "volumes" / json.loads((lock.parent / "spec.json").read_text())["volume_id"] / "data"
    try:
        wait_until(lambda: re.search(r"^standby", (data / "postmaster.pid").read_text(), re.MULTILINE), "it recovers", 5)
        if not (data / "promote").exists():
            return supervisor, data
    except NotInTime:
        pass
    os.kill(supervisor, signal.SIGCONT)
    return None


def state_of(platform, supervisor):
    """What the compute says about itself to whoever connects."""
    (lock,) = (p for p in platform.directory.glob("computes/*/supervisor.lock") if json.loads(p.read_text())["pid"] == supervisor)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(lock.with_name("supervisor.sock")))
        with connection.makefile() as lines:
            return json.loads(lines.readline())


def fill_to_the_last_file(platform, data):
    """No space, and no name either finds a place in the volume."""
    grow(platform, 0)
    try:
        for i in range(100000):
            (data / f"filler-{i}").touch()
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return
    raise AssertionError("the disk is never full")


def test_a_branch_that_cannot_be_promoted_says_why(small_disk):
    """Its Postgres has replayed everything and waits to be told; the file that tells it has no place on the disk."""
    platform = small_disk
    rest = platform.rest
    rest.create_project("p")
    platform.sql(rest.endpoint("p"), "create table t as select generate_series(1, 1000) i")
    before = volumes(platform)
    for attempt in range(10):
        known = {p.name for p in (platform.directory / "computes").iterdir()}
        operation = rest.call("POST", "projects/p/branches", {"spec": {"no_expiry": True}}, branch_id=f"b{attempt}")
        stopped = stop_before_promotion(platform, known)
        if stopped:
            break
        rest.finish(operation)
        rest.delete_branch("p", f"b{attempt}")
    assert stopped, "it is always faster"
    supervisor, data = stopped
    try:
        fill_to_the_last_file(platform, data)
    finally:
        begun = time.monotonic()
        os.kill(supervisor, signal.SIGCONT)
    words = r'could not promote branch volume "\S+": .*No space left on device. Free disk space and try again'
    wait_until(lambda: re.search(words, state_of(platform, supervisor).get("reason", "")), "who asks hears what it waits for", 5)
    with pytest.raises(OperationFailed) as caught:
        rest.finish(operation)
    assert re.search(words, caught.value.error["message"]), caught.value
    assert 5 < time.monotonic() - begun < 60
    wait_until(lambda: volumes(platform) == before, "nothing half-made")
    assert platform.sql(rest.endpoint("p"), "select count(*) from t") == [(1000,)]

    grow(platform, 0).unlink()
    rest.create_branch("p", "dev")
    assert platform.sql(rest.endpoint("p", "dev"), "select count(*) from t") == [(1000,)]

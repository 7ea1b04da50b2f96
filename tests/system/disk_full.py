"""A full disk: the operation fails with the reason, nothing half-made stays, and it works again with space."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.platform import Platform
from harness.rest import OperationFailed, RestError
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of limited size needs root to mount it")


@pytest.fixture
def small_disk():
    """A platform whose data directory lies in a file system that has room for about three clusters."""
    mount = Path(tempfile.mkdtemp(prefix="tarn-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=0711", "tmpfs", mount], check=True)
    (mount / "d").mkdir()
    try:
        with Platform(directory=mount / "d", settings={"suspend_timeout_min_sec": 1}) as platform:
            yield platform
    finally:
        subprocess.run(["umount", mount], check=True)
        mount.rmdir()


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


@pytest.mark.parametrize("leave", [1 << 20, 12 << 20, 30 << 20], ids=lambda n: f"{n >> 20} MB free")
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

"""Fixtures of the file system's tests. `--times N` makes the random ones N times as long (./check filesystem --times 100)."""

import fcntl
import os
import random
import stat

import pytest
from filesystem.volume import BINARY, MAKE_VOLUME, Volume


def pytest_addoption(parser):
    parser.addoption("--times", type=int, default=1, help="how many times as long the random tests run")
    parser.addoption("--seed", type=int, default=None, help="repeats what a failure printed")


def pytest_configure(config):
    for program in (BINARY, MAKE_VOLUME):
        if not program.exists():
            raise pytest.UsageError(f"there is no {program}: build it")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise pytest.UsageError("/dev/fuse cannot be used: see `tarn doctor`")


@pytest.fixture
def volume():
    """A mounted, empty volume of this test's own."""
    one = Volume()
    try:
        yield one.mount()
    finally:
        one.remove()


@pytest.fixture
def root(volume):
    """Where it is mounted."""
    return volume.path


@pytest.fixture
def usable_device():
    """/dev/fuse as it is on an ordinary host: every user may open it. One test at a time, since the mode is put back."""
    with open("/tmp/tarn-fs-device.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
        os.chmod("/dev/fuse", 0o666)
        yield
        os.chmod("/dev/fuse", mode)


@pytest.fixture
def times(request):
    return request.config.getoption("--times")


@pytest.fixture
def dice(request):
    """Random numbers from a seed that the report of a failure shows."""
    seed = request.config.getoption("--seed")
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (again: --seed {seed})")
    source = random.Random(seed)
    source.seed_used = seed
    return source

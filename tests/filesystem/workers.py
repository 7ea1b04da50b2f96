"""Who takes the kernel's requests (page_filesystem/workers.h), on a disk that can be stopped: an ext4 in a file, frozen with FIFREEZE."""

import fcntl
import os
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from filesystem.volume import PAGE, TIMEOUT, Volume
from harness import mounts

WORKERS = 32
EXT4_IOC_SHUTDOWN, WITHOUT_LOG = 0x8004587D, 2
PATIENCE = 1  # seconds in which something must not happen


class Disk:
    """A file system of its own for the volume's folder."""

    def __init__(self, folder):
        self.image, self.path = folder / "disk", folder / "mounted"
        self.is_frozen = self.is_mounted = False
        with open(self.image, "wb") as file:
            file.truncate(2 << 30)
        self.path.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True, capture_output=True)

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.path], capture_output=True, text=True, check=False)
        self.is_mounted = done.returncode == 0
        return done.stderr.strip()

    def freeze(self):
        time.sleep(0.3)  # after a write that took the disk long nothing is acknowledged early for a tenth of a second
        subprocess.run(["fsfreeze", "--freeze", self.path], check=True)
        self.is_frozen = True

    def thaw(self):
        if self.is_frozen:
            subprocess.run(["fsfreeze", "--unfreeze", self.path], check=True)
        self.is_frozen = False

    def break_down(self):
        """From here on every write fails, as on a disk that has been pulled out."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG))
        finally:
            os.close(fd)

    def repair(self):
        subprocess.run(["umount", self.path], check=True)
        self.is_mounted = False
        assert self.mount() == ""

    def close(self):
        self.thaw()
        if self.is_mounted:
            subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def disk():
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system in a file")
    with tempfile.TemporaryDirectory(prefix="tarn-fs-", dir="/tmp") as folder:  # the path of a data directory must be short
        os.chmod(folder, 0o711)
        one = Disk(Path(folder))
        problem = one.mount()
        if problem:
            pytest.skip(f"no file system in a file here: {problem}")
        try:
            yield one
        finally:
            one.close()


@pytest.fixture
def slow(disk):
    """A mounted volume on it, with some files of whole, synced pages."""
    os.chmod(disk.path, 0o711)
    (disk.path / "data").mkdir()
    volume = Volume(directory=disk.path / "data")
    volume.log = disk.path.parent / "pagefs.log"  # what it says must not wait for the disk
    volume.mount()
    try:
        for number in range(WORKERS + 2):
            with open(volume.path / f"file{number}", "wb") as file:
                for _ in range(2):  # so that both slot files are there: one is made before a write is acknowledged
                    os.pwrite(file.fileno(), bytes([number]) * 4 * PAGE, 0)
                    os.fsync(file.fileno())
        yield volume
    finally:
        disk.thaw()
        volume.remove()


class Call(threading.Thread):
    """One system call below the mount, which may not come back for a while."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.result, self.failure = call, None, None
        self.start()

    def run(self):
        try:
            self.result = self.call()
        except OSError as failure:
            self.failure = failure

    def is_over(self, seconds=TIMEOUT):
        self.join(seconds)
        return not self.is_alive()


def writer(volume, number, at, content):
    """Writes to a file that is open already: opening is nothing that is asked of the file system again."""
    fd = os.open(volume.path / f"file{number}", os.O_RDWR)

    def write():
        try:
            return os.pwrite(fd, content, at)
        finally:
            os.close(fd)

    return write


def look(volume, name):
    """A name that the kernel has never heard of: it has to ask."""
    return lambda: (volume.path / name).exists()


def read_cold(path):
    """What the volume has, not what the kernel remembers."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")
    return path.read_bytes()


def test_a_page_is_acknowledged_before_the_disk_has_it_and_nobody_can_tell(slow, disk):
    page = b"n" * PAGE
    write = writer(slow, 0, 2 * PAGE, page)
    append = writer(slow, 1, 4 * PAGE, page)
    disk.freeze()
    first = Call(write)
    assert first.is_over() and first.result == PAGE  # the disk has done nothing
    # Whoever asks now would have to see it: nobody is answered before it is done.
    others = [Call(look(slow, "nobody")), Call(lambda: os.stat(slow.path / "file0").st_size), Call(append)]
    time.sleep(PATIENCE)
    assert not others[0].is_over(0)
    assert not others[2].is_over(0)
    disk.thaw()
    assert all(call.is_over() and call.failure is None for call in others)
    assert [call.result for call in others] == [False, 4 * PAGE, PAGE]
    assert (slow.path / "file1").stat().st_size == 5 * PAGE
    os.sync()
    assert read_cold(slow.path / "file0") == bytes(2 * PAGE) + page + bytes(PAGE)
    assert read_cold(slow.path / "file1") == bytes([1]) * 4 * PAGE + page


@pytest.mark.parametrize("held_up", [1, 5, WORKERS - 1])
def test_a_leader_that_the_disk_holds_up_is_relieved(slow, disk, held_up):
    # A part of a page is not acknowledged early.
    writes = [writer(slow, number, 10, b"part") for number in range(held_up)]
    disk.freeze()
    calls = [Call(write) for write in writes]
    names = [Call(look(slow, f"nobody{number}")) for number in range(5)]
    assert all(call.is_over() and call.result is False for call in names)
    assert os.stat(slow.path / "file0").st_size == 4 * PAGE
    assert not any(call.is_over(0) for call in calls)
    disk.thaw()
    assert all(call.is_over() and call.result == 4 for call in calls)
    for number in range(held_up):
        expected = bytearray([number]) * 4 * PAGE
        expected[10:14] = b"part"
        assert read_cold(slow.path / f"file{number}") == expected


def test_when_the_disk_holds_up_everybody_the_first_who_is_done_goes_on(slow, disk):
    writes = [writer(slow, number, 10, b"part") for number in range(WORKERS + 2)]
    disk.freeze()
    calls = [Call(write) for write in writes]
    time.sleep(PATIENCE)
    name = Call(look(slow, "nobody"))
    assert not name.is_over(PATIENCE)
    disk.thaw()
    assert name.is_over() and name.result is False
    assert all(call.is_over() and call.result == 4 for call in calls)
    # And all goes on as before.
    disk.freeze()
    again = Call(writer(slow, 0, 20, b"part"))
    assert Call(look(slow, "nobody2")).is_over()
    assert not again.is_over(0)
    disk.thaw()
    assert again.is_over() and again.result == 4


def test_it_ends_while_it_waits_for_the_disk(slow, disk):
    """Acknowledged and not done, and told to end: it ends when it is done, and it is there."""
    page = b"e" * PAGE
    write = writer(slow, 3, PAGE, page)
    disk.freeze()
    first = Call(write)
    assert first.is_over() and first.result == PAGE
    unmount = Call(slow.unmount)
    assert not unmount.is_over(PATIENCE)
    disk.thaw()
    assert unmount.is_over()
    slow.mount()
    assert (slow.path / "file3").read_bytes() == bytes([3]) * PAGE + page + bytes([3]) * 2 * PAGE


def test_an_acknowledged_write_that_fails_is_the_end_before_anybody_can_see_it(slow, disk):
    page = b"l" * PAGE
    write, append = writer(slow, 5, 0, page), writer(slow, 6, 4 * PAGE, page)
    other = os.open(slow.path / "file7", os.O_RDONLY)
    disk.freeze()
    calls = [Call(write), Call(lambda: os.lseek(other, 0, os.SEEK_DATA)), Call(append), Call(look(slow, "nobody"))]
    assert calls[0].is_over() and calls[0].result == PAGE
    disk.break_down()
    disk.thaw()
    # Whoever asked after that write is told nothing at all.
    assert slow.process.wait(TIMEOUT) == 1
    assert all(call.is_over() and call.failure is not None for call in calls[1:])
    assert "acknowledged" in slow.log_text()
    os.close(other)
    slow.line.socket.close()
    slow.process = None
    mounts.detach_all(slow.directory)
    disk.repair()
    slow.mount()
    assert (slow.path / "file5").read_bytes() == bytes([5]) * 4 * PAGE
    assert (slow.path / "file6").read_bytes() == bytes([6]) * 4 * PAGE

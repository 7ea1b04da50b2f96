"""What nobody should do to a file system, and what happens then: killed, full, cut under load, mounted twice, talked to in nonsense."""

import errno
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest
from filesystem.volume import BINARY, MAKE_VOLUME, PAGE, Ended, Failed, Line, Volume
from filesystem.writers import CreatingWriter, PageWriter, ReplacingWriter, digest
from harness.waiting import wait_until

GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


def new_writers(root, dice):
    sub = lambda: random.Random(dice.randrange(1 << 60))  # noqa: E731
    for folder in ("pages", "names"):
        os.makedirs(root / folder, exist_ok=True)
    return [
        PageWriter(str(root / "pages" / "small"), sub(), blocks=8),
        PageWriter(str(root / "pages" / "large"), sub(), blocks=400),
        ReplacingWriter(str(root / "pages" / "current"), sub()),
        CreatingWriter(str(root / "names"), sub()),
    ]


def check(writers):
    problems = [problem for writer in writers for problem in writer.problems()]
    assert not problems, "\n".join(problems[:20])


def work_for_a_while(writers, steps, timeout=60):
    for writer in writers:
        writer.start()
    wait_until(
        lambda: sum(writer.steps for writer in writers) > steps or not all(w.is_alive() for w in writers),
        "the writers to have written",
        timeout=timeout,
        pause=0.005,
    )


def test_killed_at_any_moment_nothing_synced_is_lost(volume, dice, times):
    """Pages are as they were at the last sync or after one of the writes since, whole; names that were synced are there. Cuts go on."""
    writers = new_writers(volume.path, dice)
    for _ in range(4 * times):
        work_for_a_while(writers, dice.randrange(50, 3000))
        for _ in range(dice.randrange(3)):
            volume.line.ask("cut")
            time.sleep(dice.random() * 0.03)
        volume.kill()
        for writer in writers:
            writer.stop()
            assert writer.error is None or writer.error.errno in GONE, repr(writer.error)
        volume.mount()
        check(writers)
        volume.remount()
        check(writers)
        writers = [writer.successor(random.Random(dice.randrange(1 << 60))) for writer in writers]


def test_a_clean_unmount_loses_nothing_at_all(volume, dice):
    """Synced or not."""
    writers = new_writers(volume.path, dice)
    work_for_a_while(writers, 2000)
    for writer in writers:
        writer.stop()
        assert writer.error is None, repr(writer.error)
    volume.remount()
    for writer in writers[:2]:
        with open(writer.path, "rb") as file:
            content = file.read()
        assert content == b"".join(writer.now)[: len(content)] and len(content) == writer.size
    names = {name for name, state in writers[3].made.items() if state}
    found = {f"{folder}/{name}" for folder in "ab" for name in os.listdir(volume.path / "names" / folder)}
    assert found == names


@needs_root
def test_a_full_disk_loses_nothing(dice, tmp_path, times):
    """ENOSPC is told to who writes; what was synced stays; with space again all goes on."""
    for _ in range(times):
        disk, place = tmp_path / "disk", f"/tmp/tarn-fs-full-{os.getpid()}"
        subprocess.run(["truncate", "-s", "48M", disk], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "-o", "loop", disk, place], check=True)
        volume = None
        try:
            os.makedirs(f"{place}/tarn")
            volume = Volume(directory=f"{place}/tarn").mount()
            writers = new_writers(volume.path, dice)
            ballast = volume.directory.parent / "ballast"
            with open(ballast, "wb") as file:
                space = os.statvfs(place)
                os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize * 8 // 10)
            for writer in writers:
                writer.start()
            filler = PageWriter(str(volume.path / "filler"), random.Random(1), blocks=3000)
            filler.start()
            wait_until(lambda: filler.error is not None, "the disk to be full", timeout=120)
            full = (errno.ENOSPC, *GONE)
            for writer in [*writers, filler]:
                writer.stop()
                assert writer.error is None or writer.error.errno in full, repr(writer.error)
            try:
                volume.do("cut")
                check([*writers, filler])
            except Failed as failed:
                assert failed.code in ("NO_SPACE", "IO"), failed
            except (Ended, BrokenPipeError, ConnectionResetError):
                pass
            ballast.unlink()
            try:
                volume.do("sync")
            except (Failed, Ended, OSError):
                # A sync had failed before: it ends by itself, and goes back to what is durable.
                wait_until(lambda: not volume.is_alive(), "a volume that cannot sync to end")
                volume.ended(1)
                volume.mount()
            check([*writers, filler])
            (volume.path / "afterwards").write_bytes(b"fine" * 5000)
            volume.do("sync")
            volume.do("cut")
            check([*writers, filler])
            volume.remount()
            check([*writers, filler])
            assert (volume.path / "afterwards").read_bytes() == b"fine" * 5000
        finally:
            try:
                if volume:
                    volume.remove()
            finally:
                subprocess.run(["umount", "-l", place], check=False)
                os.rmdir(place)


def clone(volume, cut, name):
    """A volume on the layers of a cut."""
    layers = [f"{layer['store']}/{layer['id']}@{layer['version']}" for layer in cut["layers"]]
    subprocess.run(
        [MAKE_VOLUME, volume.directory, volume.store, name, str(os.geteuid()), str(os.getegid()), *layers],
        check=True,
        timeout=60,
    )
    return Volume(volume.directory, volume.store, name, make=False)


def test_a_cut_is_one_moment(volume, dice, times):
    """A volume on a cut's layers shows every write that was acknowledged before the cut was asked for and none begun after its answer; and
    goes its own way from there."""
    writers = new_writers(volume.path, dice)
    work_for_a_while(writers, 300)
    try:
        for i in range(5 * times):
            syncs = [writer.syncs for writer in writers[:2]]
            # The last one may still be under way: the one before it is the oldest that the cut may show.
            marks = [[max(len(states) - 2, 0) for states in writer.possible] for writer in writers[:2]]
            cut = volume.do("cut")
            after = [[list(states) for states in writer.possible] for writer in writers[:2]]
            with_syncs = [writer.syncs for writer in writers[:2]]
            branch = clone(volume, cut, f"br-clone{i}").mount()
            try:
                for k, writer in enumerate(writers[:2]):
                    if with_syncs[k] != syncs[k] or syncs[k] % 2:
                        continue  # its lists of states began anew meanwhile: nothing to compare with
                    with open(str(writer.path).replace(str(volume.path), str(branch.path)), "rb") as file:
                        content = file.read().ljust(writer.blocks * PAGE, b"\0")
                    for block in range(writer.blocks):
                        page = digest(content[block * PAGE : (block + 1) * PAGE])
                        allowed = after[k][block][marks[k][block] :]
                        assert page in allowed, f"block {block} of {writer.path} in cut {i}"
                (branch.path / "own").write_bytes(b"branch")
                assert not (volume.path / "own").exists()
                (branch.path / "pages" / "small").write_bytes(b"overwritten")
            finally:
                branch.unmount()
    finally:
        for writer in writers:
            writer.stop()
    assert all(writer.error is None for writer in writers), [writer.error for writer in writers]
    volume.remount()
    check(writers)


def test_cuts_under_full_load_pause_for_moments(volume, dice, times):
    """Measured, printed and bounded (generously: the machine is shared)."""
    load = subprocess.Popen(
        ["bash", "-c", f"cd {volume.path} && while :; do dd if=/dev/zero of=bulk bs=8k count=4000 conv=notrunc,fdatasync; done"],
        stderr=subprocess.DEVNULL,
    )
    writers = [PageWriter(str(volume.path / f"w{i}"), random.Random(i), blocks=2000) for i in range(2)]
    pauses, pages = [], []
    try:
        for writer in writers:
            writer.start()
        for _ in range(60 * times):
            time.sleep(0.02)
            cut = volume.do("cut")
            pauses.append(cut["pause_usec"])
            pages.append(cut["pages"])
    finally:
        load.kill()
        load.wait()
        for writer in writers:
            writer.stop()
    pauses.sort()
    look = volume.do("look")
    print(
        f"{len(pauses)} cuts, {statistics.median(pages)} pages each; pause in µs: median {statistics.median(pauses)}, "
        f"p99 {pauses[len(pauses) * 99 // 100]}, max {pauses[-1]}; {look['writes']} writes, {look['syncs']} syncs"
    )
    assert all(writer.error is None for writer in writers)
    assert pauses[len(pauses) * 99 // 100] <= 50_000
    check(writers)


def test_a_volume_is_mounted_once(volume):
    process, line = volume.start()
    said = line.receive()
    assert said["state"] == "failed" and said["error"]["code"] == "CONFLICT", said
    assert process.wait(30) == 1
    (volume.path / "fine").touch()


def test_a_dead_mount_is_replaced(volume):
    (volume.path / "file").write_bytes(b"x" * 100000)
    volume.do("sync")
    for _ in range(3):
        volume.kill()
        with pytest.raises(OSError) as caught:
            os.statvfs(volume.path)
        assert caught.value.errno in GONE
        volume.mount()
        assert (volume.path / "file").read_bytes() == b"x" * 100000


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"nonsense\n", b"{}\n", b'{"id":1}\n', b'{"id":"1","do":"cut"}\n', b"[1,2]\n", b"\x00\xff\n", b'{"do":"cut"}\n',
     b"x" * (2 << 20)],
    ids=range(9),
)  # fmt: skip
def test_nonsense_closes_the_line_and_nothing_is_lost(volume, garbage):
    (volume.path / "file").write_bytes(b"kept")
    try:
        volume.line.socket.sendall(garbage)
    except (BrokenPipeError, ConnectionResetError):
        pass
    with pytest.raises(Ended):
        volume.line.receive()
    volume.ended(0)
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"kept"


def test_an_unknown_request_is_refused(volume):
    with pytest.raises(Failed) as caught:
        volume.do("dance")
    assert caught.value.code == "INVALID"
    volume.do("sync")


def test_many_requests_at_a_time(volume):
    (volume.path / "file").write_bytes(b"x" * 100000)
    numbers = [volume.line.ask(action) for _ in range(30) for action in ("cut", "look", "sync")]
    answers = [volume.line.answer(number) for number in numbers]
    assert answers[0]["layers"] and answers[1]["logical_bytes"] == 100000
    assert len({str(answer["layers"]) for answer in answers[::3]}) == 1, "a cut of nothing made a layer"


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "closed line"])
def test_other_ways_to_end_are_clean(volume, end):
    (volume.path / "file").write_bytes(b"kept")
    if end == "closed line":
        volume.line.socket.shutdown(socket.SHUT_RDWR)
    else:
        volume.process.send_signal(getattr(signal, end))
    volume.ended(0)
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"kept"


def test_an_open_file_does_not_hold_up_the_end(volume):
    file = open(volume.path / "file", "wb")
    file.write(b"x" * 100000)
    file.flush()
    volume.unmount()
    with pytest.raises(OSError):
        file.write(b"y" * 100000)
        file.flush()
    try:
        file.close()
    except OSError:
        pass
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"x" * 100000


@needs_root
def test_unmounted_by_somebody_else(volume):
    (volume.path / "file").write_bytes(b"kept")
    subprocess.run(["umount", volume.path], check=True)
    assert volume.line.receive()["state"] == "failed"
    volume.ended(1)
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"kept"


def test_what_cannot_be_mounted_says_why(volume):
    volume.unmount()
    other = Volume(volume.directory, volume.store, "br-other", make=False)
    with pytest.raises(Failed) as caught:
        other.mount()
    assert caught.value.code == "NOT_FOUND" and "br-other" in str(caught.value)
    lost = Volume(volume.directory, "nowhere", volume.name, make=False)
    with pytest.raises(Failed) as caught:
        lost.mount()
    assert caught.value.code == "NOT_FOUND" and "nowhere" in str(caught.value)
    volume.path.rmdir()
    with pytest.raises(Failed) as caught:
        volume.mount()
    assert str(volume.path) in str(caught.value)
    volume.path.mkdir()
    volume.mount()


@needs_root
def test_an_ordinary_user_mounts_through_fusermount(usable_device):
    """As a user who may nothing but what every user may, which on an ordinary host is to open /dev/fuse."""
    directory = f"/tmp/tarn-fs-user-{os.getpid()}"
    user = "nobody"
    binary = shutil.copy(BINARY, f"/tmp/tarn-fs-binary-{os.getpid()}")
    maker = shutil.copy(MAKE_VOLUME, f"/tmp/tarn-fs-maker-{os.getpid()}")
    os.makedirs(directory)
    shutil.chown(directory, user)
    run = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
    path = f"{directory}/volumes/br-user/data"
    ours, theirs = socket.socketpair()
    process = None
    try:
        subprocess.run([*run, maker, directory, "user", "br-user", "65534", "65534"], check=True)
        process = subprocess.Popen(
            [*run, "bash", "-c", 'exec 3>&"$1"; shift; exec "$@"', "x", str(theirs.fileno()), binary, "pagefs", "--data",
             directory, "--store", "user", "--volume", "br-user", "--mount", path],
            pass_fds=[theirs.fileno()], cwd="/",
        )  # fmt: skip
        theirs.close()
        line = Line(ours)
        assert line.receive()["state"] == "mounted"
        subprocess.run([*run, "bash", "-c", f"echo hello >{path}/file && cat {path}/file"], check=True, cwd="/")
        line.do("cut")
        line.do("unmount")
        assert process.wait(30) == 0
        assert os.listdir(path) == []
    finally:
        if process and process.poll() is None:
            process.kill()
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)
        os.unlink(binary)
        os.unlink(maker)


def test_readers_go_on_while_everything_is_synced_and_cut(volume):
    """No request waits for another one's disk."""
    content = os.urandom(200 * PAGE)
    (volume.path / "read").write_bytes(content)
    volume.remount()
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            fd = os.open(volume.path / "read", os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if os.read(fd, len(content)) != content:
                wrong.append(time.monotonic())
            os.close(fd)

    readers = [threading.Thread(target=read) for _ in range(3)]
    [reader.start() for reader in readers]
    writer = PageWriter(str(volume.path / "write"), random.Random(5), blocks=500)
    writer.start()
    for _ in range(30):
        volume.do("cut")
        volume.do("sync")
    stop.set()
    [reader.join() for reader in readers]
    writer.stop()
    assert not wrong and writer.error is None

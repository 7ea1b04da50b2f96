"""What POSIX and Linux promise and Postgres relies on, on a mounted volume; each with what is there after a remount."""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from filesystem.volume import PAGE

libc = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE = 1, 2, 16, 8
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


def fallocate(fd, mode, offset, length):
    result = libc.fallocate(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length))
    if result < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def rename2(old, new, flags):
    at = -100
    if libc.renameat2(at, os.fsencode(old), at, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def fails(number, call, *arguments, **more):
    with pytest.raises(OSError) as caught:
        call(*arguments, **more)
    assert caught.value.errno == number, f"{errno.errorcode[caught.value.errno]}, not {errno.errorcode[number]}"


def test_content_survives_a_remount(volume):
    path = volume.path / "file"
    content = os.urandom(3 * PAGE + 777)
    path.write_bytes(content)
    assert path.read_bytes() == content
    volume.remount()
    assert path.read_bytes() == content
    with open(path, "r+b") as file:
        file.seek(PAGE - 3)
        file.write(b"across")
    volume.remount()
    assert path.read_bytes() == content[: PAGE - 3] + b"across" + content[PAGE + 3 :]


def test_holes_are_zeros_and_found(volume):
    path = volume.path / "sparse"
    with open(path, "wb") as file:
        file.seek(100 * PAGE)
        file.write(b"x" * PAGE)
        file.truncate(200 * PAGE)
    assert path.stat().st_size == 200 * PAGE
    for again in range(2):
        with open(path, "rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 100 * PAGE
            assert os.lseek(file.fileno(), 100 * PAGE, os.SEEK_HOLE) == 101 * PAGE
            fails(errno.ENXIO, os.lseek, file.fileno(), 101 * PAGE, os.SEEK_DATA)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            assert file.read(100 * PAGE) == bytes(100 * PAGE)
            assert file.read(PAGE) == b"x" * PAGE
            assert file.read() == bytes(99 * PAGE)
        if not again:
            volume.remount()


def test_what_truncation_cuts_off_is_gone(volume):
    path = volume.path / "file"
    path.write_bytes(b"a" * (4 * PAGE))
    volume.remount()
    os.truncate(path, PAGE + 10)
    os.truncate(path, 4 * PAGE)
    expected = b"a" * (PAGE + 10) + bytes(3 * PAGE - 10)
    assert path.read_bytes() == expected
    volume.remount()
    assert path.read_bytes() == expected


def test_truncating_open_empties(root):
    path = root / "file"
    path.write_bytes(b"a" * 20000)
    with open(path, "wb") as file:
        assert os.fstat(file.fileno()).st_size == 0
        file.write(b"b")
    assert path.read_bytes() == b"b"


def test_append_from_many_processes_loses_nothing(root):
    path = root / "log"
    path.touch()
    code = (
        "import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND)\n"
        "for i in range(500): os.write(fd,(sys.argv[2]*99+'\\n').encode())"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted([letter * 99 for letter in "abcd"] * 500)


def test_removed_files_live_while_open(volume):
    path = volume.path / "gone"
    with open(path, "w+b") as file:
        file.write(b"still here" * 5000)
        file.flush()
        path.unlink()
        assert not path.exists()
        assert os.fstat(file.fileno()).st_nlink == 0
        path.write_bytes(b"another")
        file.write(b"more")
        file.seek(0)
        assert file.read() == b"still here" * 5000 + b"more"
        os.fsync(file.fileno())
    assert path.read_bytes() == b"another"
    assert sorted(os.listdir(volume.path)) == ["gone"]
    volume.remount()
    assert path.read_bytes() == b"another"


def test_a_replaced_file_lives_while_open(root):
    (root / "old").write_bytes(b"old")
    (root / "new").write_bytes(b"new")
    with open(root / "old", "rb") as file:
        os.rename(root / "new", root / "old")
        assert file.read() == b"old"
    assert (root / "old").read_bytes() == b"new"
    assert os.listdir(root) == ["old"]


def test_hard_links_share_everything(volume):
    root = volume.path
    (root / "a").write_bytes(b"1")
    os.link(root / "a", root / "b")
    assert (root / "a").stat().st_nlink == 2
    assert (root / "a").stat().st_ino == (root / "b").stat().st_ino
    (root / "b").write_bytes(b"22")
    volume.remount()
    assert (root / "a").read_bytes() == b"22"
    (root / "a").unlink()
    volume.remount()
    assert (root / "b").read_bytes() == b"22"
    assert (root / "b").stat().st_nlink == 1


def test_rename_over_and_between_folders(volume):
    root = volume.path
    os.makedirs(root / "one" / "deep")
    (root / "two").mkdir()
    (root / "one" / "deep" / "file").write_bytes(b"x")
    os.rename(root / "one" / "deep", root / "two" / "moved")
    assert (root / "one").stat().st_nlink == 2
    assert (root / "two").stat().st_nlink == 3
    fails(errno.EINVAL, os.rename, root / "two", root / "two" / "moved" / "inside")
    (root / "one" / "file").write_bytes(b"y")
    fails(errno.ENOTEMPTY, os.rename, root / "one", root / "two")
    (root / "empty").mkdir()
    os.rename(root / "one", root / "empty")
    fails(errno.EISDIR, os.rename, root / "two" / "moved" / "file", root / "empty")
    fails(errno.ENOTDIR, os.rename, root / "empty", root / "two" / "moved" / "file")
    volume.remount()
    assert (root / "two" / "moved" / "file").read_bytes() == b"x"
    assert (root / "empty" / "file").read_bytes() == b"y"
    assert sorted(os.listdir(root)) == ["empty", "two"]


def test_rename_flags(root):
    (root / "a").write_bytes(b"a")
    (root / "b").mkdir()
    fails(errno.EEXIST, rename2, root / "a", root / "b", RENAME_NOREPLACE)
    rename2(root / "a", root / "b", RENAME_EXCHANGE)
    assert (root / "b").read_bytes() == b"a" and (root / "a").is_dir()
    rename2(root / "b", root / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(root)) == ["a", "c"]


def test_symbolic_links(volume):
    root = volume.path
    os.symlink("target" * 100, root / "link")
    assert os.readlink(root / "link") == "target" * 100
    assert os.lstat(root / "link").st_size == 600
    fails(errno.ENAMETOOLONG, os.symlink, "x" * 4096, root / "long")
    volume.remount()
    assert os.readlink(root / "link") == "target" * 100


def test_tablespaces_are_refused(root):
    """A link in pg_tblspc leads out of the volume: a branch and its parent would share what is there (T18)."""
    (root / "pg_tblspc").mkdir()
    fails(errno.EPERM, os.symlink, "/somewhere", root / "pg_tblspc" / "16384")
    os.symlink("/somewhere", root / "link")
    fails(errno.EPERM, os.rename, root / "link", root / "pg_tblspc" / "16384")
    fails(errno.EPERM, os.link, root / "link", root / "pg_tblspc" / "16384", follow_symlinks=False)
    (root / "pg_tblspc" / "folder").mkdir()
    fails(errno.EPERM, rename2, root / "link", root / "pg_tblspc" / "folder", RENAME_EXCHANGE)
    fails(errno.EPERM, rename2, root / "pg_tblspc" / "folder", root / "link", RENAME_EXCHANGE)
    assert os.listdir(root / "pg_tblspc") == ["folder"]


def test_names(root):
    for name in (b"n" * 255, "ünïcode".encode(), b"\xff\xfe raw", b" ", b"a\nb"):
        path = os.path.join(os.fsencode(root), name)
        with open(path, "wb"):
            pass
        assert os.stat(path).st_size == 0
    assert len(os.listdir(os.fsencode(root))) == 5
    fails(errno.ENAMETOOLONG, open, os.path.join(os.fsencode(root), b"n" * 256), "wb")
    fails(errno.ENAMETOOLONG, os.stat, os.path.join(os.fsencode(root), b"n" * 256))


def test_a_name_that_was_not_there_can_be_made(root):
    """The kernel remembers that a name is missing; making it must correct that."""
    for kind in (lambda p: p.touch(), lambda p: p.mkdir(), lambda p: os.symlink("x", p), lambda p: os.mkfifo(p)):
        path = root / f"n{time.monotonic_ns()}"
        assert not os.path.lexists(path)
        kind(path)
        assert os.path.lexists(path)
    (root / "from").touch()
    assert not (root / "to").exists()
    os.rename(root / "from", root / "to")
    assert (root / "to").exists() and not (root / "from").exists()


def test_a_folder_being_read_while_it_changes(root):
    """Names that stay are shown exactly once, whatever comes and goes meanwhile."""
    stable = {f"stay{i:05}" for i in range(3000)}
    for name in stable:
        (root / name).touch()
    seen, extra = [], 0
    with os.scandir(root) as entries:
        for i, entry in enumerate(entries):
            seen.append(entry.name)
            if i % 10 == 0:
                (root / f"new{i}").touch()
                extra += 1
            if i % 30 == 20:
                (root / f"new{i - 20}").unlink()
    kept = [name for name in seen if name.startswith("stay")]
    assert len(kept) == len(set(kept))
    assert set(kept) == stable


def test_deleting_while_listing_empties_a_folder(root):
    for i in range(2000):
        (root / f"f{i}").touch()
    with os.scandir(root) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(root) == []


def test_listing_agrees_with_stat(root):
    (root / "folder").mkdir()
    (root / "file").write_bytes(b"123")
    os.symlink("file", root / "link")
    os.mkfifo(root / "fifo")
    kinds = {entry.name: (entry.is_dir(), entry.is_symlink(), entry.inode()) for entry in os.scandir(root)}
    assert kinds == {
        name: (name == "folder", name == "link", os.lstat(root / name).st_ino)
        for name in ("folder", "file", "link", "fifo")
    }


def test_folder_counts(root):
    assert root.stat().st_nlink == 2
    (root / "a").mkdir()
    (root / "b").touch()
    assert root.stat().st_nlink == 3
    (root / "a" / "x").touch()
    fails(errno.ENOTEMPTY, os.rmdir, root / "a")
    (root / "a" / "x").unlink()
    os.rmdir(root / "a")
    assert root.stat().st_nlink == 2
    fails(errno.ENOTDIR, os.rmdir, root / "b")
    fails(errno.EISDIR, os.unlink, root)
    fails(errno.ENOTDIR, os.stat, root / "b" / "c")


def test_shared_mappings(volume):
    path = volume.path / "map"
    with open(path, "w+b") as file:
        file.truncate(5 * PAGE)
        with mmap.mmap(file.fileno(), 5 * PAGE) as mapping:
            mapping[4096 : 4096 + 5] = b"first"
            mapping[3 * PAGE + 100 : 3 * PAGE + 106] = b"second"
            mapping.flush()
            file.seek(4096)
            assert file.read(5) == b"first"
            os.pwrite(file.fileno(), b"third", 2 * PAGE)
            assert mapping[2 * PAGE : 2 * PAGE + 5] == b"third"
            mapping[4 * PAGE :] = b"z" * PAGE
    volume.remount()
    content = path.read_bytes()
    assert content[4096:4101] == b"first"
    assert content[2 * PAGE : 2 * PAGE + 5] == b"third"
    assert content[3 * PAGE + 100 : 3 * PAGE + 106] == b"second"
    assert content[4 * PAGE :] == b"z" * PAGE


def test_a_program_runs_from_the_volume(root):
    """Private mappings of whole pages."""
    program = root / "true"
    program.write_bytes(open("/bin/true", "rb").read())
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 0


def test_direct_io(root):
    path = root / "direct"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
    try:
        with mmap.mmap(-1, 4 * PAGE) as page:
            page.write(os.urandom(4 * PAGE))
            assert os.pwrite(fd, page, PAGE) == 4 * PAGE
            with mmap.mmap(-1, 4 * PAGE) as back:
                assert os.preadv(fd, [back], PAGE) == 4 * PAGE
                assert back[:] == page[:]
    finally:
        os.close(fd)
    assert path.read_bytes()[:PAGE] == bytes(PAGE)


def test_fallocate(volume):
    path = volume.path / "space"
    with open(path, "w+b") as file:
        fd = file.fileno()
        fallocate(fd, 0, 0, 10 * PAGE)
        assert os.fstat(fd).st_size == 10 * PAGE
        os.pwrite(fd, b"q" * 10 * PAGE, 0)
        fallocate(fd, KEEP_SIZE, 0, 50 * PAGE)
        assert os.fstat(fd).st_size == 10 * PAGE
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, PAGE + 100, 2 * PAGE)
        fallocate(fd, ZERO_RANGE, 9 * PAGE + 1, 3 * PAGE)
        assert os.fstat(fd).st_size == 12 * PAGE + 1
        fallocate(fd, ZERO_RANGE | KEEP_SIZE, 12 * PAGE, 3 * PAGE)
        assert os.fstat(fd).st_size == 12 * PAGE + 1
        fails(errno.EOPNOTSUPP, fallocate, fd, COLLAPSE_RANGE, 0, PAGE)
        fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    expected = (
        b"q" * (PAGE + 100) + bytes(2 * PAGE) + b"q" * (6 * PAGE - 100) + b"q" + bytes(3 * PAGE)
    )
    assert path.read_bytes() == expected
    volume.remount()
    assert path.read_bytes() == expected


def test_copy_in_the_kernel_and_sendfile(root):
    content = os.urandom(10 * PAGE + 5)
    (root / "from").write_bytes(content)
    with open(root / "from", "rb") as source, open(root / "to", "wb") as target:
        copied = 0
        while copied < len(content):
            copied += os.copy_file_range(source.fileno(), target.fileno(), len(content) - copied)
        os.sendfile(target.fileno(), source.fileno(), 0, 100)
    assert (root / "to").read_bytes() == content + content[:100]


def test_times(volume):
    root = volume.path
    path = root / "file"
    path.touch()
    before = path.stat()
    time.sleep(0.02)
    with open(path, "ab") as file:
        file.write(b"x")
    written = path.stat()
    assert written.st_mtime_ns > before.st_mtime_ns and written.st_ctime_ns > before.st_ctime_ns
    time.sleep(0.02)
    path.chmod(0o600)
    changed = path.stat()
    assert changed.st_mtime_ns == written.st_mtime_ns and changed.st_ctime_ns > written.st_ctime_ns
    folder = root.stat()
    time.sleep(0.02)
    (root / "other").touch()
    assert root.stat().st_mtime_ns > folder.st_mtime_ns
    os.utime(path, ns=(10**18 + 1, 10**18 + 2))
    assert path.stat().st_mtime_ns == 10**18 + 2
    assert path.stat().st_atime_ns == 10**18 + 1
    volume.remount()
    assert path.stat().st_mtime_ns == 10**18 + 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert abs((root / "other").stat().st_mtime - time.time()) < 60


@needs_root
def test_owners_and_modes(volume):
    root = volume.path
    os.chmod(root, 0o777)
    path = root / "file"
    path.touch()
    os.chown(path, 12345, 54321)
    os.chmod(path, 0o640)
    volume.remount()
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o640)


def as_user(uid, code, *arguments):
    """Runs Python as another user; its exit code is an errno."""
    program = (
        f"import os,sys\nos.setgroups([])\nos.setgid({uid})\nos.setuid({uid})\n"
        "try:\n" + "".join(f"  {line}\n" for line in code.splitlines()) + "except OSError as e: sys.exit(e.errno)\n"
    )
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=False).returncode


@needs_root
def test_the_kernel_checks_permissions(volume):
    root = volume.path
    os.chmod(volume.directory, 0o711)
    os.chmod(root, 0o755)
    (root / "private").write_bytes(b"secret")
    (root / "private").chmod(0o600)
    read = "open(sys.argv[1]).read()"
    assert as_user(65534, read, root / "private") == errno.EACCES
    assert as_user(65534, "open(sys.argv[1], 'w')", root / "made") == errno.EACCES
    (root / "private").chmod(0o604)
    assert as_user(65534, read, root / "private") == 0
    assert as_user(65534, "os.chmod(sys.argv[1], 0o777)", root / "private") == errno.EPERM
    os.chmod(root, 0o1777)
    assert as_user(65534, "open(sys.argv[1], 'w')", root / "made") == 0
    assert (root / "made").stat().st_uid == 65534
    assert as_user(65534, "os.unlink(sys.argv[1])", root / "private") == errno.EPERM
    assert as_user(65533, "os.unlink(sys.argv[1])", root / "made") == errno.EPERM
    assert as_user(65534, "os.unlink(sys.argv[1])", root / "made") == 0


@needs_root
def test_set_user_id_goes_with_a_write(volume):
    root = volume.path
    os.chmod(root, 0o777)
    path = root / "program"
    for spoil in (
        "os.write(os.open(sys.argv[1], os.O_WRONLY), b'x')",
        "os.truncate(sys.argv[1], 1)",
        "os.chown(sys.argv[1], -1, os.getgid())",
    ):
        path.write_bytes(b"12")
        os.chown(path, 65534, 65534)
        path.chmod(0o6777)
        assert as_user(65534, spoil, path) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o777, spoil
        path.unlink()


@needs_root
def test_group_of_a_folder_is_inherited(root):
    folder = root / "shared"
    folder.mkdir()
    os.chown(folder, 0, 4242)
    folder.chmod(0o2775)
    (folder / "file").touch()
    (folder / "sub").mkdir()
    os.symlink("x", folder / "link")
    assert {os.lstat(folder / name).st_gid for name in ("file", "sub", "link")} == {4242}
    assert (folder / "sub").stat().st_mode & stat.S_ISGID
    assert not (folder / "file").stat().st_mode & stat.S_ISGID


def test_umask(root):
    old = os.umask(0o027)
    try:
        fd = os.open(root / "file", os.O_CREAT | os.O_WRONLY, 0o666)
        os.close(fd)
        (root / "folder").mkdir(0o777)
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "folder").stat().st_mode) == 0o750


def test_exclusive_creation_has_one_winner(root):
    wins = []

    def attempt():
        for i in range(200):
            try:
                os.close(os.open(root / f"n{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins.append(i)
            except FileExistsError:
                pass

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(wins) == list(range(200))


def test_locks_between_processes(root):
    path = root / "lock"
    with open(path, "w+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code = "import fcntl,sys\ntry: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept OSError: sys.exit(3)"
        assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 3
        fcntl.flock(file, fcntl.LOCK_UN)
        assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
        code = code.replace("fcntl.flock(open(sys.argv[1])", "fcntl.lockf(open(sys.argv[1],'r+b')")
        assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 3


def test_no_extended_attributes(root):
    (root / "file").touch()
    fails(errno.EOPNOTSUPP, os.setxattr, root / "file", "user.x", b"1")
    fails(errno.EOPNOTSUPP, os.getxattr, root / "file", "user.x")


def test_fifos_and_sockets(root):
    import socket

    os.mkfifo(root / "fifo")
    assert stat.S_ISFIFO(os.lstat(root / "fifo").st_mode)
    os.chdir(root)
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("socket")
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect("socket")
        listener.accept()[0].close()
        client.close()
        listener.close()
    finally:
        os.chdir("/")


def test_space_is_that_of_the_disk(volume):
    ours, disk = os.statvfs(volume.path), os.statvfs(volume.directory)
    assert ours.f_namemax == 255
    total, available = ours.f_blocks * ours.f_frsize, ours.f_bavail * ours.f_frsize
    assert total == pytest.approx(disk.f_blocks * disk.f_frsize, rel=0.01)
    assert available == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


def test_sizes_at_the_border(root):
    path = root / "large"
    with open(path, "wb") as file:
        limit = PAGE << 31
        fails(errno.EFBIG, os.ftruncate, file.fileno(), limit + 1)
        os.ftruncate(file.fileno(), 1 << 40)
        assert os.pwrite(file.fileno(), b"end", (1 << 40) - 3) == 3
    with open(path, "rb") as file:
        assert os.pread(file.fileno(), 10, (1 << 40) - 3) == b"end"
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == (1 << 40) - PAGE


def test_reads_at_and_beyond_the_end(root):
    path = root / "file"
    path.write_bytes(b"x" * 10000)
    with open(path, "rb") as file:
        assert os.pread(file.fileno(), 100, 9990) == b"x" * 10
        assert os.pread(file.fileno(), 100, 10000) == b""
        assert os.pread(file.fileno(), 100, 10**9) == b""


def test_concurrent_pages_are_never_mixed(root):
    """Readers see whole pages: one of those that were written, for requests of a page are one request (no write-back cache)."""
    path = root / "pages"
    path.write_bytes(b"\0" * PAGE * 4)
    stop = threading.Event()
    mixed = []

    def write(block):
        fd, i = os.open(path, os.O_RDWR), 0
        while not stop.is_set():
            i += 1
            os.pwrite(fd, bytes([i % 251]) * PAGE, block * PAGE)
        os.close(fd)

    def read():
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, PAGE) as page:
            while not stop.is_set():
                for block in range(4):
                    os.preadv(fd, [page], block * PAGE)
                    if len(set(page[:])) != 1:
                        mixed.append(block)
        os.close(fd)

    threads = [threading.Thread(target=write, args=(b,)) for b in range(4)] + [threading.Thread(target=read)] * 1
    [thread.start() for thread in threads]
    time.sleep(2)
    stop.set()
    [thread.join() for thread in threads]
    assert mixed == []

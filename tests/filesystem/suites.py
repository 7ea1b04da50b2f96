"""Test suites and stress programs by others, on a mounted volume: fsx and pjdfstest (crates), stress-ng, fio, dbench (Debian), pg_test_fsync,
SQLite. tools/setup --tests installs them."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filesystem.volume import PAGE

SUITES = Path(os.environ.get("TARN_CACHE", "/var/cache/tarn")) / "suites" / "current" / "bin"


def program(name):
    path = shutil.which(str(SUITES / name)) or shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed: run tools/setup --tests where it can be fetched")
    return path


def run(*command, timeout=280, **more):
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, errors="replace", timeout=timeout, check=False, **more
    )
    return result.returncode, result.stdout + result.stderr


class Cutter(threading.Thread):
    """Cuts all the time: what runs meanwhile must not notice."""

    def __init__(self, volume, pause=0.05):
        super().__init__(daemon=True)
        self.volume, self.pause = volume, pause
        self.stopping = threading.Event()
        self.cuts, self.error = 0, None

    def __enter__(self):
        self.start()
        return self

    def run(self):
        try:
            while not self.stopping.wait(self.pause):
                self.volume.do("cut")
                self.cuts += 1
        except Exception as error:  # noqa: BLE001 - shown by the test that asked for it
            self.error = error

    def __exit__(self, *_):
        self.stopping.set()
        self.join(60)
        assert self.error is None, repr(self.error)


FSX = """
flen = {length}
[opsize]
max = {most}
min = 0
align = {align}
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 4
fsync = 1
fdatasync = 1
posix_fallocate = {fallocate}
punch_hole = 4
sendfile = 2
posix_fadvise = 1
copy_file_range = 3
"""


@pytest.mark.parametrize(
    "length, most, align, steps",
    [(256 << 10, 64 << 10, 1, 8000), (4 << 20, 1 << 20, 1, 1500), (2 << 20, 256 << 10, PAGE, 5000), (100 << 10, 4 << 10, 512, 8000)],
    ids=["bytes", "large", "pages", "sectors"],
)
def test_fsx(volume, tmp_path, dice, times, length, most, align, steps):
    """Random reads, writes, mappings, truncations and holes in one file; every read is compared. Meanwhile the volume is cut."""
    fsx = program("fsx")
    settings = tmp_path / "fsx.toml"
    # posix_fallocate with an alignment trips over itself in fsx 0.3.2.
    settings.write_text(FSX.format(length=length, most=most, align=align, fallocate=2 if align == 1 else 0))
    for i in range(times):
        seed = dice.randrange(1 << 31)
        path = volume.path / f"fsx{i}"
        with Cutter(volume):
            code, output = run(fsx, "-q", "-f", settings, "-N", steps, "-S", seed, "-P", tmp_path, path)
        assert code == 0, f"fsx -S {seed}:\n{output[-3000:]}"
        before = path.read_bytes()
        volume.remount()
        assert path.read_bytes() == before, f"other content after a remount: fsx -S {seed}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become other users")
def test_pjdfstest(volume, tmp_path):
    """POSIX, system call by system call."""
    pjdfstest = program("pjdfstest")
    settings = tmp_path / "pjdfstest.toml"
    settings.write_text(
        "[features]\nposix_fallocate = {}\n[settings]\nnaptime = 0.01\nallow_remount = false\n"
        '[dummy_auth]\nentries = [["nobody", "nogroup"], ["tarn", "tarn"]]\n'
    )
    os.chmod(volume.path, 0o777)
    place = volume.path / "pjd"
    place.mkdir(0o777)
    code, output = run(pjdfstest, "-c", settings, "-p", place)
    found = re.search(r"Summary: (\d+) failed, (\d+) skipped, (\d+) passed", output)
    assert found, output[-3000:]
    assert code == 0 and found[1] == "0", "\n".join(line for line in output.splitlines() if not line.endswith("ok"))[-3000:]
    assert int(found[3]) > 300, found[0]


# Those that need what is not promised here (xattr, verity, quota, binderfs, …) are left out.
STRESSORS = (
    "access chdir chmod chown dentry dir dirdeep dirmany dup fallocate fcntl file-ioctl filename flock fpunch fsize fstat getdent hdd iomix "
    "lease link locka lockf lockofd metamix mknod msync open punch readahead rename rmap seek sendfile splice symlink sync-file "
    "tee touch truncate unlink utime vm-splice"
).split()


def test_stress_ng(volume, times):
    """Its file system stressors, four at a time, which check what they read; with cuts."""
    stress = program("stress-ng")
    place = volume.path / "stress"
    place.mkdir()
    known = run(stress, "--stressors")[1].split()
    chosen = [name for name in STRESSORS if name in known]
    assert len(chosen) > 30, chosen
    with Cutter(volume, 0.2):
        code, output = run_stressors(stress, place, chosen, times)
    assert code == 0, output[-5000:]
    volume.remount()


def run_stressors(stress, place, chosen, seconds):
    """Each for a second, several side by side."""
    groups = [chosen[i : i + 4] for i in range(0, len(chosen), 4)]
    for group in groups:
        arguments = [argument for name in group for argument in (f"--{name}", 1)]
        code, output = run(
            stress, "--temp-path", place, "--verify", "--timeout", f"{seconds}s", "--hdd-bytes", "8m", "--iomix-bytes", "8m",
            "--fallocate-bytes", "16m", "--readahead-bytes", "16m", "--sync-file-bytes", "16m", "--seek-size", "16m",
            *arguments, cwd="/",
        )  # fmt: skip
        if code not in (0, 3, 4):  # 3: no resources, 4: not implemented here
            return code, f"{group}:\n{output}"
        if re.search(r"fail:|data (mismatch|corrupt)", output):
            return 2, f"{group}:\n{output}"
    return 0, ""


def test_fio_verifies(volume, tmp_path, times):
    """Random 8 kB writes by several jobs, with checksums that are read back; then once more after a remount."""
    fio = program("fio")
    common = [
        "--name=verify", f"--directory={volume.path}", "--size=24m", "--numjobs=3", "--rw=randwrite", "--bsrange=8k-64k", "--blockalign=8k",
        "--verify=crc32c", "--verify_fatal=1", "--fsync=64", "--randseed=7", "--output-format=json", f"--aux-path={tmp_path}", f"--loops={times}",
    ]  # fmt: skip
    with Cutter(volume):
        code, output = run(fio, *common, "--do_verify=1")
    assert code == 0, output[-3000:]
    volume.remount()
    code, output = run(fio, *[c for c in common if not c.startswith("--loops")], "--verify_only")
    assert code == 0, output[-3000:]
    assert all(job["error"] == 0 for job in json.loads(output[output.index("{") :])["jobs"])


def test_dbench(volume, times):
    """The file traffic of office clients: names, renames, folders."""
    dbench = program("dbench")
    load = next((p for p in ("/usr/share/dbench/client.txt", "/usr/share/dbench/loadfiles/client.txt") if os.path.exists(p)), None)
    assert load, "dbench without its load file"
    with Cutter(volume):
        code, output = run(dbench, "-c", load, "-D", volume.path, "-t", 4 * times, 4)
    assert code == 0 and "Throughput" in output, output[-3000:]
    assert "ERROR" not in output, output[-3000:]


def test_pg_test_fsync(volume):
    """Postgres' own look at what syncs cost: every method works, none is for free."""
    code, output = run("pg_test_fsync", "-s", 1, "-f", volume.path / "out")
    assert code == 0, output
    rates = [float(rate) for rate in re.findall(r"([\d.]+) ops/sec", output)]
    assert len(rates) > 10, output
    methods = re.search(r"Compare file sync methods using one 8kB write:\n.*?\n(.*?)\n\n", output, re.S)[1]
    for method in ("fdatasync", "fsync"):
        rate = float(re.search(rf"^ *{method} +([\d.]+) ops/sec", methods, re.M)[1])
        assert rate < 200_000, f"{method} does not reach a disk: {rate} per second"


BANK = """
import os, random, sqlite3, sys
path, mode, seed = sys.argv[1:]
bank = sqlite3.connect(path, timeout=60, isolation_level=None)
bank.execute(f"pragma journal_mode={mode}"), bank.execute("pragma synchronous=extra")
dice = random.Random(int(seed))
while True:
    bank.execute("begin immediate")
    amount, a, b = dice.randrange(100), dice.randrange(100), dice.randrange(100)
    bank.execute("update account set balance=balance-? where id=?", (amount, a))
    bank.execute("update account set balance=balance+? where id=?", (amount, b))
    number = bank.execute("insert into transfer(filler) values(randomblob(?)) returning id", (dice.randrange(9000),)).fetchall()[0][0]
    if number % 50 == 0: bank.execute("delete from transfer where id % 7 = 3 and id < ?", (number,))
    bank.execute("commit")
    os.statvfs(path)
    print(number, flush=True)
"""


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_sqlite_survives_killed_file_systems(volume, tmp_path, dice, times, mode):
    """Three processes move money in one database while the file system is killed: no acknowledged transfer is lost, and the
    database is whole. WAL mode maps its index, shared by all. (Below synchronous=extra SQLite does not sync the folder after it
    has unlinked the journal, which is the commit of mode "delete". And when it cannot open the folder to sync it, it takes that for
    success: see unixDelete in os_unix.c. So a commit counts when the file system answers after it.)"""
    path = volume.path / "bank.db"
    with sqlite3.connect(path) as bank:
        bank.execute(f"pragma journal_mode={mode}")
        bank.execute("create table account(id integer primary key, balance integer)")
        bank.executemany("insert into account values(?, 1000)", [(i,) for i in range(100)])
        bank.execute("create table transfer(id integer primary key autoincrement, filler blob)")
    bank.close()
    volume.do("sync")
    for _ in range(2 * times):
        outputs = [open(tmp_path / f"out{i}", "w+") for i in range(3)]
        workers = [
            subprocess.Popen([sys.executable, "-c", BANK, path, mode, str(dice.randrange(1 << 30))], stdout=out, stderr=subprocess.DEVNULL)
            for out in outputs
        ]
        time.sleep(0.5 + dice.random())
        if dice.random() < 0.5:
            volume.do("cut")
        volume.kill()
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait(60)
        acknowledged = 0
        for out in outputs:
            out.seek(0)
            numbers = [line for line in out.read().splitlines(keepends=True) if line.endswith("\n")]
            acknowledged = max([acknowledged, *map(int, numbers)])
            out.close()
        assert acknowledged > 0, "nobody got anything done"
        volume.mount()
        bank = sqlite3.connect(path)
        assert bank.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert bank.execute("select sum(balance), count(*) from account").fetchone() == (100_000, 100)
        last = bank.execute("select seq from sqlite_sequence where name='transfer'").fetchone()[0]
        assert last >= acknowledged, f"transfer {acknowledged} was acknowledged, the last one is {last}"
        bank.close()
    volume.remount()


def test_tar_and_compare(volume, dice):
    """A tree of many small files, as a template is, comes back the same."""
    root, source = volume.path / "tree", Path("/usr/include")
    with Cutter(volume, 0.02):
        subprocess.run(["cp", "-a", source, root], check=True)
    volume.remount()
    code, output = run("diff", "-r", "--no-dereference", source, root)
    assert code == 0, output[-2000:]
    names = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in random.Random(dice.seed_used).sample(names, 100):
        path.unlink()
    subprocess.run(["rm", "-r", root], check=True)
    assert os.listdir(volume.path) == []
    volume.remount()
    assert os.listdir(volume.path) == []

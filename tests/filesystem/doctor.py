"""`tarn doctor` about FUSE: what it says on a host that cannot mount, and that what it advises would help."""

import os
import subprocess

import pytest
from filesystem.volume import BINARY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to take things away from others")
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@pytest.fixture
def binary(tmp_path_factory):
    """Where every user can run it."""
    path = f"/tmp/tarn-doctor-test-{os.getpid()}"
    subprocess.run(["install", "-m", "755", BINARY, path], check=True)
    yield path
    os.unlink(path)


def finding(command, hide=""):
    """What is said of FUSE when run with some things hidden from it."""
    script = f'{hide} exec "$0" "$@"'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, *command, "doctor", "--data", "/nonexistent/tarn"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[1:2] == ["FUSE"])
    fix = lines[at + 1].partition("->")[2] if at + 1 < len(lines) and "->" in lines[at + 1] else ""
    grade, _, text = lines[at].split(maxsplit=2)
    assert (grade == "failure") == bool(fix), lines[at : at + 2]
    if grade == "failure":
        assert result.returncode == 1
    return grade, text, fix


def test_where_it_works(binary, usable_device):
    assert finding([binary])[0] == "ok"
    assert finding([*NOBODY, binary])[0] == "ok"
    assert not [line for line in open("/proc/self/mounts") if "tarn-doctor" in line]


@pytest.mark.parametrize(
    "run, hide, says, advises",
    [
        ([], "mount -t tmpfs none /dev;", "No such file", "modprobe fuse"),
        (["setpriv", "--bounding-set", "-sys_admin"], "", "not permitted", "--cap-add SYS_ADMIN"),
        (NOBODY, "chmod 600 /dev/fuse;", "Permission denied", "chmod 666 /dev/fuse"),
        (NOBODY, "mount --bind /dev/null /usr/bin/fusermount3;", "fusermount3 is missing", "apt install fuse3"),
        ([*NOBODY, "--no-new-privs"], "", "Operation not permitted", "no-new-privileges"),
        (
            NOBODY,
            "mount -t tmpfs none /mnt; install -m 755 /usr/bin/fusermount3 /mnt/f; mount --bind /mnt/f /usr/bin/fusermount3;",
            "not set-user-id",
            "install the package fuse3 again",
        ),
    ],
    ids=["no device", "no capability", "closed device", "no helper", "no new privileges", "helper without rights"],
)
def test_what_is_missing_is_said(binary, usable_device, run, hide, says, advises):
    grade, text, fix = finding([*run, binary], hide)
    assert grade == "failure" and says in text and advises in fix

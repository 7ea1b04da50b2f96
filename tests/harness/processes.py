"""Processes of this machine, read from /proc: which belong to a data directory, and ending those that were left."""

import os
import signal
import time
from pathlib import Path


def is_alive(pid):
    """There and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return found


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def processor_seconds(pid):
    """What it has used so far, of its own and of the kernel's."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def describe(pid):
    return f"{pid} {command_line(pid)}"


def of_directory(directory):
    """Those that name the directory on their command line, stand in it, or have a file of it open."""
    mark = str(directory) + "/"
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid() or not is_alive(entry):
            continue
        base = Path("/proc") / entry
        try:
            places = [command_line(entry) + "/", os.readlink(base / "cwd") + "/"]
            places += [os.readlink(base / "fd" / fd) for fd in os.listdir(base / "fd")]
        except OSError:
            continue
        if any(str(directory) + "/" in place or f"{directory} " in place for place in places) or any(
            place.startswith(mark) for place in places
        ):
            found.append(int(entry))
    return found


def pagefs_of(supervisor):
    """The file system process of a compute, or None."""
    return next((pid for pid in children(supervisor) if " pagefs " in command_line(pid) + " "), None)


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def end_directory(directory, rounds=50):
    """Everything that belongs to it, and what that started while it was being killed."""
    for _ in range(rounds):
        pids = of_directory(directory)
        if not pids:
            return
        kill_all(pids)
        time.sleep(0.05)

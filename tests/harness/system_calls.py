"""System calls of a running process, counted by strace while something is done."""

import os
import re
import shutil
import signal
import subprocess
import tempfile


class CannotCount(Exception):
    pass


def count(pid, work):
    """{name: number of calls} of the process and its threads, during work()."""
    if not shutil.which("strace"):
        raise CannotCount("strace is missing: run tools/setup --tests")
    with tempfile.TemporaryDirectory(prefix="tarn-strace-") as folder:
        out = os.path.join(folder, "counts")
        strace = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            said = strace.stderr.readline()  # "attached": from here on every call is counted
            if "attached" not in said:
                raise CannotCount(f"strace cannot trace here: {said.strip()}")
            work()
        finally:
            if strace.poll() is None:
                strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=60)
        with open(out, encoding="utf-8") as file:
            lines = [re.match(r"\s*[0-9.]+\s+[0-9.]+\s+[0-9]+\s+([0-9]+)(?:\s+[0-9]+)?\s+(\w+)$", line) for line in file]
    return {line[2]: int(line[1]) for line in lines if line and line[2] != "total"}

"""Mounts of this machine: what a Tarn has mounted below its data directory, and taking away what a failed test left."""

import subprocess
from pathlib import Path


def below(directory):
    """Mount points below a directory, innermost last."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].replace("\\040", " ")
        if point.startswith(f"{directory}/"):
            found.append(point)
    return sorted(found, key=len)


def detach_all(directory):
    for point in reversed(below(directory)):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)

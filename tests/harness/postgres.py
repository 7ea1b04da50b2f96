"""Which PostgreSQL the tests run on: that of TARN_TEST_POSTGRES (16, 17 or 18), which projects get that say nothing of it.

Its client programs are the ones that tests find, too. Importing this puts them in front of everything else that runs from here.
"""

import os
import re
import subprocess
from pathlib import Path

TARN_DEFAULT = 17  # what Tarn takes for a project that names no version


def _version(folder):
    """(18, 4) of the server in a folder, or None."""
    try:
        text = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\) (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _folders():
    """Where Tarn looks (src/compute/installation.h)."""
    named = [Path(part) for part in os.environ.get("TARN_POSTGRES", "").split(":") if part.startswith("/")]
    caches = [os.environ.get("TARN_CACHE"), "/var/cache/tarn", Path.home() / ".cache" / "tarn"]
    roots = [Path("/usr/lib/postgresql"), *(Path(cache) / "postgresql" for cache in caches if cache)]
    return named + [root / str(major) / "bin" for root in roots for major in (18, 17, 16)] + [Path("/usr/local/pgsql/bin")]


def installed():
    """{major: folder of its programs}; of several the newest minor version, as Tarn chooses."""
    best = {}
    for folder in _folders():
        version = _version(folder)
        if version and 16 <= version[0] <= 18 and version[1] > best.get(version[0], (-1,))[0]:
            best[version[0]] = (version[1], folder)
    return {major: folder for major, (_, folder) in best.items()}


def _choose():
    wanted = os.environ.get("TARN_TEST_POSTGRES")
    if not wanted:
        return TARN_DEFAULT
    found = installed()
    if wanted not in map(str, found):
        raise SystemExit(f"TARN_TEST_POSTGRES={wanted}: there is no such PostgreSQL (found: {sorted(found) or 'none'}); TARN_POSTGRES can name its bin folder")
    os.environ["PATH"] = f"{found[int(wanted)]}:{os.environ['PATH']}"
    return int(wanted)


MAJOR = _choose()


def with_version(body):
    """The body of a request for a new project, which says its version unless it is Tarn's own default."""
    if MAJOR == TARN_DEFAULT or not isinstance(body, dict):
        return body
    return {**body, "spec": {"pg_version": MAJOR, **body.get("spec", {})}}

"""The source of the installed PostgreSQL, for its tests: where one says it is, or from Debian's mirror, once per machine."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def installed_version():
    text = subprocess.run(["pg_config", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"(\d+)\.(\d+)", text).groups()


def find():
    """The unpacked source's folder: TARN_POSTGRES_SOURCE, or from Debian's mirror."""
    major, minor = installed_version()
    named = os.environ.get("TARN_POSTGRES_SOURCE")
    if named:
        told = re.search(r"^PACKAGE_VERSION='(.*)'", (Path(named) / "configure").read_text(), re.MULTILINE)[1]
        if told != f"{major}.{minor}":
            sys.exit(f"the source in {named} is of PostgreSQL {told}, installed is {major}.{minor}")
        return Path(named)
    cache = Path(os.environ["TARN_CACHE"])
    place = cache / "postgresql-source" / f"{major}.{minor}"
    if not (place / "complete").exists():
        print(f"fetching the source of PostgreSQL {major}.{minor} …", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            got = subprocess.run([TOOLS / "fetch_source", f"postgresql-{major}", work, f"{major}.{minor}"], capture_output=True, text=True, check=False)
            if got.returncode != 0:
                sys.exit(f"cannot fetch the source of PostgreSQL {major}.{minor}: {got.stderr.strip().splitlines()[-1]}")
            for part in ("src/test/regress", "src/test/isolation", "src/include"):
                shutil.copytree(Path(work) / "source" / part, place / "source" / part)
        (place / "complete").touch()
    return place / "source"

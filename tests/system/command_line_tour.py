"""docs/cli.md as a newcomer types it: each command, in order, and what it says compared (as in readme.py)."""

import os
import re
import subprocess
import tempfile

import pytest

from harness.platform import REPOSITORY, Platform, clean_environment
from system.readme import pattern, steps, without_progress


@pytest.mark.timeout(600)
def test_the_tour_says_what_the_page_says(tmp_path):
    with Platform() as platform:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "tarn").symlink_to(platform.binary)
        environment = clean_environment(TARN_DATA=str(platform.directory), PATH=f"{folder}:{os.environ['PATH']}", HOME=str(tmp_path),
                                        PSQLRC="/dev/null", PAGER="cat", TERM="dumb")  # fmt: skip
        exports, typed = "", 0
        for _, command, expected in steps((REPOSITORY / "docs/cli.md").read_text()):
            with tempfile.NamedTemporaryFile("r", suffix=".exports") as kept:
                result = subprocess.run(["bash", "-c", f"{exports}\n{command}\ncode=$?\nexport -p >{kept.name}\nexit $code"], cwd=tmp_path,
                                        env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, timeout=120)  # fmt: skip
                exports = kept.read()
            typed += 1
            assert result.returncode == 0, f"$ {command}\nended with {result.returncode}:\n{result.stdout}"
            if expected.strip():
                said = "\n".join(line.rstrip() for line in without_progress(result.stdout).rstrip().splitlines()) + "\n"
                assert re.fullmatch(pattern(expected), said), f"$ {command}\n--- the page promises\n{expected}\n--- it says\n{said}"
        assert typed >= 20

"""A choice of Postgres' own regression and isolation tests on a branch; tests/long/installcheck runs all of them."""

import os
import subprocess

import pytest

from harness.platform import BINARY, REPOSITORY


@pytest.mark.timeout(600)  # the first run on a machine fetches the source
def test_a_choice_of_regression_and_isolation_tests():
    done = subprocess.run([REPOSITORY / "tests" / "long" / "installcheck", "--quick"], capture_output=True, text=True, timeout=590,
                          env={**os.environ, "TARN_BINARY": str(BINARY)})  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "pg_amcheck after a suspend and a wake: all well" in done.stdout

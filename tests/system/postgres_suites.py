"""A choice of Postgres' own regression and isolation tests on a branch; tests/long/installcheck runs all of them."""

import os
import subprocess

import pytest

from harness.platform import BINARY, REPOSITORY


def run(*arguments):
    done = subprocess.run([REPOSITORY / "tests" / "long" / arguments[0], *arguments[1:]], capture_output=True, text=True, timeout=590,
                          env={**os.environ, "TARN_BINARY": str(BINARY)})  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(600)  # the first run on a machine fetches the source
def test_a_choice_of_regression_and_isolation_tests():
    assert "pg_amcheck after a suspend and a wake: all well" in run("installcheck", "--quick")


@pytest.mark.timeout(600)
def test_the_same_choice_through_the_proxy():
    assert "regress through the proxy" in run("installcheck", "--quick", "--through-proxy", "regress")


@pytest.mark.timeout(600)
def test_a_small_dump_comes_back_whole():
    """tests/long/dump_restore does it with a gigabyte."""
    assert run("dump_restore", "--megabytes", "20").count("all is there") == 3

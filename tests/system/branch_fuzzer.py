"""Two minutes of the branch fuzzer (tests/fuzzer) with a seed of its own each time; hours of it are one command."""

import os

import pytest

from fuzzer import branch_fuzzer


@pytest.mark.timeout(900)  # two minutes of actions, then every branch is checked whole
def test_random_branches_and_kills_against_the_model(capfd):
    arguments = ["--steps", os.environ.get("TARN_FUZZER_STEPS", "40"), "--minutes", "2"]
    if "TARN_FUZZER_SEED" in os.environ:
        arguments += ["--seed", os.environ["TARN_FUZZER_SEED"]]
    options = branch_fuzzer.parse(arguments)
    options.stop_after_failure = True
    assert branch_fuzzer.run(options), capfd.readouterr().out[-8000:]
    with capfd.disabled():
        print(f"[seed {options.seed}] ", end="", flush=True)

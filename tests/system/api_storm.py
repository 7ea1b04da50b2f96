"""Half a minute of the API storm (tests/fuzzer) with a seed of its own each time; hours of it are one command."""

import os

import pytest

from fuzzer import api_storm


@pytest.mark.timeout(900)  # half a minute of calls, then everything is looked at
def test_random_calls_and_kills_add_up(capfd):
    arguments = ["--seconds", os.environ.get("TARN_STORM_SECONDS", "30")]
    if "TARN_STORM_SEED" in os.environ:
        arguments += ["--seed", os.environ["TARN_STORM_SEED"]]
    storm = api_storm.Storm(api_storm.parse(arguments))
    with capfd.disabled():
        print(f"[seed {storm.options.seed}] ", end="", flush=True)
    assert "branches opened" in storm.run()

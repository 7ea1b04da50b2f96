"""Twenty seconds of the connect storm (tests/fuzzer) with a seed of its own each time; hours of it are one command."""

import os

import pytest

from fuzzer import connect_storm


@pytest.mark.bad_input
@pytest.mark.timeout(600)
def test_clients_of_every_kind_leave_nothing(capfd):
    arguments = ["--seconds", os.environ.get("TARN_STORM_SECONDS", "20")]
    if "TARN_STORM_SEED" in os.environ:
        arguments += ["--seed", os.environ["TARN_STORM_SEED"]]
    storm = connect_storm.Storm(connect_storm.parse(arguments))
    with capfd.disabled():
        print(f"[seed {storm.options.seed}] ", end="", flush=True)
    assert "clients" in storm.run()

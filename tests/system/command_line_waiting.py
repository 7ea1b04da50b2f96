"""What people see while `tarn postgres` waits for an operation, and what Ctrl-C, --timeout and --no-wait do to it."""

import json
import os
import re
import signal
import subprocess

import pytest

from harness.platform import clean_environment
from harness.terminal import Terminal
from harness.waiting import wait_until


@pytest.fixture
def held(platform, project, primary):
    """Branches of the project wait for this long as the test: the supervisor of their source is stopped."""
    platform.wake(primary)
    pid = platform.supervisor_pid(primary)
    os.kill(pid, signal.SIGSTOP)
    yield project
    os.kill(pid, signal.SIGCONT)


def create(project, branch, *flags):
    return ["postgres", "create-branch", f"projects/{project}", branch, "--json", '{"spec":{"no_expiry":true}}', *flags]


def finished(platform, text, primary):
    """The operation that a text names goes on, and ends once nothing holds it."""
    name = re.search(r"tarn postgres get-operation (\S+/operations/\S+)", text)[1]
    assert not json.loads(platform.tarn("postgres", "get-operation", name).stdout)["done"]
    os.kill(platform.supervisor_pid(primary), signal.SIGCONT)
    wait_until(lambda: json.loads(platform.tarn("postgres", "get-operation", name).stdout)["done"], f"{name} done", 90)


def test_ctrl_c_at_a_terminal_says_that_the_operation_goes_on(platform, held, primary):
    terminal = Terminal([platform.binary, *create(held, "dev")], clean_environment(**platform.env()))
    try:
        terminal.wait_for(r'\r\x1b\[Kcreating branch "dev" … 0\.\d s')
        terminal.wait_for(r'\r\x1b\[Kcreating branch "dev" … 1\.\d s')
        terminal.type("\x03", "the operation goes on")
        assert terminal.wait() == -signal.SIGINT
        assert "\n" not in terminal.seen.split("\x03")[0].split("^C")[0], "one line that changes"
        finished(platform, terminal.seen, primary)
    finally:
        terminal.close()


def test_in_a_script_there_is_a_line_every_ten_seconds(platform, held, primary):
    waiting = subprocess.Popen([platform.binary, *create(held, "dev")], env=clean_environment(**platform.env()),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    line = waiting.stderr.readline()
    assert re.fullmatch(r'creating branch "dev" … 1\d s\n', line)
    waiting.send_signal(signal.SIGINT)
    out, rest = waiting.communicate(timeout=60)
    assert waiting.returncode == -signal.SIGINT and out == "" and "goes on" in rest and "\x1b" not in rest
    finished(platform, rest, primary)


def test_a_timeout_ends_the_waiting_only(platform, held, primary):
    result = platform.tarn(*create(held, "dev", "--timeout", "300ms"), check=False)
    assert result.returncode == 1 and "gave up waiting" in result.stderr and "it goes on" in result.stderr
    finished(platform, result.stderr, primary)


def test_no_wait_prints_the_operation(platform, held, primary):
    operation = json.loads(platform.tarn(*create(held, "dev", "--no-wait")).stdout)
    assert not operation["done"]
    finished(platform, f"tarn postgres get-operation {operation['name']} ", primary)


def test_a_shell_that_ignores_ctrl_c_for_its_background_jobs_is_obeyed(platform, held, primary):
    waiting = subprocess.Popen([platform.binary, *create(held, "dev")], env=clean_environment(**platform.env()),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # fmt: skip
    waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    os.kill(platform.supervisor_pid(primary), signal.SIGCONT)
    out, _ = waiting.communicate(timeout=90)
    assert waiting.returncode == 0 and json.loads(out)["branch_id"] == "dev"

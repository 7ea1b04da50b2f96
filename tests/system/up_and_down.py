"""`tarn up`, `status`, `env`, `doctor`, `down`: what a person who runs the thing sees."""

import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from harness import mounts, processes
from harness.platform import BINARY, clean_environment
from harness.ports import free_port
from harness.rest import Rest
from harness.waiting import wait_until


def run(*arguments, **environment):
    return subprocess.run(
        [BINARY, *map(str, arguments)], env=clean_environment(**environment), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def one_line(result, code=1):
    """The single line on stderr of a command that failed as it should."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    lines = result.stderr.strip().splitlines()
    assert lines, "it failed without a word"
    return lines[0]


def test_first_run_says_what_is_ready_and_where(platform):
    log = platform.up_log()
    assert f"127.0.0.1:{platform.api_port}" in log
    assert str(platform.pg_port) in log


def test_env_gives_what_clients_need(platform):
    result = run("env", "--data", platform.directory)
    assert result.returncode == 0
    names = set()
    for line in result.stdout.splitlines():
        match = re.fullmatch(r"export ([A-Z_]+)=(.*)", line)
        assert match, line
        names.add(match[1])
    assert {"DATABRICKS_HOST", "DATABRICKS_TOKEN", "PGSSLROOTCERT", "NODE_EXTRA_CA_CERTS"} <= names
    env = platform.env()
    assert env["DATABRICKS_HOST"] == platform.host
    assert os.path.samefile(env["PGSSLROOTCERT"], platform.directory / "authority.crt")
    assert Rest(env["DATABRICKS_HOST"], env["DATABRICKS_TOKEN"]).user() == "admin@localhost"


def test_secrets_are_readable_by_their_owner_only(platform):
    for name in ("admin.token", "authority.key", "token.key", "metadata.db"):
        mode = stat.S_IMODE((platform.directory / name).stat().st_mode)
        assert mode == 0o600, f"{name} has mode {mode:o}"
    assert stat.S_IMODE((platform.directory / "run").stat().st_mode) == 0o700
    token = platform.env()["DATABRICKS_TOKEN"]
    for path in platform.log_files():
        assert token not in path.read_text(errors="replace"), f"{path} has the admin's token"


def test_status_shows_roles_and_computes(platform, project, primary):
    platform.sql(primary, "select 1")
    out = run("status", "--data", platform.directory).stdout
    assert str(platform.role_pid("control")) in out
    assert str(platform.role_pid("proxy")) in out
    assert f"projects/{project}/branches/production/endpoints/primary" in out


def test_second_up_says_who_holds_the_directory(platform):
    second = run("up", "--data", platform.directory, "--api", "127.0.0.1:1", "--pg-port", "2")
    assert str(platform.up.pid) in one_line(second)
    assert platform.up.poll() is None
    assert platform.rest.user() == "admin@localhost"


def test_ports_that_are_taken_are_named(platform):
    """It ends at once, and not after starting a role again and again."""
    for taken, arguments in (
        (platform.api_port, ["--api", f"127.0.0.1:{platform.api_port}", "--pg-port", free_port()]),
        (platform.pg_port, ["--api", f"127.0.0.1:{free_port()}", "--pg-port", platform.pg_port]),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="tarn-", dir="/tmp") as folder:
            os.chmod(folder, 0o711)
            result = run("up", "--data", f"{folder}/d", *arguments)
            assert result.returncode == 1, result.stdout + result.stderr
            assert str(taken) in result.stderr
            assert not processes.of_directory(folder)


def test_doctor_checks_this_machine(platform):
    result = run("doctor", "--data", platform.directory)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"17\.\d+", result.stdout), "no Postgres 17 listed"


def test_doctor_fails_and_says_what_to_do_without_postgres(tmp_path):
    # A private mount table hides all the places where a Postgres can be.
    hide = "for d in /usr/lib/postgresql /var/cache/tarn /usr/local/pgsql; do [ ! -d $d ] || mount -t tmpfs none $d; done"
    if os.geteuid() != 0:
        pytest.skip("needs root to hide the installed Postgres")
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{hide}; exec "$0" "$@"', BINARY, "doctor", "--data", tmp_path / "none"],
        env=clean_environment(HOME="/nonexistent", TARN_CACHE="/nonexistent", PATH="/usr/bin:/bin:/usr/sbin:/sbin"),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    assert "ostgres" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["up", "--no-such-flag"], ["up", "--pg-port", "70000"], ["up", "--api", "nonsense"],
     ["postgres", "no-such-call"], ["postgres", "get-project"], ["env", "--data"]],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(arguments):
    assert one_line(run(*arguments), 2)


def test_commands_without_a_tarn_say_so(tmp_path):
    for command in ("status", "env", "down"):
        result = run(command, "--data", tmp_path / "none")
        assert result.returncode == 1, (command, result.stdout, result.stderr)
        assert str(tmp_path / "none") in one_line(result), command


def test_a_folder_of_somebody_else_is_not_taken(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    result = run("up", "--data", tmp_path)
    assert one_line(result)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path):
    result = run("up", "--data", tmp_path / ("x" * 100))
    assert "60" in one_line(result) and "--data" in result.stderr
    assert not any(tmp_path.iterdir())


def test_down_lets_everything_sleep_and_a_new_up_finds_it_again(own_platform):
    platform = own_platform()
    token = platform.env()["DATABRICKS_TOKEN"]
    platform.rest.create_project("keep")
    endpoint = platform.rest.endpoint("keep")
    platform.sql(endpoint, "create table note as select 'still here' as text")
    supervisor = platform.supervisor_pid(endpoint)
    assert supervisor and processes.children(supervisor)

    result = run("down", "--data", platform.directory)
    assert result.returncode == 0, result.stderr
    assert platform.up.wait(30) == 0
    platform.check_nothing_left()
    exit_report = json.loads((platform.directory / "computes" / endpoint["uid"] / "last_exit.json").read_text())
    assert exit_report["state"] == "stopped", exit_report
    # What lies there is the volume as of a clean shutdown: its newest restore point says so, and the wake replays nothing.
    volume = platform.volume(endpoint)
    (store,) = [s for s in platform.stores() if volume.name in s.stack_names()]
    newest = json.loads(store.point_paths(volume.name)[-1].read_text())
    assert newest["point"]["is_shut_down"] is True, newest

    platform.start()
    assert platform.env()["DATABRICKS_TOKEN"] == token
    assert platform.sql(endpoint["name"], "select text from note") == [("still here",)]
    log = (platform.directory / "computes" / endpoint["uid"] / "postgres.log").read_text(errors="replace")
    assert "redo starts" not in log and "was not properly shut down" not in log


def test_ctrl_c_is_a_clean_end_too(own_platform):
    platform = own_platform()
    platform.up.send_signal(signal.SIGINT)
    assert platform.up.wait(30) == 0
    platform.check_nothing_left()


def test_a_stop_right_after_a_role_died_leaves_none(own_platform):
    """Its successor may not have taken its lock yet, by which roles are found."""
    platform = own_platform()
    for moment in (0.0, 0.001, 0.003, 0.01, 0.03):
        os.kill(platform.role_pid("proxy"), signal.SIGKILL)
        time.sleep(moment)  # not a wait for anything: the moment of the stop is what varies
        assert platform.stop() == 0
        platform.check_nothing_left()
        platform.start()


def test_down_when_everybody_was_killed_leaves_no_mount(own_platform):
    """Nobody is left who would start the compute again, which takes the dead mount away."""
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    platform.sql(endpoint, "create table note as select 'still here' as text")
    for pid in (platform.up.pid, platform.role_pid("control"), platform.supervisor_pid(endpoint)):
        os.kill(pid, signal.SIGKILL)
    platform.up.wait(10)
    assert mounts.below(platform.directory), "the file system's end does not unmount it"
    result = run("down", "--data", platform.directory)
    assert result.returncode == 0, result.stderr
    platform.check_nothing_left()
    platform.start()
    assert platform.sql(endpoint, "select text from note") == [("still here",)]


def test_the_roles_outlive_up_and_a_new_one_adopts_them(own_platform):
    platform = own_platform()
    platform.rest.create_project("p")
    endpoint = platform.rest.endpoint("p")
    with platform.connect(endpoint) as connection:
        before = {role: platform.role_pid(role) for role in ("control", "proxy")}
        postgres = platform.postmaster_pid(platform.branch_uid("p"))
        platform.up.send_signal(signal.SIGKILL)
        platform.up.wait(10)
        assert connection.execute("select 1").fetchone() == (1,)
        platform.start()
        assert {role: platform.role_pid(role) for role in ("control", "proxy")} == before
        assert platform.postmaster_pid(platform.branch_uid("p")) == postgres
        assert connection.execute("select 2").fetchone() == (2,)
    # What it adopted it also watches.
    os.kill(before["proxy"], signal.SIGKILL)
    wait_until(lambda: platform.role_pid("proxy") not in (None, before["proxy"]), "a new proxy")
    wait_until(lambda: platform.sql(endpoint, "select 3") == [(3,)], "connections through it")

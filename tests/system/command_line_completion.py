"""Shell completion: in a real bash at a terminal, and in zsh and fish where they are installed; names come from the server."""

import os
import shutil
import subprocess

import pytest

from harness.platform import BINARY, clean_environment
from harness.terminal import Terminal


@pytest.fixture(scope="module")
def words(platform):
    """`tarn __complete WORD…`: how to take them, and the candidates."""

    def ask(*typed, **environment):
        result = platform.tarn("__complete", *typed, **environment)
        assert result.stderr == ""
        lines = result.stdout.splitlines()
        return lines[0], [line.split("\t")[0] for line in lines[1:]]

    return ask


def test_commands_and_flags(words):
    how, found = words("")
    assert how == ":words" and {"up", "down", "postgres", "psql", "completion", "help"} <= set(found)
    assert words("postgres", "get-br") == (":words", ["get-branch"])
    assert words("help", "postgres", "undelete-p") == (":words", ["undelete-project"])
    assert words("completion", "") == (":words", ["bash", "zsh", "fish"])
    assert words("-o", "json", "postgres", "get-br") == (":words", ["get-branch"])
    _, flags = words("postgres", "delete-branch", "--")
    assert "--purge" in flags and "--json" not in flags and "--page-token" not in flags
    assert words("postgres", "list-projects", "-o", "")[1] == ["json", "text"]
    assert words("postgres", "list-projects", "--output=j")[1] == ["--output=json"]
    assert words("postgres", "create-project", "x", "--json", "@/e") == (":files", [])
    assert words("up", "--data", "") == (":folders", [])
    assert words("postgres", "update-branch", "projects/x/branches/y", "spec.ttl,spec.is")[1] == ["spec.ttl,spec.is_protected"]
    for nonsense in ([], ["nonsense", ""], ["postgres", "nonsense", ""], ["postgres", "get-project", "x", ""], ["--", ""], ["-x", ""]):
        assert words(*nonsense)[0].startswith(":")


def test_names_of_what_is_there(words, shared_project):
    whole = f"projects/{shared_project}"
    assert whole in words("postgres", "get-project", "")[1]
    assert words("postgres", "get-project", whole[:-2]) == (":words", [whole])
    how, found = words("postgres", "get-branch", "proj")
    assert how == ":partial" and f"{whole}/branches/" in found
    assert words("postgres", "get-branch", f"{whole}/") == (":words", [f"{whole}/branches/production"])
    assert words("postgres", "list-endpoints", f"{whole}/branches/")[1] == [f"{whole}/branches/production"]
    assert words("postgres", "get-endpoint", f"{whole}/branches/production/endpoints/")[1] == [f"{whole}/branches/production/endpoints/primary"]
    assert words("postgres", "get-snapshot-schedule", f"{whole}/branches/p")[1] == [f"{whole}/branches/production/snapshot-schedule"]
    assert words("postgres", "get-database", f"{whole}/branches/production/databases/data")[1] == [
        f"{whole}/branches/production/databases/databricks-postgres"]  # fmt: skip
    assert words("psql", whole)[1] == [whole, f"{whole}/branches/"]
    assert words("psql", "--project", shared_project[:-1])[1] == [shared_project]
    assert words("psql", "--project", shared_project, "--branch", "")[1] == ["production"]
    assert words("psql", "--project", shared_project, "--branch=production", "--endpoint=")[1] == ["--endpoint=primary"]
    assert words("psql", "--project", shared_project, "--branch", "=", "prod")[1] == ["production"], "as bash breaks the line"
    assert words("psql", "--project", shared_project, "--", "-f", "x") == (":files", [])
    assert words("postgres", "get-branch", "projects/../..") == (":words", [])


def test_a_server_that_is_not_there_or_does_not_answer_has_no_names_and_takes_no_time(words):
    import socket

    assert words("postgres", "get-project", "", DATABRICKS_HOST="http://127.0.0.1:9") == (":words", [])
    assert words("postgres", "get-project", "", DATABRICKS_TOKEN="wrong") == (":words", [])
    assert words("postgres", "get-project", "", "-p", "nope") == (":words", [])
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        # It would be waited for by a minute otherwise: the time limit of the command itself is the check.
        result = subprocess.run([BINARY, "__complete", "postgres", "get-project", ""], capture_output=True, text=True, timeout=20,
                                env=clean_environment(DATABRICKS_HOST=f"http://127.0.0.1:{silent.getsockname()[1]}",
                                                      DATABRICKS_TOKEN="x"))  # fmt: skip
        assert (result.stdout, result.stderr) == (":words\n", "")


def test_profiles_are_offered_but_nothing_that_a_shell_would_run(words, tmp_path):
    config = tmp_path / "config"
    config.write_text("[DEFAULT]\n[work]\n[__settings__]\n[$(touch x)]\n[a b]\n[~x]\n[`id`]\n")
    assert words("psql", "-p", "", DATABRICKS_CONFIG_FILE=str(config))[1] == ["DEFAULT", "work"]


def shell_environment(platform):
    folder = platform.scratch / "bin-of-completion"
    folder.mkdir(exist_ok=True)
    if not (folder / "tarn").exists():
        (folder / "tarn").symlink_to(platform.binary)
    return clean_environment(**platform.env(), PATH=f"{folder}:{os.environ['PATH']}", TERM="dumb", PS1="> ", HOME=str(platform.scratch),
                             COLUMNS="300", INPUTRC="/dev/null")  # fmt: skip


def test_in_bash(platform, shared_project, tmp_path):
    (tmp_path / "body file.json").write_text("{}")
    shell = Terminal(["bash", "--norc", "--noprofile", "-i"], shell_environment(platform))
    try:
        shell.type("stty cols 300; bind 'set bell-style none' 'set enable-bracketed-paste off'; cd " + str(tmp_path) + "\n", "> ")
        shell.type("source <(tarn completion bash) && echo it''works\n", "itworks")
        shell.type("tarn postg\t", "tarn postgres ")
        shell.type("get-bra\t", "get-branch ")
        shell.type(f"projects/{shared_project[:-1]}\t", f"projects/{shared_project}/branches/")
        shell.type("\t", "production ")
        shell.type("-o js\t", "-o json ")
        shell.type("\n", '"branch_id": "production"')
        shell.type("tarn psql --project=" + shared_project[:-1] + "\t", f"{shared_project} ")
        shell.type("--bra\t", "--branch ")
        shell.type("\t", "production ")
        shell.type("\x15tarn postgres create-project x --json @bo\t", r"dy\\ file\.json ")
        shell.type("\x15tarn postgres create-project x --json=@bo\t", r"dy\\ file\.json ")
        shell.type("\x15tarn postgres delete-branch --pu\t", "--purge ")
    finally:
        shell.close()


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_in_zsh(platform, shared_project):
    shell = Terminal(["zsh", "-f", "-i"], shell_environment(platform))
    try:
        shell.type("stty cols 300; PROMPT='> '; autoload -Uz compinit && compinit -D -u; source <(tarn completion zsh) && echo it''works\n",
                   "itworks")  # fmt: skip
        shell.type("tarn postg\t", "tarn postgres ")
        shell.type(f"get-branch projects/{shared_project[:-1]}\t", f"{shared_project}/branches/")
        shell.type("\t", "production ")
    finally:
        shell.close()


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_in_fish(platform, shared_project):
    # fish can be asked without a terminal, and wants to know too much about one.
    def ask(line):
        script = f"tarn completion fish | source; complete -C '{line}'"
        result = subprocess.run(["fish", "--no-config", "-c", script], env=shell_environment(platform), capture_output=True, text=True, timeout=60)
        return [found.split("\t")[0] for found in result.stdout.splitlines()]

    assert ask("tarn postgres get-bra") == ["get-branch"]
    assert ask(f"tarn postgres get-project projects/{shared_project[:-1]}") == [f"projects/{shared_project}"]
    assert "--purge" in ask("tarn postgres delete-branch --p")
    assert ask("tarn completion z") == ["zsh"]

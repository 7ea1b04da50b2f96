"""The README as a new user reads it: each command of its console blocks is typed, in order, and what it says compared.

In an expected output, "…" stands for anything; a line that is only "…" for any lines. A block below a comment
`<!-- when: COMMAND -->` is typed once COMMAND succeeds, as a reader waits for what the text announces.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import processes
from harness.platform import REPOSITORY, clean_environment
from harness.ports import free_port
from harness.waiting import wait_until

BLOCK = re.compile(r"(?:<!-- when: (?P<when>.+?) -->\n+)?```console\n(?P<text>.*?)```", re.S)


def steps(text):
    """(what must hold before, command, expected output) for each command of the console blocks."""
    for block in BLOCK.finditer(text):
        when, command, expected = block["when"], None, []
        for line in block["text"].splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield when, command, "\n".join(expected)
                    when = None
                command, expected = line[2:], []
            elif command is not None and not expected and (command.endswith("\\") or command.count("'") % 2):
                command += "\n" + line.removeprefix("> ")
            else:
                expected.append(line)
        if command is not None:
            yield when, command, "\n".join(expected)


def pattern(expected):
    parts = []
    for line in expected.rstrip().split("\n"):
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(part.rstrip() if i else part) for i, part in enumerate(line.rstrip().split("…"))) + r"[ ]*\n")
    return "".join(parts)


def without_progress(said):
    """On a machine that is busy, `tarn` says every ten seconds what it waits for."""
    return re.sub(r"^.* … \d+ s\n", "", said, flags=re.M)


class Reader:
    """A person at a shell: one bash for all commands, in the repository's folder."""

    def __init__(self):
        self.data = Path(tempfile.mkdtemp(prefix="tarn-", dir="/tmp"))
        os.chmod(self.data, 0o711)
        self.ports = {5432: free_port(), 8080: free_port()}
        self.environment = clean_environment(
            TARN_DATA=str(self.data / "d"), TARN_API=f"127.0.0.1:{self.ports[8080]}",
            TARN_PG_PORT=str(self.ports[5432]), PAGER="cat", PSQL_PAGER="cat", PSQLRC="/dev/null", TERM="dumb",
        )  # fmt: skip
        self.exports = ""

    def type(self, command):
        """Runs it; exported variables stay for the next command. What it says, as a reader with the defaults sees it."""
        with tempfile.NamedTemporaryFile("r", suffix=".exports") as kept:
            # Ports and the data directory differ from the defaults the README is written with.
            for usual, ours in self.ports.items():
                command = re.sub(rf"\b{usual}\b", str(ours), command)
            script = f"{self.exports}\n. tools/environment\n{command}\ncode=$?\nexport -p >{kept.name}\nexit $code"
            result = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, env=self.environment, text=True,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    timeout=280)  # fmt: skip
            self.exports = kept.read()
        said = without_progress(result.stdout)
        for usual, ours in self.ports.items():
            said = said.replace(str(ours), str(usual))
        return result.returncode, said.replace(str(self.data / "d"), "/var/lib/tarn")

    def close(self):
        subprocess.run([REPOSITORY / "build" / "tarn", "down", "--data", self.data / "d"], env=clean_environment(),
                       capture_output=True, timeout=60)  # fmt: skip
        left = processes.of_directory(self.data)
        processes.kill_all(left)
        shutil.rmtree(self.data)
        assert not left, "`tarn down` left processes"


@pytest.fixture
def reader():
    person = Reader()
    yield person
    person.close()


@pytest.mark.timeout(600)
def test_every_command_of_the_readme_says_what_the_readme_says(reader):
    typed = []
    for when, command, expected in steps((REPOSITORY / "README.md").read_text()):
        if when:
            wait_until(lambda: reader.type(when)[0] == 0, f"what the README announces: {when}", 120, pause=0.5)
        code, said = reader.type(command)
        typed.append(command)
        assert code == 0, f"$ {command}\nended with {code}:\n{said}"
        if expected.strip():
            assert re.fullmatch(pattern(expected), said.rstrip() + "\n"), (
                f"$ {command}\n--- the README promises\n{expected}\n--- it says\n{said}")
    assert typed[0] == "./quickstart" and len(typed) >= 8, typed


def test_quickstart_again_is_quick_and_says_what_is_there(reader):
    assert reader.type("./quickstart")[0] == 0
    code, said = reader.type("time ./quickstart")
    assert code == 0, said
    assert "it runs already" in said and "is there from an earlier run" in said and 'branch "try-2"' in said
    minutes, seconds = re.search(r"real\s+(\d+)m([\d.]+)s", said).groups()
    assert int(minutes) == 0 and float(seconds) < 30, said
    assert said.count(" plum  |  0.30") == 2, "the parent's rows, before and after"


def test_quickstart_says_who_has_its_port(reader):
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", reader.ports[5432]))
        holder.listen()
        code, said = reader.type("./quickstart")
    assert code == 1
    assert f"port 5432 is taken by process {os.getpid()}" in said and "--pg-port" in said, said
    assert not processes.of_directory(reader.data)

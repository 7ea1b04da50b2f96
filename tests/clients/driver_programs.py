"""Programs of drivers: built or run as an application's would be, each in a folder of its own.

Given the source of a program and its language, command() makes what is to be run; so the stories of clients/drivers and the examples of
docs/connecting.md go the same way.
"""

import json
import subprocess
import sys
from pathlib import Path

from clients import installed
from harness.platform import clean_environment

STORIES = installed.HERE / "drivers"


def _python(source, folder, environment):
    environment["PYTHONPATH"] = str(installed.python_drivers())
    (folder / "program.py").write_text(source)
    return [sys.executable, "-B", "program.py"]


def _node(source, folder, environment):
    node, packages = installed.node(), installed.node_packages()
    # Modules are looked for beside the program.
    (folder / "node_modules").symlink_to(packages / "node_modules")
    (folder / "program.mjs").write_text(source)
    return [node, "program.mjs"]


def _java(source, folder, environment):
    java, jars = installed.java(), installed.jdbc_jars()
    name = source[source.index("class ") + 6 :].split()[0]
    (folder / f"{name}.java").write_text(source)
    return [java, "-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", f"{jars}/*", f"{name}.java"]


def _go(source, folder, environment):
    go, modules = installed.go(), installed.go_modules()
    for name in ("go.mod", "go.sum", "vendor"):
        (folder / name).symlink_to(modules / name)
    (folder / "program.go").write_text(source)
    build = clean_environment(GOTOOLCHAIN="local", GOWORK="off", GOPROXY="off", GOCACHE=str(modules / "build"), CGO_ENABLED="0",
                              GOFLAGS="-mod=vendor -buildvcs=false -trimpath", HOME=str(folder))  # fmt: skip
    done = subprocess.run([go, "build", "-o", "program", "."], cwd=folder, env=build, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return ["./program"]


def _bash(source, folder, environment):
    (folder / "program.sh").write_text("set -euo pipefail\n" + source)
    return ["bash", "program.sh"]


LANGUAGES = {"python": _python, "js": _node, "java": _java, "go": _go, "bash": _bash}

# The stories: driver, language, file.
DRIVERS = {
    "psycopg 3": ("python", "story_psycopg.py"), "psycopg 2": ("python", "story_psycopg2.py"), "asyncpg": ("python", "story_asyncpg.py"),
    "SQLAlchemy": ("python", "story_sqlalchemy.py"), "node-postgres": ("js", "node/story.mjs"), "pgjdbc": ("java", "java/Story.java"),
    "pgx": ("go", "go/story.go"),
}  # fmt: skip


class Program:
    """One that has been started; `with` it, so that it ends whatever happens."""

    def __init__(self, language, source, folder, environment, timeout=200):
        folder = Path(folder)
        environment = {"HOME": str(folder), "LANG": "C.UTF-8", **environment}
        command = LANGUAGES[language](source, folder, environment)
        self.timeout = timeout
        self.process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(**environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def wait_for_line(self, line):
        """Reads on to that line; its end before that is a failure that shows what it said."""
        seen = []
        for read in self.process.stdout:
            if read.rstrip("\n") == line:
                return
            seen.append(read)
        _, error = self.process.communicate(timeout=self.timeout)
        raise AssertionError(f"it ended with {self.process.returncode} before it said {line!r}: {error[-3000:]}{''.join(seen)[-1000:]}")

    def finish(self, line=""):
        """Gives it a line and waits for its end: (exit code, stdout, stderr)."""
        out, error = self.process.communicate(line, timeout=self.timeout)
        return self.process.returncode, out, error

    def answer(self, line=""):
        """The object that it prints last."""
        code, out, error = self.finish(line)
        assert code == 0, f"it ended with {code}: {error[-3000:]}{out[-1000:]}"
        return json.loads(out.splitlines()[-1])


def story(driver, folder, environment):
    language, file = DRIVERS[driver]
    return Program(language, (STORIES / file).read_text(), folder, environment)

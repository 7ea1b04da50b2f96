"""The real `databricks` command line, with a home of its own so that nobody's profile, cache or login is seen or changed."""

import json
import subprocess
import tempfile
from pathlib import Path

from clients import installed
from harness.platform import clean_environment


class CliError(AssertionError):
    def __init__(self, result):
        super().__init__(f"databricks {result.args[1:]} ended with {result.returncode}: {result.stderr}{result.stdout}")
        self.code, self.message = result.returncode, result.stderr


class DatabricksCli:
    def __init__(self, environment):
        """`environment` is what a person would export: DATABRICKS_HOST, and a token or a client's id and secret."""
        self.program = installed.databricks_cli()
        self._home = tempfile.TemporaryDirectory(prefix="tarn-cli-")
        self.home = Path(self._home.name)
        self._environment = environment

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._home.cleanup()

    def write_profiles(self, **profiles):
        """~/.databrickscfg, as `databricks configure` writes it."""
        text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()) for name, values in profiles.items())
        (self.home / ".databrickscfg").write_text(text)

    def run(self, *arguments, check=True, timeout=180, **environment):
        result = subprocess.run(
            [self.program, *map(str, arguments)],
            env=clean_environment(HOME=str(self.home), **{**self._environment, **environment}), cwd=self.home,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check and result.returncode != 0:
            raise CliError(result)
        return result

    def json(self, *arguments, body=None, **more):
        """What it prints with -o json; None if it prints nothing. `body` becomes --json."""
        extra = [] if body is None else ["--json", json.dumps(body)]
        out = self.run(*arguments, *extra, "-o", "json", **more).stdout
        return json.loads(out) if out.strip() else None

    def refused(self, *arguments, body=None):
        """What a command that must fail says."""
        try:
            answer = self.json(*arguments, body=body)
        except CliError as error:
            return error.message
        raise AssertionError(f"{arguments} was accepted: {answer}")

    def postgres(self, *arguments, **more):
        return self.json("postgres", *arguments, **more)

    def commands(self, group="postgres"):
        """The commands that a group's help lists."""
        lines = self.run(group, "--help").stdout.split("Available Commands:\n")[1].split("\n\n")[0].splitlines()
        return [line.split()[0] for line in lines]

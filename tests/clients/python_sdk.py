"""One version of databricks-sdk for Python in a process of its own, called from a test as if it were here."""

import json
import subprocess
import sys
import tempfile

from clients import installed
from harness.platform import clean_environment


class SdkError(AssertionError):
    """What the SDK raised: the name of its class, the error code that it read, and its message."""

    def __init__(self, call, error):
        super().__init__(f"{call}: {error['class']}: {error['message']}")
        self.kind, self.code, self.message = error["class"], error["code"], error["message"]


class PythonSdk:
    def __init__(self, version, environment):
        """`environment` is what a person would export: DATABRICKS_HOST, and a token or a client's id and secret."""
        self.version = version
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(installed.HERE / "python_sdk_worker.py")],
            env=clean_environment(PYTHONPATH=str(installed.python_sdk(version)), DATABRICKS_CONFIG_FILE="/dev/null", **environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, bufsize=1,
        )  # fmt: skip

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def request(self, call, arguments, **more):
        self._process.stdin.write(json.dumps({"call": call, "arguments": arguments, **more}) + "\n")
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise AssertionError(f"databricks-sdk {self.version} ended in {call}: {self._errors.read()[-4000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise SdkError(call, answer["error"])
        return answer["result"]

    def refused(self, call, **arguments):
        """The error of a call that must fail."""
        try:
            result = self(call, **arguments)
        except SdkError as error:
            return error
        raise AssertionError(f"{call} was accepted: {result}")

    def methods(self):
        """The names of all methods of this version's `postgres`."""
        return self.request("methods", {})

    def start(self, method, **arguments):
        """A mutation that is not waited for: its operation, and the first look at it."""
        return self.request(f"postgres.{method}", arguments, wait=False)

    def __call__(self, method, **arguments):
        """A method of `postgres`, or of another service by its full name ("current_user.me")."""
        return self.request(method if "." in method else f"postgres.{method}", arguments)

"""Programs for Node with the packages of clients/node, from a folder as a person's application would have it."""

import json
import subprocess
import tempfile
from pathlib import Path

from clients import installed
from harness.platform import clean_environment


def run(program, environment, check=True, timeout=120):
    """Runs clients/node/`program`; the object that it prints last, or the finished process when it need not succeed."""
    node, packages = installed.node(), installed.node_packages()
    with tempfile.TemporaryDirectory(prefix="tarn-node-") as folder:
        folder = Path(folder)
        # Modules are looked for beside the program.
        (folder / "node_modules").symlink_to(packages / "node_modules")
        (folder / program).write_bytes((installed.HERE / "node" / program).read_bytes())
        result = subprocess.run(
            [node, program], cwd=folder, env=clean_environment(HOME=str(folder), **environment),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
    if not check:
        return result
    assert result.returncode == 0, f"{program} ended with {result.returncode}: {result.stderr}{result.stdout}"
    return json.loads(result.stdout.splitlines()[-1])

"""Terraform with the real databricks provider, in a folder of its own: nothing is fetched, nobody's configuration is read."""

import json
import subprocess
import tempfile
from pathlib import Path

from clients import installed
from harness.platform import clean_environment


class TerraformError(AssertionError):
    def __init__(self, result):
        super().__init__(f"terraform {result.args[1:]} ended with {result.returncode}: {result.stderr}{result.stdout}")
        self.message = " ".join((result.stderr + result.stdout).replace("│", " ").split())


class Terraform:
    def __init__(self, environment):
        self.program = installed.terraform()
        provider = installed.terraform_provider()
        self._folder = tempfile.TemporaryDirectory(prefix="tarn-terraform-")
        self.folder = Path(self._folder.name)
        (self.folder / "main").mkdir()
        configuration = self.folder / "terraformrc"
        configuration.write_text(
            f'provider_installation {{\n  dev_overrides {{ "databricks/databricks" = "{provider}" }}\n  direct {{}}\n}}\n'
        )
        self._environment = clean_environment(
            HOME=str(self.folder), TF_CLI_CONFIG_FILE=str(configuration), TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1",
            DATABRICKS_CONFIG_FILE="/dev/null", **environment)  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def write(self, text):
        """The whole configuration."""
        head = 'terraform {\n  required_providers {\n    databricks = { source = "databricks/databricks" }\n  }\n}\n'
        (self.folder / "main" / "main.tf").write_text(head + text)

    def run(self, *arguments, accept=(0,), timeout=240):
        result = subprocess.run(
            [self.program, *map(str, arguments)], env=self._environment, cwd=self.folder / "main",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if result.returncode not in accept:
            raise TerraformError(result)
        return result

    def plan(self):
        """What an apply would do: {address: "create", "update", "delete", "replace", "import" or "import, update"}."""
        out, imported = {}, set()
        for line in self.run("plan", "-input=false", "-json").stdout.splitlines():
            event = json.loads(line)
            if event["type"] == "planned_change":
                address = event["change"]["resource"]["addr"]
                out[address] = event["change"]["action"]
                if "importing" in event["change"]:
                    imported.add(address)
        return {address: f"import, {done}" if address in imported and done != "import" else done for address, done in out.items()}

    def apply(self):
        self.run("apply", "-input=false", "-auto-approve", "-no-color")
        return self.state()

    def destroy(self):
        self.run("destroy", "-input=false", "-auto-approve", "-no-color")

    def forget(self, *addresses):
        self.run("state", "rm", "-no-color", *addresses)

    def _read_state(self):
        return json.loads((self.folder / "main" / "terraform.tfstate").read_text())

    def outputs(self):
        return {name: one["value"] for name, one in self._read_state()["outputs"].items()}

    def state(self):
        """{address: attributes} of the resources in the state."""
        managed = [one for one in self._read_state()["resources"] if one["mode"] == "managed"]
        return {f"{one['type']}.{one['name']}": one["instances"][0]["attributes"] for one in managed}

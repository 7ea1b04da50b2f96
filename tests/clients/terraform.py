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
        """What an apply would do: {address: ["create"], ["update"], ["delete", "create"], …}; {} if nothing."""
        self.run("plan", "-input=false", "-no-color", "-out=plan")
        shown = json.loads(self.run("show", "-json", "plan").stdout)
        actions = {one["address"]: one["change"]["actions"] for one in shown.get("resource_changes", [])}
        return {address: done for address, done in actions.items() if done not in (["no-op"], ["read"])}

    def apply(self):
        self.run("apply", "-input=false", "-auto-approve", "-no-color")
        return self.state()

    def destroy(self):
        self.run("destroy", "-input=false", "-auto-approve", "-no-color")

    def import_(self, address, name):
        self.run("import", "-input=false", "-no-color", address, name)

    def forget(self, *addresses):
        self.run("state", "rm", "-no-color", *addresses)

    def outputs(self):
        return {name: one["value"] for name, one in json.loads(self.run("output", "-json").stdout).items()}

    def state(self):
        """{address: attributes} of everything in the state."""
        root = json.loads(self.run("show", "-json").stdout).get("values", {}).get("root_module", {})
        return {one["address"]: one["values"] for one in root.get("resources", [])}

"""Where tools/setup --tests put the real clients. A test whose client is not there is skipped, and says which and why."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("TARN_CACHE", "/var/cache/tarn")) / "clients"


def _versions():
    lines = [line for line in (HERE / "versions").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


VERSIONS = _versions()
PYTHON_SDKS = (VERSIONS["databricks_sdk_oldest"], VERSIONS["databricks_sdk_newest"])


def _complete(folder, what):
    path = CACHE / folder
    if not (path / "complete").exists():
        pytest.skip(f"{what} is not set up: tools/setup --tests says why")
    return path


def _on_path(program, what):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{what}: there is no `{program}` on this machine")
    return found


PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def python_sdk(version):
    """The folder to import databricks.sdk from."""
    return _complete(f"databricks-sdk-{version}-{PYTHON}", f"databricks-sdk {version} for Python") / "modules"


def databricks_cli():
    return _complete(f"databricks-cli-{VERSIONS['databricks_cli']}", "the databricks CLI") / "databricks"


def terraform():
    return _on_path("terraform", "Terraform provider databricks")


def terraform_provider():
    return _complete(f"terraform-provider-databricks-{VERSIONS['terraform_provider']}", "the Terraform provider")


def node():
    return _on_path("node", "@databricks/lakebase")


def _key(*files):
    return hashlib.sha256(b"".join((HERE / file).read_bytes() for file in files)).hexdigest()[:16]


def node_packages():
    return _complete(f"node-{_key('node/package-lock.json')}", "@databricks/lakebase and pg for Node")


def python_drivers():
    """The folder to import psycopg, psycopg2, asyncpg and sqlalchemy from."""
    return _complete(f"python-drivers-{_key('drivers/python.txt')}-{PYTHON}", "the drivers for Python") / "modules"


def java():
    return _on_path("java", "the JDBC driver")


def jdbc_jars():
    return _complete(f"java-{_key('drivers/java/pom.xml', 'drivers/java/sha256')}", "the JDBC driver") / "jars"


def go():
    return _on_path("go", "pgx for Go")


def go_modules():
    """A folder with go.mod and the sources it names, ready to build beside."""
    return _complete(f"go-{_key('drivers/go/go.mod', 'drivers/go/go.sum')}", "pgx for Go")

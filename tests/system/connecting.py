"""The examples of docs/connecting.md, as they stand there: each is run with the variables that the page says to export."""

import re
import subprocess

import pytest

from clients.driver_programs import Program
from harness.platform import BINARY, REPOSITORY, clean_environment

PAGE = (REPOSITORY / "docs" / "connecting.md").read_text()
EXAMPLE = re.compile(r"<!-- example: (?P<name>.+?) -->\n```(?P<language>\w+)\n(?P<source>.*?)```\n(?:<!-- prints: (?P<prints>.+?) -->)?", re.S)
EXAMPLES = {match["name"]: match for match in EXAMPLE.finditer(PAGE)}


def test_the_page_has_an_example_for_each():
    assert set(EXAMPLES) == {"psql", "psycopg 3", "psycopg 2", "asyncpg", "SQLAlchemy", "node-postgres", "pgjdbc", "pgx", "pgbench",
                             "pg_dump and pg_restore", "pg_recvlogical"}  # fmt: skip
    # And nothing in a language that could be run but for these.
    assert len(re.findall(r"^```(?!console)\w+$", PAGE, re.M)) == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(platform, project, primary, tmp_path, name):
    example = EXAMPLES[name]
    environment = {
        **platform.env(), "PGHOST": primary["status"]["hosts"]["host"], "PGPORT": str(platform.pg_port), "PGDATABASE": "databricks_postgres",
        "PGUSER": "admin@localhost", "PGPASSWORD": platform.rest.database_token(primary["name"]),
    }  # fmt: skip
    with Program(example["language"], example["source"], tmp_path, environment) as program:
        code, out, error = program.finish()
    assert code == 0, error
    assert out == (example["prints"] or "admin@localhost") + "\n", (out, error)


def test_the_variables_of_the_page(platform, project, primary):
    """Its console block, with this project's name."""
    block = re.search(r"expect this, for a project `demo`:\n\n```console\n(.*?)```", PAGE, re.S)[1]
    script = "\n".join(line.removeprefix("$ ") for line in block.splitlines())
    script = script.replace("build/tarn", str(BINARY)).replace("projects/demo", f"projects/{project}").replace("PGPORT=5432", f"PGPORT={platform.pg_port}")
    script = script.replace("tarn env", f"tarn env --data {platform.directory}")
    done = subprocess.run(["bash", "-ec", script + "\npsql 'sslmode=verify-full' -Atc 'select current_user'"], env=clean_environment(),
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "admin@localhost\n"), done.stderr

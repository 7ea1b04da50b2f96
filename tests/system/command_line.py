"""`tarn postgres …` and `tarn psql`: the grammar of the real CLI, typed as its users type it."""

import json
import time

import pytest

from harness.platform import clean_environment
from harness.shapes import JWT, TIMESTAMP, assert_shape
from harness.terminal import Terminal


@pytest.fixture
def postgres(platform):
    def run(*arguments, **options):
        return platform.tarn("postgres", *arguments, **options)

    return run


def as_json(result):
    return json.loads(result.stdout)


def test_the_life_of_a_project(platform, postgres, new_name):
    project = new_name("cli")
    made = as_json(postgres("create-project", project, "--json", '{"spec":{"display_name":"My App","pg_version":17}}'))
    read = platform.rest.get(f"projects/{project}")
    for one in (made, read):
        one["status"].pop("compute_last_active_time", None)
    assert made == read
    assert as_json(postgres("get-project", f"projects/{project}"))["status"]["display_name"] == "My App"
    assert project in [p["project_id"] for p in as_json(postgres("list-projects", "-o", "json"))]
    assert project in postgres("list-projects", "-o", "text").stdout

    spec = json.dumps({"spec": {"source_branch": f"projects/{project}/branches/production", "no_expiry": True}})
    branch = as_json(postgres("create-branch", f"projects/{project}", "dev", "--json", spec))
    assert branch["name"] == f"projects/{project}/branches/dev"
    listed = as_json(postgres("list-branches", f"projects/{project}", "-o", "json"))
    assert [b["branch_id"] for b in listed] == ["production", "dev"]
    assert as_json(postgres("get-branch", branch["name"]))["uid"] == branch["uid"]

    (endpoint,) = as_json(postgres("list-endpoints", branch["name"], "-o", "json"))
    updated = as_json(postgres(
        "update-endpoint", endpoint["name"], "spec.autoscaling_limit_min_cu,spec.autoscaling_limit_max_cu", "--json",
        '{"spec":{"endpoint_type":"ENDPOINT_TYPE_READ_WRITE","autoscaling_limit_min_cu":1,"autoscaling_limit_max_cu":4}}',
    ))  # fmt: skip
    assert updated["status"]["autoscaling_limit_max_cu"] == 4
    assert as_json(postgres("get-endpoint", endpoint["name"]))["status"]["autoscaling_limit_max_cu"] == 4
    credential = as_json(postgres("generate-database-credential", endpoint["name"], "-o", "json"))
    assert_shape(credential, {"token": JWT, "expire_time": TIMESTAMP})

    operation = as_json(postgres("delete-branch", branch["name"], "--purge", "--no-wait"))
    assert operation["name"].startswith(f"{branch['name']}/operations/")
    deadline = time.monotonic() + 60
    while not as_json(postgres("get-operation", operation["name"]))["done"]:
        assert time.monotonic() < deadline
    assert postgres("delete-project", f"projects/{project}", "--purge").stdout.strip() in ("", "{}")
    gone = postgres("get-project", f"projects/{project}", check=False)
    assert gone.returncode == 1 and "project id not found" in gone.stderr


def test_json_from_a_file(platform, postgres, new_name, tmp_path):
    project, path = new_name("cli"), tmp_path / "project.json"
    path.write_text('{"spec":{"display_name":"größe 🐘"}}')
    assert as_json(postgres("create-project", project, "--json", f"@{path}"))["status"]["display_name"] == "größe 🐘"
    platform.rest.delete_project(project)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["get-project", "projects/nope"], "project id not found"),
     (["create-project", "Bad Name"], "project_id"),
     (["create-project", "x", "--json", "{"], "JSON"),
     (["create-project", "x", "--json", "@/no/such/file"], "/no/such/file"),
     (["get-branch", "projects/nope/branches/x"], "project id not found"),
     (["get-project", "projects/../../../2.0/preview/scim/v2/Me"], "")],
)  # fmt: skip
def test_failures_say_what_is_wrong_in_one_line(postgres, arguments, words):
    result = postgres(*arguments, check=False)
    assert result.returncode in (1, 2) and result.stdout == "", result.stdout
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2, result.stderr


def test_tables_for_people_and_json_for_programs(platform, postgres, project, primary):
    """Without -o: what a pipe gets is JSON, as from the real CLI, and what a terminal shows is not."""
    assert json.loads(postgres("list-branches", f"projects/{project}").stdout)[0]["branch_id"] == "production"
    table = postgres("list-branches", f"projects/{project}", "-o", "text").stdout.splitlines()
    assert table[0].split()[:2] == ["NAME", "STATE"] and table[1].startswith(f"projects/{project}/branches/production  READY")
    shown = postgres("get-project", f"projects/{project}", "-o", "text").stdout
    assert f"\nproject_id:  {project}\n" in shown and "\nstatus:\n" in shown
    assert "  history_retention_duration:      604800s (7 days)\n" in shown and "(8.8 TB)" in shown and " ago)\n" in shown
    terminal = Terminal([platform.binary, "postgres", "list-endpoints", f"projects/{project}/branches/production"],
                        clean_environment(**platform.env()))  # fmt: skip
    try:
        assert terminal.wait() == 0 and terminal.seen.startswith("NAME") and primary["status"]["hosts"]["host"] in terminal.seen
    finally:
        terminal.close()


def test_what_is_wrong_with_a_body_is_said_before_it_is_sent(postgres, project):
    def create(body, *more):
        return postgres("create-branch", f"projects/{project}", "x", "--json", body, *more, check=False)

    wrapped = create('{"branch":{"spec":{"no_expiry":true}}}')
    assert wrapped.returncode == 2 and 'what is inside "branch"' in wrapped.stderr
    unknown = create('{"spec":{"no_expiry":true,"color":"red"},"name":"projects/p/branches/x","\\u001b[2J":1}')
    assert unknown.returncode == 0 and unknown.stderr.splitlines() == ["Warning: unknown field: spec.color", "Warning: unknown field: ?[2J"]
    assert json.loads(unknown.stdout)["branch_id"] == "x"
    named = create('{"spec":{"no_expiry":true}}', "--name", "projects/p/branches/other", "--replace-existing")
    assert named.returncode == 0 and json.loads(named.stdout)["branch_id"] == "x", "a name in the body is the server's to ignore"


def test_pages_and_limits(postgres, project):
    for name in ("a", "b"):
        postgres("create-branch", f"projects/{project}", name, "--json", '{"spec":{"no_expiry":true}}')

    def ids(*flags):
        return [one["branch_id"] for one in as_json(postgres("list-branches", f"projects/{project}", *flags))]

    assert ids("--page-size", "1") == ids() == ids("--limit", "0") == ["production", "a", "b"]
    assert ids("--page-size", "1", "--limit", "2") == ["production", "a"]
    assert postgres("list-branches", f"projects/{project}", "--limit", "-1", check=False).returncode == 2
    assert postgres("list-branches", f"projects/{project}", "--page-token", "nonsense", check=False).returncode == 1
    postgres("delete-branch", f"projects/{project}/branches/b")
    assert ids() == ["production", "a"] and ids("--show-deleted") == ["production", "a", "b"]
    assert ids("--show-deleted=false") == ids("--show-deleted=0") == ["production", "a"]


def test_a_server_that_is_not_there(platform):
    result = platform.tarn("postgres", "list-projects", check=False, DATABRICKS_HOST="http://127.0.0.1:9")
    assert result.returncode == 1 and "127.0.0.1:9" in result.stderr


def test_psql_finds_its_way(platform, project, primary):
    query = ["--", "-XAtc", "select current_user, current_database()"]
    for arguments in (["--project", project], [f"projects/{project}"],
                      ["--project", project, "--branch", "production", "--endpoint", "primary"]):  # fmt: skip
        result = platform.tarn("psql", *arguments, *query)
        assert result.stdout.strip() == "admin@localhost|databricks_postgres", arguments
    result = platform.tarn("psql", "--project", project, "--", "-c", "create schema s", "-c", "drop schema if exists s cascade")
    assert "DROP SCHEMA" in result.stdout


def test_psql_passes_on_the_exit_code_and_refuses_what_is_unclear(platform, project):
    assert platform.tarn("psql", "--project", project, "--", "-v", "ON_ERROR_STOP=1", "-c", "select 1/0", check=False).returncode == 1
    platform.rest.create_branch(project, "dev")
    unclear = platform.tarn("psql", "--project", project, "--", "-c", "select 1", check=False)
    assert unclear.returncode != 0 and "branch" in unclear.stderr
    assert platform.tarn("psql", "--branch", "dev", check=False).returncode != 0
    missing = platform.tarn("psql", "--project", "nope", check=False)
    assert missing.returncode == 1 and "project id not found" in missing.stderr


def test_help_lists_the_commands():
    import subprocess

    from harness.platform import BINARY

    for arguments in (["--help"], ["postgres", "--help"]):
        out = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20)
        assert out.returncode == 0
        assert ("up" in out.stdout and "down" in out.stdout) or "create-project" in out.stdout
    out = subprocess.run([BINARY], capture_output=True, text=True, timeout=20)
    assert out.returncode == 2 and "up" in out.stderr

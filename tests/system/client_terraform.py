"""The unmodified Terraform provider: plan, apply, a second plan that is empty, changes in place, import, destroy."""

import pytest

from clients.terraform import Terraform, TerraformError


@pytest.fixture
def terraform(platform):
    with Terraform(platform.env()) as one:
        yield one


PROJECT = """
resource "databricks_postgres_project" "this" {
  project_id = "%(project)s"
  spec = {
    pg_version                 = 17
    display_name               = "%(title)s"
    history_retention_duration = "1209600s"
    default_endpoint_settings = {
      autoscaling_limit_min_cu = 0.5
      autoscaling_limit_max_cu = 2.0
      suspend_timeout_duration = "600s"
    }
  }
  purge_on_delete = true
}
"""

BRANCH = """
resource "databricks_postgres_branch" "dev" {
  branch_id = "dev"
  parent    = databricks_postgres_project.this.name
  spec = { %(branch)s }
  purge_on_delete = true
}
"""

ENDPOINT = """
resource "databricks_postgres_endpoint" "dev" {
  endpoint_id = "primary"
  parent      = databricks_postgres_branch.dev.name
  spec = {
    endpoint_type            = "ENDPOINT_TYPE_READ_WRITE"
    autoscaling_limit_min_cu = 0.5
    autoscaling_limit_max_cu = %(cu)s
    suspend_timeout_duration = "300s"
  }
  replace_existing = true
}
output "host" { value = databricks_postgres_endpoint.dev.status.hosts.host }
"""


def test_project_branch_and_endpoint(terraform, platform, new_name):
    """A whole life: what is planned is made, is what Postgres is reached by, changes in place, and goes again."""
    values = {"project": new_name("tf"), "title": "From Terraform", "branch": "no_expiry = true", "cu": "1.0"}
    name = f"projects/{values['project']}"
    text = PROJECT + BRANCH + ENDPOINT
    terraform.write(text % values)
    project, branch, endpoint = "databricks_postgres_project.this", "databricks_postgres_branch.dev", "databricks_postgres_endpoint.dev"
    assert terraform.plan() == {one: ["create"] for one in (project, branch, endpoint)}
    state = terraform.apply()
    assert terraform.plan() == {}
    assert state[project]["status"]["display_name"] == "From Terraform"
    assert platform.rest.get(name)["status"]["history_retention_duration"] == "1209600s"
    assert state[branch]["status"]["source_branch"] == f"{name}/branches/production"
    assert state[endpoint]["status"]["autoscaling_limit_max_cu"] == 1
    made = platform.rest.endpoint(values["project"], "dev")
    assert terraform.outputs()["host"] == made["status"]["hosts"]["host"]
    assert platform.sql(made, "select 1") == [(1,)]
    assert platform.rest.endpoint(values["project"])["status"]["autoscaling_limit_max_cu"] == 2  # the project's settings

    values.update(title="Renamed", branch='ttl = "864000s"', cu="2.0")
    terraform.write(text % values)
    assert terraform.plan() == {one: ["update"] for one in (project, branch, endpoint)}
    changed = terraform.apply()
    assert terraform.plan() == {}
    assert changed[project]["status"]["display_name"] == "Renamed" and changed[project]["uid"] == state[project]["uid"]
    assert changed[branch]["status"]["expire_time"] and changed[branch]["uid"] == state[branch]["uid"]
    assert changed[endpoint]["status"]["autoscaling_limit_max_cu"] == 2 and changed[endpoint]["uid"] == made["uid"]

    terraform.destroy()
    assert terraform.state() == {}
    assert platform.rest.refused("GET", name).code == "NOT_FOUND"
    assert values["project"] not in [p["project_id"] for p in platform.rest.get("projects", show_deleted="true")["projects"]]


IMPORTED = """
resource "databricks_postgres_project" "this" {
  project_id = "%(project)s"
  spec       = { display_name = "%(title)s" }
}
resource "databricks_postgres_branch" "production" {
  branch_id = "production"
  parent    = databricks_postgres_project.this.name
  spec      = { no_expiry = true, is_protected = %(protected)s }
}
resource "databricks_postgres_endpoint" "primary" {
  endpoint_id = "primary"
  parent      = databricks_postgres_branch.production.name
  spec        = { endpoint_type = "ENDPOINT_TYPE_READ_WRITE", autoscaling_limit_max_cu = 8 }
  lifecycle { ignore_changes = [spec] }
}
"""


def test_import(terraform, platform, project, primary):
    """The answer to a GET has no spec, as in the cloud, so an import leaves none in the state. To this version of the
    provider every field is then a change, and one that cannot change means a replacement: leave those out, or ignore."""
    values = {"project": project, "title": "Imported", "protected": "true"}
    terraform.write(IMPORTED % values)
    names = [f"projects/{project}", f"projects/{project}/branches/production", primary["name"]]
    for address, name in zip(("project.this", "branch.production", "endpoint.primary"), names, strict=True):
        terraform.import_(f"databricks_postgres_{address}", name)
    plan = terraform.plan()
    assert plan and set(map(tuple, plan.values())) == {("update",)}, terraform.run("show", "-no-color", "plan").stdout
    state = terraform.apply()
    assert state["databricks_postgres_project.this"]["status"]["display_name"] == "Imported"
    assert state["databricks_postgres_branch.production"]["status"]["is_protected"] is True
    assert state["databricks_postgres_endpoint.primary"]["uid"] == primary["uid"]
    assert terraform.plan() == {}
    terraform.write(IMPORTED % {**values, "protected": "false"})
    assert terraform.plan() == {"databricks_postgres_branch.production": ["update"]}
    terraform.apply()
    assert terraform.plan() == {}
    assert platform.rest.endpoint(project)["uid"] == primary["uid"]
    assert platform.sql(primary, "select 1") == [(1,)]


ADOPTED = """
resource "databricks_postgres_project" "this" {
  project_id = "%(project)s"
}
resource "databricks_postgres_branch" "production" {
  branch_id        = "production"
  parent           = databricks_postgres_project.this.name
  spec             = { no_expiry = true, is_protected = %(protected)s }
  replace_existing = true
}
resource "databricks_postgres_endpoint" "primary" {
  endpoint_id      = "primary"
  parent           = databricks_postgres_branch.production.name
  spec             = { endpoint_type = "ENDPOINT_TYPE_READ_WRITE", no_suspension = true }
  replace_existing = true
}
"""


def test_what_is_there_by_itself_is_adopted(terraform, platform, new_name):
    values = {"project": new_name("tf"), "protected": "true"}
    terraform.write(ADOPTED % values)
    state = terraform.apply()
    assert state["databricks_postgres_branch.production"]["status"]["is_protected"] is True
    assert "suspend_timeout_duration" not in platform.rest.endpoint(values["project"])["status"]
    assert terraform.plan() == {}
    with pytest.raises(TerraformError) as caught:
        terraform.destroy()  # the branch and the endpoint go with the project, which a protected branch keeps
    assert "protected" in caught.value.message
    # What has been let go is adopted again, and the protection taken away.
    terraform.write(ADOPTED % {**values, "protected": "false"})
    terraform.apply()
    assert terraform.plan() == {}
    terraform.destroy()
    shown = platform.rest.get("projects", show_deleted="true")["projects"]
    (deleted,) = [p for p in shown if p["project_id"] == values["project"]]
    assert deleted["delete_time"]  # without purge_on_delete it can be had back
    platform.rest.delete_project(values["project"])


def test_what_went_behind_its_back_is_made_again(terraform, platform, new_name):
    values = {"project": new_name("tf"), "title": "x", "branch": "no_expiry = true"}
    terraform.write((PROJECT + BRANCH) % values)
    terraform.apply()
    platform.rest.delete_branch(values["project"], "dev")
    assert terraform.plan() == {"databricks_postgres_branch.dev": ["create"]}
    terraform.apply()
    assert terraform.plan() == {}
    terraform.destroy()


DATA = """
data "databricks_postgres_project" "one" { name = "projects/%(project)s" }
data "databricks_postgres_projects" "all" {}
data "databricks_postgres_branch" "one" { name = "projects/%(project)s/branches/production" }
data "databricks_postgres_branches" "all" { parent = "projects/%(project)s" }
data "databricks_postgres_endpoint" "one" { name = "projects/%(project)s/branches/production/endpoints/primary" }
data "databricks_postgres_endpoints" "all" { parent = "projects/%(project)s/branches/production" }
data "databricks_postgres_databases" "all" { parent = "projects/%(project)s/branches/production" }
data "databricks_postgres_roles" "all" { parent = "projects/%(project)s/branches/production" }
data "databricks_current_user" "me" {}
output "project"   { value = data.databricks_postgres_project.one.status.pg_version }
output "projects"  { value = [for p in data.databricks_postgres_projects.all.projects : p.project_id] }
output "branch"    { value = data.databricks_postgres_branch.one.status.current_state }
output "branches"  { value = [for b in data.databricks_postgres_branches.all.branches : b.branch_id] }
output "endpoint"  { value = data.databricks_postgres_endpoint.one.status.hosts.host }
output "endpoints" { value = [for e in data.databricks_postgres_endpoints.all.endpoints : e.endpoint_id] }
output "databases" { value = [for d in data.databricks_postgres_databases.all.databases : d.status.postgres_database] }
output "roles"     { value = [for r in data.databricks_postgres_roles.all.roles : r.status.postgres_role] }
output "me"        { value = data.databricks_current_user.me.user_name }
"""


def test_data_sources(terraform, platform, project, primary):
    terraform.write(DATA % {"project": project})
    terraform.apply()
    outputs = terraform.outputs()
    assert project in outputs.pop("projects")
    assert outputs == {
        "project": 17, "branch": "READY", "branches": ["production"], "endpoint": primary["status"]["hosts"]["host"],
        "endpoints": ["primary"], "databases": ["databricks_postgres"], "roles": [platform.rest.user()], "me": platform.rest.user(),
    }  # fmt: skip

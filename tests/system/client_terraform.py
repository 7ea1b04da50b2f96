"""The unmodified Terraform provider: plan, apply, a second plan that is empty, changes in place, import, destroy."""

import pytest

from clients.terraform import Terraform, TerraformError
from harness.people import People


# Terraform starts a process for its provider for every step, which is slow where much else runs.
pytestmark = pytest.mark.timeout(900)


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
    assert terraform.plan() == {one: "create" for one in (project, branch, endpoint)}
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
    assert terraform.plan() == {one: "update" for one in (project, branch, endpoint)}
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
import {
  to = databricks_postgres_project.this
  id = "projects/%(project)s"
}
import {
  to = databricks_postgres_branch.production
  id = "projects/%(project)s/branches/production"
}
import {
  to = databricks_postgres_endpoint.primary
  id = "projects/%(project)s/branches/production/endpoints/primary"
}
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
    assert terraform.plan() == {
        "databricks_postgres_project.this": "import, update", "databricks_postgres_branch.production": "import, update",
        "databricks_postgres_endpoint.primary": "import"}  # fmt: skip
    state = terraform.apply()
    assert state["databricks_postgres_project.this"]["status"]["display_name"] == "Imported"
    assert state["databricks_postgres_branch.production"]["status"]["is_protected"] is True
    assert state["databricks_postgres_endpoint.primary"]["uid"] == primary["uid"]
    assert terraform.plan() == {}
    terraform.write(IMPORTED % {**values, "protected": "false"})
    assert terraform.plan() == {"databricks_postgres_branch.production": "update"}
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


ROLES = """
resource "databricks_postgres_project" "this" {
  project_id      = "%(project)s"
  purge_on_delete = true
}
locals { branch = "${databricks_postgres_project.this.name}/branches/production" }

resource "databricks_postgres_role" "app" {
  role_id = "app"
  parent  = local.branch
  spec = {
    postgres_role    = "app_role"
    attributes       = { createdb = %(createdb)s }
    membership_roles = [%(superuser)s]
  }
}
resource "databricks_postgres_database" "shop" {
  database_id = "shop"
  parent      = local.branch
  spec = {
    postgres_database = "%(database)s"
    role              = databricks_postgres_role.app.name
  }
}
resource "databricks_postgres_database" "first" {
  database_id      = "databricks-postgres"
  parent           = local.branch
  spec             = { postgres_database = "databricks_postgres", role = "${local.branch}/roles/admin" }
  replace_existing = true
}
"""


def test_roles_and_databases(terraform, platform, new_name):
    project = new_name("tf")
    values = {"project": project, "createdb": "false", "superuser": "", "database": "shop_db"}
    role, shop, first = "databricks_postgres_role.app", "databricks_postgres_database.shop", "databricks_postgres_database.first"
    terraform.write(ROLES % values)
    state = terraform.apply()
    assert terraform.plan() == {}
    branch = f"projects/{project}/branches/production"
    assert state[role]["name"] == f"{branch}/roles/app"
    assert state[shop]["status"]["role"] == f"{branch}/roles/app"
    assert state[first]["status"]["role"] == f"{branch}/roles/admin"  # adopted
    endpoint = platform.rest.endpoint(project)
    owner = "select datdba::regrole::text from pg_database where datname = %s"
    assert platform.sql(endpoint, owner, ["shop_db"]) == [("app_role",)]

    terraform.write(ROLES % {**values, "createdb": "true", "superuser": '"DATABRICKS_SUPERUSER"', "database": "store_db"})
    assert terraform.plan() == {role: "update", shop: "update"}
    state = terraform.apply()
    assert terraform.plan() == {}
    assert state[role]["status"]["attributes"]["createdb"] is True
    assert state[role]["status"]["membership_roles"] == ["DATABRICKS_SUPERUSER"]
    assert platform.sql(endpoint, owner, ["store_db"]) == [("app_role",)]
    assert platform.sql(endpoint, "select rolcreatedb from pg_roles where rolname = 'app_role'") == [(True,)]

    # Taken out of the configuration, a database goes, and then its owner can.
    terraform.destroy()
    assert terraform.state() == {}
    assert platform.rest.refused("GET", f"projects/{project}").code == "NOT_FOUND"


PERMISSIONS = """
resource "databricks_postgres_project" "this" {
  project_id      = "%(project)s"
  purge_on_delete = true
}
resource "databricks_permissions" "this" {
  database_project_name = databricks_postgres_project.this.project_id
  access_control {
    service_principal_name = "%(principal)s"
    permission_level       = "%(level)s"
  }
  access_control {
    group_name       = "users"
    permission_level = "CAN_USE"
  }
}
"""


def test_permissions(terraform, platform, new_name):
    project = new_name("tf")
    robot, robot_rest = People(platform).robot("terraform")
    _, stranger = People(platform).robot("any user")
    values = {"project": project, "principal": robot["applicationId"], "level": "CAN_USE"}
    terraform.write(PERMISSIONS % values)
    terraform.apply()
    assert terraform.plan() == {}
    assert stranger.get(f"projects/{project}")["project_id"] == project
    change = ("PATCH", f"projects/{project}", {"spec": {"display_name": "x"}})
    assert robot_rest.refused(*change, update_mask="spec.display_name").status == 403
    terraform.write(PERMISSIONS % {**values, "level": "CAN_MANAGE"})
    assert terraform.plan() == {"databricks_permissions.this": "update"}
    terraform.apply()
    assert terraform.plan() == {}
    robot_rest.run(*change, update_mask="spec.display_name")
    # The answer to a GET has everything, so nothing is to be done after an import.
    terraform.forget("databricks_permissions.this")
    imported = f'import {{\n  to = databricks_permissions.this\n  id = "/database-projects/{project}"\n}}\n'
    terraform.write(imported + PERMISSIONS % {**values, "level": "CAN_MANAGE"})
    assert terraform.plan() == {"databricks_permissions.this": "import"}
    terraform.destroy()


def test_oauth_with_an_id_and_a_secret(platform, new_name):
    people = People(platform)
    principal, _ = people.robot("terraform")
    login, project = principal["applicationId"], new_name("tf")
    environment = {"DATABRICKS_HOST": platform.host, "DATABRICKS_CLIENT_ID": login,
                   "DATABRICKS_CLIENT_SECRET": people.secret_of(principal)["secret"]}  # fmt: skip
    with Terraform(environment) as terraform:
        terraform.write(PROJECT % {"project": project, "title": "M2M"})
        assert terraform.apply()["databricks_postgres_project.this"]["status"]["owner"] == login
        terraform.destroy()


def test_what_went_behind_its_back_is_made_again(terraform, platform, new_name):
    values = {"project": new_name("tf"), "title": "x", "branch": "no_expiry = true"}
    terraform.write((PROJECT + BRANCH) % values)
    terraform.apply()
    platform.rest.delete_branch(values["project"], "dev")
    assert terraform.plan() == {"databricks_postgres_branch.dev": "create"}
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
data "databricks_postgres_role" "one" { name = "projects/%(project)s/branches/production/roles/admin" }
data "databricks_postgres_database" "one" { name = "projects/%(project)s/branches/production/databases/databricks-postgres" }
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
output "role"      { value = data.databricks_postgres_role.one.status.identity_type }
output "database"  { value = data.databricks_postgres_database.one.status.postgres_database }
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
        "role": "USER", "database": "databricks_postgres",
    }  # fmt: skip

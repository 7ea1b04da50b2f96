"""The unmodified Python SDK: it sees our server through DATABRICKS_HOST and a token, and nothing else."""

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound, Unauthenticated
from databricks.sdk.service import postgres as pg


@pytest.fixture
def client(platform):
    env = platform.env()
    return WorkspaceClient(host=env["DATABRICKS_HOST"], token=env["DATABRICKS_TOKEN"], auth_type="pat")


def test_a_project_an_endpoint_and_a_credential(platform, client, new_name):
    project = new_name("sdk")
    created = client.postgres.create_project(
        pg.Project(spec=pg.ProjectSpec(display_name="From the SDK", pg_version=17)), project_id=project).wait()
    assert created.name == f"projects/{project}" and created.status.display_name == "From the SDK"
    name = f"projects/{project}/branches/production/endpoints/primary"
    endpoint = client.postgres.get_endpoint(name)
    assert endpoint.status.current_state == pg.EndpointStatusState.ACTIVE

    from databricks.sdk.common.types.fieldmask import FieldMask

    updated = client.postgres.update_endpoint(
        name, pg.Endpoint(spec=pg.EndpointSpec(
            endpoint_type=pg.EndpointType.ENDPOINT_TYPE_READ_WRITE,
            autoscaling_limit_min_cu=0.5, autoscaling_limit_max_cu=2)),
        FieldMask(["spec.autoscaling_limit_min_cu", "spec.autoscaling_limit_max_cu"])).wait()  # fmt: skip
    assert (updated.status.autoscaling_limit_min_cu, updated.status.autoscaling_limit_max_cu) == (0.5, 2)

    credential = client.postgres.generate_database_credential(name)
    me = client.current_user.me().user_name
    with psycopg.connect(
        host=endpoint.status.hosts.host, port=platform.pg_port, user=me, password=credential.token,
        dbname="databricks_postgres", sslmode="verify-full", sslrootcert=platform.ca,
    ) as connection:  # fmt: skip
        assert connection.execute("select current_user").fetchone() == (me,)

    branch = client.postgres.create_branch(
        f"projects/{project}", pg.Branch(spec=pg.BranchSpec(no_expiry=True)), "dev").wait()
    assert branch.status.source_branch == f"projects/{project}/branches/production"
    assert [b.branch_id for b in client.postgres.list_branches(f"projects/{project}")] == ["production", "dev"]
    assert project in [p.project_id for p in client.postgres.list_projects()]
    client.postgres.delete_branch(f"projects/{project}/branches/dev", purge=True).wait()
    client.postgres.delete_project(f"projects/{project}", purge=True).wait()
    with pytest.raises(NotFound):
        client.postgres.get_project(f"projects/{project}")


def test_errors_arrive_as_their_classes(platform, client, project):
    with pytest.raises(AlreadyExists):
        client.postgres.create_project(pg.Project(), project_id=project)
    with pytest.raises(BadRequest):
        client.postgres.create_branch(f"projects/{project}", pg.Branch(spec=pg.BranchSpec()), "dev")
    with pytest.raises(BadRequest) as caught:
        client.postgres.delete_branch(f"projects/{project}/branches/production")
    assert "Root branches" in str(caught.value)
    with pytest.raises(Unauthenticated):
        WorkspaceClient(host=platform.host, token="dapi0", auth_type="pat").postgres.get_project(f"projects/{project}")

"""Extensions that a tenant creates and uses, as its own role, which is no superuser and cannot become one."""

import psycopg
import psycopg.errors
import pytest


@pytest.fixture(scope="module")
def connection(platform, shared_primary):
    with platform.connect(shared_primary) as connection:
        yield connection


def test_pgvector(connection):
    connection.execute("create extension vector")
    connection.execute("create table item (id int primary key, embedding vector(3))")
    connection.execute("insert into item select i, format('[%s,%s,%s]', i, i * 2, 1)::vector from generate_series(1, 500) i")
    connection.execute("create index on item using hnsw (embedding vector_l2_ops)")
    connection.execute("set enable_seqscan = off")
    rows = connection.execute("select id from item order by embedding <-> '[7,14,1]' limit 1").fetchall()
    connection.execute("reset enable_seqscan")
    assert rows == [(7,)]


def test_pg_stat_statements(connection):
    connection.execute("create extension pg_stat_statements")
    connection.execute("select 'find me' as marked_query")
    (calls,) = connection.execute(
        "select sum(calls) from pg_stat_statements where query like '%marked_query%' and query not like '%sum(calls)%'"
    ).fetchone()
    assert calls >= 1


def test_amcheck(connection):
    connection.execute("create extension amcheck")
    connection.execute("create table checked (i int primary key)")
    connection.execute("insert into checked select generate_series(1, 1000)")
    connection.execute("select bt_index_check('checked_pkey', true)")
    assert connection.execute("select count(*) from verify_heapam('checked')").fetchone() == (0,)


OTHERS = {
    "btree_gin": "select 1", "btree_gist": "select 1", "citext": "select 'A'::citext = 'a'::citext",
    "cube": "select cube_dim('(1,2)'::cube) = 2", "dict_int": "select 1",
    "fuzzystrmatch": "select soundex('tarn') = 'T650'", "hstore": "select ('a=>1'::hstore -> 'a') = '1'",
    "intarray": "select '{1,2}'::int[] @> '{1}'::int[]", "isn": "select isn_weak() is not null", "ltree": "select 'a.b'::ltree <@ 'a'::ltree",
    "pg_buffercache": "select count(*) > 0 from pg_buffercache", "pg_prewarm": "select pg_prewarm('pg_class') > 0",
    "pg_trgm": "select similarity('tarn', 'tarn') = 1", "pgcrypto": "select length(gen_random_bytes(8)) = 8",
    "pgrowlocks": "select count(*) >= 0 from pgrowlocks('pg_class')", "pgstattuple": "select tuple_count > 0 from pgstattuple('pg_class')",
    "seg": "select '1 .. 2'::seg @> '1.5'::seg", "tablefunc": "select count(*) = 5 from normal_rand(5, 1, 1)",
    "tcn": "select 1", "tsm_system_rows": "select count(*) = 1 from pg_class tablesample system_rows(1)",
    "unaccent": "select unaccent('é') = 'e'", "uuid-ossp": "select uuid_generate_v4() is not null",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_contrib(connection, name):
    connection.execute(f'create extension if not exists "{name}" cascade')
    (value,) = connection.execute(OTHERS[name]).fetchone()
    assert value in (True, 1), name
    (version, wanted) = connection.execute(
        "select extversion, default_version from pg_extension join pg_available_extensions on name = extname"
        " where extname = %s", (name,)).fetchone()  # fmt: skip
    assert version == wanted


def test_they_can_be_moved_and_dropped(connection):
    connection.execute("create schema shelf")
    connection.execute("create extension moddatetime schema shelf")
    connection.execute("drop extension moddatetime")
    assert connection.execute("select 1 from pg_extension where extname = 'moddatetime'").fetchone() is None


def test_one_that_is_there_is_for_everybody(platform, project, primary):
    with platform.connect(primary) as connection:
        connection.execute("create extension bloom")
        connection.execute("create role app login")
    with platform.direct(primary, user="app") as connection:
        connection.execute("create extension if not exists bloom")
        for statement, error in (("create extension bloom", psycopg.errors.DuplicateObject), ("drop extension bloom", psycopg.errors.InsufficientPrivilege),
                                 ("create extension if not exists autoinc", psycopg.errors.InsufficientPrivilege)):  # fmt: skip
            with pytest.raises(error):
                connection.execute(statement)


def test_they_come_along_into_a_branch(platform, project, primary):
    platform.sql(primary, "create extension vector")
    platform.rest.create_branch(project, "dev")
    child = platform.rest.endpoint(project, "dev")
    assert platform.sql(child, "select '[1,2]'::vector <-> '[1,2]'") == [(0.0,)]


# -- what a tenant must not be able to do -----------------------------------------------------------------------------

DENIED = [
    "create role evil superuser", "alter role current_user superuser", "set role cloud_admin", "set session authorization cloud_admin",
    "grant cloud_admin to current_user", "alter role cloud_admin password 'x'", "alter role databricks_superuser superuser",
    "copy (select 1) to program 'id'", "copy (select 1) to '/tmp/tarn-evil'", "select pg_read_file('PG_VERSION')",
    "select pg_read_binary_file('global/pg_control')", "select pg_ls_dir('.')", "select lo_import('/etc/passwd')",
    "alter system set shared_preload_libraries = 'evil'", "load '/tmp/evil.so'", "create extension adminpack",
    "create extension file_fdw", "create extension plpython3u", "create language plpython3u",
    "create function evil() returns int language c as '/tmp/evil.so'", "create function evil2() returns int language internal as 'pg_backend_pid'",
    "create tablespace evil location '/tmp'", "set shared_preload_libraries = 'x'", "update pg_authid set rolsuper = true",
    "select pg_reload_conf()", "select pg_promote()", "set extwlist.extensions = 'file_fdw'", "set extwlist.custom_path = '/tmp'",
    "drop role databricks_superuser", "drop role cloud_admin",
    "grant pg_execute_server_program to current_user", "grant pg_read_server_files to current_user",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cloud_admin' or backend_type = 'checkpointer'",
]  # fmt: skip


@pytest.mark.parametrize("statement", DENIED)
def test_no_way_up(platform, shared_primary, statement):
    with platform.connect(shared_primary) as connection:
        try:
            connection.execute(statement)
            rows = None
        except psycopg.Error as error:
            assert error.sqlstate not in (None, "XX000", "08006", "57P01"), error
            rows = "refused"
        if statement.startswith("select pg_terminate_backend"):
            return  # no such session in sight is as good as a refusal
        assert rows == "refused", f"{statement} was carried out"
    assert platform.sql(shared_primary, "select rolsuper from pg_roles where rolname = current_user") == [(False,)]


def test_an_extension_script_does_not_run_tenant_code_as_superuser(platform, project, primary):
    """A function of the tenant's that shadows a built-in one must not be called by an extension's script."""
    with platform.connect(primary) as connection:
        connection.execute("create schema trap")
        connection.execute(
            "create function trap.current_setting(text) returns text language plpgsql as"
            " $$ begin execute 'alter role current_user superuser'; return 'x'; end $$")
        connection.execute("set search_path = trap, pg_catalog, public")
        for name in ("citext", "hstore", "vector", "pg_trgm"):
            try:
                connection.execute(f"create extension {name} schema public")
            except psycopg.Error:
                pass
        assert connection.execute("select rolsuper from pg_roles where rolname = session_user").fetchone() == (False,)

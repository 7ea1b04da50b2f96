"""Every road from a tenant's role to superuser, tried as the owner of a project (a member of databricks_superuser with all that the API gives)
and as a role without any rights. Each attempt must end with an ordinary refusal, and leave the system's roles and databases as they were."""

import ctypes

import psycopg
import psycopg.errors
import pytest
from psycopg import sql

OWNER, PLAIN = "admin@localhost", "plain"


@pytest.fixture(scope="module")
def endpoint(platform, shared_primary):
    with platform.connect(shared_primary) as connection:
        connection.execute("create extension databricks_auth")
        connection.execute("create extension dblink")
        connection.execute("create extension postgres_fdw")
        connection.execute("create extension amcheck")
        connection.execute("create role plain login")
        connection.execute("create role group_role")
        connection.execute("grant group_role to current_user with inherit true")
        connection.execute("select databricks_create_role('alice@example.com', 'USER')")
        connection.execute("grant create on schema public to plain")
        connection.execute("create table mine (i int)")
    return shared_primary


# What must be the same afterwards. A member of databricks_superuser can be that role; its password and settings are of no use, since
# nobody can log in as it, and are not looked at.
STATE = """
    select 'role', oid::text, rolname, concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
        rolbypassrls, rolconnlimit) from pg_roles where rolsuper or rolname ~ '^(pg_|databricks_|cloud_admin$)'
    union all select 'member', r.rolname, m.rolname, concat_ws(' ', g.rolname, admin_option, inherit_option, set_option)
        from pg_auth_members a join pg_roles r on r.oid = roleid join pg_roles m on m.oid = member join pg_roles g on g.oid = grantor
        where r.rolname ~ '^(pg_|databricks_|cloud_admin$)'
    union all select 'database', oid::text, datname, concat_ws(' ', datdba::regrole, datallowconn, datistemplate, datconnlimit, datacl)
        from pg_database where datname ~ '^(postgres|template.*|databricks_postgres)$'
    union all select 'setting', setdatabase::text, setrole::text, setconfig::text from pg_db_role_setting
    union all select 'comment', objoid::text, classoid::text, description from pg_shdescription
    union all select 'function', oid::regprocedure::text, proowner::regrole::text, concat_ws(' ', prosecdef, proacl, proconfig)
        from pg_proc where prosecdef or (proowner = 10 and proacl is not null)
    union all select 'writable', c.oid::regclass::text, '', '' from pg_class c
        where relkind = 'v' and relowner = 10 and pg_relation_is_updatable(c.oid, true) & 28 <> 0
    union all select 'extension', extname, extowner::regrole::text, extversion from pg_extension
    union all select 'catalog', relname, relowner::regrole::text, relacl::text from pg_class
        where relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) and relkind in ('r', 'v')
    union all select 'language', lanname, lanpltrusted::text, lanacl::text from pg_language
    union all select 'trigger', evtname, '', '' from pg_event_trigger
    union all select 'parameter', parname, paracl::text, '' from pg_parameter_acl
    union all select 'tablespace', spcname, spcowner::regrole::text, spcacl::text from pg_tablespace
    order by 1, 2, 3, 4"""


def state(platform, endpoint):
    with platform.direct(endpoint, dbname="databricks_postgres") as connection:
        return connection.execute(STATE).fetchall()


@pytest.fixture
def unchanged(platform, endpoint):
    before = state(platform, endpoint)
    assert [row[2] for row in before if row[0] == "role" and row[3].startswith("t")] == ["cloud_admin"]
    yield
    assert state(platform, endpoint) == before


ROLES = [
    "alter role current_user superuser", "create role evil superuser", "alter role plain superuser",
    "set role cloud_admin", "set session authorization cloud_admin", "select set_config('role', 'cloud_admin', false)",
    "select set_config('session_authorization', 'cloud_admin', false)",
    "grant cloud_admin to current_user", "grant cloud_admin to plain", "alter role cloud_admin password 'x'", "alter role cloud_admin nologin",
    "alter role cloud_admin rename to boss", "alter role cloud_admin set search_path = 'trap'", "alter role all set search_path = 'trap'",
    "alter role cloud_admin in database databricks_postgres set work_mem = '1MB'", "drop role cloud_admin", "comment on role cloud_admin is 'x'",
    "reassign owned by cloud_admin to current_user", "drop owned by cloud_admin", "reassign owned by current_user to cloud_admin",
    "alter table mine owner to cloud_admin", "alter default privileges for role cloud_admin grant all on tables to public",
    "alter role databricks_superuser superuser", "alter role databricks_superuser login", "alter role databricks_superuser rename to x",
    "drop role databricks_superuser", "comment on role databricks_superuser is 'x'", "grant databricks_superuser to plain",
    "grant pg_execute_server_program to databricks_superuser", "revoke pg_monitor from databricks_superuser",
    "set role databricks_superuser; alter role databricks_superuser superuser", "set role databricks_superuser; drop role cloud_admin",
    "set role databricks_superuser; alter role databricks_superuser login", "set role databricks_superuser; grant databricks_superuser to plain",
    "set role databricks_superuser; alter role databricks_superuser rename to x", "set role databricks_superuser; drop role databricks_superuser",
    "set role databricks_superuser; create role evil superuser", "set role databricks_superuser; alter role databricks_superuser replication",
    "grant databricks_identity_user to current_user", "grant databricks_identity_user to plain with admin option",
    "revoke databricks_identity_user from \"alice@example.com\"", "revoke databricks_identity_user from \"alice@example.com\" granted by cloud_admin",
    "alter role databricks_identity_user login", "alter role databricks_identity_group createrole", "alter role databricks_identity_user rename to x",
    "drop role databricks_identity_service_principal", "comment on role databricks_identity_user is 'x'", "set role databricks_identity_user",
    "alter role databricks_identity_user set work_mem = '1MB'", "drop owned by databricks_identity_user",
    "create role databricks_identity_user", "create role pg_evil", "create role cloud_admin",
    *(f"grant {name} to current_user" for name in (
        "pg_execute_server_program", "pg_read_server_files", "pg_write_server_files", "pg_checkpoint", "pg_use_reserved_connections")),
    "grant pg_read_all_data to plain", "grant pg_monitor to plain with admin option", "alter role pg_monitor login", "drop role pg_write_all_data",
    "alter role pg_execute_server_program rename to x", "grant set on parameter session_preload_libraries to current_user",
    "grant alter system on parameter archive_command to current_user", "alter user mapping for cloud_admin server none options (user 'x')",
    "create role evil in role cloud_admin", "create role evil in role pg_execute_server_program", "create role evil role cloud_admin admin cloud_admin; set role evil; set role cloud_admin",
    "set createrole_self_grant = 'set, inherit'; create role evil in role pg_write_server_files",
]  # fmt: skip

AUTH = [
    "select databricks_create_role('cloud_admin', 'USER')", "select databricks_create_role('databricks_superuser', 'GROUP')",
    "select databricks_create_role('pg_execute_server_program', 'GROUP')", "select databricks_create_role('evil\" superuser; --', 'NONE')",
    "select databricks_create_role('evil', 'USER'' || (select 1) --')", "set role cloud_admin; select databricks_create_role('evil', 'USER')",
    "set role databricks_identity_user; select databricks_create_role('evil', 'USER')",
    "alter function databricks_create_role(text, text) owner to current_user", "alter function databricks_create_role(text, text) security invoker",
    "alter function databricks_create_role(text, text) reset search_path", "alter function databricks_create_role(text, text) set role = 'plain'",
    "create or replace function databricks_create_role(identity_name text, identity_type text) returns void language sql as ''",
    "drop function databricks_create_role(text, text)", "alter view databricks_list_roles owner to current_user",
    "alter extension databricks_auth add function pg_read_file(text)", "alter extension databricks_auth drop function databricks_create_role(text, text)",
    "alter extension databricks_auth set schema pg_catalog", "insert into databricks_list_roles values ('plain', 'user')",
    "delete from databricks_list_roles", "update databricks_list_roles set role_name = 'plain'",
]  # fmt: skip

CATALOGS = [
    "update pg_authid set rolsuper = true", "update pg_catalog.pg_authid set oid = 10 where rolname = 'plain'", "delete from pg_authid where rolname = 'plain'",
    "insert into pg_auth_members select 99999, 10, (select oid from pg_roles where rolname = current_user), 10, true, true, true",
    "update pg_database set datdba = (select oid from pg_roles where rolname = current_user)", "update pg_proc set prosecdef = true, proowner = 10",
    "update pg_class set relowner = 10", "update pg_extension set extowner = 10", "update pg_language set lanpltrusted = true",
    "delete from pg_shdepend", "update pg_db_role_setting set setconfig = '{role=cloud_admin}'", "insert into pg_largeobject values (1, 0, '')",
    "update pg_statistic set stanullfrac = 0", "truncate pg_authid", "lock table pg_authid in access exclusive mode; update pg_authid set rolsuper = true",
    # Views, which are written through with their owner's rights.
    "update pg_group set grosysid = 99999 where groname = 'pg_execute_server_program'", "update pg_group set groname = 'x' where groname = 'databricks_superuser'",
    "update pg_group set grosysid = 4571 where groname = 'group_role'", "delete from pg_group where groname = 'pg_monitor'",
    "insert into pg_group (groname, grosysid) values ('x', 12)", "delete from information_schema.enabled_roles",
    "merge into pg_group g using (select 1) on g.groname = 'group_role' when matched then update set grosysid = 4571",
    "update pg_stat_database_conflicts set datname = 'x' where datname = 'postgres'", "delete from pg_stat_database_conflicts where datname = 'postgres'",
    "insert into pg_stat_database_conflicts (datname) values ('x')", "update pg_shadow set usesuper = true", "update pg_user set usesuper = true",
    "update pg_roles set rolsuper = true", "update pg_tables set tableowner = 'plain'", "update pg_user_mappings set umoptions = null",
    "update information_schema.schemata set schema_owner = 'plain'",
    "create rule r as on update to pg_group do instead nothing", "create or replace view pg_catalog.pg_group as select 1",
    "create trigger t instead of update on pg_group for each row execute function suppress_redundant_updates_trigger()",
    "update pg_settings set setting = 'on' where name = 'allow_system_table_mods'",
    "create view through as select * from pg_authid; update through set rolsuper = true",
    "create view through with (security_invoker = false) as select * from pg_group; update through set grosysid = 4571 where groname = 'group_role'",
    "create table pg_catalog.evil (i int)", "create function pg_catalog.evil() returns int language sql as 'select 1'",
    "create or replace function pg_catalog.now() returns timestamptz language sql as 'select null::timestamptz'", "alter function pg_read_file(text) owner to current_user",
    "grant execute on function pg_read_file(text) to current_user", "alter schema pg_catalog owner to current_user", "alter table pg_authid owner to current_user",
    "create operator pg_catalog.+++ (leftarg = int, function = int4um)", "alter schema pg_catalog rename to x", "alter table mine set schema pg_catalog",
    "drop view pg_group", "alter table pg_authid disable rule all", "create index on pg_authid (rolname)",
]  # fmt: skip

FILES = [
    "copy (select 1) to program 'id'", "copy mine from program 'echo 1'", "copy (select 1) to '/tmp/tarn-evil'", "copy mine from '/etc/passwd'",
    "select pg_read_file('PG_VERSION')", "select pg_read_binary_file('global/pg_control')", "select pg_ls_dir('.')", "select pg_stat_file('PG_VERSION')",
    "select pg_file_write('x', 'x', false)", "select lo_import('/etc/passwd')", "select lo_export(lo_create(0), '/tmp/tarn-evil')",
    "create tablespace evil location '/tmp'", "set allow_in_place_tablespaces = on", "load '/tmp/evil.so'", "load 'pgextwlist'", "load '$libdir/dblink'",
    "load '$libdir/plugins/../dblink'", "create function evil() returns int language c as '/tmp/evil.so'",
    "create function evil() returns int language c as '$libdir/dblink', 'dblink_connect_u'",
    "create function evil() returns int language internal as 'pg_read_file_all'", "create language plpython3u", "create language evil handler plpgsql_call_handler",
    "create extension file_fdw", "create extension adminpack", "create extension pageinspect", "create extension pg_surgery", "create extension pg_walinspect",
    "create extension plpython3u", "create extension plperlu", "create extension xml2", "create extension \"../../../tmp/evil\"", "create extension earthdistance cascade",
    "create text search dictionary evil (template = ispell, dictfile = '../../../../../etc/passwd', afffile = 'x')",
    "create text search template evil (lexize = dsimple_lexize)", "select pg_current_logfile(), pg_read_file(pg_current_logfile())",
    "create type evil; create function evil_in(cstring) returns evil language internal as 'int4in'",
    "create function evil(internal) returns internal language internal as 'int4in'", "create foreign data wrapper evil", "create access method evil type index handler bthandler",
    "create operator class evil for type int using btree as storage int", "create cast (text as oid) without function",
]  # fmt: skip

SETTINGS = [
    "alter system set shared_preload_libraries = 'evil'", "alter system reset all", "select pg_reload_conf()", "select pg_rotate_logfile()",
    *(f"{how} session_preload_libraries = 'evil'" for how in ("set", "alter role current_user set", "alter database databricks_postgres set")),
    "alter function trap_nothing() set session_preload_libraries = 'evil'", "set local_preload_libraries = '/tmp/evil'; select 1/0",
    *(f"set {name} = {value}" for name, value in {
        "shared_preload_libraries": "evil", "dynamic_library_path": "'/tmp'", "log_statement": "none", "log_min_messages": "panic", "log_directory": "'/tmp'",
        "session_replication_role": "replica", "zero_damaged_pages": "on", "ignore_system_indexes": "on", "allow_system_table_mods": "on",
        "archive_command": "'id'", "restore_command": "'id'", "extwlist.extensions": "'file_fdw'", "extwlist.custom_path": "'/tmp'",
        "unix_socket_directories": "'/tmp'", "data_directory": "'/tmp'", "hba_file": "'/tmp/x'", "ident_file": "'/tmp/x'", "max_connections": "1",
        "event_triggers": "off", "lo_compat_privileges": "on", "pg_stat_statements.max": "1", "wal_consistency_checking": "'all'", "primary_conninfo": "'x'",
        "krb_server_keyfile": "'/tmp/x'", "ssl_key_file": "'/tmp/x'", "is_superuser": "on", "fsync": "off", "full_page_writes": "off"}.items()),
    *(f"alter role current_user set {name}" for name in ("log_statement = 'none'", "session_replication_role = 'replica'", "allow_system_table_mods = on")),
    *(f"alter database databricks_postgres set {name}" for name in ("log_statement = 'none'", "session_replication_role = 'replica'", "lo_compat_privileges = on")),
    "select set_config('session_replication_role', 'replica', false)", "do $$ begin perform set_config('log_statement', 'none', true); end $$",
]  # fmt: skip

SERVER = [
    "select pg_promote()", "select pg_switch_wal()", "select pg_create_restore_point('x')", "select pg_backup_start('x')", "select pg_wal_replay_pause()",
    "select pg_replication_origin_create('x')", "select pg_log_backend_memory_contexts(1)",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cloud_admin'",
    "select pg_cancel_backend(pid) from pg_stat_activity where usename = 'cloud_admin'",
    "select pg_create_logical_replication_slot('evil', '/tmp/evil')", "select pg_create_logical_replication_slot('evil', '../../../tmp/evil')",
    "create event trigger evil on ddl_command_start execute function suppress_redundant_updates_trigger()", "create publication evil for all tables",
    "create publication evil for tables in schema pg_catalog", "security label on role plain is 'x'", "create transform for int language sql (to sql with function int4recv(internal))",
    "drop extension plpgsql cascade", "alter extension plpgsql update", "comment on extension plpgsql is 'x'", "alter extension plpgsql add table mine",
    "alter extension amcheck add function pg_read_file(text)", "alter extension amcheck add table pg_authid", "alter language plpgsql owner to current_user",
    "alter function bt_index_check(regclass) owner to current_user", "alter function dblink_connect_u(text) owner to current_user",
    "grant execute on function dblink_connect_u(text) to current_user", "select dblink_connect_u('dbname=postgres user=cloud_admin')",
    "alter foreign data wrapper postgres_fdw owner to current_user", "alter foreign data wrapper postgres_fdw options (add x 'y')",
    "create server none foreign data wrapper postgres_fdw; create user mapping for current_user server none options (password_required 'false')",
]  # fmt: skip

DATABASES = [
    *(f"{what.format(name)}" for name in ("postgres", "template1", "template0") for what in (
        "alter database {} rename to x", "alter database {} owner to current_user", "alter database {} set search_path = 'trap'", "drop database {}",
        "alter database {} connection limit 0", "alter database {} is_template false", "alter database {} allow_connections true", "drop database {} with (force)",
        "comment on database {} is 'x'", "alter database {} set tablespace pg_global", "alter database {} refresh collation version")),
    "create database evil template postgres", "create database evil tablespace pg_global", "create database evil owner cloud_admin",
    "create database evil template template0 owner databricks_identity_user",
]  # fmt: skip


GROUPS = {"roles": ROLES, "auth": AUTH, "catalogs": CATALOGS, "files": FILES, "settings": SETTINGS, "server": SERVER, "databases": DATABASES}

# What Postgres says to somebody who may not, or has written nonsense: no internal error, and no crash: the session goes on. 08 is about a connection that
# a statement makes.
ORDINARY = ("08", "0A", "0L", "0P", "22", "23", "25", "28", "2B", "2F", "38", "39", "3D", "3F", "42", "55", "58")


def outcome(connection, attempt):
    """Runs the steps of an attempt: None when one of them was refused, else what is wrong."""
    for statement in attempt.split("; "):
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            return None if (error.sqlstate or "").startswith(ORDINARY) else f"{attempt}: {error.sqlstate} {error}"
    return f"{attempt}: carried out"


@pytest.mark.parametrize("user", (OWNER, PLAIN))
@pytest.mark.parametrize("group", GROUPS)
def test_no_road_up(platform, endpoint, unchanged, group, user):
    wrong = []
    with platform.direct(endpoint, user=user, prepare_threshold=None) as connection:
        for attempt in GROUPS[group]:
            wrong.append(outcome(connection, attempt))
            connection.execute("reset session authorization")
            connection.execute("discard all")
        assert connection.execute("select rolsuper, session_user from pg_roles where rolname = current_user").fetchone() == (False, user)
    assert [one for one in wrong if one] == []


# -- other connections, which are more than a statement ----------------------------------------------------------------------


@pytest.mark.parametrize("user", (OWNER, PLAIN))
def test_nobody_gets_into_the_templates(platform, endpoint, unchanged, user):
    for database in ("template0", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied|not currently accepting"):
            platform.direct(endpoint, user=user, dbname=database)


@pytest.mark.parametrize("user", (OWNER, PLAIN))
@pytest.mark.parametrize("statement", (
    "create table evil (i int)", "create schema evil", "create function evil() returns int language sql as 'select 1'", "create extension amcheck",
    "create extension hstore", "create extension dblink", "alter schema public owner to current_user",
))  # fmt: skip
def test_nothing_is_made_in_the_systems_database(platform, endpoint, unchanged, user, statement):
    with platform.direct(endpoint, user=user, dbname="postgres") as connection:
        assert outcome(connection, statement) is None
        assert connection.execute("select count(*) from pg_class where relnamespace = 'public'::regnamespace").fetchone() == (0,)


def test_no_way_back_in_as_the_system(platform, endpoint, unchanged):
    """The server itself may enter the folder of its socket. It must not be let in there, whatever it says it is."""
    folder = platform.socket_directory(endpoint)
    doors = [f"host={folder} port=5432 dbname=postgres user={user} password=x" for user in ("cloud_admin", "databricks_superuser", OWNER)]
    doors += [f"host={folder} user=cloud_admin dbname=postgres", "user=cloud_admin dbname=postgres", "host=127.0.0.1 user=cloud_admin password=x dbname=postgres",
              f"hostaddr=127.0.0.1 port={platform.pg_port} user=cloud_admin password=x dbname=postgres sslmode=require"]  # fmt: skip
    with platform.direct(endpoint, user=OWNER, prepare_threshold=None) as connection:
        for door in doors:
            for statement in (f"select dblink_connect('{door}')", f"select * from dblink('{door}', 'select 1') as t(i int)",
                              f"create subscription evil connection '{door}' publication p"):  # fmt: skip
                assert outcome(connection, statement) is None, statement
        connection.execute(f"create server back foreign data wrapper postgres_fdw options (host '{folder}', port '5432', dbname 'postgres')")
        connection.execute("create foreign table behind (rolname text) server back options (schema_name 'pg_catalog', table_name 'pg_authid')")
        for options in ("user 'cloud_admin'", "user 'cloud_admin', password 'x'"):
            connection.execute(f"create user mapping for current_user server back options ({options})")
            assert outcome(connection, "select * from behind") is None
            assert outcome(connection, "update behind set rolname = 'x'") is None
            assert outcome(connection, "alter user mapping for current_user server back options (add password_required 'false')") is None
            connection.execute("drop user mapping for current_user server back")
        connection.execute("drop server back cascade")


def test_replication_is_reading(platform, endpoint, unchanged):
    """Owners have REPLICATION, as they have to for moving away: it reads all of the branch, and writes and runs nothing."""
    with pytest.raises(psycopg.OperationalError, match="REPLICATION"):
        platform.direct(endpoint, user=PLAIN, replication="database")
    with platform.direct(endpoint, user=OWNER, replication="database") as connection:
        def says(command):
            result = connection.pgconn.exec_(command.encode())
            return (result.error_message or b"").decode()

        assert says("IDENTIFY_SYSTEM") == ""
        assert "permission denied" in says("BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/tmp/tarn-evil')")
        assert says("CREATE_REPLICATION_SLOT evil LOGICAL \"/tmp/evil\" (SNAPSHOT 'nothing')").startswith("ERROR")
        assert "permission denied" in says("copy (select 1) to program 'id'")
        assert "permission denied" in says("alter role current_user superuser")


def test_postgres_writes_in_its_own_folders_only(platform, endpoint, project, tmp_path):
    """Whoever got so far that Postgres writes files for him gets no further: not even the superuser writes anywhere else."""
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 2:  # landlock_create_ruleset, asked for its version
        pytest.skip("this kernel has no Landlock (or an early one), so Postgres is not confined")
    other = platform.rest.endpoint(project)
    platform.wake(other)
    tmp_path.chmod(0o777)
    with platform.direct(endpoint) as connection, platform.direct(other) as neighbour:
        own, theirs = (one.execute("show data_directory").fetchone()[0] for one in (connection, neighbour))
        for folder in ("/tmp", "/var/tmp", str(tmp_path), theirs, f"{theirs}/../wal", str(platform.socket_directory(other))):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Permission denied"):
                connection.execute(f"copy (select 1) to '{folder}/tarn-evil'")
        connection.execute(f"copy (select 1) to '{own}/tarn-own'")
        with pytest.raises(psycopg.Error, match="exited with exit code"):
            connection.execute("copy (select 1) to program 'cat >/tmp/tarn-evil'")
        connection.execute("copy (select 1) to program 'rm tarn-own'")

"""pg_dump and pg_restore of a database as large as one says, through the proxy, in every format; what comes back is what was there."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from harness.platform import NO_LIMITS, Platform, clean_environment

# One of each kind of thing that a dump has to bring back.
SCHEMA = """
create type mood as enum ('calm', 'größe');
create domain positive as int check (value > 0);
create table place (id int generated always as identity primary key, name text not null unique, mood mood default 'calm');
create table visit (id bigserial primary key, place int references place, day date not null, count positive, note text, data jsonb);
create table parts (i int, t text) partition by range (i);
create table parts_low partition of parts for values from (minvalue) to (1000);
create table parts_high partition of parts for values from (1000) to (maxvalue);
create index on visit (day) where count > 1;
create index on visit using gin (data);
create view busy as select place, sum(count) as total from visit group by place;
create materialized view days as select day, count(*) from visit group by day;
create function twice(i int) returns int language sql immutable as 'select 2 * i';
create function note_changes() returns trigger language plpgsql as $$ begin new.note := coalesce(new.note, 'none'); return new; end $$;
create trigger changes before insert on visit for each row execute function note_changes();
create extension vector;
create table items (id int, embedding vector(3));
alter table place enable row level security;
create policy everybody on place using (true);
comment on table place is 'größe \\ ''quoted''';
insert into place (name) select 'place ' || i from generate_series(1, 100) i;
insert into parts select i, repeat('p', i % 50) from generate_series(1, 2000) i;
insert into items select i, array[i, i + 1, i + 2]::vector from generate_series(1, 100) i;
select lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex'));
"""

ROWS_PER_MEGABYTE = 1650

FILL = """
insert into visit (place, day, count, note, data)
select 1 + i %% 100, date '2020-01-01' + i %% 1000, 1 + i %% 7, repeat(md5(i::text), 12), jsonb_build_object('i', i, 'odd', i %% 2 = 1)
from generate_series(%s::int, %s::int) i"""

CONTENT = """
select 'visit', count(*), sum(hashtextextended(v::text, 0)::numeric)::text from visit v
union all select 'place', count(*), sum(hashtextextended(p::text, 0)::numeric)::text from place p
union all select 'parts', count(*), sum(hashtextextended(p::text, 0)::numeric)::text from parts p
union all select 'items', count(*), sum(hashtextextended(i::text, 0)::numeric)::text from items i
union all select 'days', count(*), sum(hashtextextended(d::text, 0)::numeric)::text from days d
union all select 'sequence', nextval('visit_id_seq'), null
union all select 'object', length(lo_get(424242)), md5(lo_get(424242))
order by 1"""


class Client:
    """The programs of Postgres, with a token and TLS that is verified."""

    def __init__(self, platform, endpoint):
        parameters = platform.connection_parameters(endpoint)
        self.environment = clean_environment(
            PGHOST=parameters["host"], PGPORT=str(parameters["port"]), PGUSER=parameters["user"], PGPASSWORD=parameters["password"],
            PGSSLMODE="verify-full", PGSSLROOTCERT=parameters["sslrootcert"],
        )  # fmt: skip

    def run(self, *command):
        begin = time.monotonic()
        done = subprocess.run(list(map(str, command)), env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr[-3000:]}"
        return done.stdout, time.monotonic() - begin


def schema(client, database):
    """As pg_dump writes it, without what is different in each dump: comments and the key of its \\restrict line."""
    text, _ = client.run("pg_dump", "--schema-only", "-d", database)
    return [line for line in text.splitlines() if line and not line.startswith(("--", "\\"))]


def main():
    parser = argparse.ArgumentParser(prog="tests/long/dump_restore", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024, help="of rows (default: a gigabyte)")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="tarn-dump-", dir=os.environ.get("TMPDIR", "/tmp")))
    try:
        with Platform(settings={"suspend_timeout_min_sec": 60, **NO_LIMITS}) as platform:
            platform.rest.create_project("dump")
            endpoint = platform.rest.endpoint("dump")
            client = Client(platform, endpoint)
            with platform.connect(endpoint) as connection:
                connection.execute("create database original")
            with platform.connect(endpoint, dbname="original") as connection:
                connection.execute(SCHEMA)
                for megabyte in range(options.megabytes):
                    connection.execute(FILL, (megabyte * ROWS_PER_MEGABYTE, (megabyte + 1) * ROWS_PER_MEGABYTE - 1))
                connection.execute("refresh materialized view days")
                size = connection.execute("select pg_total_relation_size('visit')").fetchone()[0]
                content = connection.execute(CONTENT).fetchall()
            before = schema(client, "original")
            print(f"{size / 1e6:.0f} MB in the largest table, with its indexes", flush=True)
            for name, dump, restore in (
                ("custom", ["-Fc", "-f", place / "custom"], ["pg_restore", "-d", "copy", place / "custom"]),
                ("directory, two at a time", ["-Fd", "-j", "2", "-f", place / "folder"], ["pg_restore", "-j", "2", "-d", "copy", place / "folder"]),
                ("plain", ["-Fp", "-f", place / "plain"], ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "copy", "-f", place / "plain"]),
            ):  # fmt: skip
                with platform.connect(endpoint) as connection:
                    connection.execute("drop database if exists copy with (force)")
                    connection.execute("create database copy")
                _, dump_seconds = client.run("pg_dump", "-d", "original", *dump)
                _, restore_seconds = client.run(*restore)
                with platform.connect(endpoint, dbname="copy") as connection:
                    restored = connection.execute(CONTENT).fetchall()
                after = schema(client, "copy")
                # nextval counts on, so the copies' next number is one behind what was dumped after it was asked for.
                same = [row for row in content if row[0] != "sequence"] == [row for row in restored if row[0] != "sequence"]
                assert same, f"{name}: {content} became {restored}"
                assert before == after, f"{name}: the schema became another one"
                print(f"{name}: dumped in {dump_seconds:.1f} s, restored in {restore_seconds:.1f} s, all is there", flush=True)
                for path in place.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, psycopg.Error) as error:
        sys.exit(f"FAILED: {error}")

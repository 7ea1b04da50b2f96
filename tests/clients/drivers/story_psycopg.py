"""psycopg 3. What it reads from the environment by itself, libpq does."""

import json
import sys
import threading
import time

import psycopg

TEXT = "größe 🐘 'quoted' \\ \"twice\""
seen = {}
connection = psycopg.connect(sslmode="verify-full", autocommit=True)

seen["user"], seen["one"] = connection.execute("select current_user, 1").fetchone()
row = connection.execute("select %s::int, %s::text, %s::text, %s::bytea", (42, TEXT, None, b"\x00\xff'")).fetchone()
seen["parameters"] = [row[0], row[1], row[2], row[3].hex()]
seen["prepared"] = sum(connection.execute("select %s::int", (i,), prepare=True).fetchone()[0] for i in range(1, 11))

connection.execute("create temp table fruit (name text primary key)")
try:
    with connection.transaction():
        connection.execute("insert into fruit values ('apple')")
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
seen["after_rollback"] = connection.execute("select count(*) from fruit").fetchone()[0]
with connection.transaction():
    connection.cursor().executemany("insert into fruit values (%s)", [("apple",), ("pear",)])
seen["after_commit"] = connection.execute("select count(*) from fruit").fetchone()[0]
try:
    connection.execute("insert into fruit values ('pear')")
except psycopg.errors.UniqueViolation as error:
    seen["error"] = [error.sqlstate, error.diag.message_primary]
seen["after_error"] = connection.execute("select 1").fetchone()[0]


def cancel():
    time.sleep(0.5)
    connection.cancel_safe()


canceller = threading.Thread(target=cancel)
canceller.start()
try:
    connection.execute("select pg_sleep(600)")
except psycopg.errors.QueryCanceled as error:
    seen["cancelled"] = error.sqlstate
canceller.join()  # Postgres sends its signal twice: the second one may hit a query that comes before the request's end
seen["after_cancel"] = connection.execute("select 1").fetchone()[0]

connection.execute("create temp table copied (i int, t text)")
with connection.cursor().copy("copy copied from stdin") as copy:
    for i in range(10000):
        copy.write_row((i, TEXT))
seen["copied_in"] = connection.execute("select count(*) from copied where t = %s", (TEXT,)).fetchone()[0]
with connection.cursor().copy("copy copied to stdout") as copy:
    seen["copied_out"] = sum(1 for row in copy.rows())

print("sleep", flush=True)
sys.stdin.readline()
try:
    connection.execute("select 1")
except psycopg.OperationalError:  # as its documentation says: connect again
    connection.close()
    connection = psycopg.connect(sslmode="verify-full", autocommit=True)
seen["woken"] = connection.execute("select 1").fetchone()[0]
seen["libpq"] = psycopg.pq.version()
print(json.dumps(seen))

"""psycopg 2."""

import io
import json
import sys
import threading
import time

import psycopg2

TEXT = "größe 🐘 'quoted' \\ \"twice\""
seen = {}
connection = psycopg2.connect("sslmode=verify-full")
cursor = connection.cursor()


def value(query, parameters=None):
    cursor.execute(query, parameters)
    return cursor.fetchone()[0]


cursor.execute("select current_user, 1")
seen["user"], seen["one"] = cursor.fetchone()
cursor.execute("select %s::int, %s::text, %s::text, %s::bytea", (42, TEXT, None, psycopg2.Binary(b"\x00\xff'")))
row = cursor.fetchone()
seen["parameters"] = [row[0], row[1], row[2], bytes(row[3]).hex()]
cursor.execute("prepare ten as select $1::int")
seen["prepared"] = sum(value("execute ten (%s)", (i,)) for i in range(1, 11))

cursor.execute("create temp table fruit (name text primary key)")
connection.commit()
cursor.execute("insert into fruit values ('apple')")
connection.rollback()
seen["after_rollback"] = value("select count(*) from fruit")
cursor.executemany("insert into fruit values (%s)", [("apple",), ("pear",)])
connection.commit()
seen["after_commit"] = value("select count(*) from fruit")
try:
    cursor.execute("insert into fruit values ('pear')")
except psycopg2.errors.UniqueViolation as error:
    seen["error"] = [error.pgcode, error.diag.message_primary]
connection.rollback()
seen["after_error"] = value("select 1")


def cancel():
    time.sleep(0.5)
    connection.cancel()


canceller = threading.Thread(target=cancel)
canceller.start()
try:
    cursor.execute("select pg_sleep(600)")
except psycopg2.errors.QueryCanceled as error:
    seen["cancelled"] = error.pgcode
canceller.join()
connection.rollback()
seen["after_cancel"] = value("select 1")

cursor.execute("create temp table copied (i int, t text)")
lines = "".join("%d\t%s\n" % (i, TEXT.replace("\\", "\\\\")) for i in range(10000))
cursor.copy_expert("copy copied from stdin", io.StringIO(lines))
cursor.execute("select count(*) from copied where t = %s", (TEXT,))
seen["copied_in"] = cursor.fetchone()[0]
out = io.StringIO()
cursor.copy_expert("copy copied to stdout", out)
seen["copied_out"] = out.getvalue().count("\n")
connection.commit()

print("sleep", flush=True)
sys.stdin.readline()
try:
    value("select 1")
except psycopg2.OperationalError:
    connection = psycopg2.connect("sslmode=verify-full")
    cursor = connection.cursor()
seen["woken"] = value("select 1")
print(json.dumps(seen))

"""SQLAlchemy over psycopg 3, with a pool that asks before it hands a connection out (pre-ping)."""

import json
import sys
import threading
import time

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

TEXT = "größe 🐘 'quoted' \\ \"twice\""
seen = {}
# Everything but sslmode is read from the environment by libpq.
engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args={"sslmode": "verify-full"}, pool_pre_ping=True, pool_size=5)

with engine.connect() as connection:
    seen["user"], seen["one"] = connection.execute(text("select current_user, 1")).one()
    row = connection.execute(
        text("select cast(:i as int), cast(:t as text), cast(:n as text), cast(:b as bytea)"), {"i": 42, "t": TEXT, "n": None, "b": b"\x00\xff'"}
    ).one()
    seen["parameters"] = [row[0], row[1], row[2], bytes(row[3]).hex()]
    # From the fifth time on psycopg prepares what is executed again and again.
    seen["prepared"] = sum(connection.execute(text("select cast(:i as int)"), {"i": i}).scalar_one() for i in range(1, 11))

    connection.execute(text("create temp table fruit (name text primary key)"))
    connection.commit()
    connection.execute(text("insert into fruit values ('apple')"))
    connection.rollback()
    seen["after_rollback"] = connection.execute(text("select count(*) from fruit")).scalar_one()
    connection.execute(text("insert into fruit values (:n)"), [{"n": "apple"}, {"n": "pear"}])
    connection.commit()
    seen["after_commit"] = connection.execute(text("select count(*) from fruit")).scalar_one()
    try:
        connection.execute(text("insert into fruit values ('pear')"))
    except DBAPIError as error:
        seen["error"] = [error.orig.sqlstate, error.orig.diag.message_primary]
    connection.rollback()
    seen["after_error"] = connection.execute(text("select 1")).scalar_one()

    raw = connection.connection.driver_connection
    canceller = threading.Thread(target=lambda: (time.sleep(0.5), raw.cancel_safe()))
    canceller.start()
    try:
        connection.execute(text("select pg_sleep(600)"))
    except DBAPIError as error:
        seen["cancelled"] = error.orig.sqlstate
    canceller.join()
    connection.rollback()
    seen["after_cancel"] = connection.execute(text("select 1")).scalar_one()

# Five connections of the pool have been used, rest in it, and are dead by the time it wakes.
several = [engine.connect() for _ in range(5)]
for connection in several:
    connection.execute(text("select 1"))
    connection.close()
print("sleep", flush=True)
sys.stdin.readline()
for _ in range(5):
    with engine.connect() as connection:
        seen["woken"] = connection.execute(text("select 1")).scalar_one()
print(json.dumps(seen))

"""asyncpg: no libpq in it, and its pool replaces connections that have gone."""

import asyncio
import io
import json
import os
import ssl
import sys

import asyncpg

TEXT = "größe 🐘 'quoted' \\ \"twice\""


class Undo(Exception):
    pass


async def main():
    seen = {}
    tls = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    # Host, port, user, password and database are read from the environment.
    pool = await asyncpg.create_pool(ssl=tls, min_size=1, max_size=4)
    async with pool.acquire() as connection:
        row = await connection.fetchrow("select current_user::text as u, 1 as one")
        seen["user"], seen["one"] = row["u"], row["one"]
        row = await connection.fetchrow("select $1::int, $2::text, $3::text, $4::bytea", 42, TEXT, None, b"\x00\xff'")
        seen["parameters"] = [row[0], row[1], row[2], row[3].hex()]
        ten = await connection.prepare("select $1::int")
        seen["prepared"] = sum([await ten.fetchval(i) for i in range(1, 11)])

        await connection.execute("create temp table fruit (name text primary key)")
        try:
            async with connection.transaction():
                await connection.execute("insert into fruit values ('apple')")
                raise Undo
        except Undo:
            pass
        seen["after_rollback"] = await connection.fetchval("select count(*) from fruit")
        async with connection.transaction():
            await connection.executemany("insert into fruit values ($1)", [("apple",), ("pear",)])
        seen["after_commit"] = await connection.fetchval("select count(*) from fruit")
        try:
            await connection.execute("insert into fruit values ('pear')")
        except asyncpg.UniqueViolationError as error:
            seen["error"] = [error.sqlstate, error.message]
        seen["after_error"] = await connection.fetchval("select 1")

        try:
            await connection.execute("select pg_sleep(600)", timeout=0.5)  # sends a cancel request, and waits for the query's end
        except asyncio.TimeoutError:
            seen["cancelled"] = "57014"
        seen["after_cancel"] = await connection.fetchval("select 1")

        await connection.execute("create temp table copied (i int, t text)")
        await connection.copy_records_to_table("copied", records=[(i, TEXT) for i in range(10000)])
        seen["copied_in"] = await connection.fetchval("select count(*) from copied where t = $1", TEXT)
        out = io.BytesIO()
        await connection.copy_from_table("copied", output=out)
        seen["copied_out"] = out.getvalue().count(b"\n")

    print("sleep", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with pool.acquire() as connection:
        seen["woken"] = await connection.fetchval("select 1")
    await pool.close()
    print(json.dumps(seen))


asyncio.run(main())

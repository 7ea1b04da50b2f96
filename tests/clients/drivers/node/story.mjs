// node-postgres: a pool, whose connections are replaced when they have gone.

import { createInterface } from "node:readline/promises";
import { readFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";

const TEXT = "größe 🐘 'quoted' \\ \"twice\"";
const seen = {};
const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, "utf8") };
// Host, port, user, password and database are read from the environment.
const pool = new pg.Pool({ ssl, max: 4 });
pool.on("error", () => {}); // connections that rest in the pool may go
const client = await pool.connect();
const value = async (query, parameters) => Object.values((await client.query(query, parameters)).rows[0])[0];

const first = (await client.query("select current_user as user, 1 as one")).rows[0];
[seen.user, seen.one] = [first.user, first.one];
const row = (await client.query("select $1::int as a, $2::text as b, $3::text as c, $4::bytea as d", [42, TEXT, null, Buffer.from("00ff27", "hex")])).rows[0];
seen.parameters = [row.a, row.b, row.c, row.d.toString("hex")];
seen.prepared = 0;
for (let i = 1; i <= 10; i++) seen.prepared += (await client.query({ name: "ten", text: "select $1::int as n", values: [i] })).rows[0].n;

await client.query("create temp table fruit (name text primary key)");
await client.query("begin");
await client.query("insert into fruit values ('apple')");
await client.query("rollback");
seen.after_rollback = Number(await value("select count(*) from fruit"));
await client.query("begin");
await client.query("insert into fruit values ($1), ($2)", ["apple", "pear"]);
await client.query("commit");
seen.after_commit = Number(await value("select count(*) from fruit"));
try {
  await client.query("insert into fruit values ('pear')");
} catch (error) {
  seen.error = [error.code, error.message];
}
seen.after_error = await value("select 1");

// It cancels by a client that has not connected yet.
const victim = client.query("select pg_sleep(600)").catch((error) => error);
await sleep(500);
const canceller = new pg.Client({ ssl });
canceller.cancel(client, client._activeQuery ?? client.activeQuery);
seen.cancelled = (await victim).code;
await new Promise((resolve) => (canceller.connection.stream.closed ? resolve() : canceller.connection.stream.once("close", resolve)));
seen.after_cancel = await value("select 1");

await client.query("create temp table copied (i int, t text)");
const lines = (function* () {
  for (let i = 0; i < 10000; i++) yield `${i}\t${TEXT.replaceAll("\\", "\\\\")}\n`;
})();
await pipeline(Readable.from(lines), client.query(copyFrom("copy copied from stdin")));
seen.copied_in = Number(await value("select count(*) from copied where t = $1", [TEXT]));
let out = 0;
for await (const chunk of client.query(copyTo("copy copied to stdout"))) out += chunk.toString("latin1").split("\n").length - 1;
seen.copied_out = out;
client.on("error", () => {});
client.release();

console.log("sleep");
const lineReader = createInterface({ input: process.stdin });
await new Promise((resolve) => lineReader.once("line", resolve));
lineReader.close();
seen.woken = (await pool.query("select 1 as one")).rows[0].one;
await pool.end();
console.log(JSON.stringify(seen));

// What an application does with @databricks/lakebase: a pool that gets its passwords by itself, node-postgres queries,
// Drizzle on top. Everything it knows about the server comes from the environment. Prints what it saw, as JSON.

import { createLakebasePool, generateDatabaseCredential, getUsernameWithApiLookup, getWorkspaceClient } from "@databricks/lakebase";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { integer, numeric, pgTable, text } from "drizzle-orm/pg-core";

const seen = {};

// PGUSER or DATABRICKS_CLIENT_ID, otherwise it asks who the token's owner is.
seen.user = await getUsernameWithApiLookup();
const pool = createLakebasePool({ user: seen.user, max: 4, logger: { error: true } });

const me = await pool.query("select current_user as name, current_database() as database");
seen.session = me.rows[0];
const tls = await pool.connect();
try {
  const socket = tls.connection.stream;
  seen.tls = { encrypted: socket.encrypted === true, authorized: socket.authorized };
} finally {
  tls.release();
}

await pool.query("create table if not exists fruit (id int primary key, name text not null, price numeric(6,2) not null)");
await pool.query("delete from fruit");
await pool.query("insert into fruit values ($1, $2, $3), ($4, $5, $6)", [1, "apple", "1.20", 2, "pear", "1.50"]);

const client = await pool.connect();
try {
  await client.query("begin");
  await client.query("update fruit set price = price * 2");
  await client.query("rollback");
} finally {
  client.release();
}
seen.rows = (await pool.query("select name, price from fruit order by id")).rows;
seen.parallel = (await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((n) => pool.query("select $1::int as n", [n])))).map((r) => r.rows[0].n);
try {
  await pool.query("select nothing from nowhere");
} catch (error) {
  seen.error = error.code;
}

const fruit = pgTable("fruit", {
  id: integer("id").primaryKey(),
  name: text("name").notNull(),
  price: numeric("price", { precision: 6, scale: 2 }).notNull(),
});
const db = drizzle(pool);
await db.insert(fruit).values({ id: 3, name: "plum", price: "0.30" });
await db.update(fruit).set({ price: "1.40" }).where(eq(fruit.name, "pear"));
await db.transaction(async (tx) => {
  await tx.delete(fruit).where(eq(fruit.id, 1));
});
seen.drizzle = await db.select().from(fruit).orderBy(fruit.id);
seen.sum = (await db.select({ total: sql`sum(${fruit.price})` }).from(fruit))[0].total;

seen.connections = pool.totalCount;
await pool.end();

// The call below the pool, and what an error of the API becomes.
const workspace = await getWorkspaceClient({});
seen.credential = Object.keys(await generateDatabaseCredential(workspace, { endpoint: process.env.LAKEBASE_ENDPOINT })).sort();
try {
  await generateDatabaseCredential(workspace, { endpoint: process.env.LAKEBASE_ENDPOINT + "x" });
} catch (error) {
  seen.refused = { message: error.message, code: error.errorCode ?? error.error_code ?? null };
}

console.log(JSON.stringify(seen));

#include "metadata/metadata.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metadata/metadata_internal.h"
#include "metadata/schema.h"
#include "metadata/statement.h"

#define BUSY_TIMEOUT_MS 10000

status metadata_failure(const struct metadata *md, int code, struct error *err, const char *what)
{
	status st;
	switch (code & 0xff) {
	case SQLITE_FULL:
		st = STATUS_NO_SPACE;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		st = STATUS_CORRUPT;
		break;
	case SQLITE_NOMEM:
		st = STATUS_NO_MEMORY;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		st = STATUS_UNAVAILABLE;
		break;
	case SQLITE_CONSTRAINT:
		st = code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
		             ? STATUS_EXISTS
		             : STATUS_INTERNAL;
		break;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
		st = STATUS_IO;
		break;
	default:
		st = STATUS_INTERNAL;
	}
	int sys_errno = st == STATUS_IO && md->db ? sqlite3_system_errno(md->db) : 0;
	const char *text = md->db ? sqlite3_errmsg(md->db) : sqlite3_errstr(code);
	st = error_set(err, st, sys_errno, "metadata: could not %s: %s", what, text);
	if (st == STATUS_NO_SPACE)
		error_hint(err, "Free some disk space.");
	return st;
}

static status run_sql(struct metadata *md, const char *sql, const char *what, struct error *err)
{
	int code = sqlite3_exec(md->db, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? STATUS_OK
	                         : metadata_failure(md, sqlite3_extended_errcode(md->db), err, what);
}

static status read_version(struct metadata *md, int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "PRAGMA user_version", &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st);
	return code;
}

static status migrate(struct metadata *md, const char *path, struct error *err)
{
	int64_t version = 0;
	status st = read_version(md, &version, err);
	if (st != STATUS_OK)
		return st;
	if (version < 0 || (uint64_t)version > schema_version) {
		st = error_set(err, STATUS_UNSUPPORTED, 0,
		        "\"%s\" has metadata version %lld, this Tarn knows up to %zu", path,
		        (long long)version, schema_version);
		error_hint(err, "Start the newer Tarn that made it.");
		return st;
	}
	for (; (uint64_t)version < schema_version; version++) {
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		st = transaction_begin(md, &tx, err);
		if (st == STATUS_OK)
			st = run_sql(md, schema_migrations[version], "migrate", err);
		if (st != STATUS_OK)
			return st;
		char set_version[48];
		(void)snprintf(set_version, sizeof set_version, "PRAGMA user_version = %lld",
		        (long long)version + 1);
		st = run_sql(md, set_version, "migrate", err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}

status metadata_open(const char *path, struct metadata **ret, struct error *err)
{
	/* SQLite would create the file, and the -wal and -shm beside it, with the umask's mode. */
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open metadata \"%s\"", path);
	if (fchmod(fd, 0600) < 0)
		return error_set(err, STATUS_IO, errno, "could not set the mode of metadata \"%s\"", path);

	CLEANUP(metadata_closep) struct metadata *md = xcalloc(1, sizeof *md);
	int code = sqlite3_open_v2(path, &md->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return metadata_failure(md, code, err, "open the file");
	(void)sqlite3_extended_result_codes(md->db, 1);
	(void)sqlite3_busy_timeout(md->db, BUSY_TIMEOUT_MS);
	(void)sqlite3_db_config(md->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	status st = run_sql(md,
	        "PRAGMA journal_mode = WAL;"
	        "PRAGMA synchronous = FULL;"
	        "PRAGMA foreign_keys = ON;"
	        "PRAGMA trusted_schema = OFF;",
	        "configure the database", err);
	if (st == STATUS_OK)
		st = migrate(md, path, err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(md);
	return STATUS_OK;
}

struct metadata *metadata_close(struct metadata *md)
{
	if (!md)
		return NULL;
	statements_forget(md);
	(void)sqlite3_close(md->db);
	free(md);
	return NULL;
}

status transaction_begin(struct metadata *md, struct transaction *tx, struct error *err)
{
	assert(!md->in_transaction);
	status st = run_sql(md, "BEGIN IMMEDIATE", "begin a transaction", err);
	if (st != STATUS_OK)
		return st;
	md->in_transaction = true;
	tx->md = md;
	return STATUS_OK;
}

void metadata_watch(struct metadata *md, metadata_ended_fn fn, void *owner)
{
	md->on_end = fn;
	md->on_end_owner = owner;
}

static void transaction_ended(struct transaction *tx, bool is_committed)
{
	struct metadata *md = TAKE_PTR(tx->md);
	md->in_transaction = false;
	if (md->on_end)
		md->on_end(md->on_end_owner, is_committed);
}

status transaction_commit(struct transaction *tx, struct error *err)
{
	assert(tx->md && tx->md->in_transaction);
	/* On failure the transaction stays open, and transaction_end() rolls it back. */
	status st = run_sql(tx->md, "COMMIT", "commit a transaction", err);
	if (st == STATUS_OK)
		transaction_ended(tx, true);
	return st;
}

void transaction_end(struct transaction *tx)
{
	if (!tx->md)
		return;
	/* Some failures (disk full, I/O) make SQLite roll back on its own. */
	if (!sqlite3_get_autocommit(tx->md->db))
		(void)sqlite3_exec(tx->md->db, "ROLLBACK", NULL, NULL, NULL);
	transaction_ended(tx, false);
}

status metadata_next_number(
        struct metadata *md, const char *name, int64_t first, int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO counter(name, value) VALUES (?1, ?2 + 1)"
	        " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value - 1",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, name);
	statement_bind_integer(&st, first);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st);
	return code;
}

void metadata_look(const struct metadata *md, struct metadata_numbers *ret)
{
	*ret = md->numbers;
}

int64_t metadata_changes(const struct metadata *md)
{
	return sqlite3_changes64(md->db);
}

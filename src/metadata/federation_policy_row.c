#include "metadata/federation_policy_row.h"

#include <stdlib.h>

#define CONTENT "description, issuer, audiences, subject, subject_claim, jwks_uri, jwks_json, update_usec"
#define SELECT                                                                                               \
	"SELECT id, uid, principal, policy_id, create_usec, " CONTENT " FROM federation_policy"              \
	" WHERE ifnull(principal, 0) = ?"

void federation_policy_row_done(struct federation_policy_row *row)
{
	free(row->description);
	free(row->issuer);
	free(row->audiences);
	free(row->subject);
	free(row->subject_claim);
	free(row->jwks_uri);
	free(row->jwks_json);
	*row = (struct federation_policy_row){ 0 };
}

/* In the order of CONTENT. */
static void bind_content(struct statement *st, const struct federation_policy_row *row)
{
	statement_bind_text(st, row->description);
	statement_bind_text(st, row->issuer);
	statement_bind_text(st, row->audiences);
	statement_bind_text(st, row->subject);
	statement_bind_text(st, row->subject_claim);
	statement_bind_text(st, row->jwks_uri);
	statement_bind_text(st, row->jwks_json);
	statement_bind_integer(st, row->update_usec);
}

status federation_policy_row_insert(struct metadata *md, struct federation_policy_row *row, struct error *err)
{
	random_uuid(row->uid);
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO federation_policy(uid, principal, policy_id, create_usec, " CONTENT ")"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->uid);
	statement_bind_optional(&st, row->principal);
	statement_bind_text(&st, row->policy_id);
	statement_bind_integer(&st, row->create_usec);
	bind_content(&st, row);
	code = statement_next_integer(&st, &row->id, err);
	if (code == STATUS_EXISTS)
		return error_set(err, code, 0, "there is a federation policy \"%s\" already", row->policy_id);
	return code;
}

status federation_policy_row_update(
        struct metadata *md, const struct federation_policy_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE federation_policy SET (" CONTENT ") = (?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?", &st,
	        err);
	if (code != STATUS_OK)
		return code;
	bind_content(&st, row);
	statement_bind_integer(&st, row->id);
	code = statement_run(&st, err);
	return code == STATUS_OK ? statement_do(md, "DELETE FROM api_token WHERE federation_policy = ?",
	                                   INTEGERS(row->id), err)
	                         : code;
}

status federation_policy_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM federation_policy WHERE id = ?", INTEGERS(id), err);
}

status federation_policy_row_next(struct statement *st, struct federation_policy_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct federation_policy_row row = { .id = statement_integer(st) };
	statement_text(st, row.uid, sizeof row.uid);
	row.principal = statement_integer(st);
	statement_text(st, row.policy_id, sizeof row.policy_id);
	row.create_usec = statement_integer(st);
	row.description = statement_text_copy(st);
	row.issuer = statement_text_copy(st);
	row.audiences = statement_text_copy(st);
	row.subject = statement_text_copy(st);
	row.subject_claim = statement_text_copy(st);
	row.jwks_uri = statement_text_copy(st);
	row.jwks_json = statement_text_copy(st);
	row.update_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

/* Binds the principal and a text. */
static status open_for(struct metadata *md, const char *sql, int64_t principal, const char *text,
        struct statement *ret, struct error *err)
{
	status code = statement_open(md, sql, ret, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(ret, principal);
	statement_bind_text(ret, text);
	return STATUS_OK;
}

status federation_policy_row_find(struct metadata *md, int64_t principal, const char *policy_id,
        struct federation_policy_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_for(md, SELECT " AND policy_id = ?", principal, policy_id, &st, err);
	if (code == STATUS_OK)
		code = federation_policy_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND
	               ? error_set(err, code, 0, "there is no federation policy \"%.100s\"", policy_id)
	               : code;
}

status federation_policy_row_list(
        struct metadata *md, int64_t principal, int64_t after_id, struct statement *ret, struct error *err)
{
	return statement_open_for(
	        md, SELECT " AND id > ? ORDER BY id", INTEGERS(principal, after_id), ret, err);
}

status federation_policy_row_list_of_issuer(
        struct metadata *md, int64_t principal, const char *issuer, struct statement *ret, struct error *err)
{
	return open_for(md, SELECT " AND issuer = ? ORDER BY id", principal, issuer, ret, err);
}

status federation_policy_row_count(struct metadata *md, int64_t principal, int64_t *ret, struct error *err)
{
	return statement_ask(md, "SELECT count(*) FROM federation_policy WHERE ifnull(principal, 0) = ?",
	        INTEGERS(principal), ret, err);
}

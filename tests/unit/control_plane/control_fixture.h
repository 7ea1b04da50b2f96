/*
 * Control fixture: the control plane with real metadata in a folder of its own, over the scripted machine. Calls go in as
 * HTTP requests and come back as parsed JSON.
 */
#pragma once

#include <uv.h>
#include <yyjson.h>

#include "control_plane/services.h"
#include "scripted_machine.h"

struct control_fixture {
	char folder[32];
	uv_loop_t loop;
	struct data_directory dd;
	struct installation installation;
	struct services services;
	struct token_key *token_key;
	struct sealer *sealer;
	struct machine *machine;
	unsigned holds;  /* of the next calls: how often they have been held */
	int http_status; /* of the last call */
	int retry_after; /* its header of that name; 0: none */
	yyjson_doc *doc; /* its body */
	yyjson_val *json;
};

int control_fixture_set_up(void **state);
int control_fixture_tear_down(void **state);
/* The process is gone without a word, and a new one starts on what metadata and the machine hold. */
void control_fixture_crash(struct control_fixture *f);

/* The path is below /api/2.0/postgres; body NULL: none. The answer stays until the next call. */
yyjson_val *call_api(struct control_fixture *f, const char *method, const char *path, const char *body);
/* The same, anywhere, with any Authorization header (NULL: none). */
yyjson_val *call_raw(struct control_fixture *f, const char *method, const char *path, const char *body,
        const char *authorization);
/* A form to the token endpoint of OAuth. */
yyjson_val *call_token(struct control_fixture *f, const char *form, const char *authorization);
/* Fails the test unless that was the answer, with a description and without a token. */
void expect_oauth_error(const struct control_fixture *f, int http_status, const char *error);
/* The clock of what is kept for a while (issuer_keys.h), which runs ahead of the real one as the test wants. */
int64_t control_fixture_clock(void);
void control_fixture_pass_time(int64_t usec);
/* Fails the test unless the call succeeds; the operation's name, which the caller frees. */
char *begin_operation(struct control_fixture *f, const char *method, const char *path, const char *body);
/* Turns the loop until the operation is done; the whole operation. */
yyjson_val *finish_operation(struct control_fixture *f, const char *name);
/* Both; fails the test when the operation ends with an error. The response. */
yyjson_val *perform(struct control_fixture *f, const char *method, const char *path, const char *body);
/* Turns the loop until nothing happens by itself any more. */
void settle(struct control_fixture *f);

/* The text at a JSON pointer; "" when there is none. */
const char *text_at(const struct control_fixture *f, const char *pointer);
bool has(const struct control_fixture *f, const char *pointer);
/* Fails the test unless the last answer was an error of this class whose message begins so. */
void expect_error(const struct control_fixture *f, int http_status, const char *code, const char *message);

/*
 * The SASL messages of a client: SASLInitialResponse and SASLResponse as they come from the wire, divided by the first byte (how many
 * sixteenths of the rest are the first one). Nobody who does not know the password gets in, nothing is answered to what is refused, and the
 * verdict does not depend on whether channel binding was offered when the client does not use it.
 */
#include <stdlib.h>

#include "auth/scram_server.h"
#include "pgwire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct scram_verifier verifier;

static void converse(struct slice first, struct slice final, struct slice end_point)
{
	struct sasl_choice choice;
	struct error err;
	bool is_right = false;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	if (!message_sasl_choice_parse(first, &choice))
		return;
	if (choice.mechanism.data < first.data || choice.mechanism.len >= first.len ||
	        choice.response.len > first.len)
		abort();
	struct scram_server *server = scram_server_create(&verifier, end_point);
	scram_server_set_nonce(server, "0123");
	status st = scram_server_first(server, choice.mechanism, choice.response, &out, &err);
	if ((st == STATUS_OK) != (out.len > 0))
		abort();
	if (st == STATUS_OK) {
		if (memcmp(out.data, "r=", 2) != 0 || !strstr(out.data, "0123,s=c2FsdA==,i=4096"))
			abort();
		out.len = 0;
		st = scram_server_final(server, final, &is_right, &out, &err);
		if (is_right || out.len > 0)
			abort();
	}
	if (st != STATUS_OK && (err.code != st || !err.message[0]))
		abort();
	scram_server_free(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (verifier.iterations == 0) {
		verifier = (struct scram_verifier){ .iterations = 4096, .salt_len = 4, .salt = "salt" };
		memset(verifier.stored_key, 7, sizeof verifier.stored_key);
	}
	size_t len = (size - 1) * (data[0] & 15) / 16;
	struct slice first = { data + 1, len }, final = { data + 1 + len, size - 1 - len };
	converse(first, final, (struct slice){ 0 });
	converse(first, final, slice_from_text("0123456789abcdef0123456789abcdef"));

	char text[SCRAM_VERIFIER_MAX + 2], again[SCRAM_VERIFIER_MAX + 1];
	struct scram_verifier parsed;
	size_t kept = size < sizeof text ? size : sizeof text - 1;
	memcpy(text, data, kept);
	text[kept] = '\0';
	if (scram_verifier_parse(text, &parsed)) {
		scram_verifier_format(&parsed, again);
		if (strcmp(text, again) != 0)
			abort();
	}
	return 0;
}

/*
 * Start-up packets: what parses, and is printed for the compute, parses again to the same session without endpoint
 * and without options to negotiate; printing that once more gives the same bytes. Input: a packet; its length field is
 * set right, so that most inputs get beyond it.
 */
#include <stdlib.h>

#include "pgwire/startup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_so)
{
	if (!is_so)
		abort();
}

static bool slices_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool is_within(struct slice part, struct slice whole)
{
	return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_session(struct slice packet)
{
	struct startup_message message, again;
	struct error err;
	if (startup_parse(packet, &message, &err) != STATUS_OK) {
		require(err.message[0]);
		return;
	}
	require(message.user.len > 0 && is_within(message.user, packet) &&
	        is_within(message.parameters, packet));
	CLEANUP(buffer_done) struct buffer forward = { 0 }, twice = { 0 }, negotiation = { 0 };
	startup_append_forward(&forward, &message);
	require(startup_parse(buffer_slice(&forward), &again, &err) == STATUS_OK);
	require(slices_equal(again.user, message.user) && slices_equal(again.database, message.database) &&
	        slices_equal(again.replication, message.replication));
	require(!again.endpoint.data && !startup_needs_negotiation(&again));
	if (!message.endpoint.data)
		require(slices_equal(again.options, message.options));
	startup_append_forward(&twice, &again);
	require(slices_equal(buffer_slice(&forward), buffer_slice(&twice)));
	startup_append_negotiation(&negotiation, &message);
	struct message_header header;
	require(message_header_parse((const uint8_t *)negotiation.data, &header));
	require(header.payload_len + MESSAGE_HEADER_LEN == negotiation.len);
}

static void check_cancel(struct slice packet)
{
	struct cancel_key key;
	if (!cancel_request_parse(packet, &key))
		return;
	CLEANUP(buffer_done) struct buffer again = { 0 };
	cancel_request_append(&again, key);
	require(slices_equal(buffer_slice(&again), packet));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct startup_head head;
	struct error err;
	if (size < STARTUP_HEAD_LEN)
		return 0;
	if (startup_head_parse(data, &head, &err) == STATUS_OK)
		require(head.packet_len >= STARTUP_HEAD_LEN && head.packet_len <= STARTUP_MAX_BYTES);
	else
		require(err.message[0]);
	check_session((struct slice){ data, size });
	uint8_t *packet = malloc(size);
	require(packet);
	memcpy(packet, data, size);
	for (unsigned i = 0; i < 4; i++)
		packet[i] = (uint8_t)(size >> (24 - 8 * i));
	check_session((struct slice){ packet, size });
	check_cancel((struct slice){ packet, size });
	free(packet);
	return 0;
}

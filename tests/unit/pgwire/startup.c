/* Start-up packets: every valid form, and for each the tampered ones beside it. */
#include "pgwire/startup.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct slice bytes(const void *data, size_t len)
{
	return (struct slice){ data, len };
}

static status head_of(uint32_t len, uint32_t code, struct startup_head *ret)
{
	CLEANUP(buffer_done) struct buffer packet = { 0 };
	struct error err;
	wire_append_be32(&packet, len);
	wire_append_be32(&packet, code);
	return startup_head_parse((const uint8_t *)packet.data, ret, &err);
}

static void test_heads(void **unused)
{
	(void)unused;
	struct startup_head head;
	assert_int_equal(head_of(8, 80877103, &head), STATUS_OK);
	assert_int_equal(head.kind, STARTUP_TLS_REQUEST);
	assert_int_equal(head_of(8, 80877104, &head), STATUS_OK);
	assert_int_equal(head.kind, STARTUP_GSS_REQUEST);
	assert_int_equal(head_of(16, 80877102, &head), STATUS_OK);
	assert_int_equal(head.kind, STARTUP_CANCEL_REQUEST);
	assert_int_equal(head_of(12 + 256, 80877102, &head), STATUS_OK);
	assert_int_equal(head_of(8, 3u << 16, &head), STATUS_OK);
	assert_int_equal(head.kind, STARTUP_SESSION);
	assert_int_equal(head_of(10000, (3u << 16) | 9999, &head), STATUS_OK);
	assert_int_equal(head.kind, STARTUP_SESSION);
	assert_int_equal(head.packet_len, 10000);
}

static void test_tampered_heads(void **unused)
{
	(void)unused;
	struct startup_head head = { .packet_len = 77 };
	assert_int_equal(head_of(9, 80877103, &head), STATUS_INVALID);
	assert_int_equal(head_of(7, 80877103, &head), STATUS_INVALID);
	assert_int_equal(head_of(9, 80877104, &head), STATUS_INVALID);
	assert_int_equal(head_of(12, 80877102, &head), STATUS_INVALID);
	assert_int_equal(head_of(12 + 257, 80877102, &head), STATUS_INVALID);
	assert_int_equal(head_of(7, 3u << 16, &head), STATUS_INVALID);
	assert_int_equal(head_of(10001, 3u << 16, &head), STATUS_INVALID);
	assert_int_equal(head_of(0xffffffff, 3u << 16, &head), STATUS_INVALID);
	assert_int_equal(head_of(0, 0, &head), STATUS_INVALID);
	assert_int_equal(head_of(8, 2u << 16, &head), STATUS_UNSUPPORTED);
	assert_int_equal(head_of(8, 4u << 16, &head), STATUS_UNSUPPORTED);
	assert_int_equal(head_of(8, 80877105, &head), STATUS_UNSUPPORTED);
	assert_int_equal(head_of(8, 0x20485454, &head), STATUS_UNSUPPORTED); /* " HTT" */
	assert_int_equal(head.packet_len, 77);
}

/* A packet of protocol 3.minor around these pairs. */
static void packet_of(struct buffer *out, uint32_t minor, const char *pairs, size_t len)
{
	out->len = 0;
	wire_append_be32(out, (uint32_t)len + 8);
	wire_append_be32(out, (3u << 16) | minor);
	buffer_append(out, pairs, len);
}

#define PACKET(out, minor, pairs) packet_of(out, minor, pairs, sizeof pairs - 1)

static void test_session(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer packet = { 0 };
	struct startup_message message;
	struct error err;
	PACKET(&packet, 0, "user\0alice@example.com\0database\0d\0application_name\0psql\0\0");
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_OK);
	assert_true(slice_equals_text(message.user, "alice@example.com"));
	assert_true(slice_equals_text(message.database, "d"));
	assert_null(message.options.data);
	assert_null(message.endpoint.data);
	assert_false(startup_needs_negotiation(&message));

	CLEANUP(buffer_done) struct buffer forward = { 0 };
	startup_append_forward(&forward, &message);
	assert_int_equal(forward.len, packet.len);
	assert_memory_equal(forward.data, packet.data, packet.len);

	PACKET(&packet, 0, "user\0a\0\0");
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_OK);
	assert_null(message.database.data); /* Postgres takes the user's name then, not we */
}

static void test_tampered_sessions(void **unused)
{
	(void)unused;
	static const struct {
		const char *pairs;
		size_t len;
		status expected;
	} bad[] = {
#define BAD(pairs) { pairs, sizeof pairs - 1, STATUS_INVALID }
#define NAMELESS(pairs)                                                                                      \
	{                                                                                                    \
		pairs, sizeof pairs - 1, STATUS_DENIED                                                       \
	}
		BAD(""),
		NAMELESS("\0"),
		NAMELESS("user\0\0\0"),
		NAMELESS("database\0d\0\0"),
		BAD("user\0alice\0"), /* no end */
		BAD("user\0alice"),
		BAD("user\0"),
		BAD("user\0alice\0\0more"), /* bytes behind the end */
		BAD("user\0alice\0\0\0"),
		BAD("user\0alice\0user\0cloud_admin\0\0"), /* Postgres would take the second */
		BAD("user\0a\0database\0b\0database\0c\0\0"),
		BAD("user\0a\0options\0b\0options\0c\0\0"),
		BAD("user\0a\0replication\0on\0replication\0off\0\0"),
		BAD("user\0a\0options\0endpoint=ep-a endpoint=ep-b\0\0"),
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(buffer_done) struct buffer packet = { 0 };
		struct startup_message message;
		struct error err;
		packet_of(&packet, 0, bad[i].pairs, bad[i].len);
		assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), bad[i].expected);
	}
	/* A length that is not the packet's. */
	CLEANUP(buffer_done) struct buffer packet = { 0 };
	struct startup_message message;
	struct error err;
	PACKET(&packet, 0, "user\0a\0\0");
	packet.data[3]++;
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_INVALID);
	assert_int_equal(startup_parse(bytes(packet.data, 5), &message, &err), STATUS_INVALID);
}

static void check_options(const char *options, const char *endpoint, const char *forwarded)
{
	CLEANUP(buffer_done) struct buffer packet = { 0 }, forward = { 0 }, pairs = { 0 };
	struct startup_message message, again;
	struct error err;
	wire_append_text(&pairs, slice_from_text("user"));
	wire_append_text(&pairs, slice_from_text("a"));
	wire_append_text(&pairs, slice_from_text("options"));
	wire_append_text(&pairs, slice_from_text(options));
	buffer_append(&pairs, "", 1);
	packet_of(&packet, 0, pairs.data, pairs.len);
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_OK);
	if (endpoint)
		assert_true(slice_equals_text(message.endpoint, endpoint));
	else
		assert_null(message.endpoint.data);
	startup_append_forward(&forward, &message);
	assert_int_equal(startup_parse(buffer_slice(&forward), &again, &err), STATUS_OK);
	assert_true(slice_equals_text(again.options, forwarded));
	assert_null(again.endpoint.data);
}

static void test_endpoint_option(void **unused)
{
	(void)unused;
	check_options("endpoint=ep-a", "ep-a", "");
	check_options("endpoint=", "", "");
	check_options("-c work_mem=7MB", NULL, "-c work_mem=7MB");
	check_options("  endpoint=ep-a   -c work_mem=7MB ", "ep-a", "-c work_mem=7MB");
	check_options("-c work_mem=7MB endpoint=ep-a -c x.y=z", "ep-a", "-c work_mem=7MB -c x.y=z");
	check_options("-c search_path=a\\ endpoint=b endpoint=ep-a", "ep-a", "-c search_path=a\\ endpoint=b");
	check_options("-c x.y=\\\\ endpoint=ep-a", "ep-a", "-c x.y=\\\\");
	check_options("endpoint=ep-a x\\", "ep-a", "x\\");
	check_options("\tendpoint=ep-a\n-d\v1", "ep-a", "-d 1");
	/* What belongs to Postgres stays, byte for byte. */
	check_options("-c endpoint=ep-a", NULL, "-c endpoint=ep-a");
	check_options("  -c  a=b ", NULL, "  -c  a=b ");
	check_options("xendpoint=ep-a", NULL, "xendpoint=ep-a");
}

static void test_negotiation(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer packet = { 0 }, out = { 0 }, forward = { 0 };
	struct startup_message message, again;
	struct error err;
	PACKET(&packet, 2, "user\0a\0\0");
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_OK);
	assert_true(startup_needs_negotiation(&message));
	startup_append_negotiation(&out, &message);
	assert_int_equal(out.len, 13);
	assert_memory_equal(out.data, "v\0\0\0\x0c\0\3\0\0\0\0\0\0", 13);

	out.len = 0;
	PACKET(&packet, 0, "_pq_.one\0x\0user\0a\0_pq_.two\0\0\0");
	assert_int_equal(startup_parse(buffer_slice(&packet), &message, &err), STATUS_OK);
	assert_true(startup_needs_negotiation(&message));
	startup_append_negotiation(&out, &message);
	static const char expected[] = "v\0\0\0\x1e\0\3\0\0\0\0\0\2_pq_.one\0_pq_.two";
	assert_int_equal(out.len, sizeof expected);
	assert_memory_equal(out.data, expected, sizeof expected);

	startup_append_forward(&forward, &message);
	assert_int_equal(startup_parse(buffer_slice(&forward), &again, &err), STATUS_OK);
	assert_false(startup_needs_negotiation(&again));
	assert_true(slice_equals_text(again.user, "a"));
}

static void test_cancel(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer packet = { 0 };
	struct cancel_key key = { .pid = 1234567, .secret = 0xfeedbeef }, found;
	cancel_request_append(&packet, key);
	assert_int_equal(packet.len, 16);
	assert_true(cancel_request_parse(buffer_slice(&packet), &found));
	assert_int_equal(found.pid, key.pid);
	assert_int_equal(found.secret, key.secret);
	assert_false(cancel_request_parse(bytes(packet.data, 15), &found));
	buffer_append(&packet, "x", 1);
	assert_false(cancel_request_parse(buffer_slice(&packet), &found));
	packet.data[3] = 17; /* a longer secret, of protocol 3.2 */
	assert_false(cancel_request_parse(buffer_slice(&packet), &found));
	packet.len = 16;
	assert_false(cancel_request_parse(buffer_slice(&packet), &found));
	packet.data[3] = 16;
	assert_true(cancel_request_parse(buffer_slice(&packet), &found));
	packet.data[7]++;
	assert_false(cancel_request_parse(buffer_slice(&packet), &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_tampered_heads),
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_tampered_sessions),
		cmocka_unit_test(test_endpoint_option),
		cmocka_unit_test(test_negotiation),
		cmocka_unit_test(test_cancel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages: the cursor stops at its end for good, what is written has the exact bytes, what is tampered is refused. */
#include "pgwire/message.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct slice bytes(const void *data, size_t len)
{
	return (struct slice){ data, len };
}

static void test_cursor_reads_in_order(void **unused)
{
	(void)unused;
	struct wire_cursor cursor = wire_cursor_on(bytes("\x01\x02\x03\x04\x05"
	                                                 "ab\0c",
	        9));
	assert_int_equal(wire_read_u8(&cursor), 1);
	assert_int_equal(wire_read_be32(&cursor), 0x02030405);
	assert_true(slice_equals_text(wire_read_text(&cursor), "ab"));
	assert_false(wire_is_at_end(&cursor));
	assert_true(slice_equals_text(wire_read_bytes(&cursor, 1), "c"));
	assert_true(wire_is_at_end(&cursor));
	assert_false(wire_is_broken(&cursor));
}

static void test_cursor_stays_broken(void **unused)
{
	(void)unused;
	struct wire_cursor cursor = wire_cursor_on(bytes("\x01\x02\x03", 3));
	assert_int_equal(wire_read_be32(&cursor), 0);
	assert_true(wire_is_broken(&cursor));
	assert_int_equal(
	        wire_read_u8(&cursor), 0); /* though a byte is there: a broken parse must not go on */
	assert_int_equal(wire_read_text(&cursor).len, 0);

	cursor = wire_cursor_on(bytes("no end", 6));
	assert_int_equal(wire_read_text(&cursor).len, 0);
	assert_true(wire_is_broken(&cursor));

	cursor = wire_cursor_on(bytes("x", 1));
	(void)wire_read_bytes(&cursor, SIZE_MAX);
	assert_true(wire_is_broken(&cursor));
}

static void test_header(void **unused)
{
	(void)unused;
	struct message_header header;
	assert_true(message_header_parse((const uint8_t *)"p\0\0\0\4", &header));
	assert_int_equal(header.type, 'p');
	assert_int_equal(header.payload_len, 0);
	assert_true(message_header_parse((const uint8_t *)"p\0\1\0\4", &header));
	assert_int_equal(header.payload_len, 65536);
	assert_false(message_header_parse((const uint8_t *)"p\0\0\0\3", &header));
	assert_false(message_header_parse((const uint8_t *)"p\0\0\0\0", &header));
	assert_false(message_header_parse((const uint8_t *)"p\xff\xff\xff\xff", &header));
	assert_false(message_header_parse((const uint8_t *)"p\x40\0\0\4", &header));
}

static void test_fatal_has_exact_bytes(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	const struct message_error error = {
		.sqlstate = "28P01", .message = "no", .detail = NULL, .hint = "h"
	};
	message_append_fatal(&out, &error);
	static const char expected[] = "E\0\0\0\x21"
	                               "SFATAL\0VFATAL\0C28P01\0Mno\0Hh\0";
	assert_int_equal(out.len, sizeof expected);
	assert_memory_equal(out.data, expected, sizeof expected);
	assert_int_equal(out.len, 0x21 + 1);

	char sqlstate[SQLSTATE_LEN + 1];
	assert_true(message_error_sqlstate(bytes(out.data + 5, out.len - 5), sqlstate));
	assert_string_equal(sqlstate, "28P01");
}

static void test_empty_fields_are_left_out(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	message_append_fatal(
	        &out, &(struct message_error){ .sqlstate = "XX000", .message = "m", .hint = "" });
	assert_null(memmem(out.data, out.len, "\0D", 2));
	assert_null(memmem(out.data, out.len, "\0H", 2));
}

static void test_sqlstate_of_tampered_errors(void **unused)
{
	(void)unused;
	char sqlstate[SQLSTATE_LEN + 1] = "keep";
	static const char *const bad[] = { "", "S", "SFATAL", "C28P0", "C28P01" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(message_error_sqlstate(slice_from_text(bad[i]), sqlstate));
	assert_false(message_error_sqlstate(bytes("C28P\0\0", 7), sqlstate));
	assert_false(
	        message_error_sqlstate(bytes("\0C28P01\0", 8), sqlstate)); /* behind the end of the fields */
	assert_string_equal(sqlstate, "keep");
	/* Localized severities come first: "SFATAL" may be any word. */
	assert_true(message_error_sqlstate(bytes("S\xd0\xa4\0C57P03\0M", 12), sqlstate));
	assert_string_equal(sqlstate, "57P03");
}

static void test_authentication(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	message_append_authentication(&out, AUTHENTICATION_CLEARTEXT);
	assert_int_equal(out.len, 9);
	assert_memory_equal(out.data, "R\0\0\0\x08\0\0\0\x03", 9);
}

static void test_password(void **unused)
{
	(void)unused;
	struct slice password = { 0 };
	assert_true(message_password_parse(bytes("token\0", 6), &password));
	assert_true(slice_equals_text(password, "token"));
	assert_true(message_password_parse(bytes("\0", 1), &password));
	assert_int_equal(password.len, 0);
	assert_false(message_password_parse(bytes("token", 5), &password));
	assert_false(message_password_parse(bytes("to\0ken\0", 7), &password)); /* not cut short at the NUL */
	assert_false(message_password_parse(bytes("", 0), &password));
}

static void test_sasl(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	static const char *const mechanisms[] = { "A-PLUS", "A" };
	message_append_sasl(&out, mechanisms, 2);
	assert_int_equal(out.len, 19);
	assert_memory_equal(out.data,
	        "R\0\0\0\x12\0\0\0\x0a"
	        "A-PLUS\0A\0\0",
	        19);
	out.len = 0;
	message_append_sasl_data(&out, AUTHENTICATION_SASL_CONTINUE, slice_from_text("r=x"));
	assert_int_equal(out.len, 12);
	assert_memory_equal(out.data, "R\0\0\0\x0b\0\0\0\x0br=x", 12);

	struct sasl_choice choice;
	assert_true(message_sasl_choice_parse(bytes("A\0\0\0\0\3n,,", 9), &choice));
	assert_true(slice_equals_text(choice.mechanism, "A"));
	assert_true(slice_equals_text(choice.response, "n,,"));
	assert_true(message_sasl_choice_parse(bytes("A\0\xff\xff\xff\xff", 6), &choice));
	assert_null(choice.response.data);
	assert_true(message_sasl_choice_parse(bytes("A\0\0\0\0\0", 6), &choice));
	assert_non_null(choice.response.data);
	assert_false(message_sasl_choice_parse(bytes("A\0\0\0\0\4n,,", 9), &choice));
	assert_false(message_sasl_choice_parse(bytes("A\0\0\0\0\2n,,", 9), &choice));
	assert_false(message_sasl_choice_parse(bytes("A\0\xff\xff\xff\xffx", 7), &choice));
	assert_false(message_sasl_choice_parse(bytes("A\0\0\0\0", 5), &choice));
	assert_false(message_sasl_choice_parse(bytes("A", 1), &choice));
	assert_false(message_sasl_choice_parse(bytes("", 0), &choice));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cursor_reads_in_order),
		cmocka_unit_test(test_cursor_stays_broken),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_fatal_has_exact_bytes),
		cmocka_unit_test(test_empty_fields_are_left_out),
		cmocka_unit_test(test_sqlstate_of_tampered_errors),
		cmocka_unit_test(test_authentication),
		cmocka_unit_test(test_password),
		cmocka_unit_test(test_sasl),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

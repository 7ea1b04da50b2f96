/*
 * Messages of a client in login: a header and a password; and the SQLSTATE of an error. What parses is within its
 * input and prints to the same bytes.
 */
#include <stdlib.h>

#include "pgwire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message_header header;
	struct slice password;
	char sqlstate[SQLSTATE_LEN + 1];
	if (message_error_sqlstate((struct slice){ data, size }, sqlstate) &&
	        !memmem(data, size, sqlstate, 5))
		abort();
	if (size < MESSAGE_HEADER_LEN || !message_header_parse(data, &header) ||
	        header.payload_len > size - MESSAGE_HEADER_LEN)
		return 0;
	struct slice payload = { data + MESSAGE_HEADER_LEN, header.payload_len };
	if (!message_password_parse(payload, &password))
		return 0;
	if (password.data != payload.data || password.len + 1 != payload.len ||
	        memchr(password.data, 0, password.len))
		abort();
	CLEANUP(buffer_done) struct buffer again = { 0 };
	buffer_append(&again, &header.type, 1);
	wire_append_be32(&again, (uint32_t)password.len + 5);
	wire_append_text(&again, password);
	if (again.len != MESSAGE_HEADER_LEN + payload.len || memcmp(again.data, data, again.len) != 0)
		abort();
	return 0;
}

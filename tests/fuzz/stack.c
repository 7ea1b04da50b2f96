/* Stacks: what parses is in its limits, and is the same after it was written and read again. */
#include <stdlib.h>

#include "page_store/stack.h"
#include "page_store/store_record.h"
#include "record_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(const uint8_t *data, size_t size)
{
	CLEANUP(stack_done) struct stack stack = { 0 };
	CLEANUP(stack_done) struct stack again = { 0 };
	struct error err;
	if (stack_parse((struct slice){ data, size }, &stack, &err) != STATUS_OK)
		return 0;
	if (stack.count == 0 || stack.count > STACK_LAYERS_MAX || stack.next_layer == 0 ||
	        stack.next_point == 0)
		abort();
	for (size_t i = 0; i < stack.count; i++)
		if (!store_name_is_valid(stack.layers[i].id, LAYER_ID_MAX) ||
		        !store_name_is_valid(stack.layers[i].store, STORE_ID_MAX))
			abort();
	CLEANUP(buffer_done) struct buffer text = { 0 };
	stack_format(&stack, "br-a", &text);
	if (stack_parse(buffer_slice(&text), &again, &err) != STATUS_OK || again.count != stack.count ||
	        again.next_layer != stack.next_layer || again.next_point != stack.next_point ||
	        memcmp(again.layers, stack.layers, stack.count * sizeof *stack.layers) != 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buffer_done) struct buffer wrapped = { 0 };
	record_wrap(data, size, "stack", 1, &wrapped);
	return check(data, size) || check((const uint8_t *)wrapped.data, wrapped.len);
}

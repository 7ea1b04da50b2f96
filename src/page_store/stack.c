/*
 * The format (docs/formats/store.md), as a store record:
 *
 *   {"volume_id":"br-b","next_layer":5,"next_point":3,"layers":[{"store":"…","id":"…","version":0},…]}
 */
#include "page_store/stack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "page_store/disk.h"
#include "page_store/store_record.h"
#include "page_store/volume.h"

#define STACK_VERSION 1

void stack_done(struct stack *stack)
{
	free(stack->layers);
	*stack = (struct stack){ 0 };
}

void stack_copy(const struct stack *from, struct stack *ret)
{
	struct layer_ref *layers = xcalloc(from->count ? from->count : 1, sizeof *layers);
	if (from->count)
		memcpy(layers, from->layers, from->count * sizeof *layers);
	*ret = *from;
	ret->layers = layers;
}

void stack_push(struct stack *stack, const struct layer_ref *ref)
{
	stack->layers = xrealloc(stack->layers, (stack->count + 1) * sizeof *stack->layers);
	stack->layers[stack->count++] = *ref;
}

static status parse(
        struct slice text, struct stack *ret, char ret_volume_id[VOLUME_ID_MAX + 1], struct error *err)
{
	CLEANUP(store_record_done) struct store_record record = { 0 };
	CLEANUP(stack_done) struct stack stack = { 0 };
	status st = store_record_parse(text, "stack", STACK_VERSION, STACK_VERSION, &record, err);
	if (st != STATUS_OK)
		return st;
	int64_t next_layer, next_point;
	bool is_valid = store_record_get_name(&record, "volume_id", ret_volume_id, VOLUME_ID_MAX + 1) &&
	                store_record_get_number(&record, "next_layer", 1, INT64_MAX, &next_layer) &&
	                store_record_get_number(&record, "next_point", 1, INT64_MAX, &next_point) &&
	                store_record_get_layers(&record, "layers", &stack.layers, &stack.count);
	if (!is_valid)
		return error_set(err, STATUS_CORRUPT, 0,
		        "the stack record lacks a member or has one that is not valid");
	stack.next_layer = (uint64_t)next_layer;
	stack.next_point = (uint64_t)next_point;
	*ret = stack;
	stack = (struct stack){ 0 };
	return STATUS_OK;
}

status stack_parse(struct slice text, struct stack *ret, struct error *err)
{
	char volume_id[VOLUME_ID_MAX + 1];
	return parse(text, ret, volume_id, err);
}

void stack_format(const struct stack *stack, const char *volume_id, struct buffer *out)
{
	assert(stack->count >= 1 && stack->count <= STACK_LAYERS_MAX && stack->next_layer >= 1 &&
	        stack->next_point >= 1);
	CLEANUP(store_record_writer_done) struct store_record_writer writer;
	store_record_writer_start(&writer);
	store_record_add_text(&writer, "volume_id", volume_id);
	store_record_add_number(&writer, "next_layer", (int64_t)stack->next_layer);
	store_record_add_number(&writer, "next_point", (int64_t)stack->next_point);
	store_record_add_layers(&writer, "layers", stack->layers, stack->count);
	store_record_format(&writer, "stack", STACK_VERSION, out);
}

static status check_name(const char *volume_id, struct error *err)
{
	if (store_name_is_valid(volume_id, VOLUME_ID_MAX))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a volume", volume_id);
}

static status open_stacks(const struct store *store, int *ret_fd, struct error *err)
{
	int fd = disk_open(store_folder(store), "stacks", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"stacks\" of store \"%s\"",
		        store_id(store));
	*ret_fd = fd;
	return STATUS_OK;
}

static status read_in(int folder_fd, const char *volume_id, struct stack *ret, struct error *err)
{
	CLEANUP(free_text) char *name = xasprintf("%s.json", volume_id);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(stack_done) struct stack stack = { 0 };
	char named[VOLUME_ID_MAX + 1];
	status st = store_record_read_file(folder_fd, name, &text, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no stack", volume_id);
	if (st == STATUS_OK)
		st = parse(buffer_slice(&text), &stack, named, err);
	if (st == STATUS_OK && strcmp(named, volume_id) != 0)
		st = error_set(err, STATUS_CORRUPT, 0, "it says it is that of \"%s\"", named);
	if (st != STATUS_OK)
		return error_prefix(err, "stack of volume \"%s\"", volume_id);
	*ret = stack;
	stack = (struct stack){ 0 };
	return STATUS_OK;
}

status stack_read(const struct store *store, const char *volume_id, struct stack *ret, struct error *err)
{
	CLEANUP(close_fd) int folder_fd = -1;
	status st = check_name(volume_id, err);
	if (st == STATUS_OK)
		st = open_stacks(store, &folder_fd, err);
	return st == STATUS_OK ? read_in(folder_fd, volume_id, ret, err) : st;
}

status stack_write(
        const struct store *store, const char *volume_id, const struct stack *stack, struct error *err)
{
	assert(store_is_locked(store));
	CLEANUP(close_fd) int folder_fd = -1;
	CLEANUP(stack_done) struct stack before = { 0 };
	status st = check_name(volume_id, err);
	if (st == STATUS_OK)
		st = open_stacks(store, &folder_fd, err);
	if (st == STATUS_OK)
		st = read_in(folder_fd, volume_id, &before, err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return st;
	/* Two processes write it, about different things: numbers that one of them gave away stay given away. */
	struct stack after = *stack;
	if (after.next_layer < before.next_layer)
		after.next_layer = before.next_layer;
	if (after.next_point < before.next_point)
		after.next_point = before.next_point;
	CLEANUP(free_text) char *name = xasprintf("%s.json", volume_id);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	stack_format(&after, volume_id, &text);
	st = store_record_replace_file(folder_fd, name, buffer_slice(&text), err);
	return st == STATUS_OK ? st : error_prefix(err, "stack of volume \"%s\"", volume_id);
}

status stack_remove(const struct store *store, const char *volume_id, struct error *err)
{
	assert(store_is_locked(store));
	CLEANUP(close_fd) int folder_fd = -1;
	status st = check_name(volume_id, err);
	if (st == STATUS_OK)
		st = open_stacks(store, &folder_fd, err);
	if (st != STATUS_OK)
		return st;
	static const char *const suffixes[] = { "json", "json.new", "lock" };
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		CLEANUP(free_text) char *name = xasprintf("%s.%s", volume_id, suffixes[i]);
		if (disk_unlink(folder_fd, name) < 0)
			return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", name);
	}
	if (disk_sync(folder_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync folder \"stacks\" of store \"%s\"",
		        store_id(store));
	return STATUS_OK;
}

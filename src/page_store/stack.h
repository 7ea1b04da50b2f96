/*
 * Stack: the layers that a volume is made of, bottom first: stores/STORE/stacks/VOLUME.json. The last one is open (written to); before it may
 * be one more without a manifest, while or because sealing it was interrupted. docs/formats/store.md has the format (version, CRC-32C, members).
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/layer.h"
#include "page_store/store.h"

#define STACK_LAYERS_MAX 4096

struct stack {
	struct layer_ref *layers;
	size_t count;
	uint64_t
	        next_layer; /* number of the volume's next layer: its id is "<volume id>.<number>", never used twice */
	uint64_t next_point; /* number of its next restore point */
};

void stack_done(struct stack *stack); /* frees what it points to; for CLEANUP */
void stack_copy(const struct stack *from, struct stack *ret);
void stack_push(struct stack *stack, const struct layer_ref *ref);

MUST_CHECK status stack_parse(struct slice text, struct stack *ret, struct error *err);
void stack_format(const struct stack *stack, const char *volume_id, struct buffer *out);
MUST_CHECK status stack_read(
        const struct store *store, const char *volume_id, struct stack *ret, struct error *err);
/* Durable; under the store's lock. The two next numbers never go back, whatever `stack` says. */
MUST_CHECK status stack_write(
        const struct store *store, const char *volume_id, const struct stack *stack, struct error *err);
/* Under the lock; a missing one is fine. */
MUST_CHECK status stack_remove(const struct store *store, const char *volume_id, struct error *err);

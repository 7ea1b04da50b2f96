/* Postgres help: what --help says about the commands of `tarn postgres`. */
#pragma once

#include "base/buffer.h"
#include "cli/postgres_commands.h"

/* Of one command, or of all when it is NULL. */
void postgres_help_write(const struct postgres_command *command, struct buffer *out);

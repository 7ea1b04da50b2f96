/*
 * Program: runs another program to its end and keeps what it says. The child inherits nothing but its
 * standard descriptors and the environment named here, and is killed when the calling thread dies.
 *
 * Threads: any; the call blocks until the program and whoever holds its output have ended.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "base/system_user.h"

#define PROGRAM_OUTPUT_MAX (256u << 10) /* what comes after it is read and dropped */

struct program {
	const char *const *argv;        /* argv[0] is the path; ends with NULL */
	const struct system_user *user; /* NULL: as the caller */
	const char *working_folder;     /* NULL: "/" */
	struct slice input;             /* its standard input; may be empty */
	/*
	 * Takes standard output and error as they come, instead of *output, which then only gets the last few KiB. False: enough; the program
	 * is killed, and that counts as success.
	 */
	bool (*on_output)(void *owner, const char *bytes, size_t len);
	void *owner;
};

/*
 * STATUS_OK when it exited with 0. Otherwise the message has the line it wrote that tells most, printable (the first with "error", "fatal",
 * "panic" or "could not"; with on_output the last such one, since data goes before it; else the last line), and STATUS_NO_SPACE tells that the program complained about a full disk. Standard output and error are appended to *output
 * either way.
 */
MUST_CHECK status program_run(const struct program *program, struct buffer *output, struct error *err);

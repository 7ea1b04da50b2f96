/*
 * Pagefs: the role `tarn pagefs`, the FUSE file system of one volume (docs/architecture.md, "pagefs").
 *
 * Threads: the first runs the loop with the supervisor's lines and signals; one runs the FUSE session, which has workers of its own; one keeps
 * house; what blocks for a line is done on the loop's work threads.
 */
#pragma once

/* Exit code: 0 unmounted as asked, 1 failed, 2 usage. */
int pagefs_main(int argc, char **argv);

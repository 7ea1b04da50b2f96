/* Pagefs: the role `tarn pagefs`, the FUSE file system of one volume (docs/architecture.md, "pagefs"). */
#pragma once

/* Exit code: 0 unmounted as asked, 1 failed, 2 usage. */
int pagefs_main(int argc, char **argv);

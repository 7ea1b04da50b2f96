#include "page_filesystem/pagefs.h"

#include <stdio.h>

int pagefs_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	(void)fprintf(stderr, "usage: tarn pagefs --data DIR --store STORE --volume ID --mount PATH\n");
	return 2;
}

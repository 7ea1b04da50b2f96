/* `tarn compute` and `tarn pagefs` as a program of their own, so that tests need not build the whole binary. */
#include <string.h>

#include "compute/supervisor.h"
#include "page_filesystem/pagefs.h"

int main(int argc, char **argv)
{
	/* As the supervisor executes itself: "tarn pagefs --data …". */
	if (argc > 1 && strcmp(argv[1], "pagefs") == 0)
		return pagefs_main(argc - 1, argv + 1);
	return supervisor_main(argc, argv);
}

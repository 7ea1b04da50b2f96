/* Picks the role: one multi-call binary, each role a process of its own (docs/architecture.md). */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}

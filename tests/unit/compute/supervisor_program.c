/* `tarn compute` as a program of its own, so that tests need not build the whole binary. */
#include "compute/supervisor.h"

int main(int argc, char **argv)
{
	return supervisor_main(argc, argv);
}

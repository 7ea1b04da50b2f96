/* Supervisor: the process `tarn compute --data DIR --endpoint UID`. docs/architecture.md has its messages. */
#pragma once

/* Runs until suspended or failed; returns the exit code. argv[0] is "compute". */
int supervisor_main(int argc, char **argv);

/* Control: the process `tarn control --data DIR`: REST API, operations, reconciler, fleet. */
#pragma once

/* Runs until SIGTERM or a `shutdown` message; returns the exit code. argv[0] is "control". */
int control_main(int argc, char **argv);

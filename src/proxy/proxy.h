/* Proxy: the process `tarn proxy --data DIR`. docs/architecture.md has how it talks to control. */
#pragma once

/* Runs until SIGTERM; returns the exit code. argv[0] is "proxy". */
int proxy_main(int argc, char **argv);

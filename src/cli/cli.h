/* Command line: every `tarn …` that a person types, and the dispatch to the roles. */
#pragma once

/* Returns the exit code: 0, 1 (failed), 2 (usage). */
int cli_main(int argc, char **argv);

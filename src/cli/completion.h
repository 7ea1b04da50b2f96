/*
 * Completion: what a shell may put in the place of the word at the cursor. `tarn completion SHELL` prints a script for the shell, which asks
 * `tarn __complete WORD…` (the words of the line behind the program's name, the last one as far as it is typed) and gets lines: first how to take
 * them, then one candidate each, with a tab and an explanation where there is one.
 *
 *   :words     complete words                      :files     the shell completes a path
 *   :partial   beginnings: no blank behind them    :folders   the same for folders
 *
 * Names come from the server of the connection that the line names. One that does not answer within half a second has none, and nothing is said.
 * Candidates are made of letters, digits and "-_.@+~/," only: a shell puts them on its command line, and servers and files are not to write there.
 */
#pragma once

#include "cli/command.h"

extern const struct command completion_command;

/* `tarn __complete`; argv[0] is that word. `commands` ends with NULL. Always 0. */
int completion_answer(const struct command *const *commands, int argc, char **argv);

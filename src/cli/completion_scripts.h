/* Completion scripts: the text of `tarn completion bash|zsh|fish`; they ask `tarn __complete` (completion.h). */
#pragma once

/* NULL: no script for a shell of that name. */
const char *completion_script(const char *shell);

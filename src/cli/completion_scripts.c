#include "cli/completion_scripts.h"

#include <stddef.h>
#include <string.h>

/* clang-format off: one string a line of the script */
static const char bash_script[] =
        "# Completion of tarn for bash. Now: source <(tarn completion bash). For ever, put that line into "
        "~/.bashrc.\n"
        "_tarn() {\n"
        "    local line kind= current=$2\n"
        "    COMPREPLY=()\n"
        "    while IFS= read -r line; do\n"
        "        if [ -z \"$kind\" ]; then kind=$line; else COMPREPLY+=(\"${line%%$'\\t'*}\"); fi\n"
        "    done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" "
        "2>/dev/null)\n"
        "    case $kind in\n"
        "        :partial) compopt -o nospace ;;\n"
        "        :files) compopt -o filenames\n"
        "            case $current in\n"
        "                @*) mapfile -t COMPREPLY < <(compgen -P @ -f -- \"${current#@}\") ;;\n"
        "                *) mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n"
        "            esac ;;\n"
        "        :folders) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$current\") ;;\n"
        "    esac\n"
        "}\n"
        "complete -F _tarn tarn\n";

static const char zsh_script[] =
        "#compdef tarn\n"
        "# Completion of tarn for zsh. Now: source <(tarn completion zsh). For ever, put that line into "
        "~/.zshrc, behind compinit.\n"
        "_tarn() {\n"
        "    local -a lines values shown\n"
        "    local line\n"
        "    lines=(\"${(@f)$(\"${words[1]/#\\~/$HOME}\" __complete \"${(@)words[2,CURRENT]}\" "
        "2>/dev/null)}\")\n"
        "    for line in \"${(@)lines[2,-1]}\"; do\n"
        "        values+=(\"${line%%$'\\t'*}\")\n"
        "        shown+=(\"${line/$'\\t'/  -- }\")\n"
        "    done\n"
        "    case $lines[1] in\n"
        "        :files) compset -P @; _files ;;\n"
        "        :folders) _files -/ ;;\n"
        "        :partial) compadd -S '' -l -d shown -a values ;;\n"
        "        *) compadd -l -d shown -a values ;;\n"
        "    esac\n"
        "}\n"
        "if [ \"${funcstack[1]}\" = _tarn ]; then _tarn; else compdef _tarn tarn; fi\n";

static const char fish_script[] =
        "# Completion of tarn for fish. Now: tarn completion fish | source. For ever: put it into "
        "~/.config/fish/completions/tarn.fish\n"
        "function __tarn_complete\n"
        "    set -l words (commandline -opc)\n"
        "    set -l current (commandline -ct)\n"
        "    set -l before $words[2..-1]\n"
        "    set -l lines ($words[1] __complete $before \"$current\" 2>/dev/null)\n"
        "    switch \"$lines[1]\"\n"
        "        case :files\n"
        "            if string match -q '@*' -- \"$current\"\n"
        "                __fish_complete_path (string sub -s 2 -- \"$current\") | string replace -r '^' @\n"
        "            else\n"
        "                __fish_complete_path \"$current\"\n"
        "            end\n"
        "        case :folders\n"
        "            __fish_complete_directories \"$current\"\n"
        "        case '*'\n"
        "            printf '%s\\n' $lines[2..-1]\n"
        "    end\n"
        "end\n"
        "complete -c tarn -f -a '(__tarn_complete)'\n";
/* clang-format on */

const char *completion_script(const char *shell)
{
	if (strcmp(shell, "bash") == 0)
		return bash_script;
	if (strcmp(shell, "zsh") == 0)
		return zsh_script;
	if (strcmp(shell, "fish") == 0)
		return fish_script;
	return NULL;
}

#include "cli/shell_word.h"

#include "base/buffer.h"

char *shell_word(const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=./:@%";
	if (*text && text[strspn(text, plain)] == '\0')
		return xstrdup(text);
	CLEANUP(buffer_done) struct buffer out = { 0 };
	buffer_append_text(&out, "'");
	for (; *text; text++) {
		/* Inside single quotes everything is itself but the quote. */
		if (*text == '\'')
			buffer_append_text(&out, "'\\''");
		else
			buffer_append(&out, text, 1);
	}
	buffer_append_text(&out, "'");
	return TAKE_PTR(out.data);
}

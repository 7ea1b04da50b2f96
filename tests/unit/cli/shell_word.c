/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

#include "cli/shell_word.h"

/* The judge is a real shell: the word, evaluated, is the text again. */
static void shell_reads_the_text_back(void **state)
{
	static const char *const texts[] = { "", "plain", "http://127.0.0.1:8080", "two words", "it's", "'",
		"''", "$HOME", "`id`", "a\\b", "\"q\"", "*", "~", "a\nb", "!x", "#c", "a;b|c&d", "é" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP(free_text) char *word = shell_word(texts[i]);
		CLEANUP(free_text) char *command = xasprintf("X=%s; printf '%%s' \"$X\"", word);
		FILE *shell = popen(command, "r");
		assert_non_null(shell);
		char got[64] = "";
		size_t len = fread(got, 1, sizeof got - 1, shell);
		got[len] = '\0';
		assert_int_equal(pclose(shell), 0);
		assert_string_equal(got, texts[i]);
	}
}

static void plain_words_stay_plain(void **state)
{
	(void)state;
	CLEANUP(free_text) char *word = shell_word("http://127.0.0.1:8080");
	assert_string_equal(word, "http://127.0.0.1:8080");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shell_reads_the_text_back),
		cmocka_unit_test(plain_words_stay_plain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

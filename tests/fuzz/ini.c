/* Profile files: what is accepted means the same when it is written anew in the plain form; what is refused is refused by its line. */
#include <stdlib.h>

#include "base/buffer.h"
#include "cli/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
	if (!holds)
		abort();
}

/* A quote that the value does not have, so that all of it is taken as it is. */
static char quote_for(const char *value)
{
	static const char quotes[] = "\"'`";
	for (const char *quote = quotes; *quote; quote++)
		if (!strchr(value, *quote))
			return *quote;
	return '\0';
}

static void check_entry(const struct ini *ini, const struct ini_entry *entry)
{
	expect(*entry->section != '\0' && !strpbrk(entry->section, "\r\n]"));
	expect(ini_has_section(ini, entry->section));
	if (!entry->key)
		return;
	expect(*entry->key != '\0' && !strpbrk(entry->key, "\r\n=:"));
	expect(!strpbrk(entry->value, "\r\n"));
	expect(entry->line > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(ini_done) struct ini once = { 0 };
	CLEANUP(ini_done) struct ini again = { 0 };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	if (ini_parse("f", (struct slice){ data, size }, &once, &err) != STATUS_OK) {
		expect(strstr(err.message, "file \"f\"") != NULL);
		expect(once.count == 0);
		return 0;
	}
	buffer_append_text(&text, "\n"); /* a byte order mark is one in front of everything only */
	for (size_t i = 0; i < once.count; i++) {
		const struct ini_entry *entry = &once.entries[i];
		check_entry(&once, entry);
		if (!entry->key) {
			buffer_printf(&text, "[%s]\n", entry->section);
			continue;
		}
		char quote = quote_for(entry->value);
		if (!quote)
			return 0;
		buffer_printf(&text, "%s = %c%s%c\n", entry->key, quote, entry->value, quote);
	}
	expect(ini_parse("f", buffer_slice(&text), &again, &err) == STATUS_OK);
	expect(again.count == once.count);
	for (size_t i = 0; i < once.count; i++) {
		const struct ini_entry *a = &once.entries[i], *b = &again.entries[i];
		expect(strcmp(a->section, b->section) == 0 && !a->key == !b->key);
		expect(!a->key || (strcmp(a->key, b->key) == 0 && strcmp(a->value, b->value) == 0));
	}
	return 0;
}

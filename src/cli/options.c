#include "cli/options.h"

#include <stdlib.h>

#include "base/clock.h"

#define DURATION_MAX_HOURS 87600 /* ten years: sums stay far from overflow */

static const struct option *find_by_name(const struct option *known, const char *name, size_t len)
{
	for (; known->name; known++)
		if (strlen(known->name) == len && memcmp(known->name, name, len) == 0)
			return known;
	return NULL;
}

static const struct option *find_by_letter(const struct option *known, char letter)
{
	for (; known->name; known++)
		if (known->letter == letter)
			return known;
	return NULL;
}

/* The words that Go's flags take. */
static const char *switch_value(const char *text)
{
	static const char *const on[] = { "true", "1", "t", "T", "TRUE", "True" };
	static const char *const off[] = { "false", "0", "f", "F", "FALSE", "False" };
	for (size_t i = 0; i < ARRAY_LEN(on); i++) {
		if (strcmp(text, on[i]) == 0)
			return "true";
		if (strcmp(text, off[i]) == 0)
			return "false";
	}
	return NULL;
}

static status add_use(
        struct options *options, const struct option *option, const char *value, struct error *err)
{
	if (option->is_switch) {
		const char *word = value ? switch_value(value) : "true";
		if (!word)
			return error_set(err, STATUS_INVALID, 0, "flag \"--%s\" is true or false, not \"%s\"",
			        option->name, value);
		value = word;
	}
	options->uses[options->use_count++] = (struct option_use){ .name = option->name, .value = value };
	return STATUS_OK;
}

/* Reads argv[*index], which begins with '-', and the value behind it if the flag takes one. */
static status parse_flag(struct options *options, int argc, char **argv, int *index, struct error *err)
{
	const char *text = argv[*index], *value = NULL;
	const struct option *option;
	if (text[1] == '-') {
		size_t len = strcspn(text + 2, "=");
		option = find_by_name(options->known, text + 2, len);
		if (!option)
			return error_set(err, STATUS_INVALID, 0, "unknown flag \"%.*s\"", (int)len + 2, text);
		if (text[2 + len] == '=')
			value = text + 2 + len + 1;
	} else {
		option = find_by_letter(options->known, text[1]);
		if (!option)
			return error_set(err, STATUS_INVALID, 0, "unknown flag \"%s\"", text);
		if (text[2] != '\0') {
			if (option->is_switch)
				return error_set(
				        err, STATUS_INVALID, 0, "flag \"-%c\" takes no value", text[1]);
			value = text + (text[2] == '=' ? 3 : 2);
		}
	}
	if (!value && !option->is_switch) {
		if (*index + 1 >= argc)
			return error_set(err, STATUS_INVALID, 0, "flag \"--%s\" needs a value", option->name);
		value = argv[++*index];
	}
	return add_use(options, option, value, err);
}

status options_parse(
        int argc, char **argv, const struct option *known, struct options *ret, struct error *err)
{
	size_t room = argc > 0 ? (size_t)argc : 1;
	CLEANUP(options_done)
	struct options options = {
		.known = known,
		.uses = xcalloc(room, sizeof *options.uses),
		.positionals = xcalloc(room, sizeof *options.positionals),
		.rest = xcalloc(room, sizeof *options.rest),
	};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			for (i++; i < argc; i++)
				options.rest[options.rest_count++] = argv[i];
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			options.positionals[options.positional_count++] = argv[i];
			continue;
		}
		status st = parse_flag(&options, argc, argv, &i, err);
		if (st != STATUS_OK)
			return st;
	}
	*ret = options;
	options = (struct options){ 0 };
	return STATUS_OK;
}

void options_done(struct options *options)
{
	free(options->uses);
	free(options->positionals);
	free(options->rest);
	*options = (struct options){ 0 };
}

const char *option_value(const struct options *options, const char *name)
{
	for (size_t i = options->use_count; i > 0; i--)
		if (strcmp(options->uses[i - 1].name, name) == 0)
			return options->uses[i - 1].value;
	return NULL;
}

bool option_is_on(const struct options *options, const char *name)
{
	const char *value = option_value(options, name);
	return value && strcmp(value, "true") == 0;
}

int options_leading(int argc, char **argv, const struct option *known)
{
	int i = 0;
	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
		const char *text = argv[i];
		size_t len = strcspn(text, "=");
		const struct option *option = text[1] == '-' ? find_by_name(known, text + 2, len - 2)
		                                             : find_by_letter(known, text[1]);
		if (!option)
			break;
		bool has_value = text[len] == '=' || (text[1] != '-' && text[2] != '\0');
		i += option->is_switch || has_value ? 1 : 2;
	}
	return i < argc ? i : argc;
}

void options_move_behind_command(int leading, char **argv)
{
	char *command = argv[leading];
	memmove(argv + 1, argv, (size_t)leading * sizeof *argv);
	argv[0] = command;
}

status options_count(
        const struct options *options, size_t min, size_t max, const char *usage, struct error *err)
{
	size_t count = options->positional_count;
	if (count < min)
		return error_set(err, STATUS_INVALID, 0, "missing argument; usage: %s", usage);
	if (count > max)
		return error_set(err, STATUS_INVALID, 0, "unexpected argument \"%s\"; usage: %s",
		        options->positionals[max], usage);
	return STATUS_OK;
}

/* A decimal number; *ret_micro is it in millionths, digits beyond that are dropped. */
static const char *read_decimal(const char *text, int64_t *ret_micro)
{
	int64_t whole = 0, fraction = 0, scale = 1000000;
	const char *start = text;
	for (; *text >= '0' && *text <= '9'; text++) {
		whole = whole * 10 + (*text - '0');
		if (whole > DURATION_MAX_HOURS * 3600ll * 1000)
			return NULL;
	}
	if (*text == '.') {
		for (text++; *text >= '0' && *text <= '9'; text++) {
			if (scale > 1) {
				fraction = fraction * 10 + (*text - '0');
				scale /= 10;
			}
		}
	}
	if (text == start || (text == start + 1 && *start == '.'))
		return NULL;
	*ret_micro = whole * 1000000 + fraction * scale;
	return text;
}

status duration_parse(const char *flag, const char *text, int64_t *ret_usec, struct error *err)
{
	static const struct {
		const char *name;
		int64_t usec;
	} units[] = { { "ms", 1000 }, { "us", 1 }, { "s", USEC_PER_SEC }, { "m", 60 * USEC_PER_SEC },
		{ "h", 3600 * USEC_PER_SEC } };
	const int64_t max = DURATION_MAX_HOURS * 3600 * USEC_PER_SEC;

	int64_t sum = 0;
	const char *at = strcmp(text, "0") == 0 ? "" : text;
	bool is_valid = *text != '\0';
	while (is_valid && *at != '\0') {
		int64_t micro = 0;
		at = read_decimal(at, &micro);
		is_valid = false;
		for (size_t i = 0; at && i < ARRAY_LEN(units) && !is_valid; i++) {
			size_t len = strlen(units[i].name);
			/* "ms" stands before "m", so the longer unit is tried first. */
			if (strncmp(at, units[i].name, len) != 0)
				continue;
			at += len;
			is_valid = micro / 1000000 <= max / units[i].usec;
			if (is_valid)
				sum += micro / 1000000 * units[i].usec +
				       micro % 1000000 * units[i].usec / 1000000;
			is_valid = is_valid && sum <= max;
		}
	}
	if (!is_valid)
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--%s\" wants a duration such as 30s, 5m or 1h30m, not \"%s\"", flag, text);
	*ret_usec = sum;
	return STATUS_OK;
}

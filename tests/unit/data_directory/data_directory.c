/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/api_token.h"
#include "base/file.h"
#include "data_directory/data_directory.h"

static const struct settings no_changes;

struct fixture {
	char path[32];
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	strcpy(f->path, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_int_equal(tree_remove(f->path, &err), STATUS_OK);
	free(f);
	return 0;
}

static void initialise(const struct fixture *f)
{
	struct error err;
	if (data_directory_initialise(f->path, &no_changes, &err) != STATUS_OK)
		fail_msg("%s", err.message);
}

static char *content_of(const struct fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", f->path, name);
	struct buffer text = { 0 };
	struct error err;
	assert_int_equal(file_read(path, 65536, &text, &err), STATUS_OK);
	return text.data;
}

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", f->path, name);
	struct error err;
	assert_int_equal(file_replace_durably(path, slice_from_text(text), 0600, &err), STATUS_OK);
}

static void remove_file(const struct fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", f->path, name);
	assert_int_equal(unlink(path), 0);
}

static bool is_there(const struct fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", f->path, name);
	return file_exists(path);
}

static void first_run_makes_the_layout(void **state)
{
	static const struct {
		const char *name;
		mode_t mode;
	} parts[] = { { ".", 0711 }, { "settings.json", 0644 }, { "admin.token", 0600 },
		{ "authority.key", 0600 }, { "authority.crt", 0644 }, { "token.key", 0600 }, { "run", 0700 },
		{ "templates", 0711 }, { "volumes", 0711 }, { "computes", 0711 } };
	const struct fixture *f = *state;
	umask(077); /* must not matter */
	initialise(f);
	umask(022);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		CLEANUP(free_text) char *path = xasprintf("%s/%s", f->path, parts[i].name);
		struct stat st;
		assert_int_equal(stat(path, &st), 0);
		if ((st.st_mode & 0777) != parts[i].mode)
			fail_msg("%s has mode %o", parts[i].name, st.st_mode & 0777);
	}
	CLEANUP(free_text) char *token = content_of(f, "admin.token");
	assert_int_equal(strlen(token), API_TOKEN_LEN + 1);
	assert_int_equal(token[API_TOKEN_LEN], '\n');
	CLEANUP(free_text) char *settings = content_of(f, "settings.json");
	assert_non_null(strstr(settings, "\"format_version\": 1"));
}

static void repeating_changes_nothing(void **state)
{
	static const char *const names[] = { "settings.json", "admin.token", "authority.key", "authority.crt",
		"token.key" };
	const struct fixture *f = *state;
	char *before[ARRAY_LEN(names)];
	initialise(f);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		before[i] = content_of(f, names[i]);
	initialise(f);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(free_text) char *after = content_of(f, names[i]);
		assert_string_equal(before[i], after);
		free(before[i]);
	}
}

static void changes_are_kept(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct error err;
	char domain[] = "db.example.com";
	const struct settings changes = { .pg_port = 6432, .domain = domain, .projects = 5 };
	initialise(f);
	assert_int_equal(data_directory_initialise(f->path, &changes, &err), STATUS_OK);
	initialise(f);
	assert_int_equal(data_directory_open(f->path, &dd, &err), STATUS_OK);
	assert_int_equal(dd->settings.pg_port, 6432);
	assert_int_equal(dd->settings.api_port, 8080);
	assert_int_equal(dd->settings.projects, 5);
	assert_string_equal(dd->settings.domain, domain);
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/%s.lock", "up");
	CLEANUP(free_text) char *expected = xasprintf("%s/run/up.lock", f->path);
	assert_string_equal(path, expected);
}

static void bad_changes_leave_everything_as_it_was(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	char address[] = "not an address";
	initialise(f);
	CLEANUP(free_text) char *before = content_of(f, "settings.json");
	const struct settings wrong[] = { { .api_address = address }, { .api_port = 5432 },
		{ .pg_port = 70000 }, { .projects = -1 } };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(data_directory_initialise(f->path, &wrong[i], &err), STATUS_INVALID);
	CLEANUP(free_text) char *after = content_of(f, "settings.json");
	assert_string_equal(before, after);
}

/*
 * The first run writes in a fixed order, each file by way of NAME.new. What is there after a crash is therefore a
 * beginning of that order, perhaps with a half-written NAME.new: every such beginning must be completed.
 */
static void every_crash_of_the_first_run_is_completed(void **state)
{
	static const char *const order[] = { "authority.key", "authority.crt", "token.key", "admin.token",
		"settings.json" };
	const struct fixture *f = *state;
	for (size_t kept = 0; kept <= ARRAY_LEN(order); kept++) {
		struct error err;
		initialise(f);
		for (size_t i = kept; i < ARRAY_LEN(order); i++)
			remove_file(f, order[i]);
		CLEANUP(free_text)
		char *half = kept < ARRAY_LEN(order) ? xasprintf("%s.new", order[kept]) : xstrdup("x");
		if (kept < ARRAY_LEN(order))
			write_file(f, half, "half of");

		CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
		if (kept < ARRAY_LEN(order))
			assert_int_equal(data_directory_open(f->path, &dd, &err), STATUS_NOT_FOUND);
		CLEANUP(free_text) char *token = kept > 3 ? content_of(f, "admin.token") : NULL;
		initialise(f);
		assert_int_equal(data_directory_open(f->path, &dd, &err), STATUS_OK);
		for (size_t i = 0; i < ARRAY_LEN(order); i++)
			assert_true(is_there(f, order[i]));
		assert_false(is_there(f, half));
		if (token) {
			CLEANUP(free_text) char *again = content_of(f, "admin.token");
			assert_string_equal(token, again);
		}
	}
}

static void certificate_without_its_key_is_an_error(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	initialise(f);
	remove_file(f, "authority.key");
	CLEANUP(free_text) char *before = content_of(f, "authority.crt");
	assert_int_equal(data_directory_initialise(f->path, &no_changes, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.message, "authority.key"));
	assert_true(err.hint[0] != '\0');
	CLEANUP(free_text) char *after = content_of(f, "authority.crt");
	assert_string_equal(before, after);
}

static void broken_keys_are_named(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	initialise(f);
	write_file(f, "token.key", "rubbish");
	assert_int_equal(data_directory_initialise(f->path, &no_changes, &err), STATUS_CORRUPT);
	assert_non_null(strstr(err.message, "token.key"));
}

static void somebody_elses_folder_is_left_alone(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	struct stat before, after;
	write_file(f, "thesis.txt", "precious");
	assert_int_equal(stat(f->path, &before), 0);
	assert_int_equal(data_directory_initialise(f->path, &no_changes, &err), STATUS_CONFLICT);
	assert_int_equal(stat(f->path, &after), 0);
	assert_int_equal(before.st_mode, after.st_mode);
	assert_false(is_there(f, "run"));
	assert_false(is_there(f, "token.key"));
}

static void later_strangers_do_not_matter(void **state)
{
	const struct fixture *f = *state;
	initialise(f);
	write_file(f, "notes.txt", "mine");
	initialise(f);
}

static void newer_format_is_refused_and_untouched(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct error err;
	initialise(f);
	write_file(f, "settings.json", "{\"format_version\":99}");
	assert_int_equal(data_directory_initialise(f->path, &no_changes, &err), STATUS_UNSUPPORTED);
	assert_int_equal(data_directory_open(f->path, &dd, &err), STATUS_UNSUPPORTED);
	CLEANUP(free_text) char *after = content_of(f, "settings.json");
	assert_string_equal(after, "{\"format_version\":99}");
}

static void paths(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct error err;
	const char *long_path = "/tmp/0123456789012345678901234567890123456789012345678901234567890";
	assert_int_equal(data_directory_initialise(long_path, &no_changes, &err), STATUS_LIMIT);
	assert_false(file_exists(long_path));
	assert_int_equal(data_directory_initialise("", &no_changes, &err), STATUS_INVALID);
	assert_int_equal(data_directory_initialise("/", &no_changes, &err), STATUS_INVALID);
	assert_int_equal(data_directory_initialise("/tmp/a\nb", &no_changes, &err), STATUS_INVALID);
	assert_int_equal(data_directory_initialise("/tmp/no/such/parent", &no_changes, &err), STATUS_IO);
	assert_non_null(strstr(err.hint, "must exist"));
	assert_int_equal(data_directory_initialise("/dev/null", &no_changes, &err), STATUS_IO);

	CLEANUP(free_text) char *untidy = xasprintf("/./%s//", f->path);
	assert_int_equal(data_directory_initialise(untidy, &no_changes, &err), STATUS_OK);
	assert_int_equal(data_directory_open(untidy, &dd, &err), STATUS_OK);
	assert_string_equal(dd->path, f->path);
}

static void open_before_the_first_run_says_what_to_do(void **state)
{
	const struct fixture *f = *state;
	struct data_directory *dd = NULL;
	struct error err;
	assert_int_equal(data_directory_open(f->path, &dd, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.hint, "tarn up"));
	assert_null(dd);
}

static void postgres_user_cannot_change_under_its_databases(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	char user[] = "daemon";
	if (geteuid() != 0)
		skip(); /* others have no choice of user */
	const struct settings changes = { .postgres_user = user };
	initialise(f);
	assert_int_equal(data_directory_initialise(f->path, &changes, &err), STATUS_OK);
	CLEANUP(free_text) char *volume = xasprintf("%s/volumes/br-a", f->path);
	assert_int_equal(folder_make(volume, 0700, &err), STATUS_OK);
	char other[] = "nobody";
	const struct settings again = { .postgres_user = other };
	assert_int_equal(data_directory_initialise(f->path, &again, &err), STATUS_CONFLICT);
	assert_int_equal(data_directory_initialise(f->path, &changes, &err), STATUS_OK);
}

static void another_owner_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	if (geteuid() != 0)
		skip(); /* cannot give files away */
	assert_int_equal(chown(f->path, 1, 1), 0);
	assert_int_equal(data_directory_initialise(f->path, &no_changes, &err), STATUS_DENIED);
	assert_int_equal(chown(f->path, 0, 0), 0);
}

/* Several first runs at once must agree on one set of keys. */
static void first_runs_at_once_agree(void **state)
{
	enum { RUNS = 4 };
	const struct fixture *f = *state;
	pid_t pids[RUNS];
	for (int i = 0; i < RUNS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct error err;
			_exit(data_directory_initialise(f->path, &no_changes, &err) == STATUS_OK ? 0 : 1);
		}
	}
	for (int i = 0; i < RUNS; i++) {
		int exit_status = -1;
		assert_int_equal(waitpid(pids[i], &exit_status, 0), pids[i]);
		assert_int_equal(exit_status, 0);
	}
	initialise(f); /* loads the keys, so it fails if they do not fit together */
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		STORY(first_run_makes_the_layout),
		STORY(repeating_changes_nothing),
		STORY(changes_are_kept),
		STORY(bad_changes_leave_everything_as_it_was),
		STORY(every_crash_of_the_first_run_is_completed),
		STORY(certificate_without_its_key_is_an_error),
		STORY(broken_keys_are_named),
		STORY(somebody_elses_folder_is_left_alone),
		STORY(later_strangers_do_not_matter),
		STORY(newer_format_is_refused_and_untouched),
		STORY(paths),
		STORY(open_before_the_first_run_says_what_to_do),
		STORY(postgres_user_cannot_change_under_its_databases),
		STORY(another_owner_is_refused),
		STORY(first_runs_at_once_agree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "compute/extensions.h"
#include "compute/template.h"
#include "fixture.h"
#include "page_store/volume.h"

static void a_template_is_made_once(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	char again[STORE_ID_MAX + 1];
	struct stat before, after;
	CLEANUP(free_text) char *path = data_directory_path(f->dd, "stores/%s", f->template_store);
	CLEANUP(free_text) char *half = data_directory_path(f->dd, "templates/%s.new", f->template_store);
	assert_int_equal(stat(path, &before), 0);
	must(template_prepare(f->dd, &f->installation, again, &err), &err);
	assert_string_equal(again, f->template_store);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_false(file_exists(half));
}

/* One without its point, as a crash leaves it, is made anew; whole ones are never touched. */
static void a_half_made_one_is_made_anew(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	char store[STORE_ID_MAX + 1];
	struct installation other = f->installation;
	(void)snprintf(other.version, sizeof other.version, "17.998");
	CLEANUP(free_text) char *half = data_directory_path(f->dd, "stores/template-17-998-3");
	CLEANUP(free_text) char *inside = xasprintf("%s/layers", half);
	CLEANUP(free_text) char *plain = data_directory_path(f->dd, "templates/template-17-998-3.new");
	must(folder_make(half, 0700, &err), &err);
	must(folder_make(inside, 0700, &err), &err);
	must(folder_make(plain, 0700, &err), &err);
	must(template_prepare(f->dd, &other, store, &err), &err);
	assert_string_equal(store, "template-17-998-3");
	assert_true(volume_has_template(f->dd, store));
	assert_false(file_exists(plain));
	CLEANUP(free_text) char *nothing = xasprintf("%s/none", half);
	must(volume_import_template(f->dd, store, nothing, &err),
	        &err); /* done: the folder is not even looked at */
	assert_int_equal(volume_import_template(f->dd, "project-a", nothing, &err), STATUS_INVALID);
}

static void a_failed_one_leaves_nothing(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct installation broken = f->installation;
	char store[STORE_ID_MAX + 1] = "untouched";
	(void)snprintf(broken.version, sizeof broken.version, "17.999");
	(void)snprintf(broken.bin_dir, sizeof broken.bin_dir, "/nonexistent");
	assert_int_equal(template_prepare(f->dd, &broken, store, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.message, "17.999"));
	assert_string_equal(store, "untouched");
	CLEANUP(free_text) char *made = data_directory_path(f->dd, "stores/template-17-999-3");
	CLEANUP(free_text) char *half = data_directory_path(f->dd, "templates/template-17-999-3.new");
	assert_false(file_exists(made) || file_exists(half));
}

static void installations_are_judged(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	static const char *const programs[] = { "postgres", "initdb", "pg_resetwal", "pg_waldump" };
	static const struct {
		const char *name, *says, *problem;
		size_t programs;
	} fakes[] = {
		{ "old", "postgres (PostgreSQL) 15.3", "16 to 18", 4 },
		{ "beta", "postgres (PostgreSQL) 18beta1", "pre-release", 4 },
		{ "mute", "hello", "version", 4 },
		{ "partial", "postgres (PostgreSQL) 17.1", "initdb", 1 },
		/* Wheels and the like have only what starts a server; no moment could be found in its WAL. */
		{ "small", "postgres (PostgreSQL) 16.9", "pg_waldump", 3 },
	};
	CLEANUP(buffer_done) struct buffer list = { 0 };
	struct error err;
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++) {
		CLEANUP(free_text) char *bin = xasprintf("%s/%s", folder, fakes[i].name);
		must(folder_make(bin, 0755, &err), &err);
		for (size_t k = 0; k < fakes[i].programs; k++) {
			CLEANUP(free_text) char *path = xasprintf("%s/%s", bin, programs[k]);
			CLEANUP(free_text) char *script = xasprintf("#!/bin/sh\necho '%s'\n", fakes[i].says);
			must(file_replace_durably(path, slice_from_text(script), 0755, &err), &err);
		}
		buffer_printf(&list, "%s%s", i ? ":" : "", bin);
	}
	assert_int_equal(setenv("TARN_POSTGRES", list.data, 1), 0);
	struct installation found[INSTALLATIONS_MAX];
	size_t count = installation_scan(found);
	assert_true(count >= ARRAY_LEN(fakes));
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++) {
		assert_false(found[i].is_accepted);
		if (!strstr(found[i].problem, fakes[i].problem))
			fail_msg("%s: \"%s\"", fakes[i].name, found[i].problem);
	}
	struct installation none;
	assert_int_equal(installation_find(15, &none, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.message, "15.3"));
	assert_true(err.hint[0]);
	assert_int_equal(unsetenv("TARN_POSTGRES"), 0);
	must(tree_remove(folder, &err), &err);
}

/* The list that pgextwlist gets and the scripts it runs belong together: an extension without a guard is open to all. */
static void every_allowed_extension_has_a_guard(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	CLEANUP(free_text) char *folder = NULL;
	must(extensions_prepare_scripts(f->dd, &folder, &err), &err);
	CLEANUP(free_text) char *names = xstrdup(extensions_allowed(false));
	size_t count = 0;
	for (char *rest = names, *name; (name = strsep(&rest, ","));) {
		static const char *const actions[] = { "create", "update", "drop", "comment" };
		for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
			CLEANUP(free_text)
			char *path = xasprintf("%s/%s/before-%s.sql", folder, name, actions[i]);
			CLEANUP(buffer_done) struct buffer text = { 0 };
			must(file_read(path, 65536, &text, &err), &err);
			assert_non_null(
			        strstr(text.data, "pg_has_role(session_user, 'databricks_superuser'"));
			assert_ptr_equal(strstr(text.data, "SET LOCAL search_path = pg_catalog"), text.data);
		}
		count++;
	}
	assert_int_equal(count, 20);
	assert_null(strstr(extensions_allowed(false), "file_fdw"));
	assert_null(strstr(extensions_allowed(true), "dblink"));
	assert_null(strstr(extensions_allowed(true), "fdw"));
	CLEANUP(free_text) char *again = NULL;
	must(extensions_prepare_scripts(f->dd, &again, &err), &err);
	assert_string_equal(folder, again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_template_is_made_once),
		cmocka_unit_test(a_half_made_one_is_made_anew),
		cmocka_unit_test(a_failed_one_leaves_nothing),
		cmocka_unit_test(installations_are_judged),
		cmocka_unit_test(every_allowed_extension_has_a_guard),
	};
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}

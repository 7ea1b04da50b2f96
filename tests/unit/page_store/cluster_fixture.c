/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cluster_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/number.h"
#include "compute/template.h"
#include "page_store/volume.h"

void cluster_must(status st, const struct error *err)
{
	if (st != STATUS_OK)
		fail_msg("%s", err->message);
}

/* TARN_TEST_POSTGRES says it for the system tests, too. */
static int wanted_major(void)
{
	const char *text = getenv("TARN_TEST_POSTGRES");
	int64_t major = 0;
	return text && number_parse(slice_from_text(text), 1, 999, &major) ? (int)major
	                                                                   : POSTGRES_MAJOR_DEFAULT;
}

int cluster_set_up(void **state)
{
	struct cluster_fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	*state = NULL;
	if (installation_find(wanted_major(), &f->installation, &err) != STATUS_OK) {
		print_message("skipped: %s\n", err.message);
		free(f);
		return 0;
	}
	memcpy(f->path, "/tmp/tarn-unit-XXXXXX", 22);
	if (!mkdtemp(f->path) || chmod(f->path, 0711) < 0)
		return -1;
	const struct settings no_changes = { 0 };
	if (data_directory_initialise(f->path, &no_changes, &err) != STATUS_OK ||
	        data_directory_open(f->path, &f->dd, &err) != STATUS_OK ||
	        template_prepare(f->dd, &f->installation, f->template_store, &err) != STATUS_OK) {
		print_error("%s\n", err.message);
		return -1;
	}
	*state = f;
	return 0;
}

int cluster_tear_down(void **state)
{
	struct cluster_fixture *f = *state;
	if (!f)
		return 0;
	struct error err;
	data_directory_free(f->dd);
	int rc = tree_remove(f->path, &err) == STATUS_OK ? 0 : -1;
	free(f);
	return rc;
}

struct cluster_fixture *cluster_of(void **state)
{
	if (!*state)
		skip();
	return *state;
}

void cluster_make_volume(const struct cluster_fixture *f, const char *id)
{
	struct error err;
	cluster_must(volume_create(f->dd, PROJECT, id, f->template_store, f->installation.bin_dir,
	                     f->installation.major, &err),
	        &err);
}

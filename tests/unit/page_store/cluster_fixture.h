/* A data directory with a real Postgres template, for tests. Where there is no usable Postgres they are skipped, and say so. */
#pragma once

#include "base/base.h"
#include "compute/installation.h"
#include "data_directory/data_directory.h"
#include "page_store/store.h"

struct cluster_fixture {
	char path[64];
	struct data_directory *dd;
	struct installation installation;
	char template_store[STORE_ID_MAX + 1];
};

/* cmocka group functions: *state is a struct cluster_fixture; NULL when there is no Postgres. */
int cluster_set_up(void **state);
int cluster_tear_down(void **state);
/* At the start of each test; skips it when there is no Postgres. */
struct cluster_fixture *cluster_of(void **state);

/* Fails the test with the error's message unless st is STATUS_OK. */
void cluster_must(status st, const struct error *err);
#define PROJECT "project-a" /* the store that tests use */
/* A new volume from the template. */
void cluster_make_volume(const struct cluster_fixture *f, const char *id);

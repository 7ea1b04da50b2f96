#include "control_plane/orphan.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/role_lock.h"
#include "metadata/endpoint_row.h"

static bool has_row(struct metadata *md, const char *uid)
{
	struct error err;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	return endpoint_row_find_uid(md, uid, &endpoint, &err) != STATUS_NOT_FOUND;
}

struct list {
	struct metadata *md;
	char (*uids)[FLEET_UID_MAX + 1];
	size_t count;
};

static void note(void *arg, const struct fleet_member *member)
{
	struct list *list = arg;
	if (member->state != FLEET_ASLEEP || has_row(list->md, member->uid))
		return;
	list->uids = xrealloc(list->uids, (list->count + 1) * sizeof *list->uids);
	(void)snprintf(list->uids[list->count++], sizeof *list->uids, "%s", member->uid);
}

void orphan_forget_computes(const struct services *services)
{
	struct list list = { .md = services->md };
	struct error err;
	fleet_each(services->fleet, note, &list);
	for (size_t i = 0; i < list.count; i++) {
		if (fleet_forget(services->fleet, list.uids[i], &err) != STATUS_OK)
			log_warning("%s", err.message);
	}
	free(list.uids);
}

void orphan_sweep_computes(const struct data_directory *dd, struct metadata *md)
{
	CLEANUP(free_text) char *folder = data_directory_path(dd, "computes");
	CLEANUP(close_listing) DIR *listing = opendir(folder);
	for (struct dirent *entry; listing && (entry = readdir(listing));) {
		struct error err;
		if (entry->d_name[0] == '.' || has_row(md, entry->d_name))
			continue;
		CLEANUP(free_text) char *path = xasprintf("%s/%s", folder, entry->d_name);
		CLEANUP(free_text) char *lock = xasprintf("%s/supervisor.lock", path);
		char holder[ROLE_LOCK_TEXT_MAX];
		if (role_lock_look(lock, holder, &err) == STATUS_OK) {
			log_warning("a compute of endpoint \"%s\", which is not known, runs: %s",
			        entry->d_name, holder);
			continue;
		}
		if (tree_remove(path, &err) != STATUS_OK)
			log_warning("%s", err.message);
		else
			log_info("removed the folder of endpoint \"%s\", which is not known any more",
			        entry->d_name);
	}
}

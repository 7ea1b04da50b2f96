#include "base/late_library.h"

#include <dlfcn.h>

static const char *load(const struct late_library *library)
{
	void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; handle && i < library->count; i++) {
		void *symbol = dlsym(handle, library->functions[i].name);
		if (!symbol)
			return dlerror();
		/* POSIX' way from an object pointer to a function's */
		memcpy(library->functions[i].pointer, &symbol, sizeof symbol);
	}
	return handle ? NULL : dlerror();
}

status late_library_load(struct late_library *library, struct error *err)
{
	status st = STATUS_OK;
	(void)pthread_mutex_lock(&library->mutex);
	const char *problem = library->is_loaded ? NULL : load(library);
	library->is_loaded = problem == NULL;
	if (problem) {
		st = error_set(err, STATUS_NOT_FOUND, 0, "could not load library \"%s\": %s", library->file,
		        problem);
		error_hint(err, "Install package %s.", library->package);
	}
	(void)pthread_mutex_unlock(&library->mutex);
	return st;
}

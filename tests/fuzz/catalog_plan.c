/* Plans of changes of roles and databases: what parses is the same after it was written and read again. */
#include <stdlib.h>

#include "control_plane/catalog_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct catalog_plan plan, again;
	struct error err;
	CLEANUP(free_text) char *text = xstrndup((const char *)data, size);
	if (catalog_plan_parse(text, &plan, &err) != STATUS_OK)
		return 0;
	CLEANUP(free_text) char *written = catalog_plan_format(&plan);
	if (catalog_plan_parse(written, &again, &err) != STATUS_OK || strcmp(plan.id, again.id) != 0 ||
	        strcmp(plan.owner, again.owner) != 0 || strcmp(plan.new_name, again.new_name) != 0 ||
	        plan.fields != again.fields || plan.must_reset != again.must_reset ||
	        strcmp(plan.auth_method, again.auth_method) != 0)
		abort();
	return 0;
}

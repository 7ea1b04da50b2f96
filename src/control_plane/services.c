#include "control_plane/services.h"

const struct installation *services_find_installation(const struct services *services, int major)
{
	for (size_t i = 0; i < services->installation_count; i++) {
		if (services->installations[i].is_accepted && services->installations[i].major == major)
			return &services->installations[i];
	}
	return NULL;
}

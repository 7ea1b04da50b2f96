/* A report of a proxy: taken or refused; what is refused changes nothing, and what is taken twice counts once. */
#include <stdlib.h>

#include "control_plane/endpoint_traffic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	yyjson_doc *doc = yyjson_read((const char *)data, size, 0);
	if (!doc)
		return 0;
	struct endpoint_traffic *traffic = endpoint_traffic_create(3);
	bool is_taken = endpoint_traffic_take(traffic, 1, yyjson_doc_get_root(doc));
	const char *uid = yyjson_get_str(yyjson_obj_get(
	        yyjson_arr_get_first(yyjson_obj_get(yyjson_doc_get_root(doc), "endpoints")), "uid"));
	uint64_t connections = endpoint_traffic_connections(traffic, uid ? uid : "");
	if (!is_taken && connections != 0)
		abort();
	if (endpoint_traffic_take(traffic, 1, yyjson_doc_get_root(doc)) != is_taken)
		abort();
	endpoint_traffic_end(traffic, 1);
	if (endpoint_traffic_connections(traffic, uid ? uid : "") != 0)
		abort();
	endpoint_traffic_free(traffic);
	yyjson_doc_free(doc);
	return 0;
}

#include "http/response.h"

#include <assert.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/random.h"

void http_response_set_json(struct http_response *response, int http_status, char *body, size_t len)
{
	free(response->body);
	response->status = http_status;
	response->body = body;
	response->body_len = len;
}

void http_response_add_header(struct http_response *response, const char *name, const char *value)
{
	assert(response->header_count < HTTP_HEADERS_MAX);
	struct http_header *header = &response->headers[response->header_count++];
	header->name = name;
	header->value = xstrdup(value);
}

void http_response_clear_headers(struct http_response *response)
{
	for (size_t i = 0; i < response->header_count; i++)
		free(response->headers[i].value);
	response->header_count = 0;
}

void http_response_set_page(struct http_response *response, int http_status, char *html)
{
	http_response_set_json(response, http_status, html, strlen(html));
	response->content_type = "text/html; charset=utf-8";
	http_response_add_header(response, "Cache-Control", "no-store");
	http_response_add_header(response, "Referrer-Policy", "no-referrer");
	http_response_add_header(response, "X-Content-Type-Options", "nosniff");
	http_response_add_header(response, "X-Frame-Options", "DENY");
	/* A browser counts the redirect that follows a form as part of its action. */
	http_response_add_header(response, "Content-Security-Policy",
	        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
	        "form-action 'self' http://localhost:* http://127.0.0.1:*");
}

void http_response_redirect(struct http_response *response, const char *location)
{
	http_response_set_json(response, 302, NULL, 0);
	http_response_add_header(response, "Location", location);
	http_response_add_header(response, "Cache-Control", "no-store");
	http_response_add_header(response, "Referrer-Policy", "no-referrer");
}

void http_response_set_error(struct http_response *response, int http_status, const char *error_code,
        const char *message, const char *declarative_context, const char *trace_id)
{
	CLEANUP(free_text) char *text = xasprintf("%s [TraceId: %s]", message, trace_id);
	utf8_clean(text);
	char request_id[UUID_TEXT_LEN + 1];
	random_uuid(request_id);

	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "error_code", error_code);
	yyjson_mut_obj_add_str(doc, root, "message", text);
	yyjson_mut_val *details = yyjson_mut_obj_add_arr(doc, root, "details");
	if (declarative_context) {
		yyjson_mut_val *info = yyjson_mut_arr_add_obj(doc, details);
		yyjson_mut_obj_add_str(doc, info, "@type", "type.googleapis.com/google.rpc.ErrorInfo");
		yyjson_mut_obj_add_str(doc, info, "reason", "RESOURCE_CONFLICT");
		yyjson_mut_obj_add_str(doc, info, "domain", "databricks.com");
		yyjson_mut_val *metadata = yyjson_mut_obj_add_obj(doc, info, "metadata");
		yyjson_mut_obj_add_str(doc, metadata, "declarative_context", declarative_context);
	}
	/* An element without "metadata" makes the JS SDK throw the whole body away. */
	yyjson_mut_val *info = yyjson_mut_arr_add_obj(doc, details);
	yyjson_mut_obj_add_str(doc, info, "@type", "type.googleapis.com/google.rpc.RequestInfo");
	yyjson_mut_obj_add_str(doc, info, "request_id", request_id);
	yyjson_mut_obj_add_str(doc, info, "serving_data", "");
	(void)yyjson_mut_obj_add_obj(doc, info, "metadata");

	size_t len = 0;
	char *body = yyjson_mut_write(doc, 0, &len);
	yyjson_mut_doc_free(doc);
	http_response_set_json(response, http_status, body, body ? len : 0);
}

void http_response_done(struct http_response *response)
{
	free(response->body);
	http_response_clear_headers(response);
	*response = (struct http_response){ 0 };
}

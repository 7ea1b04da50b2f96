#include "http/libcurl.h"

#define CURL_DISABLE_TYPECHECK /* its macros would take the place of the functions defined here */
#include <curl/curl.h>
#include <stdarg.h>

#include "base/late_library.h"

#undef curl_easy_setopt
#undef curl_easy_getinfo

static struct {
	CURLcode (*global_init)(long flags);
	CURL *(*easy_init)(void);
	CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
	CURLcode (*easy_perform)(CURL *curl);
	CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
	const char *(*easy_strerror)(CURLcode code);
	void (*easy_cleanup)(CURL *curl);
	struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
	void (*slist_free_all)(struct curl_slist *list);
} table;

static const struct late_function functions[] = {
	{ "curl_global_init", &table.global_init },
	{ "curl_easy_init", &table.easy_init },
	{ "curl_easy_setopt", &table.easy_setopt },
	{ "curl_easy_perform", &table.easy_perform },
	{ "curl_easy_getinfo", &table.easy_getinfo },
	{ "curl_easy_strerror", &table.easy_strerror },
	{ "curl_easy_cleanup", &table.easy_cleanup },
	{ "curl_slist_append", &table.slist_append },
	{ "curl_slist_free_all", &table.slist_free_all },
};

static struct late_library library = { .file = "libcurl.so.4",
	.package = "libcurl4",
	.functions = functions,
	.count = ARRAY_LEN(functions),
	.mutex = PTHREAD_MUTEX_INITIALIZER };

status libcurl_load(struct error *err)
{
	return late_library_load(&library, err);
}

CURLcode curl_global_init(long flags)
{
	return table.global_init(flags);
}

CURL *curl_easy_init(void)
{
	return table.easy_init();
}

/* The kind of the option's number says what comes (curl.h, CURLOPTTYPE_*). */
CURLcode curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
	va_list arguments;
	CURLcode code;
	va_start(arguments, option);
	if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB)
		code = table.easy_setopt(curl, option, va_arg(arguments, curl_off_t));
	else if (option < CURLOPTTYPE_OBJECTPOINT)
		code = table.easy_setopt(curl, option, va_arg(arguments, long));
	else
		code = table.easy_setopt(curl, option, va_arg(arguments, void *)); /* functions, too */
	va_end(arguments);
	return code;
}

CURLcode curl_easy_perform(CURL *curl)
{
	return table.easy_perform(curl);
}

CURLcode curl_easy_getinfo(CURL *curl, CURLINFO info, ...)
{
	va_list arguments;
	va_start(arguments, info);
	CURLcode code = table.easy_getinfo(curl, info, va_arg(arguments, void *));
	va_end(arguments);
	return code;
}

const char *curl_easy_strerror(CURLcode code)
{
	return table.easy_strerror(code);
}

void curl_easy_cleanup(CURL *curl)
{
	if (curl)
		table.easy_cleanup(curl);
}

struct curl_slist *curl_slist_append(struct curl_slist *list, const char *text)
{
	return table.slist_append(list, text);
}

void curl_slist_free_all(struct curl_slist *list)
{
	if (list)
		table.slist_free_all(list);
}

/*
 * Late library: a shared library that is loaded when it is first needed.
 *
 * Tarn is one binary with many roles, and a wake starts two of them. Linked with all that each role needs, a process would load forty libraries
 * before its main(); libpq and libcurl alone (LDAP, Kerberos, HTTP/2, …) are half of that time, and no wake needs them. So the folders that use
 * them are not linked with them but have the functions that they call, which go through a table that late_library_load() fills.
 *
 * Threads: any. A library stays loaded: its functions may be at work in any thread.
 */
#pragma once

#include <pthread.h>

#include "base/base.h"

struct late_function {
	const char *name;
	void *pointer; /* to a function pointer */
};

struct late_library {
	const char *file, *package; /* "libpq.so.5"; whose package it is, for people */
	const struct late_function *functions;
	size_t count;
	pthread_mutex_t mutex; /* PTHREAD_MUTEX_INITIALIZER */
	bool is_loaded;
};

/* STATUS_NOT_FOUND: it is not installed, or is another one than we were built for. Once it has succeeded it always does. */
MUST_CHECK status late_library_load(struct late_library *library, struct error *err);

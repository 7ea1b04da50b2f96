#include "compute/libpq.h"

#include <libpq-fe.h>

#include "base/late_library.h"

/* Result, name, parameters, arguments. libpq-fe.h declares them too, so that a mistake does not compile. */
#define FUNCTIONS(F)                                                                                         \
	F(PGconn *, PQconnectdbParams, (const char *const *names, const char *const *values, int expand),    \
	        (names, values, expand))                                                                     \
	F(ConnStatusType, PQstatus, (const PGconn *conn), (conn))                                            \
	F(char *, PQhost, (const PGconn *conn), (conn))                                                      \
	F(char *, PQerrorMessage, (const PGconn *conn), (conn))                                              \
	F(PQnoticeReceiver, PQsetNoticeReceiver, (PGconn * conn, PQnoticeReceiver fn, void *arg),            \
	        (conn, fn, arg))                                                                             \
	F(int, PQsetnonblocking, (PGconn * conn, int arg), (conn, arg))                                      \
	F(int, PQsocket, (const PGconn *conn), (conn))                                                       \
	F(int, PQsendQuery, (PGconn * conn, const char *query), (conn, query))                               \
	F(int, PQsendQueryParams,                                                                            \
	        (PGconn * conn, const char *command, int count, const Oid *types, const char *const *values, \
	                const int *lengths, const int *formats, int format),                                 \
	        (conn, command, count, types, values, lengths, formats, format))                             \
	F(int, PQflush, (PGconn * conn), (conn))                                                             \
	F(int, PQconsumeInput, (PGconn * conn), (conn))                                                      \
	F(int, PQisBusy, (PGconn * conn), (conn))                                                            \
	F(PGresult *, PQgetResult, (PGconn * conn), (conn))                                                  \
	F(ExecStatusType, PQresultStatus, (const PGresult *result), (result))                                \
	F(char *, PQresultErrorField, (const PGresult *result, int field), (result, field))                  \
	F(int, PQntuples, (const PGresult *result), (result))                                                \
	F(int, PQfnumber, (const PGresult *result, const char *name), (result, name))                        \
	F(char *, PQgetvalue, (const PGresult *result, int row, int column), (result, row, column))          \
	F(char *, PQescapeLiteral, (PGconn * conn, const char *text, size_t len), (conn, text, len))         \
	F(char *, PQescapeIdentifier, (PGconn * conn, const char *text, size_t len), (conn, text, len))

/* Those that take a NULL, also while nothing is loaded. */
#define ENDS(F)                                                                                              \
	F(PQfinish, (PGconn * conn), conn)                                                                   \
	F(PQclear, (PGresult * result), result)                                                              \
	F(PQfreemem, (void *memory), memory)

#define POINTER(type, name, parameters, arguments) type(*name) parameters;
#define END_POINTER(name, parameters, argument)    void(*name) parameters;
static struct {
	FUNCTIONS(POINTER)
	ENDS(END_POINTER)
} table;

#define ENTRY(type, name, parameters, arguments) { #name, &table.name },
#define END_ENTRY(name, parameters, argument)    { #name, &table.name },
static const struct late_function functions[] = { FUNCTIONS(ENTRY) ENDS(END_ENTRY) };

static struct late_library library = { .file = "libpq.so.5",
	.package = "libpq5",
	.functions = functions,
	.count = ARRAY_LEN(functions),
	.mutex = PTHREAD_MUTEX_INITIALIZER };

status libpq_load(struct error *err)
{
	return late_library_load(&library, err);
}

#define DEFINE(type, name, parameters, arguments)                                                            \
	type name parameters                                                                                 \
	{                                                                                                    \
		return table.name arguments;                                                                 \
	}
#define END_DEFINE(name, parameters, argument)                                                               \
	void name parameters                                                                                 \
	{                                                                                                    \
		if (argument)                                                                                \
			table.name(argument);                                                                \
	}

FUNCTIONS(DEFINE)
ENDS(END_DEFINE)

#include "compute/pooler_work.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "compute/admin_connection.h"
#include "compute/pooler_configuration.h"
#include "compute/pooler_console.h"
#include "compute/postgres_log.h"

void pooler_work_init(struct pooler_work *work, const struct pooler_options *options)
{
	*work = (struct pooler_work){ .postgres_socket_folder = xstrdup(options->postgres_socket_folder),
		.socket_folder = xasprintf("%s/pooler", options->folder),
		.ini_path = xasprintf("%s/pooler.ini", options->folder),
		.users_path = xasprintf("%s/pooler_users", options->folder),
		.log_path = xasprintf("%s/" POOLER_LOG, options->folder),
		.postgres_user = options->postgres_user,
		.has_user = options->user != NULL,
		.clients_max = options->clients_max,
		.wait_sec = options->wait_sec };
	if (options->user)
		work->user = *options->user;
}

void pooler_work_done(struct pooler_work *work)
{
	admin_disconnect(&work->admin);
	admin_disconnect(&work->console);
	pooler_roles_done(&work->roles);
	pooler_sight_done(&work->sight);
	free(work->postgres_socket_folder);
	free(work->socket_folder);
	free(work->ini_path);
	free(work->users_path);
	free(work->log_path);
	*work = (struct pooler_work){ 0 };
}

static status connect_admin(struct pooler_work *work, struct error *err)
{
	if (work->admin && !work->must_reconnect && PQstatus(work->admin) == CONNECTION_OK)
		return STATUS_OK;
	admin_disconnect(&work->admin);
	status st =
	        admin_connect(work->postgres_socket_folder, "postgres", ADMIN_APPLICATION, &work->admin, err);
	/* So that the server has counted this session before the counter is read (activity.c). */
	if (st == STATUS_OK)
		st = admin_query(work->admin, "SELECT pg_stat_force_next_flush()", NULL, err);
	work->sessions += st == STATUS_OK;
	return st;
}

/* A PgBouncer that does not do as it is told is of no use: has_hung_up has it ended. */
static status heed(struct pooler_work *work, status st)
{
	if (st == STATUS_UNAVAILABLE) {
		admin_disconnect(&work->console);
		work->has_hung_up = true;
	}
	return st;
}

static status connect_console(struct pooler_work *work, struct error *err)
{
	if (work->console)
		return STATUS_OK;
	return heed(work, pooler_console_open(work->socket_folder, &work->console, err));
}

static status look(struct pooler_work *work, struct error *err)
{
	status st = connect_console(work, err);
	pooler_sight_done(&work->sight);
	work->has_sight = false;
	if (st == STATUS_OK)
		st = heed(work, pooler_console_look(work->console, &work->sight, err));
	work->has_sight = st == STATUS_OK;
	return st;
}

/* P2. The clients first: nobody may be given a connection to the role that has the name now. */
static status end_changed(struct pooler_work *work, struct error *err)
{
	status st = STATUS_OK;
	for (size_t i = 0; st == STATUS_OK && i < work->roles.count; i++) {
		struct pooler_role *role = &work->roles.list[i];
		if (role->known == 0 || role->known == role->found)
			continue;
		st = connect_console(work, err);
		if (st == STATUS_OK)
			st = pooler_console_end_clients(work->console, role->name, err);
		if (st == STATUS_UNSUPPORTED) {
			work->must_start_anew = true;
			return STATUS_OK;
		}
		st = heed(work, st);
		if (st == STATUS_OK)
			role->known = 0;
	}
	return st;
}

static bool has_changed(const struct pooler_roles *roles)
{
	for (size_t i = 0; i < roles->count; i++)
		if (roles->list[i].known != 0 && roles->list[i].known != roles->list[i].found)
			return true;
	return false;
}

static status end_servers(struct pooler_work *work, struct error *err)
{
	return pooler_roles_end_servers(work->admin, work->sight.servers, work->sight.server_count, err);
}

static status write_users(struct pooler_work *work, struct error *err)
{
	CLEANUP(buffer_done) struct buffer content = { 0 };
	const char **names = xcalloc(work->roles.count + 1, sizeof *names);
	size_t count = 0;
	names[count++] = POOLER_CONSOLE_ROLE;
	for (size_t i = 0; i < work->roles.count; i++)
		if (work->roles.list[i].known != 0)
			names[count++] = work->roles.list[i].name;
	pooler_configuration_format_users(names, count, &content);
	free(names);
	gid_t group = work->user.is_other ? work->user.gid : (gid_t)-1;
	return file_replace_for_group(work->users_path, buffer_slice(&content), group, err);
}

static status prepare_folder(struct pooler_work *work, struct error *err)
{
	CLEANUP(free_text) char *socket = xasprintf("%s/" POOLER_SOCKET, work->socket_folder);
	status st = folder_make(work->socket_folder, 0700, err);
	if (st != STATUS_OK)
		return st;
	if (work->user.is_other && chown(work->socket_folder, work->user.uid, work->user.gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not change the owner of folder \"%s\"",
		        work->socket_folder);
	if (unlink(socket) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", socket);
	return postgres_log_rotate(work->log_path, err);
}

/* As many as the descriptors that a process may have allow: a client that cannot be accepted would wait for ever. */
static int64_t possible_clients(const struct pooler_work *work)
{
	struct rlimit limit;
	int64_t wanted = work->clients_max;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		return wanted;
	int64_t left = (int64_t)limit.rlim_max - 2 * work->postgres.connections - POOLER_DESCRIPTORS_OWN;
	if (left >= wanted)
		return wanted;
	log_warning("the pooler takes %lld clients instead of %lld: the limit of open files is %llu",
	        (long long)left, (long long)wanted, (unsigned long long)limit.rlim_max);
	return left < 1 ? 1 : left;
}

static status write_configuration(struct pooler_work *work, struct error *err)
{
	CLEANUP(buffer_done) struct buffer content = { 0 };
	work->clients = possible_clients(work);
	const struct pooler_configuration configuration = {
		.postgres_socket_folder = work->postgres_socket_folder,
		.socket_folder = work->socket_folder,
		.users_path = work->users_path,
		.postgres_major = work->postgres.major,
		.connections = work->postgres.connections,
		.clients = work->clients,
		.wait_sec = work->wait_sec,
	};
	status st = pooler_configuration_format(&configuration, &content, err);
	gid_t group = work->user.is_other ? work->user.gid : (gid_t)-1;
	return st == STATUS_OK ? file_replace_for_group(work->ini_path, buffer_slice(&content), group, err)
	                       : st;
}

/* Nobody can be let in by a user that Postgres does not know of, which it reads at its start. */
static status tell_missing_user(const struct pooler_work *work, struct error *err)
{
	struct system_user found;
	status st = pooler_user_find(&work->postgres_user, &found, err);
	if (st != STATUS_OK)
		return st;
	st = error_set(err, STATUS_NOT_FOUND, 0,
	        "system user \"" POOLER_USER "\" was created after the compute had been started");
	error_hint(err, "It is used from the compute's next start on.");
	return st;
}

static status find_program(struct pooler_work *work, struct error *err)
{
	if (work->has_program)
		return STATUS_OK;
	status st = pooler_program_find(&work->program, err);
	if (st == STATUS_OK && !work->has_user)
		st = tell_missing_user(work, err);
	work->has_program = st == STATUS_OK;
	if (st == STATUS_OK)
		return st;
	(void)!error_prefix(err, "the pooler is not available");
	return err->code = STATUS_UNSUPPORTED;
}

/* Entries that nobody was let in by; without a process, all of them, and the connection to the last one. */
static void tidy(struct pooler_work *work)
{
	if (!work->is_running) {
		admin_disconnect(&work->console);
		pooler_roles_done(&work->roles);
	}
	pooler_roles_tidy(&work->roles);
}

/* Those that were found to be roles which may log in are let in as these. Are there any that were not before? */
static bool enter_found(struct pooler_roles *roles)
{
	bool has_new = false;
	for (size_t i = 0; i < roles->count; i++) {
		struct pooler_role *role = &roles->list[i];
		if (role->known != 0 || role->found == 0 || !role->may_log_in)
			continue;
		role->known = role->found;
		has_new = true;
	}
	return has_new;
}

static status tell_running(struct pooler_work *work, struct error *err)
{
	status st = write_users(work, err);
	if (st == STATUS_OK)
		st = connect_console(work, err);
	return st == STATUS_OK ? heed(work, pooler_console_reload(work->console, err)) : st;
}

static status prepare_start(struct pooler_work *work, struct error *err)
{
	status st = prepare_folder(work, err);
	if (st == STATUS_OK)
		st = write_configuration(work, err);
	return st == STATUS_OK ? write_users(work, err) : st;
}

static void begin(struct pooler_work *work)
{
	work->has_hung_up = work->must_start_anew = work->has_sight = false;
	tidy(work);
}

status pooler_work_let_in(struct pooler_work *work, const char *const *names, size_t count, struct error *err)
{
	begin(work);
	status st = find_program(work, err);
	if (st == STATUS_OK)
		st = connect_admin(work, err);
	for (size_t i = 0; i < count; i++)
		(void)pooler_roles_enter(&work->roles, names[i]);
	if (st == STATUS_OK)
		st = pooler_roles_ask(work->admin, &work->roles, err);
	if (st == STATUS_OK && work->is_running && has_changed(&work->roles)) {
		st = end_changed(work, err);
		if (st == STATUS_OK && !work->must_start_anew)
			st = look(work, err);
		if (st == STATUS_OK && !work->must_start_anew)
			st = end_servers(work, err);
	}
	if (st != STATUS_OK || work->must_start_anew)
		return st;
	bool has_new = enter_found(&work->roles);
	if (!work->is_running)
		return prepare_start(work, err);
	return has_new ? tell_running(work, err) : STATUS_OK;
}

status pooler_work_look(struct pooler_work *work, struct error *err)
{
	begin(work);
	status st = look(work, err);
	if (st == STATUS_OK)
		st = connect_admin(work, err);
	if (st == STATUS_OK)
		st = pooler_roles_ask(work->admin, &work->roles, err);
	if (st == STATUS_OK)
		st = end_changed(work, err);
	if (st == STATUS_OK && !work->must_start_anew)
		st = end_servers(work, err);
	return st == STATUS_OK ? postgres_log_bound(work->log_path, err) : st;
}

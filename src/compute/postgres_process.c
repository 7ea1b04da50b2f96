#include "compute/postgres_process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/buffer.h"
#include "compute/leashed_process.h"

bool postgres_process_free_locked_memory(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
		return true;
	return setrlimit(RLIMIT_MEMLOCK, &none) == 0;
}

/* One folder as Postgres' list of folders wants it: in double quotes. */
static char *quote_folder(const char *path)
{
	CLEANUP(buffer_done) struct buffer quoted = { 0 };
	buffer_append_text(&quoted, "unix_socket_directories=\"");
	for (const char *p = path; *p; p++)
		buffer_printf(&quoted, *p == '"' ? "\"\"" : "%c", *p);
	buffer_append_text(&quoted, "\"");
	return xstrndup(quoted.data, quoted.len);
}

status postgres_process_start(const struct postgres_command *command, pid_t *ret_pid, struct error *err)
{
	const char *folder = command->configuration_folder;
	CLEANUP(free_text) char *program = xasprintf("%s/postgres", command->bin_dir);
	CLEANUP(free_text) char *config = xasprintf("config_file=%s/postgresql.conf", folder);
	CLEANUP(free_text) char *hba = xasprintf("hba_file=%s/hba.conf", folder);
	CLEANUP(free_text) char *ident = xasprintf("ident_file=%s/ident.conf", folder);
	CLEANUP(free_text) char *sockets = quote_folder(command->socket_folder);
	/* What is given here no file can change: postgresql.auto.conf is part of the volume. */
	const char *const argv[] = { program, "-D", command->data_path, "-c", config, "-c", hba, "-c", ident,
		"-c", "listen_addresses=", "-c", sockets, "-c", "port=5432", NULL };
	/* Not the mount itself, where even this could hang: a rule for the folder that it is in holds below the mount, too. */
	CLEANUP(free_text)
	char *volume =
	        xstrndup(command->data_path, (size_t)(strrchr(command->data_path, '/') - command->data_path));
	const char *const writable[] = { volume, command->socket_folder, "/dev/shm", "/dev/null" };
	const struct leashed_command leashed = { .argv = argv,
		.log_path = command->log_path,
		.writable = writable,
		.writable_count = ARRAY_LEN(writable),
		.user = command->user,
		.death_signal = SIGQUIT };
	return leashed_process_start(&leashed, ret_pid, err);
}

#include "cli/host_checks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/role.h"

#define INSTALLATIONS_LISTED_MAX 16
#define DESCRIPTORS_GOOD         65536u
#define DESCRIPTORS_NEEDED       4096u
#define DISK_GOOD_BYTES          (5ull << 30)
#define DISK_NEEDED_BYTES        (1ull << 30)
#define OPENSSL_NEEDED           0x30000000ul

void check_installations(struct findings *findings, const struct cli_services *services)
{
	struct cli_installation found[INSTALLATIONS_LISTED_MAX];
	size_t count = services->list_installations(found, ARRAY_LEN(found)), accepted = 0;
	for (size_t i = 0; i < count; i++) {
		const struct cli_installation *one = &found[i];
		accepted += one->is_accepted;
		/* One that is not used is no problem of this host as long as there is another. */
		findings_add(findings, FINDING_OK, "Postgres",
		        xasprintf("%s in %s%s%s", one->version, one->bin_dir,
		                *one->remark == '\0' ? ""
		                : one->is_accepted   ? ": "
		                                     : ", not used: ",
		                one->remark),
		        NULL);
	}
	if (accepted == 0)
		findings_add(findings, FINDING_FAILURE, "Postgres",
		        xstrdup("no installation of PostgreSQL 16, 17 or 18 was found"),
		        xstrdup("run tools/setup (or install postgresql-17), or name a bin folder in "
		                "TARN_POSTGRES"));
}

/* NULL: there is none, or it is ourselves who are not root. */
static const char *find_postgres_user(const struct settings *settings)
{
	static const char *const names[] = { "tarn", "postgres" };
	const char *user = settings ? settings->postgres_user : NULL;
	for (size_t i = 0; i < ARRAY_LEN(names) && !user && geteuid() == 0; i++)
		if (getpwnam(names[i]))
			user = names[i];
	return user;
}

/* Without it endpoints can be reached all the same, but not through their poolers. */
void check_pooler(
        struct findings *findings, const struct cli_services *services, const struct settings *settings)
{
	char text[512];
	struct error err;
	bool is_there = services->describe_pooler(text, sizeof text, &err) == STATUS_OK;
	if (!is_there)
		findings_add(findings, FINDING_WARNING, "pooler",
		        xasprintf("%s: \"-pooler\" hosts refuse clients", err.message), xstrdup(err.hint));
	else if (services->check_pooler_user(find_postgres_user(settings), &err) != STATUS_OK)
		findings_add(findings, FINDING_WARNING, "pooler",
		        xasprintf("%s: \"-pooler\" hosts refuse clients", err.message), xstrdup(err.hint));
	else
		findings_add(findings, FINDING_OK, "pooler", xasprintf("PgBouncer %s", text), NULL);
}

void check_postgres_user(struct findings *findings, const struct settings *settings)
{
	const char *user = find_postgres_user(settings);
	if (!user && geteuid() != 0) {
		findings_add(findings, FINDING_OK, "Postgres user", xstrdup("Postgres runs as you"), NULL);
		return;
	}
	if (user && getpwnam(user))
		findings_add(findings, FINDING_OK, "Postgres user",
		        xasprintf("Postgres runs as \"%s\"", user), NULL);
	else
		findings_add(findings, FINDING_FAILURE, "Postgres user",
		        xasprintf("user \"%s\" does not exist, and Postgres refuses to run as root",
		                user ? user : "tarn"),
		        xasprintf("useradd --system %s", user ? user : "tarn"));
}

void check_descriptors(struct findings *findings)
{
	struct rlimit limit = { 0 };
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	char *text = xasprintf("a process may open %" PRIu64 " files", (uint64_t)limit.rlim_max);
	if (limit.rlim_max >= DESCRIPTORS_GOOD)
		findings_add(findings, FINDING_OK, "descriptors", text, NULL);
	else
		findings_add(findings,
		        limit.rlim_max >= DESCRIPTORS_NEEDED ? FINDING_WARNING : FINDING_FAILURE,
		        "descriptors", text,
		        xasprintf("allow %u: LimitNOFILE= of the service, or nofile in "
		                  "/etc/security/limits.conf",
		                DESCRIPTORS_GOOD));
}

/* The folder, or the nearest one above it that exists. */
static char *existing_folder(const char *path)
{
	char *folder = xstrdup(path);
	while (!file_exists(folder)) {
		char *slash = strrchr(folder, '/');
		if (!slash || slash == folder) {
			free(folder);
			return xstrdup("/");
		}
		*slash = '\0';
	}
	return folder;
}

void check_disk(struct findings *findings, const char *path)
{
	CLEANUP(free_text) char *folder = existing_folder(path);
	struct statvfs space;
	if (statvfs(folder, &space) < 0) {
		findings_add(findings, FINDING_FAILURE, "disk space",
		        xasprintf("could not look at %s: %s", folder, strerror(errno)), NULL);
		return;
	}
	uint64_t available = (uint64_t)space.f_bavail * space.f_frsize;
	char *text = xasprintf("%.1f GiB free at %s", (double)available / (1 << 30), folder);
	enum finding_grade grade = available >= DISK_GOOD_BYTES     ? FINDING_OK
	                           : available >= DISK_NEEDED_BYTES ? FINDING_WARNING
	                                                            : FINDING_FAILURE;
	findings_add(findings, grade, "disk space", text,
	        grade == FINDING_OK ? NULL : xstrdup("free some, or choose a larger disk with --data"));
}

void check_openssl(struct findings *findings)
{
	bool is_good = OpenSSL_version_num() >= OPENSSL_NEEDED;
	findings_add(findings, is_good ? FINDING_OK : FINDING_FAILURE, "OpenSSL",
	        xstrdup(OpenSSL_version(OPENSSL_VERSION)),
	        is_good ? NULL : xstrdup("OpenSSL 3.0 or newer is needed"));
}

/* cgroup.controllers is one line of names divided by blanks. */
static bool line_has_word(const char *line, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = line; (at = strstr(at, word)); at += len)
		if ((at == line || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\n' || at[len] == '\0'))
			return true;
	return false;
}

void check_cgroup(struct findings *findings)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error ignored;
	const char *form = NULL;
	if (file_read("/sys/fs/cgroup/cgroup.controllers", 4096, &text, &ignored) == STATUS_OK &&
	        text.len > 0 && line_has_word(text.data, "memory") && line_has_word(text.data, "cpu"))
		form = "version 2";
	else if (file_exists("/sys/fs/cgroup/memory/memory.limit_in_bytes") &&
	         file_exists("/sys/fs/cgroup/cpu"))
		form = "version 1";
	if (form)
		findings_add(findings, FINDING_OK, "cgroups",
		        xasprintf("%s with memory and cpu controllers", form), NULL);
	else
		findings_add(findings, FINDING_WARNING, "cgroups", xstrdup("no memory and cpu controllers"),
		        xstrdup("computes run without limits; mount cgroup2 on /sys/fs/cgroup to have their "
		                "size enforced"));
}

/* A listening socket's address; false when the text is no IP address. */
static bool make_address(const char *address, int port, struct sockaddr_storage *out, socklen_t *ret_len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	*out = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*ret_len = sizeof *v4;
		return true;
	}
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	*ret_len = sizeof *v6;
	return true;
}

/* 0, or the errno of listening there. */
static int try_to_listen(const char *address, int port)
{
	struct sockaddr_storage target;
	socklen_t len = 0;
	if (!make_address(address, port, &target, &len))
		return EINVAL;
	CLEANUP(close_fd) int fd = socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	/* As servers do it, so that connections that have just ended do not look like a server. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	        bind(fd, (struct sockaddr *)&target, len) < 0 || listen(fd, 1) < 0)
		return errno;
	return 0;
}

void check_loopback(struct findings *findings)
{
	int failure = try_to_listen("127.64.0.1", 0);
	if (failure == 0)
		findings_add(findings, FINDING_OK, "loopback",
		        xstrdup("addresses such as 127.64.0.1 can be used"), NULL);
	else
		findings_add(findings, FINDING_FAILURE, "loopback",
		        xasprintf("cannot listen on 127.64.0.1: %s", strerror(failure)),
		        xstrdup("every endpoint has a loopback address of its own; bring up the interface: "
		                "ip link set lo up"));
}

void check_port(struct findings *findings, const struct data_directory *dd, const char *what,
        const char *address, int port, const char *role)
{
	CLEANUP(free_text) char *check = xasprintf("port %d", port);
	CLEANUP(free_text) char *lock = xasprintf("run/%s.lock", role);
	struct role_state state = { 0 };
	struct error ignored;
	int failure = try_to_listen(address, port);
	if (failure == 0) {
		findings_add(findings, FINDING_OK, check, xasprintf("free for %s", what), NULL);
		return;
	}
	if (failure == EADDRINUSE && dd && role_look(dd, lock, &state, &ignored) == STATUS_OK &&
	        state.is_ready) {
		findings_add(findings, FINDING_OK, check,
		        xasprintf("held by our own %s (process %d)", role, (int)state.pid), NULL);
		return;
	}
	const char *flag = strcmp(role, "proxy") == 0 ? "--pg-port" : "--api";
	findings_add(findings, FINDING_FAILURE, check,
	        xasprintf("cannot be used for %s: %s", what, strerror(failure)),
	        failure == EADDRINUSE ? xasprintf("see who has it with: ss -ltnp 'sport = :%d'; or choose "
	                                          "another one with %s",
	                                        port, flag)
	                              : xasprintf("choose another one with %s", flag));
}

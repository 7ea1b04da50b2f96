/* Host checks: the single questions `tarn doctor` asks this machine. Each adds one finding or more; none fails. */
#pragma once

#include "cli/cli.h"
#include "cli/finding.h"
#include "data_directory/data_directory.h"

void check_installations(struct findings *findings, const struct cli_services *services);
void check_postgres_user(struct findings *findings, const struct settings *settings);
void check_pooler(
        struct findings *findings, const struct cli_services *services, const struct settings *settings);
void check_descriptors(struct findings *findings);
void check_disk(struct findings *findings, const char *path);
void check_openssl(struct findings *findings);
void check_cgroup(struct findings *findings);
void check_loopback(struct findings *findings);
/* `dd` is NULL before the first `tarn up`; `lock` is the one of the role that may hold the port. */
void check_port(struct findings *findings, const struct data_directory *dd, const char *what,
        const char *address, int port, const char *role);

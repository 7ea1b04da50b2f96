/* `tarn doctor`: checks the host and says what to fix. */
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/fuse_check.h"
#include "cli/host_checks.h"

static const char *const grade_names[] = { "ok", "warning", "failure" };

static void check_data_directory(struct findings *findings, const char *path, struct data_directory **ret_dd)
{
	struct error err;
	status st = data_directory_open(path, ret_dd, &err);
	if (st == STATUS_NOT_FOUND) {
		findings_add(findings, FINDING_OK, "data directory", xasprintf("%s is not there yet", path),
		        xasprintf("tarn up --data %s makes it", path));
		return;
	}
	CLEANUP(free_text) char *token = NULL;
	if (st == STATUS_OK)
		st = admin_token_read(*ret_dd, &token, &err);
	if (st == STATUS_OK)
		findings_add(findings, FINDING_OK, "data directory",
		        xasprintf("%s is readable", (*ret_dd)->path), NULL);
	else
		findings_add(findings, FINDING_FAILURE, "data directory", xstrdup(err.message),
		        *err.hint ? xstrdup(err.hint) : NULL);
}

static void print_text(const struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];
		(void)printf("%-8s %-15s %s\n", grade_names[finding->grade], finding->check, finding->text);
		if (finding->fix)
			(void)printf("%-8s %-15s -> %s\n", "", "", finding->fix);
	}
	size_t failures = findings_count(findings, FINDING_FAILURE),
	       warnings = findings_count(findings, FINDING_WARNING);
	if (failures > 0)
		(void)printf("\n%zu failure%s: Tarn cannot run here until fixed.\n", failures,
		        failures == 1 ? "" : "s");
	else
		(void)printf("\nTarn can run here%s.\n", warnings > 0 ? "; see the warnings" : "");
}

/* {"checks":[{"status","check","message","fix"}]}: stable, scripts read it. */
static void print_json(const struct findings *findings)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *checks = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_val(doc, root, "checks", checks);
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];
		yyjson_mut_val *check = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_str(doc, check, "status", grade_names[finding->grade]);
		yyjson_mut_obj_add_str(doc, check, "check", finding->check);
		yyjson_mut_obj_add_str(doc, check, "message", finding->text);
		if (finding->fix)
			yyjson_mut_obj_add_str(doc, check, "fix", finding->fix);
		yyjson_mut_arr_append(checks, check);
	}
	CLEANUP(free_text) char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
	(void)puts(text ? text : "{}");
	yyjson_mut_doc_free(doc);
}

static const struct option known[] = { DATA_OPTION, OUTPUT_OPTION, HELP_OPTION, { 0 } };

static int doctor_main(const struct cli_services *services, int argc, char **argv)
{
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	enum output_form form;
	int code = 0;
	if (!command_begin(&doctor_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 0, "tarn doctor [--data DIR] [-o json]", &err) != STATUS_OK ||
	        output_form_parse(&options, &form, &err) != STATUS_OK)
		return print_usage_failure(&err, "doctor");

	const char *given = option_value(&options, "data");
	CLEANUP(free_text) char *path = given ? xstrdup(given) : data_directory_default();
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	CLEANUP(findings_done) struct findings findings = { 0 };
	check_data_directory(&findings, path, &dd);
	check_installations(&findings, services);
	check_postgres_user(&findings, dd ? &dd->settings : NULL);
	check_pooler(&findings, services, dd ? &dd->settings : NULL);
	check_port(&findings, dd, "the REST API", dd ? dd->settings.api_address : "127.0.0.1",
	        dd ? dd->settings.api_port : 8080, "control");
	check_port(&findings, dd, "Postgres", "0.0.0.0", dd ? dd->settings.pg_port : 5432, "proxy");
	check_loopback(&findings);
	check_disk(&findings, path);
	check_descriptors(&findings);
	check_openssl(&findings);
	check_cgroup(&findings);
	check_fuse(&findings);
	if (form == OUTPUT_JSON)
		print_json(&findings);
	else
		print_text(&findings);
	return findings_count(&findings, FINDING_FAILURE) > 0 ? EXIT_FAILED : 0;
}

const struct command doctor_command = {
	.name = "doctor",
	.summary = "check this machine and say what to fix",
	.help = "Usage: tarn doctor [--data DIR] [-o json]\n"
	        "\n"
	        "Checks what Tarn needs of this machine: Postgres installations, PgBouncer, ports, disk "
	        "space, the user "
	        "Postgres runs\n"
	        "as, limits, cgroups, FUSE. Changes nothing. Exit code 1 if something must be fixed.\n"
	        "\n"
	        "Flags:\n"
	        "  --data DIR         data directory (default: /var/lib/tarn for root, ~/.tarn for others)\n"
	        "  -o, --output json  for scripts\n"
	        "\n"
	        "Example:\n"
	        "  tarn doctor --data /srv/tarn\n",
	.run = doctor_main,
	.options = known,
};

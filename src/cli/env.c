/* `tarn env`: what other clients need to find this Tarn, for `eval "$(tarn env)"`. */
#include <stdio.h>

#include "base/buffer.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/shell_word.h"

static void print_export(const char *name, const char *value)
{
	CLEANUP(free_text) char *word = shell_word(value);
	(void)printf("export %s=%s\n", name, word);
}

static const struct option known[] = { DATA_OPTION, HELP_OPTION, { 0 } };

static int env_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	int code = 0;
	if (!command_begin(&env_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 0, "tarn env [--data DIR]", &err) != STATUS_OK)
		return print_usage_failure(&err, "env");

	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	CLEANUP(free_text) char *token = NULL;
	if (local_data_directory(&options, &dd, &err) != STATUS_OK ||
	        admin_token_read(dd, &token, &err) != STATUS_OK)
		return print_failure(&err);
	CLEANUP(free_text) char *url = local_api_url(&dd->settings);
	CLEANUP(free_text) char *certificate = database_root_certificate(dd);
	CLEANUP(free_text) char *authority = data_directory_path(dd, "authority.crt");
	print_export("DATABRICKS_HOST", url);
	print_export("DATABRICKS_TOKEN", token);
	print_export("PGSSLROOTCERT", certificate);
	/* In addition to what Node trusts anyway. */
	print_export("NODE_EXTRA_CA_CERTS", dd->settings.tls_root ? certificate : authority);
	return 0;
}

const struct command env_command = {
	.name = "env",
	.summary = "print the variables other clients need: eval \"$(tarn env)\"",
	.help = "Usage: eval \"$(tarn env [--data DIR])\"\n"
	        "\n"
	        "Prints export lines for DATABRICKS_HOST and DATABRICKS_TOKEN (the REST API, as the admin) "
	        "and for\n"
	        "PGSSLROOTCERT and NODE_EXTRA_CA_CERTS (the certificate that signs the database servers'). "
	        "With them the\n"
	        "Databricks SDKs and CLI, Terraform and psql with sslmode=verify-full work without further "
	        "settings.\n"
	        "The output holds a secret: keep it out of logs.\n"
	        "\n"
	        "Flags:\n"
	        "  --data DIR    data directory (default: /var/lib/tarn for root, ~/.tarn for others)\n"
	        "\n"
	        "Example:\n"
	        "  eval \"$(tarn env)\"\n"
	        "  curl -H \"Authorization: Bearer $DATABRICKS_TOKEN\" "
	        "\"$DATABRICKS_HOST/api/2.0/postgres/projects\"\n",
	.run = env_main,
	.options = known,
};

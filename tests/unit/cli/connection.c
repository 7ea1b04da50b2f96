/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/connection.h"
#include "cli/profile_file.h"

static const struct option known[] = { CONNECTION_OPTIONS, { 0 } };

static const char profiles[] = "[DEFAULT]\n"
                               "host = https://default/?o=1\n"
                               "token = d\n"
                               "[work]\n"
                               "host = work.example\n"
                               "token = w\n"
                               "[client]\n"
                               "host = http://127.0.0.1:1/\n"
                               "client_id = c\n"
                               "client_secret = s\n"
                               "[hostless]\n"
                               "token = h\n"
                               "[both]\n"
                               "host = http://both\n"
                               "token = b\n"
                               "client_id = c\n"
                               "client_secret = s\n"
                               "[login]\n"
                               "host = http://login\n"
                               "auth_type = databricks-cli\n"
                               "[outside]\n"
                               "host = http://outside\n"
                               "client_id = o\n"
                               "auth_type = file-oidc\n"
                               "oidc_token_filepath = /run/token\n"
                               "[empty]\n"
                               "host http://no\n"
                               "[evil]\n"
                               "host = http://a@b\n"
                               "token = e\n";

static const char *const variables[] = { "DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID",
	"DATABRICKS_CLIENT_SECRET", "DATABRICKS_AUTH_TYPE", "DATABRICKS_CONFIG_PROFILE",
	"DATABRICKS_OIDC_TOKEN", "DATABRICKS_OIDC_TOKEN_ENV", "DATABRICKS_OIDC_TOKEN_FILEPATH", "MY_TOKEN" };
static char folder[] = "/tmp/tarn-test-XXXXXX";
static char config[64];

static void write_config(const char *text)
{
	struct error err;
	assert_int_equal(file_replace_durably(config, slice_from_text(text), 0600, &err), STATUS_OK);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(config, sizeof config, "%s/config", folder);
	(void)setenv("DATABRICKS_CONFIG_FILE", config, 1);
	(void)setenv("TARN_DATA", folder, 1); /* no data directory */
	return 0;
}

static int take_down(void **state)
{
	(void)state;
	struct error err;
	return tree_remove(folder, &err) == STATUS_OK ? 0 : 1;
}

static int forget(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		(void)unsetenv(variables[i]);
	write_config(profiles);
	return 0;
}

/* Finds a connection as `tarn X --profile PROFILE` would; NULL: without the flag. */
static status find(const char *profile, struct connection *ret, struct error *err)
{
	const char *const argv[] = { "x", "--profile", profile ? profile : "" };
	CLEANUP(options_done) struct options options = { 0 };
	*err = (struct error){ 0 };
	assert_int_equal(
	        options_parse(profile ? 3 : 1, (char **)(uintptr_t)argv, known, &options, err), STATUS_OK);
	return connection_find(&options, ret, err);
}

static void found(
        const char *profile, const char *url, const char *token, const char *client, const char *origin)
{
	CLEANUP(connection_done) struct connection connection = { 0 };
	struct error err;
	if (find(profile, &connection, &err) != STATUS_OK)
		fail_msg("%s", err.message);
	assert_string_equal(connection.url, url);
	assert_string_equal(connection.token ? connection.token : "", token);
	assert_string_equal(connection.client_id ? connection.client_id : "", client);
	if (!strstr(connection.origin, origin))
		fail_msg("\"%s\" is not from \"%s\"", connection.origin, origin);
}

static void refused(const char *profile, const char *words)
{
	CLEANUP(connection_done) struct connection connection = { 0 };
	struct error err;
	assert_int_not_equal(find(profile, &connection, &err), STATUS_OK);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void profiles_are_chosen(void **state)
{
	(void)state;
	found(NULL, "https://default", "d", "", "profile \"DEFAULT\"");
	found("work", "https://work.example", "w", "", "profile \"work\"");
	found("client", "http://127.0.0.1:1", "", "c", "host and client_secret from profile \"client\"");
	(void)setenv("DATABRICKS_CONFIG_PROFILE", "work", 1);
	found(NULL, "https://work.example", "w", "", "profile \"work\"");
	found("client", "http://127.0.0.1:1", "", "c", "profile \"client\"");
	(void)unsetenv("DATABRICKS_CONFIG_PROFILE");
	write_config("[__settings__]\ndefault_profile = "
	             "b\n[DEFAULT]\nhost=http://a\ntoken=a\n[b]\nhost=http://b\ntoken=b\n");
	found(NULL, "http://b", "b", "", "profile \"b\"");
	write_config("[__settings__]\ndefault_profile = c\n");
	refused(NULL, "has no profile \"c\", which its default_profile names");
}

static void the_environment_goes_before_a_profile_it_names_and_behind_the_flag(void **state)
{
	(void)state;
	(void)setenv("DATABRICKS_HOST", "http://env:80/", 1);
	(void)setenv("DATABRICKS_TOKEN", "e", 1);
	found(NULL, "http://env:80", "e", "", "host from DATABRICKS_HOST, token from DATABRICKS_TOKEN");
	found("work", "https://work.example", "w", "", "profile \"work\"");
	found("hostless", "http://env:80", "h", "",
	        "host from DATABRICKS_HOST, token from profile \"hostless\"");
	(void)setenv("DATABRICKS_CONFIG_PROFILE", "work", 1);
	found(NULL, "http://env:80", "e", "", "DATABRICKS_TOKEN");
	(void)unsetenv("DATABRICKS_TOKEN");
	found(NULL, "http://env:80", "w", "", "token from profile \"work\"");
}

static void two_ways_to_log_in_need_a_choice(void **state)
{
	(void)state;
	refused("both", "more than one authorization method");
	(void)setenv("DATABRICKS_HOST", "http://env", 1);
	(void)setenv("DATABRICKS_TOKEN", "e", 1);
	(void)setenv("DATABRICKS_CLIENT_ID", "i", 1);
	found(NULL, "http://env", "e", "", "DATABRICKS_TOKEN"); /* half a client is none */
	(void)setenv("DATABRICKS_CLIENT_SECRET", "s", 1);
	refused(NULL, "more than one authorization method");
	(void)setenv("DATABRICKS_AUTH_TYPE", "oauth-m2m", 1);
	found(NULL, "http://env", "", "i", "client_secret from DATABRICKS_CLIENT_SECRET");
	(void)setenv("DATABRICKS_AUTH_TYPE", "pat", 1);
	found(NULL, "http://env", "e", "", "DATABRICKS_TOKEN");
	(void)setenv("DATABRICKS_AUTH_TYPE", "azure-cli", 1);
	refused(NULL, "auth_type \"azure-cli\" (from DATABRICKS_AUTH_TYPE)");
}

static void mistakes_say_where_they_are(void **state)
{
	(void)state;
	refused("nope", "has no profile \"nope\" (from --profile)");
	refused("__settings__", "is no profile");
	refused("login", "auth_type \"databricks-cli\" (from profile \"login\"");
	refused("empty", "profile \"empty\" (from --profile) of file");
	refused("evil", "the host in profile \"evil\"");
	refused("hostless", "no host: set DATABRICKS_HOST");
	(void)setenv("DATABRICKS_CONFIG_PROFILE", "lost", 1);
	refused(NULL, "(from DATABRICKS_CONFIG_PROFILE)");
	(void)unsetenv("DATABRICKS_CONFIG_PROFILE");
	(void)setenv("DATABRICKS_TOKEN", "e", 1);
	refused(NULL, "there is a token (from DATABRICKS_TOKEN) but no host");
	(void)unsetenv("DATABRICKS_TOKEN");
	(void)setenv("DATABRICKS_HOST", "http://env", 1);
	refused(NULL, "no token");
	(void)setenv("DATABRICKS_CLIENT_ID", "i", 1);
	refused(NULL, "no client_secret");
	(void)setenv("DATABRICKS_CLIENT_SECRET", "s\nX: y", 1);
	refused(NULL, "the client_secret in DATABRICKS_CLIENT_SECRET has characters");
	(void)setenv("DATABRICKS_HOST", "ftp://env", 1);
	refused(NULL, "the host in DATABRICKS_HOST must be a URL");
	write_config("[work]\nhost\n");
	refused("work", "line 2");
	assert_int_equal(unlink(config), 0);
	refused("work", "profile \"work\" (from --profile)");
	forget(NULL);
	assert_int_equal(unlink(config), 0);
	refused(NULL, "is not a data directory of Tarn");
}

/* Else one server could send the token of another to itself. */
static void a_server_writes_no_lines_into_the_file(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(free_text) char *path = NULL;
	static const char *const tokens[] = { "t\n[work]\nhost = http://evil", "t\r", "t #", "t;" };
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
		assert_int_equal(profile_save("new", "http://new", tokens[i], &path, &err), STATUS_INVALID);
		found("work", "https://work.example", "w", "", "profile \"work\"");
	}
	assert_int_equal(profile_save("new", "http://new", "dapi0123", &path, &err), STATUS_OK);
	found("new", "http://new", "dapi0123", "", "profile \"new\"");
	found("work", "https://work.example", "w", "", "profile \"work\"");
}

static void uses(const char *profile, const char *type, const char *client, const char *origin)
{
	CLEANUP(connection_done) struct connection connection = { 0 };
	struct error err;
	if (find(profile, &connection, &err) != STATUS_OK)
		fail_msg("%s", err.message);
	assert_string_equal(connection_auth_type(&connection), type);
	assert_string_equal(connection.client_id ? connection.client_id : "", client);
	if (!strstr(connection.origin, origin))
		fail_msg("\"%s\" is not from \"%s\"", connection.origin, origin);
}

static void tokens_of_outside_issuers_are_shown_when_there_is_nothing_else(void **state)
{
	(void)state;
	uses("outside", "file-oidc", "o", "the token of an outside issuer from file /run/token");
	uses("client", "oauth-m2m", "c", "client_secret from profile \"client\"");
	(void)setenv("DATABRICKS_HOST", "http://env", 1);
	(void)setenv("DATABRICKS_CLIENT_ID", "c", 1);
	refused(NULL, "there is a host (from DATABRICKS_HOST) but no client_secret");
	(void)setenv("DATABRICKS_OIDC_TOKEN_FILEPATH", "/f", 1);
	uses(NULL, "file-oidc", "c", "from file /f");
	(void)setenv("DATABRICKS_OIDC_TOKEN", "jwt", 1);
	uses(NULL, "env-oidc", "c", "from DATABRICKS_OIDC_TOKEN");
	(void)setenv("DATABRICKS_OIDC_TOKEN_ENV", "MY_TOKEN", 1);
	uses(NULL, "file-oidc", "c", "from file /f"); /* the variable that is named is not set */
	(void)setenv("MY_TOKEN", "jwt", 1);
	uses(NULL, "env-oidc", "c", "from MY_TOKEN");
	(void)setenv("DATABRICKS_CLIENT_SECRET", "s", 1);
	uses(NULL, "oauth-m2m", "c", "DATABRICKS_CLIENT_SECRET");
	(void)setenv("DATABRICKS_AUTH_TYPE", "env-oidc", 1);
	uses(NULL, "env-oidc", "c", "from MY_TOKEN");
	(void)unsetenv("DATABRICKS_OIDC_TOKEN_FILEPATH");
	(void)setenv("DATABRICKS_AUTH_TYPE", "file-oidc", 1);
	refused(NULL, "but no oidc_token_filepath: set DATABRICKS_OIDC_TOKEN_FILEPATH");
	(void)setenv("DATABRICKS_AUTH_TYPE", "github-oidc", 1);
	refused(NULL, "is not one that tarn knows");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(profiles_are_chosen, forget),
		cmocka_unit_test_setup(
		        the_environment_goes_before_a_profile_it_names_and_behind_the_flag, forget),
		cmocka_unit_test_setup(two_ways_to_log_in_need_a_choice, forget),
		cmocka_unit_test_setup(
		        tokens_of_outside_issuers_are_shown_when_there_is_nothing_else, forget),
		cmocka_unit_test_setup(mistakes_say_where_they_are, forget),
		cmocka_unit_test_setup(a_server_writes_no_lines_into_the_file, forget),
	};
	return cmocka_run_group_tests(tests, set_up, take_down);
}

/*
 * Stands in for `tarn pagefs` on the other end of the line protocol (docs/architecture.md): nothing is mounted. What it does, the name of
 * the volume says.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *line)
{
	if (write(3, line, strlen(line)) < 0 || write(3, "\n", 1) < 0)
		_exit(3);
}

static void answer(const char *mode, long id, const char *action)
{
	char line[512];
	bool is_cut = strcmp(action, "cut") == 0, is_look = strcmp(action, "look") == 0;
	if (strcmp(mode, "silent") == 0)
		return;
	if (strcmp(mode, "breaks") == 0) {
		say("{\"state\":\"failed\",\"error\":{\"code\":\"IO\",\"message\":\"no disk\"}}");
		(void)pause(); /* whatever it does then */
	}
	if (strcmp(mode, "dies") == 0)
		(void)raise(SIGKILL);
	if (strcmp(mode, "nonsense") == 0)
		(void)snprintf(line, sizeof line, "{\"id\":%ld,\"layers\":[{\"store\":\"s\"}]}", id);
	else if (strcmp(mode, "stranger") == 0)
		(void)snprintf(line, sizeof line, "{\"id\":%ld}", id + 1000);
	else if (strcmp(mode, "refuses") == 0)
		(void)snprintf(line, sizeof line,
		        "{\"id\":%ld,\"error\":{\"code\":\"NO_SPACE\",\"message\":\"no room\"}}", id);
	else if (is_cut)
		(void)snprintf(line, sizeof line,
		        "{\"id\":%ld,\"layers\":[{\"store\":\"template-17\",\"id\":\"t.1\",\"version\":0},"
		        "{\"store\":\"s\",\"id\":\"good.2\",\"version\":3}],\"pages\":123,\"pause_usec\":80,"
		        "\"logical_bytes\":4096}",
		        id);
	else if (is_look)
		(void)snprintf(line, sizeof line,
		        "{\"id\":%ld,\"logical_bytes\":8192,\"open_pages\":7,\"unsynced_pages\":2,\"depth\":"
		        "4,"
		        "\"pages_bad\":1,\"first_bad\":\"base/1/2 page 3\"}",
		        id);
	else
		(void)snprintf(line, sizeof line, "{\"id\":%ld}", id);
	say(line);
	if (strcmp(action, "unmount") == 0 && strcmp(mode, "refuses") != 0)
		_exit(0);
}

int main(int argc, char **argv)
{
	/* pagefs --data DIR --store STORE --volume ID --mount PATH */
	if (argc != 10 || strcmp(argv[1], "pagefs") != 0 || strcmp(argv[2], "--data") != 0 ||
	        strcmp(argv[4], "--store") != 0 || strcmp(argv[6], "--volume") != 0 ||
	        strcmp(argv[8], "--mount") != 0)
		return 2;
	const char *mode = argv[7];
	(void)alarm(60);
	if (strcmp(mode, "conflict") == 0) {
		say("{\"state\":\"failed\",\"error\":{\"code\":\"CONFLICT\",\"message\":\"in "
		    "use\",\"hint\":\"Wait.\"}}");
		return 1;
	}
	if (strcmp(mode, "stillborn") == 0)
		return 7;
	if (strcmp(mode, "babble") == 0) {
		say("[1,2]");
		(void)pause();
	}
	say("{\"state\":\"mounted\",\"pid\":1}");
	FILE *in = fdopen(3, "r");
	char line[512], action[32];
	long id;
	while (in && fgets(line, sizeof line, in))
		if (sscanf(line, "{\"id\":%ld,\"do\":\"%31[a-z]\"}", &id, action) == 2)
			answer(mode, id, action);
	/* Not through exit(): a leak checker that is at work there would keep the killed one from being waited for. */
	_exit(0);
}

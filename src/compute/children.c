#include "compute/children.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/number.h"

#define LIST_MAX    (1u << 20)
#define CMDLINE_MAX 4096

void children_each(pid_t parent, child_fn on_child, void *owner)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
	CLEANUP(close_listing) DIR *tasks = opendir(path);
	for (struct dirent *item; tasks && (item = readdir(tasks));) {
		CLEANUP(buffer_done) struct buffer text = { 0 };
		CLEANUP(free_text)
		char *list = xasprintf("/proc/%d/task/%s/children", (int)parent, item->d_name);
		struct error err;
		if (item->d_name[0] == '.' || file_read(list, LIST_MAX, &text, &err) != STATUS_OK)
			continue; /* the thread has ended */
		for (const char *p = text.data; p && *p;) {
			size_t len = strcspn(p, " ");
			int64_t child;
			if (number_parse((struct slice){ (const uint8_t *)p, len }, 1, INT32_MAX, &child))
				on_child(owner, (pid_t)child);
			p += len;
			p += *p == ' ';
		}
	}
}

struct search {
	const char *title;
	pid_t found;
};

static void look(void *owner, pid_t child)
{
	struct search *search = owner;
	char path[64];
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)child);
	if (file_read(path, CMDLINE_MAX, &text, &err) == STATUS_OK && text.data &&
	        strncmp(text.data, search->title, strlen(search->title)) == 0)
		search->found = child;
}

pid_t children_find(pid_t parent, const char *title)
{
	struct search search = { .title = title };
	children_each(parent, look, &search);
	return search.found;
}

#include "control_plane/metrics_text.h"

#include "base/utf8.h"

void metrics_head(struct buffer *out, const char *name, const char *kind, const char *help)
{
	buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

void metrics_gauge(struct buffer *out, const char *name, const char *help, double value)
{
	metrics_head(out, name, "gauge", help);
	buffer_printf(out, "%s %.17g\n", name, value);
}

void metrics_counter(struct buffer *out, const char *name, const char *help, double value)
{
	metrics_head(out, name, "counter", help);
	buffer_printf(out, "%s %.17g\n", name, value);
}

void metrics_add_label(struct buffer *labels, const char *name, const char *value)
{
	CLEANUP(free_text) char *clean = xstrdup(value);
	utf8_clean(clean);
	buffer_printf(labels, "%s%s=\"", labels->len > 0 ? "," : "", name);
	for (const char *c = clean; *c; c++) {
		if (*c == '\n')
			buffer_append_text(labels, "\\n");
		else if (*c == '"' || *c == '\\')
			buffer_printf(labels, "\\%c", *c);
		else
			buffer_append(labels, c, 1);
	}
	buffer_append_text(labels, "\"");
}

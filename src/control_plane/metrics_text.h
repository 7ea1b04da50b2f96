/*
 * Metrics text: Prometheus' text format 0.0.4, written. All samples of a metric stand together, behind its head.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

/* kind: "counter", "gauge", "histogram", "summary". help is one line of ours. */
void metrics_head(struct buffer *out, const char *name, const char *kind, const char *help);
/* With their head; one sample without labels. */
void metrics_gauge(struct buffer *out, const char *name, const char *help, double value);
void metrics_counter(struct buffer *out, const char *name, const char *help, double value);
/* name="value", escaped; with a comma in front unless it is the first in `labels`. */
void metrics_add_label(struct buffer *labels, const char *name, const char *value);

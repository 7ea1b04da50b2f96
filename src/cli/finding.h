/* Findings: what `tarn doctor` found out about the host, one line per check. */
#pragma once

#include "base/base.h"

enum finding_grade { FINDING_OK, FINDING_WARNING, FINDING_FAILURE };

struct finding {
	enum finding_grade grade;
	char *check; /* "disk space" */
	char *text;  /* what was found */
	char *fix;   /* what to do; NULL when nothing */
};

struct findings {
	struct finding *list;
	size_t count;
};

/* Takes over text and fix (fix may be NULL). */
void findings_add(
        struct findings *findings, enum finding_grade grade, const char *check, char *text, char *fix);
size_t findings_count(const struct findings *findings, enum finding_grade grade);
void findings_done(struct findings *findings);

#include "cli/finding.h"

#include <stdlib.h>

void findings_add(
        struct findings *findings, enum finding_grade grade, const char *check, char *text, char *fix)
{
	findings->list = xrealloc(findings->list, (findings->count + 1) * sizeof *findings->list);
	findings->list[findings->count++] =
	        (struct finding){ .grade = grade, .check = xstrdup(check), .text = text, .fix = fix };
}

size_t findings_count(const struct findings *findings, enum finding_grade grade)
{
	size_t count = 0;
	for (size_t i = 0; i < findings->count; i++)
		count += findings->list[i].grade == grade;
	return count;
}

void findings_done(struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++) {
		free(findings->list[i].check);
		free(findings->list[i].text);
		free(findings->list[i].fix);
	}
	free(findings->list);
	*findings = (struct findings){ 0 };
}

/* What an operation works with, from the metadata (job.h). */
#include "control_plane/job.h"

void job_rows_done(struct job_rows *rows)
{
	project_row_done(&rows->project);
	endpoint_row_done(&rows->endpoint);
}

status job_rows_load(const struct job *job, struct job_rows *ret, struct error *err)
{
	struct metadata *md = job->services->md;
	status st = project_row_get(md, job->operation.project, &ret->project, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.branch, &ret->branch, err);
	if (st != STATUS_OK)
		return st;
	return job->operation.endpoint != 0
	               ? endpoint_row_get(md, job->operation.endpoint, &ret->endpoint, err)
	               : endpoint_row_find_writer(md, ret->branch.id, &ret->endpoint, err);
}

#include "compute/job.h"

#include <assert.h>
#include <stdlib.h>

struct job {
	uv_work_t request;
	job_work_fn work;
	job_done_fn on_done;
	void *input, *owner;
	status result;
	struct error err;
};

static void job_run(uv_work_t *request)
{
	struct job *job = request->data;
	job->result = job->work(job->input, &job->err);
}

static void job_ended(uv_work_t *request, int canceled)
{
	struct job *job = request->data;
	assert(canceled == 0);
	(void)canceled;
	job->on_done(job->owner, job->input, job->result == STATUS_OK ? NULL : &job->err);
	free(job);
}

void job_start(uv_loop_t *loop, job_work_fn work, void *input, job_done_fn on_done, void *owner)
{
	struct job *job = xcalloc(1, sizeof *job);
	*job = (struct job){ .work = work, .on_done = on_done, .input = input, .owner = owner };
	job->request.data = job;
	int rc = uv_queue_work(loop, &job->request, job_run, job_ended);
	assert(rc == 0); /* fails only without a work function */
	(void)rc;
}

#include "control_plane/moment_fields.h"

#include "base/number.h"
#include "control_plane/lineage.h"
#include "control_plane/origin.h"

bool moment_read(const char *path, const struct text_field *lsn, const struct time_field *time,
        struct moment *ret, struct api_error *error)
{
	struct moment moment = { .kind = MOMENT_HEAD };
	if (lsn->is_set && time->is_set)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Fields '%ssource_branch_lsn' and '%ssource_branch_time': only one of them may be "
		        "set.",
		        path, path);
	if (lsn->is_set) {
		moment.kind = MOMENT_LSN;
		if (!lsn_parse(slice_from_text(lsn->text), &moment.lsn) || moment.lsn == 0)
			return api_fail(error, API_INVALID_PARAMETER,
			        "Field '%ssource_branch_lsn' must be an LSN such as 0/1A2B3C8, not '%.60s'.",
			        path, lsn->text);
	}
	if (time->is_set) {
		moment.kind = MOMENT_TIME;
		moment.time_usec = time->usec;
	}
	*ret = moment;
	return true;
}

bool moment_check(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct moment *moment)
{
	struct error err;
	struct lineage lineage;
	struct origin_window window;
	if (moment->kind == MOMENT_TIME && moment->time_usec > call->now_usec)
		return api_fail(
		        &call->error, API_INVALID_PARAMETER, "source_branch_time must not be in the future");
	if (moment->kind == MOMENT_HEAD || !branch->is_ready || branch->is_resetting)
		return true; /* it will have another history when this request's turn comes */
	if (lineage_of_branch(call->services->md, branch, &lineage, &err) != STATUS_OK)
		return call_fail(call, &err);
	status st = origin_window(
	        call->services->dd, project->uid, &lineage, project->history_retention_usec, &window, &err);
	if (st == STATUS_OK)
		st = origin_check(&window, moment, call->now_usec, &err);
	return st == STATUS_OK || st == STATUS_NOT_FOUND || call_fail(call, &err);
}

/*
 * end - how a call ends: its outcome is set, counted, shown in the log at debug level, and told. Of
 * the files of core it stands at the bottom, core.c at the top. Runs in every worker; cannot fail.
 */
#include <inttypes.h>

#include "proto/base/clock.h"
#include "workers/core/internal.h"

void core_trace(const struct core *core, const struct core_call *call, const char *sequence)
{
    const struct request *request = &call->request;
    log_debug("request %u.%s: %s %.*s: %s after %" PRIu64 " us", core->child->channel, sequence,
              op_info(request->op)->name, (int)request->key.len, (const char *)request->key.data,
              status_info(call->reply.status)->name, (clock_ns() - call->state.started_ns) / 1000);
}

static void trace_submitted(const struct core *core, const struct core_call *call)
{
    char sequence[24];
    snprintf(sequence, sizeof sequence, "%" PRIu64, call->state.sequence);
    core_trace(core, call, sequence);
}

void core_leave(struct core *core, struct core_call *call)
{
    deadlines_remove(&core->deadlines, call);
    if (call == &call->state.store->probe)
        core->probes--;
}

void core_end(struct core_call *call, enum status status)
{
    struct core_store *store = call->state.store;
    struct core *core = store->core;
    core_leave(core, call);
    call->reply.status = status;
    call->error = call->state.given_up ? core_given_up_text(status)
                                       : core_error_text(store, &call->reply, call->request.op);
    if (call != &store->probe)
        core_count_ended(core, call);
    if (log_level() == LOG_DEBUG)
        trace_submitted(core, call);
    core->ended++;
    call->done(call);
}

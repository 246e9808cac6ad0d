/*
 * dispatch - see dispatch.h. Runs in a store.
 *
 * What comes from a channel is a worker's word and may be anything: it is copied out, bounded and
 * checked here, so that engines see only requests that make sense. A request that does not is
 * answered STATUS_INVALID and harms nobody else.
 */
#include "store/dispatch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "proto/base/log.h"
#include "store/order.h"

struct dispatch {
    const struct engine_ops *ops;
    struct engine *engine;
    struct bulk *bulk;
    struct order *order;
    uint64_t max_value;
    unsigned channels;
    struct channel_store *ends;
    uint64_t *applied; /* per channel: what a predecessor had applied but may not have answered */
    struct channel_submission submission;
    uint64_t taken, replayed, refused, late;
};

/* ---- Answers ---- */

static void publish(struct dispatch *dispatch, uint32_t channel, uint64_t sequence,
                    const struct reply *reply)
{
    if (log_level() == LOG_DEBUG)
        log_debug("request %" PRIu32 ".%" PRIu64 ": %s", channel, sequence,
                  status_info(reply->status)->name);
    struct channel_store *end = &dispatch->ends[channel];
    struct channel_completion *slot = channel_store_slot(end);
    bool large = reply->value.len > sizeof slot->payload;
    slot->revision = reply->revision;
    slot->number = reply->number;
    slot->value_len = (uint32_t)reply->value.len;
    slot->status = (uint16_t)reply->status;
    slot->flags = large ? CHANNEL_BULK : 0;
    if (large)
        bulk_keep(dispatch->bulk, channel, sequence, reply->value);
    else if (reply->value.len > 0)
        memcpy(slot->payload, reply->value.data, reply->value.len);
    failpoint("store.before_completion");
    channel_store_commit(end);
}

/* Publishes the answer and those that waited for it, or lets it wait for its predecessors. */
static void complete(void *context, uint32_t channel, uint64_t sequence, const struct reply *reply)
{
    struct dispatch *dispatch = context;
    struct channel_store *end = &dispatch->ends[channel];
    if (sequence < end->completed || sequence >= end->taken)
        panic("channel %u: answer %llu is not awaited, %llu is next", channel,
              (unsigned long long)sequence, (unsigned long long)end->completed);
    if (sequence != end->completed) {
        order_hold(dispatch->order, channel, sequence, reply);
        return;
    }
    publish(dispatch, channel, sequence, reply);
    while ((reply = order_take(dispatch->order, channel, end->completed)))
        publish(dispatch, channel, end->completed, reply);
}

static void refuse(struct dispatch *dispatch, const struct engine_call *call, enum status status)
{
    struct reply reply = {.status = status};
    complete(dispatch, call->channel, call->sequence, &reply);
}

/* ---- Submissions ---- */

/* Whether the lengths fit the slot and the limits. */
static bool is_sane(const struct dispatch *dispatch, const struct channel_submission *submission)
{
    size_t room = sizeof submission->payload;
    bool bulk = submission->flags & CHANNEL_BULK;
    return op_info((enum op)submission->op) && submission->key_len >= 1 &&
           submission->key_len <= KEY_MAX && submission->value_len <= dispatch->max_value &&
           (bulk || submission->value_len <= room - submission->key_len);
}

/* The value of a submission, staged or inline. False when a staged one is not there (any more). */
static bool value_of(struct dispatch *dispatch, uint32_t channel,
                     const struct channel_submission *submission, struct bytes *value_r)
{
    if (!(submission->flags & CHANNEL_BULK)) {
        *value_r = (struct bytes){submission->payload + submission->key_len, submission->value_len};
        return true;
    }
    return bulk_staged(dispatch->bulk, channel, submission->bulk_id, value_r) &&
           value_r->len == submission->value_len;
}

/* What only a broken worker would send: an item that no set can hold, and so on. */
static bool is_meaningful(const struct request *request)
{
    switch (op_info(request->op)->takes) {
    case OP_TAKES_ITEM:
        return request->value.len >= 1 && request->value.len <= KEY_MAX;
    case OP_TAKES_FLAG:
        return request->number == 0 || request->number == 1;
    case OP_TAKES_CACHED:
        return request->value.len >= 1;
    case OP_TAKES_NOTHING:
    case OP_TAKES_VALUE:
    case OP_TAKES_NUMBER:
        break;
    }
    return true;
}

static void hand_over(struct dispatch *dispatch, uint32_t channel, uint64_t sequence)
{
    const struct channel_submission *submission = &dispatch->submission;
    struct engine_call call = {
        .channel = channel, .sequence = sequence, .deadline_ns = submission->deadline_ns};

    failpoint("store.after_take");
    if (!is_sane(dispatch, submission)) {
        dispatch->refused++;
        refuse(dispatch, &call, STATUS_INVALID);
        return;
    }
    bool was_applied = sequence < dispatch->applied[channel];
    call.request = (struct request){
        .op = (enum op)submission->op,
        .key = {submission->payload, submission->key_len},
        .number = submission->number,
        .expiry_ms = submission->expiry_ms,
    };
    if (log_level() == LOG_DEBUG) /* as the worker calls it, see workers/core/core.c */
        log_debug("request %" PRIu32 ".%" PRIu64 ": %s %.*s", channel, sequence,
                  op_info(call.request.op)->name, (int)submission->key_len, submission->payload);
    bool staged = value_of(dispatch, channel, submission, &call.request.value);
    if (staged && !is_meaningful(&call.request)) {
        dispatch->refused++;
        refuse(dispatch, &call, STATUS_INVALID);
    } else if (was_applied && (staged || dispatch->ops->applied)) {
        dispatch->replayed++;
        dispatch->ops->replay(dispatch->engine, &call);
    } else if (!staged) {
        refuse(dispatch, &call, STATUS_RESTAGE);
    } else if (submission->deadline_ns && submission->deadline_ns < clock_ns()) {
        dispatch->late++;
        refuse(dispatch, &call, STATUS_DEADLINE);
    } else {
        failpoint("store.before_apply");
        dispatch->ops->submit(dispatch->engine, &call);
    }
}

static unsigned take_batch(struct dispatch *dispatch, uint32_t channel)
{
    struct channel_store *end = &dispatch->ends[channel];
    unsigned n = 0;
    uint64_t sequence, word;
    while (n < dispatch->ops->batch && channel_store_take(end, &dispatch->submission, &sequence)) {
        hand_over(dispatch, channel, sequence);
        n++;
    }
    for (int i = 0; i < CHANNEL_HITS && channel_store_hit(end, &word); i++)
        dispatch->ops->hit(dispatch->engine, word);
    return n;
}

/* Before an engine passes on what it was given, its successor's rule is written down. */
static void record_sent(struct dispatch *dispatch)
{
    for (uint32_t channel = 0; channel < dispatch->channels; channel++)
        channel_store_send(&dispatch->ends[channel]);
}

static void wake_workers(struct dispatch *dispatch)
{
    for (uint32_t channel = 0; channel < dispatch->channels; channel++)
        channel_store_flush(&dispatch->ends[channel]);
}

unsigned dispatch_round(struct dispatch *dispatch)
{
    unsigned taken = 0;
    if (dispatch->ops->poll)
        dispatch->ops->poll(dispatch->engine, clock_ns());
    for (uint32_t channel = 0; channel < dispatch->channels; channel++)
        taken += take_batch(dispatch, channel);
    if (taken) {
        if (!dispatch->ops->applied)
            record_sent(dispatch);
        wake_workers(dispatch); /* who was answered at once need not wait for a commit */
        dispatch->ops->settle(dispatch->engine);
        dispatch->taken += taken;
    }
    wake_workers(dispatch);
    if (taken)
        failpoint("store.after_completion");
    return taken;
}

int dispatch_fd(const struct dispatch *dispatch)
{
    return dispatch->ops->fd ? dispatch->ops->fd(dispatch->engine) : -1;
}

bool dispatch_sleep(struct dispatch *dispatch)
{
    for (uint32_t channel = 0; channel < dispatch->channels; channel++)
        if (!channel_store_sleep(&dispatch->ends[channel])) {
            dispatch_awake(dispatch);
            return false;
        }
    return true;
}

void dispatch_awake(struct dispatch *dispatch)
{
    for (uint32_t channel = 0; channel < dispatch->channels; channel++)
        channel_store_awake(&dispatch->ends[channel]);
}

bool dispatch_tend(struct dispatch *dispatch, uint64_t now_wall_ms)
{
    return dispatch->ops->tend(dispatch->engine, now_wall_ms);
}

enum status dispatch_snapshot(struct dispatch *dispatch, const char *name,
                              struct engine_snapshot *result_r)
{
    if (dispatch->ops->snapshot)
        return dispatch->ops->snapshot(dispatch->engine, name, result_r);
    *result_r = (struct engine_snapshot){.error = "this backend makes no snapshots"};
    return STATUS_INVALID;
}

void dispatch_stats(const struct dispatch *dispatch, struct stats *stats)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } figures[] = {
        {"strato_store_submissions_total", "Requests taken from the channels.", dispatch->taken},
        {"strato_store_replayed_total",
         "Requests answered for a predecessor that had applied them.", dispatch->replayed},
        {"strato_store_refused_total", "Requests from a channel that made no sense.",
         dispatch->refused},
        {"strato_store_late_total", "Requests dropped because their deadline had passed.",
         dispatch->late},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        stats_add(stats, STATS_COUNTER, figures[i].name, figures[i].help, (double)figures[i].value,
                  "backend=\"%s\"", backend_name(dispatch->ops->backend));
    dispatch->ops->stats(dispatch->engine, stats);
}

/* ---- Opening ---- */

static void resume(struct dispatch *dispatch, uint32_t channel, struct channel_memory *memory)
{
    int doorbell = RUN_FD_CHANNEL + (int)channel * RUN_CHANNEL_FDS + RUN_CHANNEL_DOORBELL;
    if (channel_is_raw(memory)) {
        dispatch->ops->forget(dispatch->engine, channel);
        channel_lay_out(memory);
    }
    channel_store_open(&dispatch->ends[channel], memory, doorbell);
    dispatch->applied[channel] = dispatch->ops->applied
                                     ? dispatch->ops->applied(dispatch->engine, channel)
                                     : channel_store_sent(&dispatch->ends[channel]);
}

/* Answers what a predecessor applied and did not answer, before anything else changes: its result
 * is what the records say now. */
static void answer_applied(struct dispatch *dispatch, uint32_t channel)
{
    struct channel_store *end = &dispatch->ends[channel];
    uint64_t sequence;
    while (end->taken < dispatch->applied[channel] &&
           channel_store_take(end, &dispatch->submission, &sequence))
        hand_over(dispatch, channel, sequence);
    channel_store_flush(end);
}

struct dispatch *dispatch_open(const struct dispatch_options *options)
{
    struct dispatch *dispatch = calloc(1, sizeof *dispatch);
    struct channel_store *ends = calloc(options->channels, sizeof *ends);
    uint64_t *applied = calloc(options->channels, sizeof *applied);
    if (!dispatch || !ends || !applied)
        panic("out of memory: %u channels", options->channels);
    dispatch->ops = options->ops;
    dispatch->bulk = options->bulk;
    dispatch->order = order_open(options->channels);
    dispatch->max_value = options->child->conf.max_value;
    dispatch->channels = options->channels;
    dispatch->ends = ends;
    dispatch->applied = applied;
    const struct engine_callbacks callbacks = {.context = dispatch, .complete = complete};
    dispatch->engine = options->ops->open(options->child, &callbacks);
    for (uint32_t channel = 0; channel < options->channels; channel++)
        resume(dispatch, channel, options->memories[channel]);
    for (uint32_t channel = 0; channel < options->channels; channel++)
        answer_applied(dispatch, channel);
    return dispatch;
}

void dispatch_close(struct dispatch **dispatch)
{
    (*dispatch)->ops->close(&(*dispatch)->engine);
    for (uint32_t channel = 0; channel < (*dispatch)->channels; channel++)
        channel_store_flush(&(*dispatch)->ends[channel]);
    order_close(&(*dispatch)->order);
    free((*dispatch)->ends);
    free((*dispatch)->applied);
    free(*dispatch);
    *dispatch = NULL;
}

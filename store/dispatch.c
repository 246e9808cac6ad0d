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

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "proto/base/log.h"
#include "store/answer.h"
#include "store/suspects.h"
#include "store/value.h"

struct dispatch {
    const struct engine_ops *ops;
    struct engine *engine;
    struct bulk *bulk;
    uint64_t max_value;
    unsigned channels;
    struct channel_store *ends;
    uint64_t *applied; /* per channel: what a predecessor had applied but may not have answered */
    struct suspects *suspects; /* per channel */
    unsigned suspected;        /* channels that have some */
    struct channel_taken submission;
    struct buffer copy; /* of a value that lies in a place */
    unsigned cost;      /* of the turn so far, see COST_BYTES */
    uint64_t until_ns;  /* the turn's end; 0: not known yet */
    unsigned attempt;   /* how many stores have tried what is handed over now */
    bool alone;         /* and nothing else is under way */
    uint32_t last;      /* channel of what was handed over last */
    bool marked;        /* that was recorded to be alone */
    uint64_t told_ms;   /* when damage was logged last */
    uint16_t flags;     /* of completions that are published now */
    uint64_t taken, replayed, refused, late, given_up, mended;
};

enum {
    /* Values in and out cost as many requests as they have of these bytes; a turn of a channel ends
     * when it has cost a batch, or after so long. */
    COST_BYTES = 16384,
    TURN_NS = 2000000,
    TELL_MS = 1000,
};

/* ---- Answers ---- */

static bool keep(void *context, uint32_t channel, uint64_t sequence, const struct reply *reply)
{
    struct dispatch *dispatch = context;
    const struct answer answer = {reply, channel, sequence, dispatch->flags};
    dispatch->cost += (unsigned)(reply->value.len / COST_BYTES);
    bool kept = answer_keep(&answer, &dispatch->ends[channel], dispatch->bulk);
    failpoint("store.after_keep");
    return kept;
}

static void complete(void *context, uint32_t channel, uint64_t sequence, const struct reply *reply)
{
    struct dispatch *dispatch = context;
    if (reply)
        (void)keep(context, channel, sequence, reply);
    failpoint("store.before_completion");
    channel_store_commit(&dispatch->ends[channel], sequence);
}

static void refuse(struct dispatch *dispatch, const struct engine_call *call, enum status status)
{
    struct reply reply = {.status = status};
    complete(dispatch, call->channel, call->sequence, &reply);
}

/* ---- Submissions ---- */

static uint64_t value_max(const struct dispatch *dispatch, const struct op_info *info)
{
    return dispatch->max_value + (info->takes == OP_TAKES_MESSAGE ? MESSAGE_SPARE : 0);
}

/* Whether the lengths fit the slot and the limits. */
static bool is_sane(const struct dispatch *dispatch, const struct channel_taken *submission)
{
    const struct op_info *info = op_info((enum op)submission->op);
    bool bulk = submission->flags & CHANNEL_BULK;
    return info && submission->key_len >= 1 && submission->key_len <= KEY_MAX &&
           submission->value_len <= value_max(dispatch, info) &&
           (bulk || submission->key_len + submission->value_len <= submission->room);
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
    case OP_TAKES_MESSAGE: /* who carries it out unpacks it */
        break;
    }
    return true;
}

/* Answers what a predecessor had applied, as it kept it. False when nothing is kept. */
static bool answer_kept(struct dispatch *dispatch, uint32_t channel, uint64_t sequence)
{
    if (sequence >= dispatch->applied[channel] ||
        !channel_store_kept(&dispatch->ends[channel], sequence))
        return false;
    dispatch->replayed++;
    complete(dispatch, channel, sequence, NULL);
    return true;
}

/* The same for what no answer is kept for. False when it can be carried out again. */
static bool answer_applied(struct dispatch *dispatch, const struct engine_call *call, bool staged)
{
    const struct engine_ops *ops = dispatch->ops;
    if (call->sequence >= dispatch->applied[call->channel] ||
        (ops->applied ? !op_info(call->request.op)->write : !staged))
        return false;
    dispatch->replayed++;
    if (ops->replay)
        ops->replay(dispatch->engine, call);
    else
        refuse(dispatch, call, STATUS_UNKNOWN);
    return true;
}

/* Whether nobody waits for it any more. Also notices that the channel's turn is over. */
static bool is_late(struct dispatch *dispatch, uint64_t deadline_ns)
{
    if (deadline_ns == 0)
        return false;
    uint64_t now_ns = clock_ns();
    if (dispatch->until_ns == 0)
        dispatch->until_ns = now_ns + TURN_NS;
    else if (now_ns > dispatch->until_ns)
        dispatch->cost = UINT32_MAX / 2;
    return deadline_ns < now_ns;
}

static void hand_over(struct dispatch *dispatch, uint32_t channel, uint64_t sequence)
{
    const struct channel_taken *submission = &dispatch->submission;
    struct engine_call call = {
        .channel = channel, .sequence = sequence, .deadline_ns = submission->deadline_ns};

    failpoint("store.after_take");
    dispatch->cost++;
    if (answer_kept(dispatch, channel, sequence))
        return;
    if (!is_sane(dispatch, submission)) {
        dispatch->refused += submission->op != OP_NONE; /* a slot that the worker passes over */
        refuse(dispatch, &call, STATUS_INVALID);
        return;
    }
    call.request = (struct request){
        .op = (enum op)submission->op,
        .namespace = submission->namespace,
        .key = {submission->payload, submission->key_len},
        .number = submission->number,
        .expiry_ms = submission->expiry_ms,
        .no_value = submission->flags & CHANNEL_NO_VALUE,
    };
    if (log_level() == LOG_DEBUG) /* as the worker calls it, see workers/core/core.c */
        log_debug("request %" PRIu32 ".%" PRIu64 ": %s %.*s", channel, sequence,
                  op_info(call.request.op)->name, (int)submission->key_len, submission->payload);
    const struct value_sources sources = {&dispatch->ends[channel], channel, dispatch->bulk,
                                          &dispatch->copy};
    bool staged = value_find(&sources, submission, sequence, &call.request.value);
    dispatch->cost += (unsigned)(call.request.value.len / COST_BYTES);
    if (dispatch->marked)
        channel_store_alone(&dispatch->ends[dispatch->last], false);
    dispatch->marked = false;
    channel_store_begin(&dispatch->ends[channel], sequence, dispatch->attempt, dispatch->alone);
    dispatch->last = channel;
    if (staged && !is_meaningful(&call.request)) {
        dispatch->refused++;
        refuse(dispatch, &call, STATUS_INVALID);
    } else if (answer_applied(dispatch, &call, staged)) {
        return;
    } else if (!staged) {
        refuse(dispatch, &call, STATUS_RESTAGE);
    } else if (is_late(dispatch, submission->deadline_ns)) {
        dispatch->late++;
        refuse(dispatch, &call, STATUS_DEADLINE);
    } else {
        failpoint("store.before_apply");
        dispatch->ops->submit(dispatch->engine, &call);
    }
}

/* ---- Requests that may have ended a predecessor ---- */

static void give_up(struct dispatch *dispatch, uint32_t channel, uint64_t sequence)
{
    const struct channel_taken *submission = &dispatch->submission;
    const struct op_info *info = op_info((enum op)submission->op);
    bool unknown = sequence < dispatch->applied[channel] || !dispatch->ops->applied;
    struct engine_call call = {.channel = channel, .sequence = sequence};
    log_error("request %" PRIu32 ".%" PRIu64 " (%s, %u bytes of key, %u of value) has ended its "
              "store %u times: it is given up",
              channel, sequence, info ? info->name : "no operation", submission->key_len,
              submission->value_len, dispatch->suspects[channel].attempts);
    dispatch->given_up++;
    dispatch->flags = CHANNEL_GIVEN_UP;
    refuse(dispatch, &call, unknown ? STATUS_UNKNOWN : STATUS_INTERNAL);
    dispatch->flags = 0;
}

/* All of them once more; or only the first, once those before it are answered. */
static unsigned take_suspects(struct dispatch *dispatch, uint32_t channel, bool one)
{
    struct channel_store *end = &dispatch->ends[channel];
    struct suspects *suspects = &dispatch->suspects[channel];
    uint64_t sequence;
    unsigned n = 0;
    dispatch->attempt = suspects->attempts + 1;
    while (end->taken < suspects->end && (!one || end->taken == end->completed) &&
           channel_store_take(end, &dispatch->submission, &sequence)) {
        if (suspects->give_up)
            give_up(dispatch, channel, sequence);
        else
            hand_over(dispatch, channel, sequence);
        n++;
        if (one)
            break;
    }
    dispatch->attempt = 1;
    if (end->completed >= suspects->end || end->mended) {
        suspects->end = 0;
        suspects->give_up = false;
        dispatch->suspected--;
    }
    return n;
}

/* ---- Rounds ---- */

/* Tells of a position that made no sense: the channel has another now. */
static void note_position(struct dispatch *dispatch, uint32_t channel)
{
    struct channel_store *end = &dispatch->ends[channel];
    uint64_t now_ms = clock_ms();
    if (end->mended && now_ms - dispatch->told_ms >= TELL_MS) { /* a worker could flood the log */
        dispatch->told_ms = now_ms;
        log_error("channel %" PRIu32 " was damaged: it goes on at request %" PRIu64, channel,
                  end->completed);
    }
    dispatch->mended += end->mended;
    end->mended = 0;
}

static unsigned take_batch(struct dispatch *dispatch, uint32_t channel)
{
    struct channel_store *end = &dispatch->ends[channel];
    unsigned n = 0;
    uint64_t sequence, word;
    if (channel_store_idle(end) && !end->mended && !dispatch->suspected)
        return 0;
    dispatch->cost = 0;
    dispatch->until_ns = 0;
    if (end->mended) { /* what is known of the old position is not about what comes now */
        note_position(dispatch, channel);
        dispatch->applied[channel] = 0;
        dispatch->ops->forget(dispatch->engine, channel);
    }
    if (dispatch->suspected && dispatch->suspects[channel].end)
        return suspects_alone(&dispatch->suspects[channel])
                   ? 0
                   : take_suspects(dispatch, channel, false);
    while (dispatch->cost < dispatch->ops->batch &&
           channel_store_take(end, &dispatch->submission, &sequence)) {
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

static void settle(struct dispatch *dispatch, unsigned taken)
{
    if (taken == 0)
        return;
    dispatch->marked = taken == 1 && !dispatch->ops->at_once &&
                       suspects_only_one(dispatch->ends, dispatch->channels);
    if (dispatch->marked)
        channel_store_alone(&dispatch->ends[dispatch->last], true);
    if (!dispatch->ops->applied)
        record_sent(dispatch);
    if (!dispatch->ops->at_once)
        wake_workers(dispatch); /* who was answered at once need not wait for a commit */
    dispatch->ops->settle(dispatch->engine);
    dispatch->taken += taken;
}

/* A request that is tried by itself, with its settling. False when it is not answered yet: then
 * nothing else may be taken. */
static bool take_one(struct dispatch *dispatch, unsigned *taken)
{
    for (uint32_t channel = 0; channel < dispatch->channels; channel++) {
        const struct channel_store *end = &dispatch->ends[channel];
        if (!suspects_alone(&dispatch->suspects[channel]))
            continue;
        dispatch->alone = true;
        unsigned n = take_suspects(dispatch, channel, true);
        dispatch->alone = dispatch->ops->at_once;
        settle(dispatch, n);
        *taken += n;
        if (end->taken > end->completed)
            return false;
        if (n > 0)
            break;
    }
    return true;
}

unsigned dispatch_round(struct dispatch *dispatch)
{
    unsigned alone = 0, taken = 0;
    if (dispatch->ops->poll)
        dispatch->ops->poll(dispatch->engine, clock_ns());
    if (!dispatch->suspected || take_one(dispatch, &alone))
        for (uint32_t channel = 0; channel < dispatch->channels; channel++)
            taken += take_batch(dispatch, channel);
    settle(dispatch, taken);
    wake_workers(dispatch);
    if (alone + taken)
        failpoint("store.after_completion");
    return alone + taken;
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

static uint64_t depth_of(const struct channel_memory *memory)
{
    uint64_t completed = atomic_load_explicit(&memory->completed, memory_order_relaxed);
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_relaxed);
    return submitted > completed ? submitted - completed : 0;
}

void dispatch_figures(const struct dispatch *dispatch, struct figures_page *page)
{
    figures_set(page, FIGURE_TAKEN, dispatch->taken);
    figures_set(page, FIGURE_REPLAYED, dispatch->replayed);
    figures_set(page, FIGURE_REFUSED, dispatch->refused);
    figures_set(page, FIGURE_LATE, dispatch->late);
    figures_set(page, FIGURE_GIVEN_UP, dispatch->given_up);
    figures_set(page, FIGURE_MENDED, dispatch->mended);
    for (unsigned i = 0; i < dispatch->channels; i++)
        figures_set(page, FIGURE_DEPTH + i, depth_of(dispatch->ends[i].memory));
    dispatch->ops->figures(dispatch->engine, page);
}

/* ---- Opening ---- */

/* What a predecessor had applied. A mark that is far ahead of the channel is not about it. */
static uint64_t applied_of(struct dispatch *dispatch, uint32_t channel)
{
    const struct channel_store *end = &dispatch->ends[channel];
    if (!dispatch->ops->applied)
        return channel_store_sent(end);
    uint64_t applied = dispatch->ops->applied(dispatch->engine, channel);
    if (applied <= end->completed + CHANNEL_SLOTS)
        return applied;
    log_error("channel %" PRIu32 " is at request %" PRIu64 ", but its mark at %" PRIu64
              ": the mark is forgotten",
              channel, end->completed, applied);
    dispatch->mended++;
    dispatch->ops->forget(dispatch->engine, channel);
    return 0;
}

static void resume(struct dispatch *dispatch, uint32_t channel, struct channel_memory *memory)
{
    int doorbell = RUN_FD_CHANNEL + (int)channel * RUN_CHANNEL_FDS + RUN_CHANNEL_DOORBELL;
    struct channel_store *end = &dispatch->ends[channel];
    if (channel_is_raw(memory)) {
        dispatch->ops->forget(dispatch->engine, channel);
        channel_lay_out(memory);
    }
    channel_store_open(end, memory, doorbell);
    end->places = channel_places_open(doorbell + RUN_CHANNEL_MEMORY - RUN_CHANNEL_DOORBELL);
    note_position(dispatch, channel);
    dispatch->applied[channel] = applied_of(dispatch, channel);
    if (suspects_find(&dispatch->suspects[channel], end))
        dispatch->suspected++;
}

/* Answers what a predecessor applied and did not answer, before anything else changes. Of what has
 * had its tries only the answers that are kept are given. */
static void answer_for_predecessor(struct dispatch *dispatch, uint32_t channel)
{
    struct channel_store *end = &dispatch->ends[channel];
    const struct suspects *suspects = &dispatch->suspects[channel];
    uint64_t sequence;
    if (suspects->end)
        dispatch->attempt = suspects->attempts + 1;
    while (end->taken < dispatch->applied[channel] &&
           (!suspects->give_up || channel_store_kept(end, end->taken)) &&
           channel_store_take(end, &dispatch->submission, &sequence))
        hand_over(dispatch, channel, sequence);
    dispatch->attempt = 1;
    channel_store_flush(end);
    run_child_beat(clock_ms());
}

struct dispatch *dispatch_open(const struct dispatch_options *options)
{
    struct dispatch *dispatch = calloc(1, sizeof *dispatch);
    struct channel_store *ends = calloc(options->channels, sizeof *ends);
    uint64_t *applied = calloc(options->channels, sizeof *applied);
    struct suspects *suspects = calloc(options->channels, sizeof *suspects);
    if (!dispatch || !ends || !applied || !suspects)
        panic("out of memory: %u channels", options->channels);
    dispatch->ops = options->ops;
    dispatch->bulk = options->bulk;
    dispatch->max_value = options->child->conf.max_value;
    dispatch->channels = options->channels;
    dispatch->ends = ends;
    dispatch->applied = applied;
    dispatch->suspects = suspects;
    dispatch->attempt = 1;
    dispatch->alone = options->ops->at_once;
    const struct engine_callbacks callbacks = {
        .context = dispatch, .keep = keep, .complete = complete};
    dispatch->engine = options->ops->open(options->child, &callbacks);
    for (uint32_t channel = 0; channel < options->channels; channel++)
        resume(dispatch, channel, options->memories[channel]);
    for (uint32_t channel = 0; channel < options->channels; channel++)
        answer_for_predecessor(dispatch, channel);
    return dispatch;
}

void dispatch_close(struct dispatch **dispatch)
{
    (*dispatch)->ops->close(&(*dispatch)->engine);
    for (uint32_t channel = 0; channel < (*dispatch)->channels; channel++)
        channel_store_flush(&(*dispatch)->ends[channel]);
    buffer_free(&(*dispatch)->copy);
    free((*dispatch)->ends);
    free((*dispatch)->applied);
    free((*dispatch)->suspects);
    free(*dispatch);
    *dispatch = NULL;
}

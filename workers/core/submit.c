/*
 * submit - a call's way through a store's ring and back: waiting for room, staging what does not
 * fit a slot, submitting, taking completions, fetching long answers when there is memory for them.
 *
 * The rings outlive the store, so a restart of the store is no event here: what it lost (staged
 * values, long answers) is staged or asked for again until the call's deadline passes.
 */
#include "workers/core/internal.h"

static void queue_push(struct core_queue *queue, struct core_call *call)
{
    call->state.next = NULL;
    call->state.prev = queue->tail;
    if (queue->tail)
        queue->tail->state.next = call;
    else
        queue->head = call;
    queue->tail = call;
}

static void queue_remove(struct core_queue *queue, struct core_call *call)
{
    struct core_call *next = call->state.next, *prev = call->state.prev;
    if (prev)
        prev->state.next = next;
    else
        queue->head = next;
    if (next)
        next->state.prev = prev;
    else
        queue->tail = prev;
}

/* The value to send with it: a re-asked SetGet has none. */
static struct bytes value_of(const struct core_call *call)
{
    if (call->state.op != call->request.op)
        return (struct bytes){0};
    return call->request.value;
}

static bool fits_slot(const struct core_call *call)
{
    size_t room = channel_room(call->state.op, call->request.namespace);
    return call->request.key.len + value_of(call).len <= room;
}

static void fill(struct channel_submission *slot, const struct core_call *call)
{
    const struct request *request = &call->request;
    struct bytes value = value_of(call);
    slot->deadline_ns = call->state.deadline_ns;
    slot->expiry_ms = request->expiry_ms;
    slot->number = request->number;
    slot->bulk_id = call->state.bulk_id;
    slot->value_len = (uint32_t)value.len;
    slot->key_len = (uint16_t)request->key.len;
    slot->op = (uint8_t)call->state.op;
    slot->flags = (uint8_t)((call->state.bulk_id ? CHANNEL_BULK : 0) |
                            (call->status_only ? CHANNEL_NO_VALUE : 0));
    uint8_t *payload = slot->payload;
    if (channel_is_long(call->state.op, request->namespace))
        payload = channel_worker_lengthen(&call->state.store->channel, slot, call->state.op,
                                          request->namespace);
    memcpy(payload, request->key.data, request->key.len);
    if (!call->state.bulk_id && value.len > 0)
        memcpy(payload + request->key.len, value.data, value.len);
}

/* False when the ring is full. */
static bool put_in_ring(struct core_call *call)
{
    struct core_store *store = call->state.store;
    struct channel_submission *slot = channel_worker_slot(&store->channel, &call->state.sequence);
    if (!slot)
        return false;
    fill(slot, call);
    channel_worker_commit(&store->channel);
    store->pending[call->state.sequence % CHANNEL_SLOTS] =
        (struct core_pending){call, call->state.bulk_id};
    store->submitted++;
    call->state.phase = PHASE_SUBMITTED;
    return true;
}

static void to_ring(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (!store->for_slot.head && put_in_ring(call))
        return;
    call->state.phase = PHASE_WAIT_SLOT;
    queue_push(&store->for_slot, call);
}

static void staged(void *context, enum status status, struct bytes data)
{
    struct core_call *call = context;
    struct core_store *store = call->state.store;
    (void)data;
    call->state.job = NULL;
    if (status == STATUS_OK) {
        to_ring(call);
        return;
    }
    store->staged--;
    call->state.bulk_id = 0;
    call->state.phase = PHASE_CLOSED;
    core_end(call, status);
}

static void stage(struct core_call *call)
{
    struct core_store *store = call->state.store;
    store->staged++;
    call->state.phase = PHASE_STAGING;
    call->state.job =
        transfer_stage(store->transfer, call->request.value, &call->state.bulk_id, staged, call);
}

void core_submit(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (fits_slot(call)) {
        to_ring(call);
    } else if (store->staged < CORE_STAGED_MAX && !store->for_stage.head) {
        stage(call);
    } else {
        call->state.phase = PHASE_WAIT_STAGE;
        queue_push(&store->for_stage, call);
    }
}

static void fetch(struct core_call *call);

void core_admit(struct core_store *store)
{
    struct core_call *call;
    while ((call = store->for_fetch.head) && core_budget_try(store->core, call->state.fetching)) {
        queue_remove(&store->for_fetch, call);
        fetch(call);
    }
    while ((call = store->for_slot.head) && put_in_ring(call))
        queue_remove(&store->for_slot, call);
    while ((call = store->for_stage.head) && store->staged < CORE_STAGED_MAX) {
        queue_remove(&store->for_stage, call);
        stage(call);
    }
}

/* The store may free what was staged for a call that is over or has to be staged again. */
static void drop_staged(struct core_store *store, uint64_t bulk_id)
{
    if (bulk_id == 0)
        return;
    transfer_drop(store->transfer, bulk_id);
    store->staged--;
}

void core_detach(struct core_call *call)
{
    struct core_store *store = call->state.store;
    switch (call->state.phase) {
    case PHASE_WAIT_SLOT:
        queue_remove(&store->for_slot, call);
        drop_staged(store, call->state.bulk_id);
        break;
    case PHASE_WAIT_STAGE:
        queue_remove(&store->for_stage, call);
        break;
    case PHASE_STAGING:
        transfer_cancel(&call->state.job);
        drop_staged(store, call->state.bulk_id);
        break;
    case PHASE_SUBMITTED: /* the slot stays taken, and what was staged stays, until it completes */
        store->pending[call->state.sequence % CHANNEL_SLOTS].call = NULL;
        store->submitted--;
        break;
    case PHASE_WAIT_FETCH:
        queue_remove(&store->for_fetch, call);
        break;
    case PHASE_FETCHING:
        transfer_cancel(&call->state.job);
        core_budget_give(store->core, call->state.fetching);
        break;
    default:
        break;
    }
    call->state.bulk_id = 0;
    call->state.phase = PHASE_CLOSED;
}

/* The store kept a long answer but was restarted before it was fetched. What changed is changed,
 * so a change is not made again: what it would have answered is read instead. */
static void ask_again(struct core_call *call)
{
    const struct op_info *info = op_info(call->request.op);
    if (info->write)
        call->state.op = service_info(info->service)->read;
    core_submit(call);
}

static void fetched(void *context, enum status status, struct bytes data)
{
    struct core_call *call = context;
    call->state.job = NULL;
    call->state.phase = PHASE_CLOSED;
    core_budget_give(call->state.store->core, call->state.fetching);
    if (status == STATUS_NOT_FOUND) {
        ask_again(call);
        return;
    }
    call->reply.value = data;
    core_end(call, status);
}

/* The memory for it is taken. */
static void fetch(struct core_call *call)
{
    struct core_store *store = call->state.store;
    call->state.phase = PHASE_FETCHING;
    call->state.job =
        transfer_fetch(store->transfer, call->state.sequence, call->state.fetching, fetched, call);
}

static void fetch_or_wait(struct core_call *call, uint64_t len)
{
    struct core_store *store = call->state.store;
    call->state.fetching = len;
    if (!store->for_fetch.head && core_budget_try(store->core, len)) {
        fetch(call);
    } else {
        call->state.phase = PHASE_WAIT_FETCH;
        queue_push(&store->for_fetch, call);
    }
}

static void complete(struct core_call *call, const struct channel_completion *completion)
{
    enum status status = completion->status < STATUS_COUNT ? completion->status : STATUS_INTERNAL;
    call->state.bulk_id = 0;
    call->state.phase = PHASE_CLOSED;
    call->reply.number = completion->number;
    call->reply.revision = completion->revision;
    call->state.given_up = completion->flags & CHANNEL_GIVEN_UP;
    if (status == STATUS_RESTAGE) {
        core_submit(call);
    } else if (completion->flags & CHANNEL_BULK && call->status_only) {
        transfer_decline(call->state.store->transfer, completion->sequence);
        core_end(call, status);
    } else if (completion->flags & CHANNEL_BULK) {
        fetch_or_wait(call, completion->value_len);
    } else if (completion->value_len > CHANNEL_INLINE_MAX) {
        core_end(call, STATUS_INTERNAL);
    } else {
        call->reply.value = (struct bytes){completion->payload, completion->value_len};
        core_end(call, status);
    }
}

/* The store had to go on elsewhere in the ring: what became of this one nobody knows. */
static void lose(struct core_call *call)
{
    call->state.bulk_id = 0;
    call->state.phase = PHASE_CLOSED;
    core_end(call, op_info(call->request.op)->write ? STATUS_UNKNOWN : STATUS_UNAVAILABLE);
}

void core_take_completions(struct core_store *store)
{
    const struct channel_completion *completion;
    while ((completion = channel_worker_peek(&store->channel))) {
        uint64_t sequence = store->channel.consumed;
        struct core_pending *pending = &store->pending[sequence % CHANNEL_SLOTS];
        struct core_call *call = pending->call;
        drop_staged(store, pending->bulk_id);
        *pending = (struct core_pending){0};
        if (call) {
            store->submitted--;
            if (completion->sequence == sequence)
                complete(call, completion);
            else
                lose(call);
        }
        channel_worker_release(&store->channel);
    }
}

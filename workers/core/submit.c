/*
 * submit - a call's way through a store's ring and back: waiting for room, staging what does not
 * fit a slot, submitting, taking completions, fetching long answers when there is memory for them.
 *
 * The rings outlive the store, so a restart of the store is no event here: staged values, which it
 * lost, are staged again until the call's deadline passes. Long answers lie where they outlive it,
 * and stay there until there is memory for them: what may be answered with another one is not
 * submitted meanwhile.
 */
#include "workers/core/internal.h"

static bool fits_slot(const struct core_call *call)
{
    size_t room = channel_room(call->request.op, call->request.namespace);
    return call->request.key.len + call->request.value.len <= room;
}

/* Whether its value goes to the slot's place. */
static bool fits_place(const struct core_call *call)
{
    return !call->state.unplaced && call->request.value.len <= call->state.store->places.size;
}

/* What there is no memory for is answered STATUS_RESTAGE, and staged over the link then. */
static uint8_t put_in_place(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (fits_slot(call))
        return 0;
    if (call->state.bulk_id)
        return CHANNEL_BULK;
    call->state.unplaced = !channel_place_write(
        &store->places, channel_place_in(call->state.sequence), call->request.value);
    return call->state.unplaced ? CHANNEL_BULK : CHANNEL_BULK | CHANNEL_PLACED;
}

static void fill(struct channel_submission *slot, struct core_call *call)
{
    const struct request *request = &call->request;
    struct bytes value = request->value;
    slot->deadline_ns = call->state.deadline_ns;
    slot->expiry_ms = request->expiry_ms;
    slot->number = request->number;
    slot->bulk_id = call->state.bulk_id;
    slot->value_len = (uint32_t)value.len;
    slot->key_len = (uint16_t)request->key.len;
    slot->op = (uint8_t)request->op;
    slot->flags = (uint8_t)(put_in_place(call) | (call->status_only ? CHANNEL_NO_VALUE : 0));
    bool placed = slot->flags & CHANNEL_BULK;
    uint8_t *payload = slot->payload;
    if (channel_is_long(request->op, request->namespace))
        payload = channel_worker_lengthen(&call->state.store->channel, slot, (uint16_t)request->op,
                                          request->namespace);
    memcpy(payload, request->key.data, request->key.len);
    if (!placed && value.len > 0)
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
    if (TAILQ_EMPTY(&store->for_slot) && put_in_ring(call))
        return;
    call->state.phase = PHASE_WAIT_SLOT;
    TAILQ_INSERT_TAIL(&store->for_slot, call, state.queued);
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

/* Whether it may be answered with a value of any length. */
static bool is_answered_long(const struct core_call *call)
{
    const struct op_info *info = op_info(call->request.op);
    enum op_holds holds = service_info(info->service)->holds;
    return holds == OP_HOLDS_ITEMS || (holds == OP_HOLDS_VALUE && !info->write);
}

void core_submit(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (!TAILQ_EMPTY(&store->for_fetch) && is_answered_long(call)) {
        call->state.phase = PHASE_WAIT_TURN;
        TAILQ_INSERT_TAIL(&store->for_turn, call, state.queued);
    } else if (fits_slot(call) || fits_place(call)) {
        to_ring(call);
    } else if (store->staged < CORE_STAGED_MAX && TAILQ_EMPTY(&store->for_stage)) {
        stage(call);
    } else {
        call->state.phase = PHASE_WAIT_STAGE;
        TAILQ_INSERT_TAIL(&store->for_stage, call, state.queued);
    }
}

void core_enter(struct core *core, struct core_store *store, struct core_call *call)
{
    call->state.store = store;
    deadlines_add(&core->deadlines, call);
    if (call == &store->probe)
        core->probes++;
    core_submit(call);
}

static void fetch(struct core_call *call);

/* Has long answers brought here, as many as there is memory for. */
static void admit_answers(struct core_store *store)
{
    struct core_call *call;
    uint64_t bytes = 0;
    store->more = false;
    while ((call = TAILQ_FIRST(&store->for_fetch)) && !store->more &&
           core_budget_try(store->core, call->state.fetching)) {
        TAILQ_REMOVE(&store->for_fetch, call, state.queued);
        bytes += call->state.fetching;
        store->more = !TAILQ_EMPTY(&store->for_fetch) && bytes >= CORE_READ_MAX;
        fetch(call);
    }
    while (TAILQ_EMPTY(&store->for_fetch) && (call = TAILQ_FIRST(&store->for_turn))) {
        TAILQ_REMOVE(&store->for_turn, call, state.queued);
        core_submit(call);
    }
}

void core_admit(struct core_store *store)
{
    struct core_call *call;
    admit_answers(store);
    while ((call = TAILQ_FIRST(&store->for_slot)) && put_in_ring(call))
        TAILQ_REMOVE(&store->for_slot, call, state.queued);
    while ((call = TAILQ_FIRST(&store->for_stage)) && store->staged < CORE_STAGED_MAX) {
        TAILQ_REMOVE(&store->for_stage, call, state.queued);
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

/* A long answer that waits is not wanted. */
static void give_up_answer(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (!call->state.placed) {
        transfer_decline(store->transfer, call->state.sequence);
        return;
    }
    channel_place_free(&store->places, channel_place_out(call->state.sequence),
                       call->state.fetching);
    channel_worker_let_go(&store->channel, call->state.sequence);
}

void core_detach(struct core_call *call)
{
    struct core_store *store = call->state.store;
    switch (call->state.phase) {
    case PHASE_WAIT_SLOT:
        TAILQ_REMOVE(&store->for_slot, call, state.queued);
        drop_staged(store, call->state.bulk_id);
        break;
    case PHASE_WAIT_STAGE:
        TAILQ_REMOVE(&store->for_stage, call, state.queued);
        break;
    case PHASE_STAGING:
        transfer_cancel(&call->state.job);
        drop_staged(store, call->state.bulk_id);
        break;
    case PHASE_SUBMITTED: /* the slot stays taken, and what was staged stays, until it completes */
        store->pending[call->state.sequence % CHANNEL_SLOTS].call = NULL;
        store->submitted--;
        break;
    case PHASE_WAIT_TURN:
        TAILQ_REMOVE(&store->for_turn, call, state.queued);
        break;
    case PHASE_WAIT_FETCH:
        TAILQ_REMOVE(&store->for_fetch, call, state.queued);
        give_up_answer(call);
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

/* The store kept a long answer in its own memory, for the channel has no places, and was restarted
 * before it was fetched. What only reads is asked again. A set is read after its change, as 0.2.0
 * does; what another change answered nobody knows. */
static void ask_again(struct core_call *call)
{
    const struct op_info *info = op_info(call->request.op);
    const struct service_info *service = service_info(info->service);
    if (info->write && service->holds != OP_HOLDS_ITEMS) {
        core_end(call, STATUS_UNKNOWN);
        return;
    }
    if (info->write) {
        call->request.op = service->read;
        call->request.value = (struct bytes){0};
    }
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

static void read_place(struct core_call *call)
{
    struct core_store *store = call->state.store;
    struct buffer *answer = &store->core->answer;
    answer->len = 0;
    buffer_reserve(answer, call->state.fetching);
    bool read = call->state.fetching <= store->places.size &&
                channel_place_read(&store->places, channel_place_out(call->state.sequence),
                                   answer->data, call->state.fetching);
    give_up_answer(call); /* it is here now */
    core_budget_give(store->core, call->state.fetching);
    call->state.phase = PHASE_CLOSED;
    call->reply.value = (struct bytes){answer->data, call->state.fetching};
    core_end(call, read ? STATUS_OK : STATUS_INTERNAL);
}

/* The memory for it is taken. */
static void fetch(struct core_call *call)
{
    struct core_store *store = call->state.store;
    if (call->state.placed) {
        read_place(call);
        return;
    }
    call->state.phase = PHASE_FETCHING;
    call->state.job =
        transfer_fetch(store->transfer, call->state.sequence, call->state.fetching, fetched, call);
}

/* It is brought here when all completions are taken, and there is memory for it. */
static void wait_for_answer(struct core_call *call, const struct channel_completion *completion)
{
    struct core_store *store = call->state.store;
    call->state.fetching = completion->value_len;
    call->state.placed = completion->flags & CHANNEL_PLACED;
    if (call->state.placed)
        channel_worker_hold(&store->channel, call->state.sequence);
    call->state.phase = PHASE_WAIT_FETCH;
    TAILQ_INSERT_TAIL(&store->for_fetch, call, state.queued);
}

/* Nobody wants the value of this completion. */
static void forget_answer(struct core_store *store, const struct channel_completion *completion)
{
    if (completion->flags & CHANNEL_PLACED)
        channel_place_free(&store->places, channel_place_out(completion->sequence),
                           completion->value_len);
    else if (completion->flags & CHANNEL_BULK)
        transfer_decline(store->transfer, completion->sequence);
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
        forget_answer(call->state.store, completion);
        core_end(call, status);
    } else if (completion->flags & CHANNEL_BULK) {
        wait_for_answer(call, completion);
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

/* The value of a submission that is answered now, a predecessor's too. */
static void free_place(struct core_store *store, uint64_t sequence)
{
    const struct channel_submission *slot =
        &store->channel.memory->submissions[sequence % CHANNEL_SLOTS];
    if (slot->flags & CHANNEL_PLACED)
        channel_place_free(&store->places, channel_place_in(sequence), slot->value_len);
}

void core_take_completions(struct core_store *store)
{
    const struct channel_completion *completion;
    while ((completion = channel_worker_peek(&store->channel))) {
        uint64_t sequence = store->channel.consumed;
        struct core_pending *pending = &store->pending[sequence % CHANNEL_SLOTS];
        struct core_call *call = pending->call;
        drop_staged(store, pending->bulk_id);
        free_place(store, sequence);
        *pending = (struct core_pending){0};
        if (call) {
            store->submitted--;
            if (completion->sequence == sequence)
                complete(call, completion);
            else
                lose(call);
        } else {
            forget_answer(store, completion);
        }
        channel_worker_release(&store->channel);
    }
}

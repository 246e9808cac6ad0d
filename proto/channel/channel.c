/*
 * channel - both ends of the rings described in channel.h. Workers and stores; single-threaded on
 * each end. Nothing here blocks or fails once the memory is mapped.
 */
#include "proto/channel/channel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOT_MASK = CHANNEL_SLOTS - 1, HIT_MASK = CHANNEL_HITS - 1 };
_Static_assert((CHANNEL_SLOTS & SLOT_MASK) == 0, "a power of two");
_Static_assert((CHANNEL_HITS & HIT_MASK) == 0, "a power of two");

size_t channel_memory_size(void)
{
    return (sizeof(struct channel_memory) + 4095) & ~(size_t)4095;
}

static bool is_zeroed(const struct channel_memory *memory)
{
    static const char zeros[sizeof memory->magic];
    return memcmp(memory->magic, zeros, sizeof zeros) == 0;
}

bool channel_is_raw(const struct channel_memory *memory)
{
    return is_zeroed(memory);
}

void channel_lay_out(struct channel_memory *memory)
{
    memory->version = CHANNEL_VERSION;
    memory->slots = CHANNEL_SLOTS;
    memory->slot_size = CHANNEL_SLOT_SIZE;
    atomic_thread_fence(memory_order_release);
    memcpy(memory->magic, CHANNEL_MAGIC, sizeof memory->magic);
}

static bool is_ours(const struct channel_memory *memory)
{
    return memcmp(memory->magic, CHANNEL_MAGIC, sizeof memory->magic) == 0 &&
           memory->version == CHANNEL_VERSION && memory->slots == CHANNEL_SLOTS &&
           memory->slot_size == CHANNEL_SLOT_SIZE;
}

struct channel_memory *channel_map(int fd, bool store, char *reason, size_t reason_size)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size < (off_t)channel_memory_size()) {
        snprintf(reason, reason_size, "descriptor %d is no channel of at least %zu bytes", fd,
                 channel_memory_size());
        return NULL;
    }
    struct channel_memory *memory =
        mmap(NULL, channel_memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        snprintf(reason, reason_size, "cannot map the channel: %s", strerror(errno));
        return NULL;
    }
    if (!is_ours(memory) && !(store && is_zeroed(memory))) {
        snprintf(reason, reason_size,
                 "the channel has version %u with %u slots of %u bytes, this program needs "
                 "version %d with %d of %d",
                 memory->version, memory->slots, memory->slot_size, CHANNEL_VERSION, CHANNEL_SLOTS,
                 CHANNEL_SLOT_SIZE);
        channel_unmap(&memory);
    }
    return memory;
}

void channel_unmap(struct channel_memory **memory)
{
    munmap(*memory, channel_memory_size());
    *memory = NULL;
}

void doorbell_ring(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* EAGAIN: it has been rung often enough */
}

void doorbell_clear(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* EAGAIN: nobody rang */
}

/* After publishing: the peer must see the new tail, or we must see that it sleeps. The exchange
 * also takes the flag, so that one sleep is rung for once. */
static void wake_if_asleep(_Atomic uint32_t *asleep, int doorbell)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(asleep, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(asleep, 0, memory_order_relaxed) != 0)
        doorbell_ring(doorbell);
}

/* Before blocking: announces it and says whether there is still nothing to see. */
static bool fall_asleep(_Atomic uint32_t *asleep, const _Atomic uint64_t *tail, uint64_t seen)
{
    atomic_store_explicit(asleep, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(tail, memory_order_acquire) == seen)
        return true;
    atomic_store_explicit(asleep, 0, memory_order_relaxed);
    return false;
}

/* ---- The worker's end ---- */

void channel_worker_open(struct channel_worker *worker, struct channel_memory *memory,
                         int store_doorbell)
{
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    uint64_t consumed = atomic_load_explicit(&memory->consumed, memory_order_acquire);
    *worker = (struct channel_worker){
        .memory = memory,
        .store_doorbell = store_doorbell,
        .submitted = submitted,
        .published = submitted,
        .consumed = consumed,
    };
    atomic_store_explicit(&memory->worker_asleep, 0, memory_order_relaxed);
    /* A predecessor may have died between publishing and ringing. */
    doorbell_ring(store_doorbell);
}

struct channel_submission *channel_worker_slot(struct channel_worker *worker, uint64_t *sequence_r)
{
    if (worker->submitted - worker->consumed >= CHANNEL_SLOTS)
        return NULL;
    *sequence_r = worker->submitted;
    return &worker->memory->submissions[worker->submitted & SLOT_MASK];
}

void channel_worker_commit(struct channel_worker *worker)
{
    worker->submitted++;
}

void channel_worker_flush(struct channel_worker *worker)
{
    if (worker->published == worker->submitted)
        return;
    worker->published = worker->submitted;
    atomic_store_explicit(&worker->memory->submitted, worker->submitted, memory_order_release);
    wake_if_asleep(&worker->memory->store_asleep, worker->store_doorbell);
}

const struct channel_completion *channel_worker_peek(struct channel_worker *worker)
{
    uint64_t completed = atomic_load_explicit(&worker->memory->completed, memory_order_acquire);
    if (worker->consumed == completed)
        return NULL;
    return &worker->memory->completions[worker->consumed & SLOT_MASK];
}

void channel_worker_release(struct channel_worker *worker)
{
    worker->consumed++;
    atomic_store_explicit(&worker->memory->consumed, worker->consumed, memory_order_release);
}

bool channel_worker_sleep(struct channel_worker *worker)
{
    return fall_asleep(&worker->memory->worker_asleep, &worker->memory->completed,
                       worker->consumed);
}

void channel_worker_awake(struct channel_worker *worker)
{
    atomic_store_explicit(&worker->memory->worker_asleep, 0, memory_order_relaxed);
}

void channel_worker_hit(struct channel_worker *worker, uint64_t word)
{
    struct channel_memory *memory = worker->memory;
    uint64_t n = atomic_load_explicit(&memory->hits_published, memory_order_relaxed);
    atomic_store_explicit(&memory->hits[n & HIT_MASK], word, memory_order_relaxed);
    atomic_store_explicit(&memory->hits_published, n + 1, memory_order_release);
}

/* ---- The store's end ---- */

void channel_store_open(struct channel_store *store, struct channel_memory *memory,
                        int worker_doorbell)
{
    uint64_t completed = atomic_load_explicit(&memory->completed, memory_order_acquire);
    *store = (struct channel_store){
        .memory = memory,
        .worker_doorbell = worker_doorbell,
        .taken = completed,
        .completed = completed,
        .rung = completed,
        .hits_seen = atomic_load_explicit(&memory->hits_published, memory_order_relaxed),
    };
    atomic_store_explicit(&memory->store_asleep, 0, memory_order_relaxed);
    /* A predecessor may have died between publishing and ringing. */
    doorbell_ring(worker_doorbell);
}

bool channel_store_take(struct channel_store *store, struct channel_submission *submission_r,
                        uint64_t *sequence_r)
{
    struct channel_memory *memory = store->memory;
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    uint64_t waiting = submitted - store->taken;
    if (waiting == 0 || waiting > CHANNEL_SLOTS)
        return false;
    uint64_t consumed = atomic_load_explicit(&memory->consumed, memory_order_acquire);
    if (store->taken - consumed >= CHANNEL_SLOTS)
        return false; /* no room for its completion */
    const struct channel_submission *slot = &memory->submissions[store->taken & SLOT_MASK];
    const size_t head = offsetof(struct channel_submission, payload);
    memcpy(submission_r, slot, head);
    size_t inline_len = (size_t)submission_r->key_len +
                        (submission_r->flags & CHANNEL_BULK ? 0 : submission_r->value_len);
    if (inline_len <= sizeof slot->payload)
        memcpy(submission_r->payload, slot->payload, inline_len);
    *sequence_r = store->taken++;
    return true;
}

struct channel_completion *channel_store_slot(struct channel_store *store)
{
    return &store->memory->completions[store->completed & SLOT_MASK];
}

void channel_store_commit(struct channel_store *store)
{
    store->memory->completions[store->completed & SLOT_MASK].sequence = store->completed;
    store->completed++;
    atomic_store_explicit(&store->memory->completed, store->completed, memory_order_release);
}

void channel_store_flush(struct channel_store *store)
{
    if (store->rung == store->completed)
        return;
    store->rung = store->completed;
    wake_if_asleep(&store->memory->worker_asleep, store->worker_doorbell);
}

void channel_store_send(struct channel_store *store)
{
    _Atomic uint64_t *sent = &store->memory->sent;
    if (atomic_load_explicit(sent, memory_order_relaxed) != store->taken)
        atomic_store_explicit(sent, store->taken, memory_order_release);
}

uint64_t channel_store_sent(const struct channel_store *store)
{
    uint64_t sent = atomic_load_explicit(&store->memory->sent, memory_order_acquire);
    uint64_t most = store->completed + CHANNEL_SLOTS;
    return sent < most ? sent : most;
}

bool channel_store_sleep(struct channel_store *store)
{
    struct channel_memory *memory = store->memory;
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    /* A worker that broke its ring is not waited for: what it has there is not takeable. */
    uint64_t seen = submitted - store->taken > CHANNEL_SLOTS ? submitted : store->taken;
    return fall_asleep(&memory->store_asleep, &memory->submitted, seen);
}

void channel_store_awake(struct channel_store *store)
{
    atomic_store_explicit(&store->memory->store_asleep, 0, memory_order_relaxed);
}

bool channel_store_hit(struct channel_store *store, uint64_t *word_r)
{
    struct channel_memory *memory = store->memory;
    uint64_t published = atomic_load_explicit(&memory->hits_published, memory_order_acquire);
    if (published == store->hits_seen)
        return false;
    if (published - store->hits_seen > CHANNEL_HITS)
        store->hits_seen = published - CHANNEL_HITS;
    *word_r =
        atomic_load_explicit(&memory->hits[store->hits_seen++ & HIT_MASK], memory_order_relaxed);
    return true;
}

/*
 * channel - both ends of the rings described in channel.h. Workers and stores; single-threaded on
 * each end. Nothing here blocks or fails once the memory is mapped.
 */
#include "proto/channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { SLOT_MASK = CHANNEL_SLOTS - 1, HIT_MASK = CHANNEL_HITS - 1 };
/* Positions that no channel comes to: beyond it there is only damage. */
#define CHANNEL_END ((uint64_t)1 << 55)
_Static_assert((CHANNEL_SLOTS & SLOT_MASK) == 0, "a power of two");
_Static_assert((CHANNEL_HITS & HIT_MASK) == 0, "a power of two");

size_t channel_memory_size(void)
{
    return (sizeof(struct channel_memory) + 4095) & ~(size_t)4095;
}

/* ---- The header ---- */

uint64_t channel_check(const struct channel_memory *memory)
{
    uint64_t words[3];
    memcpy(words, memory, sizeof words); /* magic, version, slots, slot_size, reserved */
    uint64_t check = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check = (check ^ words[i]) * 0x9e3779b97f4a7c15u + 1;
    return check | 1;
}

bool channel_is_raw(const struct channel_memory *memory)
{
    static const char zeros[64]; /* the whole line, and no request was ever made */
    return memcmp(memory, zeros, sizeof zeros) == 0 && memory->submitted == 0 &&
           memory->completed == 0;
}

void channel_make_secret(struct channel_memory *memory)
{
    static const uint8_t none[CHANNEL_SECRET];
    uint8_t secret[CHANNEL_SECRET];
    if (memcmp(memory->secret, none, sizeof none) != 0)
        return;
    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        return; /* 16 bytes never come in part; without them no worker is let in */
    memory->unproven = 1;
    memcpy(memory->secret, secret, sizeof secret);
}

void channel_lay_out(struct channel_memory *memory)
{
    channel_make_secret(memory);
    memory->unproven = 0;
    memory->version = CHANNEL_VERSION_SHORT;
    memory->slots = CHANNEL_SLOTS;
    memory->slot_size = CHANNEL_SLOT_SIZE;
    memory->reserved = 0;
    atomic_thread_fence(memory_order_release);
    memcpy(memory->magic, CHANNEL_MAGIC, sizeof memory->magic);
    memory->check = channel_check(memory);
}

bool channel_knows(unsigned version)
{
    return version >= CHANNEL_VERSION_SHORT && version <= CHANNEL_VERSION;
}

static bool is_ours(const struct channel_memory *memory)
{
    return memcmp(memory->magic, CHANNEL_MAGIC, sizeof memory->magic) == 0 &&
           channel_knows(memory->version) && memory->slots == CHANNEL_SLOTS &&
           memory->slot_size == CHANNEL_SLOT_SIZE && memory->reserved == 0;
}

/* Whether the header can be used or put right. One of another version proves it by its check, which
 * only the first version may lack. */
static bool is_usable(struct channel_memory *memory, bool store, int fd)
{
    if (channel_is_raw(memory))
        return store;
    uint64_t check = channel_check(memory);
    if (is_ours(memory)) {
        memory->check = check;
        return true;
    }
    if (memory->check == check)
        return false;
    log_error("the header of the channel at descriptor %d was damaged; it is put right", fd);
    channel_lay_out(memory);
    return true;
}

/* ---- Mapping ---- */

/* A page that the kernel cannot give when it is touched would end us. The worker allocates the
 * rings: its predecessors' too, for a worker that never starts needs none. */
static bool allocate(int fd, bool store)
{
    size_t len = store ? offsetof(struct channel_memory, submissions) : channel_memory_size();
    do {
        errno = posix_fallocate(fd, 0, (off_t)len);
    } while (errno == EINTR);
    return errno == 0;
}

struct channel_memory *channel_map(int fd, bool store, char *reason, size_t reason_size)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size < (off_t)channel_memory_size()) {
        snprintf(reason, reason_size, "descriptor %d is no channel of at least %zu bytes", fd,
                 channel_memory_size());
        return NULL;
    }
    if (!allocate(fd, store)) {
        snprintf(reason, reason_size, "cannot have memory for the channel: %s", strerror(errno));
        return NULL;
    }
    struct channel_memory *memory =
        mmap(NULL, channel_memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        snprintf(reason, reason_size, "cannot map the channel: %s", strerror(errno));
        return NULL;
    }
    madvise(memory, channel_memory_size(), MADV_DONTDUMP); /* it holds clients' data */
    if (!is_usable(memory, store, fd)) {
        snprintf(reason, reason_size,
                 "the channel has version %u with %u slots of %u bytes, this program needs "
                 "version %d to %d with %d of %d",
                 memory->version, memory->slots, memory->slot_size, CHANNEL_VERSION_SHORT,
                 CHANNEL_VERSION, CHANNEL_SLOTS, CHANNEL_SLOT_SIZE);
        channel_unmap(&memory);
    }
    return memory;
}

void channel_unmap(struct channel_memory **memory)
{
    munmap(*memory, channel_memory_size());
    *memory = NULL;
}

/* Apart from its callers, who seldom ring: what it keeps on the stack would have all of them guard
 * theirs. */
__attribute__((noinline)) void doorbell_ring(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* EAGAIN: it has been rung often enough */
}

void doorbell_clear(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* EAGAIN: it was not rung */
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

/* Whether one position may come so far after another. */
static bool follows(uint64_t from, uint64_t to)
{
    return to >= from && to - from <= CHANNEL_SLOTS && to < CHANNEL_END;
}

/* Writes a word of one's own again if somebody else changed it; the peer is told. */
static void keep_word(_Atomic uint64_t *word, uint64_t value, int doorbell)
{
    if (atomic_load_explicit(word, memory_order_relaxed) == value)
        return;
    atomic_store_explicit(word, value, memory_order_release);
    doorbell_ring(doorbell);
}

/* ---- The worker's end ---- */

/*
 * Where the predecessor stopped cannot be told. The store may have taken any of the slots that
 * follow the completions: fills them all with what no store carries out, and goes on behind them.
 */
static void start_behind(struct channel_memory *memory)
{
    uint64_t completed = atomic_load_explicit(&memory->completed, memory_order_acquire);
    if (completed > CHANNEL_END - CHANNEL_SLOTS)
        completed = 0;
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        memset(&memory->submissions[i], 0xff, offsetof(struct channel_submission, payload));
    atomic_store_explicit(&memory->consumed, completed, memory_order_release);
    atomic_store_explicit(&memory->submitted, completed + CHANNEL_SLOTS, memory_order_release);
}

void channel_worker_open(struct channel_worker *worker, struct channel_memory *memory,
                         int store_doorbell)
{
    if (!follows(memory->consumed, memory->submitted))
        start_behind(memory);
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
    if (worker->held > 0 && !channel_worker_pass_over(worker))
        return NULL;
    if (worker->submitted - worker->consumed >= CHANNEL_SLOTS)
        return NULL;
    *sequence_r = worker->submitted;
    return &worker->memory->submissions[worker->submitted & SLOT_MASK];
}

/* From now on only programs that know long heads may open the channel. */
static void raise_version(struct channel_memory *memory)
{
    if (memory->version == CHANNEL_VERSION)
        return;
    memory->version = CHANNEL_VERSION;
    memory->check = channel_check(memory);
}

uint8_t *channel_worker_lengthen(struct channel_worker *worker, struct channel_submission *slot,
                                 uint16_t op, uint16_t namespace)
{
    const struct channel_long_head head = {.op = op, .namespace = namespace};
    raise_version(worker->memory);
    slot->op = OP_NONE;
    slot->flags |= CHANNEL_LONG;
    memcpy(slot->payload, &head, sizeof head);
    return slot->payload + sizeof head;
}

void channel_worker_commit(struct channel_worker *worker)
{
    worker->submitted++;
}

void channel_worker_publish(struct channel_worker *worker)
{
    worker->published = worker->submitted;
    atomic_store_explicit(&worker->memory->submitted, worker->submitted, memory_order_release);
    wake_if_asleep(&worker->memory->store_asleep, worker->store_doorbell);
}

/* Whether there are completions to read: more than none, and no more than are awaited. */
static bool is_due(const struct channel_worker *worker, uint64_t completed)
{
    return completed - worker->consumed - 1 < worker->published - worker->consumed;
}

const struct channel_completion *channel_worker_peek(struct channel_worker *worker)
{
    uint64_t completed = atomic_load_explicit(&worker->memory->completed, memory_order_acquire);
    if (!is_due(worker, completed))
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
    struct channel_memory *memory = worker->memory;
    keep_word(&memory->submitted, worker->published, worker->store_doorbell);
    keep_word(&memory->consumed, worker->consumed, worker->store_doorbell);
    /* A number of completions that makes no sense is not waited for. */
    uint64_t completed = atomic_load_explicit(&memory->completed, memory_order_acquire);
    uint64_t seen = is_due(worker, completed) ? worker->consumed : completed;
    return fall_asleep(&memory->worker_asleep, &memory->completed, seen);
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

/* Whether this completion was published. Of the first one its slot, zeros once, cannot tell. */
static bool is_published(const struct channel_memory *memory, uint64_t sequence)
{
    const struct channel_completion *slot = &memory->completions[sequence & SLOT_MASK];
    return sequence > 0 && slot->sequence == sequence && !(slot->flags & CHANNEL_KEPT);
}

/* How far the completions in the slots go, of those between two positions. */
static uint64_t last_published(const struct channel_memory *memory, uint64_t consumed,
                               uint64_t submitted)
{
    while (submitted > consumed && !is_published(memory, submitted - 1))
        submitted--;
    return submitted;
}

/* The number of completions to go on from, given the one that is said to be it. The worker's words
 * are nonsense where they do not fit each other; a worker that lives writes them again. */
static uint64_t find_position(const struct channel_memory *memory, uint64_t completed)
{
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    uint64_t consumed = atomic_load_explicit(&memory->consumed, memory_order_acquire);
    if (!follows(consumed, submitted))
        return completed < CHANNEL_END ? completed : 0;
    if (completed >= consumed && completed <= submitted)
        return completed;
    return last_published(memory, consumed, submitted);
}

/* The same for what a predecessor left: there the slots count, too. It may have died before it
 * published the last one. */
static uint64_t find_left_position(const struct channel_memory *memory, uint64_t completed)
{
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    uint64_t consumed = atomic_load_explicit(&memory->consumed, memory_order_acquire);
    if (!follows(consumed, submitted))
        return find_position(memory, completed);
    uint64_t published = last_published(memory, consumed, submitted);
    bool first_cannot_tell = published == 0 && completed == 1 && submitted > 0;
    return first_cannot_tell ? completed : published;
}

static void take_position(struct channel_store *store, uint64_t position)
{
    store->taken = store->completed = store->rung = position;
    atomic_store_explicit(&store->memory->completed, position, memory_order_release);
    store->mended++;
}

void channel_store_open(struct channel_store *store, struct channel_memory *memory,
                        int worker_doorbell)
{
    uint64_t completed = atomic_load_explicit(&memory->completed, memory_order_acquire);
    uint64_t position = find_left_position(memory, completed);
    *store = (struct channel_store){
        .memory = memory,
        .worker_doorbell = worker_doorbell,
        .taken = completed,
        .completed = completed,
        .rung = completed,
        .hits_seen = atomic_load_explicit(&memory->hits_published, memory_order_relaxed),
    };
    if (position != completed)
        take_position(store, position);
    atomic_store_explicit(&memory->store_asleep, 0, memory_order_relaxed);
    /* A predecessor may have died between publishing and ringing. */
    doorbell_ring(worker_doorbell);
}

/* The worker's words do not fit what we know. If they fit each other, and nothing is under way, a
 * worker has begun elsewhere: go there. */
static void mend(struct channel_store *store)
{
    if (store->taken != store->completed)
        return;
    uint64_t position = find_position(store->memory, store->completed);
    if (position != store->completed)
        take_position(store, position);
}

/* Whether there is a submission, and room for its completion. */
static bool is_takeable(const struct channel_store *store, uint64_t submitted)
{
    uint64_t consumed = atomic_load_explicit(&store->memory->consumed, memory_order_acquire);
    return submitted - store->taken - 1 < CHANNEL_SLOTS && store->taken - consumed < CHANNEL_SLOTS;
}

/* Takes the long head off. */
static void take_long_head(const struct channel_submission *slot, struct channel_taken *taken_r)
{
    struct channel_long_head head;
    memcpy(&head, slot->payload, sizeof head);
    bool good = taken_r->short_op == OP_NONE && head.reserved == 0;
    taken_r->op = good ? head.op : OP_NONE;
    taken_r->namespace = head.namespace;
    taken_r->room = sizeof slot->payload - sizeof head;
}

void channel_copy(const struct channel_submission *slot, struct channel_taken *taken_r)
{
    memcpy(taken_r, slot, offsetof(struct channel_taken, payload));
    taken_r->op = taken_r->short_op;
    taken_r->namespace = 0;
    taken_r->room = sizeof slot->payload;
    if (taken_r->flags & CHANNEL_LONG)
        take_long_head(slot, taken_r);
    size_t inline_len =
        (size_t)taken_r->key_len + (taken_r->flags & CHANNEL_BULK ? 0 : taken_r->value_len);
    if (inline_len <= taken_r->room)
        memcpy(taken_r->payload, slot->payload + sizeof slot->payload - taken_r->room, inline_len);
}

bool channel_store_copy(struct channel_store *store, uint64_t submitted,
                        struct channel_taken *taken_r, uint64_t *sequence_r)
{
    struct channel_memory *memory = store->memory;
    if (!is_takeable(store, submitted)) {
        mend(store);
        return false;
    }
    channel_copy(&memory->submissions[store->taken & SLOT_MASK], taken_r);
    *sequence_r = store->taken++;
    return true;
}

void channel_store_wake(struct channel_store *store)
{
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

void channel_store_alone(struct channel_store *store, bool alone)
{
    uint64_t doing = atomic_load_explicit(&store->memory->doing, memory_order_relaxed);
    doing = alone ? doing | CHANNEL_ALONE : doing & ~(uint64_t)CHANNEL_ALONE;
    atomic_store_explicit(&store->memory->doing, doing, memory_order_relaxed);
}

bool channel_store_begun(const struct channel_store *store, uint64_t *end_r, unsigned *attempts_r,
                         bool *alone_r)
{
    uint64_t doing = atomic_load_explicit(&store->memory->doing, memory_order_acquire);
    uint64_t submitted = atomic_load_explicit(&store->memory->submitted, memory_order_acquire);
    *end_r = doing >> 8;
    *attempts_r = doing & (CHANNEL_ALONE - 1);
    *alone_r = doing & CHANNEL_ALONE;
    return *end_r > store->completed && follows(store->completed, *end_r) && *end_r <= submitted &&
           *attempts_r > 0;
}

bool channel_store_sleep(struct channel_store *store)
{
    struct channel_memory *memory = store->memory;
    keep_word(&memory->completed, store->completed, store->worker_doorbell);
    uint64_t submitted = atomic_load_explicit(&memory->submitted, memory_order_acquire);
    /* A worker that broke its ring is not waited for: what it has there cannot be taken. */
    bool broken = submitted != store->taken && !is_takeable(store, submitted);
    uint64_t seen = broken ? submitted : store->taken;
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

/*
 * channel - the rings between one worker (and lane) and one store, in a memfd that the supervisor
 * owns, so that what waits in them outlives either end.
 *
 *      worker --- submissions --->  store        the worker is the only producer here,
 *      worker <-- completions ----  store        the store the only one there
 *
 * Every submission has a sequence number: its position since the channel was made, from 0. The
 * store completes submissions in that order, so completion n answers submission n, and the number
 * of completions published is the one truth about how far the store has come: a restarted store
 * goes on at exactly that number. A restarted worker goes on at the number of submissions published
 * and drops the completions of its predecessor.
 *
 * Memory order: a producer fills a slot, then publishes with a release store of its tail; the
 * consumer reads the tail with acquire. A slot is reused only after the other side is done with
 * it: submission n + CHANNEL_SLOTS may be written once completion n was consumed, which also makes
 * room for its completion; so neither ring can overflow unless the worker breaks the rule, and then
 * only its own requests suffer.
 *
 * A completion's slot is free from the moment its submission is taken. The store writes it there
 * before it makes the change that it is about, and publishes it when the change is made and all
 * before it are published. So the slot has the answer, whenever the store dies, to everything that
 * was changed and not answered. Which of the slots may be published only the store knows, not this
 * memory.
 *
 * Doorbells: a consumer publishes "asleep" and looks once more before it blocks on its eventfd; a
 * producer rings only when it sees that flag, and takes it. Under load nobody makes a system call.
 *
 * Trust: all of it is writable by the worker. The store copies a submission out before it looks at
 * it, bounds everything, and believes nothing here about what it has already applied.
 *
 * Damage: consumed <= completed <= submitted <= consumed + CHANNEL_SLOTS always holds. Each end
 * writes its own words again when they are not what it knows they are, and waits while the other's
 * make no sense. A new end that finds them so starts from what fits together; what was under way
 * then is answered "unknown", nothing waits for ever. Words of the header are put right by whoever
 * maps it.
 */
#ifndef STRATO_PROTO_CHANNEL_CHANNEL_H
#define STRATO_PROTO_CHANNEL_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/op.h"
#include "proto/channel/place.h"

#define CHANNEL_MAGIC "STRCHAN" /* with its NUL eight bytes */

enum {
    /* What a channel is laid out with: every slot's head is the short one. Release 0.2.0 knows no
     * other. */
    CHANNEL_VERSION_SHORT = 1,
    /* The newest. A worker sets it before it writes the first long head. */
    CHANNEL_VERSION = 2,
    CHANNEL_SLOTS = 512, /* per ring; a power of two */
    CHANNEL_SLOT_SIZE = 1024,
    CHANNEL_HITS = 64,      /* slots of the sampled-hits ring; a power of two */
    CHANNEL_SECRET = 16,    /* bytes */
    CHANNEL_COUNTERS = 384, /* reserved: workers of 0.2.0 count there */
};

enum channel_flags {
    /* submission: the value was staged over the link under bulk_id; completion: the value waits to
     * be fetched over the link under this sequence number. The payload then has only the key, or
     * nothing. */
    CHANNEL_BULK = 1,
    /* completion: the request ended its store twice and is not tried again. */
    CHANNEL_GIVEN_UP = 2,
    /* submission: the worker has no use for the value of the answer. */
    CHANNEL_NO_VALUE = 8,
    /* submission: a channel_long_head comes before the payload, and says what op and more is. */
    CHANNEL_LONG = 0x80,
    /* completion: it is written, but not published yet. */
    CHANNEL_KEPT = 4,
    /* with CHANNEL_BULK: the value lies in the slot's place (place.h). */
    CHANNEL_PLACED = 16,
};

struct channel_submission {
    uint64_t deadline_ns; /* monotonic clock; not applied later than this */
    uint64_t expiry_ms;
    int64_t number;
    uint64_t bulk_id;
    uint32_t value_len; /* of the whole value, staged or inline */
    uint16_t key_len;
    uint8_t op;
    uint8_t flags;
    uint8_t payload[CHANNEL_SLOT_SIZE - 40]; /* key, then the value unless CHANNEL_BULK */
};
_Static_assert(sizeof(struct channel_submission) == CHANNEL_SLOT_SIZE, "slot layout");

/* For an operation over 255 or in a namespace but 0. The slot's own op is then OP_NONE, so that a
 * store of version 1 refuses what it would misread. */
struct channel_long_head {
    uint16_t op;
    uint16_t namespace;
    uint32_t reserved; /* 0 */
};

/* A submission as the store has copied it, whatever its head was. Begins as the slot does. */
struct channel_taken {
    uint64_t deadline_ns;
    uint64_t expiry_ms;
    int64_t number;
    uint64_t bulk_id;
    uint32_t value_len;
    uint16_t key_len;
    uint8_t short_op; /* use op */
    uint8_t flags;
    uint8_t payload[CHANNEL_SLOT_SIZE - 40];
    uint16_t op;
    uint16_t namespace;
    uint16_t room; /* how many bytes key and inline value may have together */
};
_Static_assert(offsetof(struct channel_taken, payload) ==
                   offsetof(struct channel_submission, payload),
               "a short head is copied as it is");

struct channel_completion {
    uint64_t sequence; /* of the submission it answers */
    uint64_t revision;
    int64_t number;
    uint32_t value_len;
    uint16_t status;
    uint16_t flags;
    uint8_t payload[CHANNEL_SLOT_SIZE - 32];
};
_Static_assert(sizeof(struct channel_completion) == CHANNEL_SLOT_SIZE, "slot layout");

enum { CHANNEL_INLINE_MAX = sizeof(((struct channel_completion *)0)->payload) };

/* Each group of fields has a cache line (or lines) of its own, by who writes it. */
struct channel_memory {
    /* Written once, by the store, when it meets a zeroed channel; magic last. */
    char magic[8];
    uint32_t version;
    uint32_t slots;
    uint32_t slot_size;
    uint32_t reserved;
    uint64_t check; /* over the four fields above it; 0: laid out by release 0.2.0 */
    /* Random. Who can say it has this memory mapped: the worker says it in its hello on the link.
     * Zero in a channel of 0.2.0, until a store opens it. */
    uint8_t secret[CHANNEL_SECRET];
    /* Not 0: 0.2.0 laid it out, and no worker has said the secret yet. One of that release, which
     * knows of none, may be there still. */
    uint32_t unproven;
    uint8_t pad0[12];

    /* Written by the worker. */
    _Atomic uint64_t submitted;     /* submissions published; release */
    _Atomic uint64_t consumed;      /* completions taken; release */
    _Atomic uint32_t worker_asleep; /* 1 while the worker may be blocked */
    _Atomic uint32_t link_trouble;  /* counts up when the worker cannot reach the store by nng */
    uint8_t pad1[40];

    /* Written by the store. */
    _Atomic uint64_t completed; /* completions published; release */
    _Atomic uint32_t store_asleep;
    /* Submissions that a store without data of its own may have passed on, recorded before it does;
     * release. What its successor finds below it and not completed may have been carried out. */
    _Atomic uint64_t sent;
    /* Which submission was handed to the engine last: its sequence + 1 in the upper 56 bits, and in
     * the lower 8 how many stores have tried it, this one included; 0x80 is added when nothing else
     * was under way. */
    _Atomic uint64_t doing;
    uint8_t pad2[32];

    /* Written by the worker: a sample of the records that hot reads hit, as arena slot words, for
     * the eviction order. Lossy: the store takes what it finds. */
    _Atomic uint64_t hits_published;
    uint8_t pad3[56];
    _Atomic uint64_t hits[CHANNEL_HITS];

    /* Written by the worker, read by the store for its stats: monotonic across worker restarts. */
    _Atomic uint64_t counters[CHANNEL_COUNTERS];

    struct channel_submission submissions[CHANNEL_SLOTS];
    struct channel_completion completions[CHANNEL_SLOTS];
};

/* Bytes that the memfd must have. */
size_t channel_memory_size(void);

/* ---- Both ends ---- */

/*
 * Maps the channel read-write, with the pages that this end writes allocated. NULL and a reason of
 * at most reason_size bytes when it cannot be mapped, there is no memory for it, or it has another
 * version. A damaged header is put right. A zeroed channel is raw: the store accepts and lays it
 * out, a worker fails (stores are started first). fd stays the caller's.
 */
struct channel_memory *channel_map(int fd, bool store, char *reason, size_t reason_size);
void channel_unmap(struct channel_memory **memory);
/* A channel that no store has laid out yet, and laying it out: before that the store forgets what
 * it had applied for another channel of this number. */
bool channel_is_raw(const struct channel_memory *memory);
void channel_lay_out(struct channel_memory *memory);
/* Whether this program can read a channel of that version. */
bool channel_knows(unsigned version);
/* Copies a submission from its slot, which its worker can still change. What makes no sense has an
 * op that does not exist. */
void channel_copy(const struct channel_submission *slot, struct channel_taken *taken_r);
/* What the header's check must be. */
uint64_t channel_check(const struct channel_memory *memory);
/* Gives a channel of 0.2.0 its secret if it has none. The store, before it listens. */
void channel_make_secret(struct channel_memory *memory);

/* ---- The worker's end ---- */

struct channel_worker {
    struct channel_memory *memory;
    int store_doorbell; /* the store's eventfd */
    uint64_t submitted; /* private copy of memory->submitted */
    uint64_t consumed;  /* private copy of memory->consumed */
    uint64_t published; /* what of submitted the store can see */
    unsigned held;      /* slots that are passed over, and which: */
    uint64_t holds[CHANNEL_SLOTS / 64];
};

/* Takes over a mapped channel: drops whatever a predecessor left unanswered. Its submissions are
 * still carried out; their completions are consumed and ignored by channel_worker_take(). */
void channel_worker_open(struct channel_worker *worker, struct channel_memory *memory,
                         int store_doorbell);

/* The next free submission slot, or NULL when CHANNEL_SLOTS requests are under way. Fill it, then
 * call channel_worker_commit(). *sequence_r is the number it will have. */
struct channel_submission *channel_worker_slot(struct channel_worker *worker, uint64_t *sequence_r);
/* Whether a request needs the long head, and how many bytes its key and inline value may have. */
static inline bool channel_is_long(unsigned op, unsigned namespace)
{
    return op > UINT8_MAX || namespace != 0;
}
static inline size_t channel_room(unsigned op, unsigned namespace)
{
    return sizeof(((struct channel_submission *)0)->payload) -
           (channel_is_long(op, namespace) ? sizeof(struct channel_long_head) : 0);
}
/* Puts the long head into a slot whose flags are set. Returns where its payload begins. */
uint8_t *channel_worker_lengthen(struct channel_worker *worker, struct channel_submission *slot,
                                 uint16_t op, uint16_t namespace);
void channel_worker_commit(struct channel_worker *worker);

/* The slot of a completion is not used again until it is let go: its place has yet to be read. Each
 * slot is held at most once. */
void channel_worker_hold(struct channel_worker *worker, uint64_t sequence);
void channel_worker_let_go(struct channel_worker *worker, uint64_t sequence);
/* For channel_worker_slot() alone: fills slots that are held with what no store carries out. False
 * when all are. */
bool channel_worker_pass_over(struct channel_worker *worker);

/* For channel_worker_flush() alone. */
void channel_worker_publish(struct channel_worker *worker);
/* Shows all committed submissions to the store and rings its doorbell if it sleeps. Once per round
 * of the event loop. */
static inline void channel_worker_flush(struct channel_worker *worker)
{
    if (worker->published != worker->submitted)
        channel_worker_publish(worker);
}

/* The oldest unread completion, or NULL. It is the worker's until channel_worker_release(). */
const struct channel_completion *channel_worker_peek(struct channel_worker *worker);
void channel_worker_release(struct channel_worker *worker);

/* Before blocking: true when the caller may block now, false when a completion is waiting.
 * channel_worker_awake() afterwards. */
bool channel_worker_sleep(struct channel_worker *worker);
void channel_worker_awake(struct channel_worker *worker);

/* Tells the store's eviction order of a hit. word is the arena slot word. */
void channel_worker_hit(struct channel_worker *worker, uint64_t word);

/* ---- The store's end ---- */

struct channel_store {
    struct channel_memory *memory;
    struct channel_places places; /* none, until who opens it says so */
    int worker_doorbell;
    uint64_t taken;     /* submissions copied out; >= completed */
    uint64_t completed; /* completions published */
    uint64_t rung;      /* up to which the worker has been woken */
    uint64_t hits_seen;
    unsigned early; /* completions that wait for earlier ones, and which slots have them: */
    uint64_t ready[CHANNEL_SLOTS / 64];
    unsigned mended; /* how often another position had to be taken, for the old made no sense */
};

/* Resumes at the number of completions published, or where it can if that makes no sense. */
void channel_store_open(struct channel_store *store, struct channel_memory *memory,
                        int worker_doorbell);

/* For channel_store_take() alone: there is something to take, or nonsense. */
bool channel_store_copy(struct channel_store *store, uint64_t submitted,
                        struct channel_taken *taken_r, uint64_t *sequence_r);
/* Copies the next submission out. False when there is none, or when the worker has not consumed
 * enough completions for another to be written. */
static inline bool channel_store_take(struct channel_store *store, struct channel_taken *taken_r,
                                      uint64_t *sequence_r)
{
    uint64_t submitted = atomic_load_explicit(&store->memory->submitted, memory_order_acquire);
    return submitted != store->taken && channel_store_copy(store, submitted, taken_r, sequence_r);
}

/* Where the completion of a submission that was taken and not answered goes. Fill all but sequence,
 * then keep it; of payload only the first value_len bytes need be written. It can be filled and
 * kept again until it is committed. */
struct channel_completion *channel_store_slot(struct channel_store *store, uint64_t sequence);
/* The completion is written: a successor can read it from here on. */
void channel_store_keep(struct channel_store *store, uint64_t sequence);
/* Whether this end or a predecessor has kept it, and not published. */
bool channel_store_kept(const struct channel_store *store, uint64_t sequence);
/* A completion that was kept is true now: it is published once all before it are. Each one once. */
void channel_store_commit(struct channel_store *store, uint64_t sequence);
/* For channel_store_flush() alone. */
void channel_store_wake(struct channel_store *store);
/* Rings the worker's doorbell if it sleeps and completions were published since the last time. */
static inline void channel_store_flush(struct channel_store *store)
{
    if (store->rung != store->completed)
        channel_store_wake(store);
}

/* Records that all submissions taken so far may be passed on; and what was so recorded, bounded by
 * what can be under way. */
void channel_store_send(struct channel_store *store);
uint64_t channel_store_sent(const struct channel_store *store);

/* Records that a submission is handed to the engine, by so many stores now (at most 127), and
 * whether nothing else is under way; the latter can be said later. */
enum { CHANNEL_ALONE = 0x80 };
static inline void channel_store_begin(struct channel_store *store, uint64_t sequence,
                                       unsigned attempt, bool alone)
{
    atomic_store_explicit(&store->memory->doing,
                          (sequence + 1) << 8 | attempt | (alone ? CHANNEL_ALONE : 0),
                          memory_order_relaxed);
}
void channel_store_alone(struct channel_store *store, bool alone);
/* What a predecessor had recorded so and not answered: the end (exclusive) of these submissions,
 * which begin at completed, and how the last was tried. False: there are none. */
bool channel_store_begun(const struct channel_store *store, uint64_t *end_r, unsigned *attempts_r,
                         bool *alone_r);

bool channel_store_sleep(struct channel_store *store);
void channel_store_awake(struct channel_store *store);

/* The next reported hit; false when there is none. */
bool channel_store_hit(struct channel_store *store, uint64_t *word_r);

/* Whether there is nothing to take and no hit. Quick, for most channels are idle most of the time.
 */
static inline bool channel_store_idle(const struct channel_store *store)
{
    const struct channel_memory *memory = store->memory;
    return atomic_load_explicit(&memory->submitted, memory_order_acquire) == store->taken &&
           atomic_load_explicit(&memory->hits_published, memory_order_relaxed) == store->hits_seen;
}

/* Adds one to an eventfd; a full one is as good as rung. */
void doorbell_ring(int fd);
/* Takes all rings. */
void doorbell_clear(int fd);

#endif

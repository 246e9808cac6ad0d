/*
 * internal - what the files of core share, and nobody else.
 */
#ifndef STRATO_WORKERS_CORE_INTERNAL_H
#define STRATO_WORKERS_CORE_INTERNAL_H

#include "proto/arena/reader.h"
#include "proto/channel/channel.h"
#include "proto/figures/figures.h"
#include "workers/core/core.h"
#include "workers/core/deadlines.h"
#include "workers/core/transfer.h"

enum {
    /* How long a worker looks for a completion before it lets epoll block. */
    CORE_SPIN_NS = 20000,
    /* One in so many hits of what may be evicted is reported for the eviction order. */
    CORE_HIT_SAMPLE = 8,
    /* Values staged at once; the store keeps twice as many per channel (BULK_PER_CHANNEL). */
    CORE_STAGED_MAX = 32,
    CORE_READ_MAX = 8 << 20, /* bytes of long answers that are read in one round */
    CORE_LINK_POLL_MS = 50,
    CORE_SLEEP_MAX_MS = 1000,
    CORE_INQUIRY_MS = 1000, /* for probes */
};

enum core_phase {
    PHASE_CLOSED = 0,
    PHASE_WAIT_SLOT,  /* in store->for_slot: the ring is full */
    PHASE_WAIT_STAGE, /* in store->for_stage: enough values are staged */
    PHASE_STAGING,    /* job is a transfer_stage */
    PHASE_SUBMITTED,  /* in the ring, under sequence */
    PHASE_WAIT_TURN,  /* in store->for_turn: answers wait already, and its own may be a long one */
    PHASE_WAIT_FETCH, /* in store->for_fetch: a long answer is there, but no memory for it here */
    PHASE_FETCHING,   /* job is a transfer_fetch; fetching bytes of the budget are taken */
};

TAILQ_HEAD(core_queue, core_call);

/* A store as its worker sees it. */
struct core_store {
    struct core *core;
    struct core_store *next; /* of those in use, in the backends' order */
    enum backend backend;
    bool absent_is_final;       /* the arena is the data: what it has not, does not exist */
    bool refused;               /* our hello; logged */
    struct arena_reader reader; /* base is NULL when the backend has no arena */
    struct channel_worker channel;
    struct channel_places places;
    struct transfer *transfer;
    /* By sequence % CHANNEL_SLOTS; call is NULL once nobody waits for it any more. */
    struct core_pending {
        struct core_call *call;
        uint64_t bulk_id;
    } pending[CHANNEL_SLOTS];
    struct core_queue for_slot;
    struct core_queue for_stage;
    struct core_queue for_fetch;
    struct core_queue for_turn;
    bool more;          /* answers in for_fetch are left for the next round */
    unsigned submitted; /* calls in the ring that are still waited for */
    unsigned staged;    /* always <= CORE_STAGED_MAX */
    uint32_t chance;    /* for the sample of hits */

    struct core_call probe;
    enum status answered; /* what the last probe showed: STATUS_OK or STATUS_UNAVAILABLE */
    char trouble[300];    /* in the store's words, when it gave some */
    uint64_t answered_ns; /* 0: never */
};

struct core_waiter {
    struct core_waiter *next;
    void (*ready)(void *context, enum status status, const char *backend);
    void *context;
};

struct core {
    const struct run_child *child;
    struct figures_page *figures;             /* what this worker counts */
    struct core_store *stores[BACKEND_COUNT]; /* NULL: not in use */
    struct core_store *first;
    struct deadlines deadlines;
    struct buffer scratch; /* values read from an arena */
    struct buffer answer;  /* a long answer, while its call is done */
    uint64_t links_polled_ms;
    unsigned probes; /* of the calls in deadlines, those of our own */
    unsigned ended;  /* in this core_poll() */
    bool noticed;
    char error[600];

    struct core_budget {
        uint64_t used, limit; /* bytes */
        bool (*relieve)(void *context);
        void *context;
    } budget;

    struct core_waiter *ready_waiters;
};

#define CORE_EACH_STORE(core, store) for ((store) = (core)->first; (store); (store) = (store)->next)

/* check.c: what holds for a request whatever its protocol. Anything but STATUS_OK leaves its reason
 * in error (size bytes). */
enum status core_check(const struct request *request, uint64_t max_value, char *error, size_t size);
/* check.c: the text for an outcome that the store reported; valid until the next of the core. */
const char *core_error_text(const struct core_store *store, const struct reply *reply, enum op op);
/* check.c: the same for a request that the store gave up. */
const char *core_given_up_text(enum status status);

/* local.c: answers a read from the arena. STATUS_RETRY: ask the store. */
enum status core_read_local(struct core_store *store, const struct request *request,
                            struct reply *reply_r);
/* local.c: the arena's rule for a backend. */
bool core_absent_is_final(enum backend backend);

/* submit.c: a call's way through the ring, from core_submit() to core_end(). */
void core_submit(struct core_call *call);
/* Makes an open call of it, and submits it. */
void core_enter(struct core *core, struct core_store *store, struct core_call *call);
/* Takes a call out of wherever it is. */
void core_detach(struct core_call *call);
/* Takes the completions that are there. */
void core_take_completions(struct core_store *store);
/* Uses room that has come free. */
void core_admit(struct core_store *store);

/* end.c: sets the outcome, counts it and calls done(). The call is detached. */
void core_end(struct core_call *call, enum status status);
/* end.c: logs a call, at debug level. A request is called CHANNEL.SEQUENCE, here as in the store:
 * its place in the ring (the last one, when it was submitted again). */
void core_trace(const struct core *core, const struct core_call *call, const char *sequence);
/* end.c: takes a call out of the deadlines: nobody waits for it any more. */
void core_leave(struct core *core, struct core_call *call);

/* budget.c: sets the limit; at the end, shows that nothing is held any more. */
void core_budget_open(struct core *core, uint64_t max_memory);
void core_budget_close(struct core *core);
/* budget.c: core_budget_take() for who waits when there is none. */
bool core_budget_try(struct core *core, uint64_t bytes) MUST_CHECK;

/* figures.c: takes up this worker's page; counts a call that has ended. */
void core_figures_open(struct core *core);
void core_count_ended(struct core *core, const struct core_call *call);
/* processes.c: shows all processes and gives the figures that say what they are. */
void core_processes(const struct core *core, struct figures *figures, figures_take *take,
                    void *context);

/* probe.c: its part of core_poll(), when somebody waits for it. */
void core_ready_poll(struct core *core, uint64_t now_ns);
/* waiter.c: who waits for a probe. */
void core_waiter_add(struct core_waiter **list, struct core_waiter waiter);
void core_waiter_remove(struct core_waiter **list, const void *context);
/* Takes the first out; false when there is none. */
bool core_waiter_take(struct core_waiter **list, struct core_waiter *waiter_r);

#endif

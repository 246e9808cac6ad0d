/*
 * core - what every worker does whatever protocol it speaks: check a request, answer a read from
 * the arena, submit everything else to the right store, and complete it when the answer comes.
 *
 * Single-threaded: all calls from the worker's one event loop. A protocol front end embeds a
 * struct core_call in its own request object, fills request, and calls core_start(). The call is
 * answered exactly once: at once (core_start returns true) or later through done(), never both,
 * and not after core_cancel().
 *
 *     front end --core_start--> validate -> arena hit? ----------------> true, reply filled
 *                                              | no
 *                                              v
 *                      ring slot (large values beside it)
 *                                              |
 *     done(call) <--core_poll-- completion (large answers from the channel's file)
 */
#ifndef STRATO_WORKERS_CORE_CORE_H
#define STRATO_WORKERS_CORE_CORE_H

#include <sys/queue.h>

#include "proto/run/run.h"

struct core;
struct core_store;
struct transfer_job;

struct core_call {
    /* Set by the front end before core_start(); borrowed until the call is answered. */
    struct request request;
    uint64_t deadline_ns; /* monotonic; 0, or one past request_timeout, takes request_timeout */
    void (*done)(struct core_call *call);
    bool status_only; /* reply.value is not wanted: a long one is not fetched */
    /* A read that is answered at once with a longer value than this is not answered: core_start()
     * returns true with STATUS_RETRY, for the front end to start it again later. 0: any length. */
    uint32_t value_max;

    /* Set by the core. reply.value is valid until core_start() or core_poll() is called again, or
     * inside done() until it returns: copy or send it there and then. */
    struct reply reply;
    /* When reply.status is not STATUS_OK: what is wrong and what is allowed, never NULL. Same
     * lifetime. */
    const char *error;

    /* The core's own. */
    struct core_state {
        TAILQ_ENTRY(core_call) queued; /* while it waits for room */
        struct core_store *store;
        struct transfer_job *job; /* while staging or fetching */
        uint64_t sequence;        /* while submitted, and until a long answer is here */
        uint64_t bulk_id;         /* of the staged value; 0: not staged */
        uint64_t fetching;        /* bytes of the long answer to be fetched */
        uint64_t started_ns;
        uint64_t deadline_ns;
        uint32_t timer; /* place in the deadlines, counted from 1; 0: none */
        uint8_t phase;
        bool given_up; /* by the store, which it ended twice */
        bool placed;   /* the long answer lies in its place in the channel's file */
        bool unplaced; /* there was no memory for its value in the channel's file */
    } state;
};

/* Opens arenas, channels and links as run.h gives them. Ends the process through run_child_fail()
 * when it cannot. child: borrowed for the core's life. */
struct core *core_open(const struct run_child *child);
/* No calls may be open. */
void core_close(struct core **core);

/* True: answered, call->reply is filled. False: done() will be called by core_poll(). */
bool core_start(struct core *core, struct core_call *call);

/* Forgets a call that core_start() left open, for instance because its client is gone. What it
 * asked for may still be carried out. */
void core_cancel(struct core *core, struct core_call *call);

/*
 * The event loop's side, in this order each round:
 *     epoll_wait(...)                  on the fds that core_add_fds() added (doorbell, links)
 *     core_awake(core, noticed)
 *     ... handle connections, core_start() ...
 *     core_poll(core, now_ns)          completions, deadlines, link
 *     core_flush(core)                 shows submissions to the stores (may ring a doorbell)
 *     core_sleep(core, now_ns)         how long epoll_wait may block, in ms; 0 when there is work
 */
void core_add_fds(struct core *core, int epoll_fd, void *tag);
/* Returns how many calls were completed. */
unsigned core_poll(struct core *core, uint64_t now_ns);
void core_flush(struct core *core);
int core_sleep(struct core *core, uint64_t now_ns);
/* After epoll_wait returned; noticed: it reported the tag of core_add_fds(). */
void core_awake(struct core *core, bool noticed);
/* Calls under way; a draining worker exits at 0. */
unsigned core_open_calls(const struct core *core);

/*
 * The moment at which a cached value expires that is to live ttl_s seconds from now_ms (wall
 * clock); 0 takes the default of 5 s. STATUS_INVALID outside 0..INT32_MAX: core_ttl_error says so.
 */
enum status core_expiry(int64_t ttl_s, uint64_t now_ms, uint64_t *expiry_ms_r) MUST_CHECK;
extern const char core_ttl_error[];

/*
 * Whether all backends answer, for /readyz and health: each is sent a read through its ring. Done
 * is called once, by core_poll(): STATUS_OK, or STATUS_UNAVAILABLE and the name of a backend that
 * did not answer within 1 s. An answer is good for 1 s more.
 */
void core_ready(struct core *core,
                void (*done)(void *context, enum status status, const char *backend),
                void *context);
/* After it was not STATUS_OK: what is wrong with the backend it named, in the store's words; empty
 * when it gave none. */
const char *core_trouble(const struct core *core);
void core_ready_cancel(struct core *core, void *context);
/* Whether the backend of one service answered when core_ready() last asked it. */
bool core_answers(const struct core *core, enum service service);

/* The worker's figures, see proto/figures/figures.def. */
void core_count(struct core *core, unsigned figure, uint64_t add);
void core_gauge(struct core *core, unsigned figure, uint64_t value);

/*
 * The memory that a worker's clients may hold at once: [http] or [grpc] max_memory, at least 16
 * times max_value. A front end takes before it allocates what a client decides the size of (values
 * half received, answers not yet taken, messages of open calls), and gives back when it is freed.
 * What every connection costs (less than 20 KiB) is not counted. Long answers that core fetches
 * are: they wait until there is room.
 */
/* False: bytes more would be past the limit, even after relieve() did what it can. Refuse the
 * request (core_budget_error says why), or wait. */
bool core_budget_take(struct core *core, uint64_t bytes) MUST_CHECK;
/* How many bytes may be held at most. */
uint64_t core_budget_limit(const struct core *core);
/* Gives back what was taken. */
void core_budget_give(struct core *core, uint64_t bytes);
/* relieve: called when the limit would be passed. It frees what a client has held for long and
 * returns true, or returns false. It must not start or cancel calls. */
void core_budget_relief(struct core *core, bool (*relieve)(void *context), void *context);
extern const char core_budget_error[];

/* Appends the figures of all processes as Prometheus text. */
void core_figures(struct core *core, struct buffer *text);

#endif

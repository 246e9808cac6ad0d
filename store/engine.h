/*
 * engine - what a backend must do: the one table through which the store's loop reaches it.
 *
 * The loop hands over submissions, channel by channel and in order; the engine answers each one
 * exactly once through complete(), at once or later and in any order (they are published in that of
 * submission). After a round of submissions settle() is called: there a batch is made durable and
 * answered, or sent to where it is carried out.
 *
 * What an engine with applied() answers to a change is kept before the change is made, where a
 * successor finds it: so it is answered exactly, value included, whenever the store dies, and the
 * engine need not know of an answer that was lost.
 */
#ifndef STRATO_STORE_ENGINE_H
#define STRATO_STORE_ENGINE_H

#include "proto/figures/figures.h"
#include "proto/run/run.h"

struct engine_call {
    uint32_t channel;
    uint64_t sequence;
    uint64_t deadline_ns;   /* monotonic: later than this nobody waits for it; 0: no such moment */
    struct request request; /* checked; its views are valid until submit() returns */
};

struct engine;

struct engine_callbacks {
    void *context;
    /* Keeps the answer that will be true once the change is made; another may be kept in its place
     * until it is completed. reply->value is copied before it returns, here and below. False when
     * there is no memory for it: then the change must not be made, and a refusal is kept. */
    bool (*keep)(void *context, uint32_t channel, uint64_t sequence, const struct reply *reply);
    /* reply: NULL for the one that is kept. */
    void (*complete)(void *context, uint32_t channel, uint64_t sequence, const struct reply *reply);
};

struct engine_snapshot {
    bool done;         /* else it is being made */
    const char *path;  /* where it is, or will be; valid until the next call */
    uint64_t bytes;    /* when it is done */
    const char *error; /* why there will be none; likewise */
};

struct engine_ops {
    enum backend backend;
    unsigned batch; /* most submissions of one channel in one round */
    bool at_once;   /* submit() answers before it returns, so only one is ever under way */
    /* Ends the process through run_child_fail() when it cannot. */
    struct engine *(*open)(const struct run_child *child, const struct engine_callbacks *callbacks);
    /* Answers what is under way first, where that takes a bounded time. */
    void (*close)(struct engine **engine);
    /* Submissions of a channel, up to and including the last that is known to be applied. NULL for
     * an engine that passes them on and cannot know: then all that a predecessor may have passed on
     * (channel_store_sent()) are replayed. */
    uint64_t (*applied)(const struct engine *engine, uint32_t channel);
    /* This channel is a new one: nothing of it is applied. */
    void (*forget)(struct engine *engine, uint32_t channel);
    void (*submit)(struct engine *engine, const struct engine_call *call);
    /* Optional: the same for a submission below applied() that no answer is kept for: a change is
     * answered without being made again; or, for an engine without applied(), anything is, without
     * harm if it was carried out before. Else such a change is answered STATUS_UNKNOWN. */
    void (*replay)(struct engine *engine, const struct engine_call *call);
    void (*settle)(struct engine *engine);
    /* A worker's report of a hit on an arena record. */
    void (*hit)(struct engine *engine, uint64_t word);
    /* A little housekeeping. True when there is more to do at once. */
    bool (*tend)(struct engine *engine, uint64_t now_wall_ms);
    /* Optional, for an engine that waits for others: a descriptor (stays the same) that is readable
     * when poll() has something to do; poll() is then called, and also in every round. now_ns is of
     * the monotonic clock. Neither blocks. */
    int (*fd)(const struct engine *engine);
    void (*poll)(struct engine *engine, uint64_t now_ns);
    /* Optional: has a consistent copy of everything made under a name. Call it again until it is
     * done, which is told once. STATUS_OK, or result_r->error says why not. Does not block. */
    enum status (*snapshot)(struct engine *engine, const char *name,
                            struct engine_snapshot *result_r);
    /* Writes the engine's figures into the store's page. */
    void (*figures)(const struct engine *engine, struct figures_page *page);
};

#endif

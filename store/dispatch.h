/*
 * dispatch - moves submissions from the channels to the engine and its answers back.
 *
 * The sequence of a submission is its position in its channel, and answers are published in that
 * order, so the channel itself remembers how far this store has come (proto/channel/channel.h).
 */
#ifndef STRATO_STORE_DISPATCH_H
#define STRATO_STORE_DISPATCH_H

#include "proto/channel/channel.h"
#include "store/bulk.h"
#include "store/engine.h"

struct dispatch;

struct dispatch_options {
    const struct engine_ops *ops;
    const struct run_child *child;
    struct bulk *bulk;
    unsigned channels;
    struct channel_memory *const *memories; /* one per channel; borrowed for good */
};

/* Opens the engine and resumes every channel. */
struct dispatch *dispatch_open(const struct dispatch_options *options);
void dispatch_close(struct dispatch **dispatch);

/* Takes a batch from every channel and answers what is ready. Returns how many were taken. */
unsigned dispatch_round(struct dispatch *dispatch);
/* A descriptor to wait on besides the doorbell, for the engine; -1 when it has none. */
int dispatch_fd(const struct dispatch *dispatch);
/* True when every channel is empty and its worker knows that we are about to block. */
bool dispatch_sleep(struct dispatch *dispatch);
void dispatch_awake(struct dispatch *dispatch);
/* Housekeeping of the engine; true when there is more to do at once. */
bool dispatch_tend(struct dispatch *dispatch, uint64_t now_wall_ms);
/* As engine_ops.snapshot, for any engine. */
enum status dispatch_snapshot(struct dispatch *dispatch, const char *name,
                              struct engine_snapshot *result_r) MUST_CHECK;
/* Writes down what waits in each channel, and what the dispatcher and the engine count. */
void dispatch_figures(const struct dispatch *dispatch, struct figures_page *page);

#endif

/*
 * talk - a store's side of the link: who is connected, staged values, long answers.
 *
 * A connection says hello first and is then bound to one channel; what it asks can only touch that
 * channel's bulk. Only snapshots are made for everyone. Nothing here is fast or needs to be: hot
 * requests go through the rings.
 */
#ifndef STRATO_STORE_TALK_H
#define STRATO_STORE_TALK_H

#include "proto/channel/channel.h"
#include "proto/conf/conf.h"
#include "store/bulk.h"
#include "store/engine.h"

struct talk_options {
    const char *url;  /* of the link; borrowed for the call */
    const char *name; /* "store-memory"; borrowed until talk_close(), like all below */
    enum backend backend;
    const struct conf *conf; /* for the workers' names */
    struct bulk *bulk;
    unsigned channels;
    struct channel_memory *const *memories; /* by channel: link_trouble, secret */
    /* As engine_ops.snapshot. */
    enum status (*snapshot)(void *context, const char *name, struct engine_snapshot *result_r);
    void *context;
};

struct talk;

/* NULL and a reason when it cannot listen. */
struct talk *talk_open(const struct talk_options *options, char *reason, size_t reason_size);
/* Not needed before the process ends. */
void talk_close(struct talk **talk);
/* Readable when there is something to answer. Stays the same. */
int talk_fd(const struct talk *talk);
/* Answers what has come, a bounded amount of it, and looks after the connections. Call it when
 * talk_fd() is readable and at least every 200 ms. Does not block. */
void talk_poll(struct talk *talk, uint64_t now_ms);
/* Writes down what it counts. */
void talk_figures(const struct talk *talk, struct figures_page *page);

#endif

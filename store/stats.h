/*
 * stats - a list of samples for /metrics, cut into pages that fit a message.
 *
 * Samples of one name are added one after another; help goes with the first of them.
 */
#ifndef STRATO_STORE_STATS_H
#define STRATO_STORE_STATS_H

#include "proto/channel/channel.h"
#include "proto/conf/conf.h"
#include "proto/link/control.pb-c.h"

enum stats_kind { STATS_GAUGE, STATS_COUNTER };

struct stats { /* all zero is an empty list */
    Strato__Control__Sample **samples;
    size_t count;
    size_t capacity;
};

/* name and help: literals, borrowed. The format makes the labels: "process=\"%s\"". */
void stats_add(struct stats *stats, enum stats_kind kind, const char *name, const char *help,
               double value, const char *labels, ...) __attribute__((format(printf, 6, 7)));
/* The figures of all workers (proto/channel/figures.h), their lanes summed; only the first backend
 * in use has them. They are the workers' and are passed on as they are. */
void stats_add_workers(struct stats *stats, const struct conf *conf,
                       struct channel_memory *const *memories, unsigned channels);
/* How many requests wait in each channel to this store. */
void stats_add_channels(struct stats *stats, const struct conf *conf, const char *store,
                        struct channel_memory *const *memories, unsigned channels);
/* Fills a page: the samples from first on, as many as fit. The reply borrows from stats; its next
 * is where the following page starts, 0 after the last. */
void stats_page(const struct stats *stats, uint32_t first, Strato__Control__StatsReply *reply_r);
/* Leaves an empty list. */
void stats_clear(struct stats *stats);

#endif

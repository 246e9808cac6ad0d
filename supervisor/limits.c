/*
 * limits - see limits.h. The supervisor, before it starts anything and at a reload; main.c for
 * --check-config. It counts descriptors only.
 */
#include "supervisor/limits.h"

#include <inttypes.h>
#include <sys/resource.h>

#include "proto/run/run.h"

enum {
    OWN_SPARE = 96,         /* of stratod: control connections, pipes of children, its own */
    CHILD_SPARE = 64,       /* of a store: its files or its Redis */
    WORKER_SPARE = 192,     /* of a worker, besides its connections */
    CONNECTIONS_LEAST = 16, /* a worker with fewer is of no use */
};

/* What stratod itself holds: the arenas, each channel of each backend, bells, four per process. */
static uint64_t needed_by_supervisor(const struct conf *conf)
{
    uint64_t channels = run_channel_count(conf), backends = 0;
    for (unsigned i = 0; i < BACKEND_COUNT; i++)
        backends += conf_uses(conf, (enum backend)i);
    return OWN_SPARE + channels + backends * (channels + 3) + 6 * (channels + backends);
}

/* While a child is started it has each descriptor twice, above those that it gets in the end. */
static uint64_t needed_by_store(const struct conf *conf)
{
    uint64_t given = (uint64_t)run_store_figures_fd(run_channel_count(conf)) + 1;
    return 2 * given + CHILD_SPARE;
}

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t needed(const struct conf *conf)
{
    return largest(largest(needed_by_supervisor(conf), needed_by_store(conf)),
                   WORKER_SPARE + CONNECTIONS_LEAST);
}

static void lower(const char *section, uint64_t *connections, uint64_t limit, struct buffer *notes)
{
    uint64_t room = limit - WORKER_SPARE;
    if (*connections <= room)
        return;
    buffer_append_format(notes,
                         "[%s] max_connections is %" PRIu64 ", not %" PRIu64 ": a worker may have "
                         "%" PRIu64
                         " descriptors (ulimit -Hn, LimitNOFILE=), and needs %d besides\n",
                         section, room, *connections, limit, WORKER_SPARE);
    *connections = room;
}

enum status limits_fit(struct conf *conf, struct buffer *notes, struct buffer *why)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return STATUS_OK;
    if (limit.rlim_max < needed(conf)) {
        buffer_append_format(why,
                             "at least %" PRIu64 " descriptors are needed for these workers and "
                             "stores, and the limit (ulimit -Hn, LimitNOFILE=) is %" PRIu64 "\n",
                             needed(conf), (uint64_t)limit.rlim_max);
        return STATUS_UNAVAILABLE;
    }
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++)
        if (protocol_of(conf, i)->enabled)
            lower(protocol_name(i), &protocol_conf(conf, i)->max_connections, limit.rlim_max,
                  notes);
    return STATUS_OK;
}

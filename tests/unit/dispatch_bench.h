/* dispatch_bench - a dispatcher over the memory engine (or another) with one or more channels, in
 * one process, for tests and fuzzers. It takes the descriptors that a store gets from RUN_FD_ARENA
 * on. */
#ifndef STRATO_TESTS_UNIT_DISPATCH_BENCH_H
#define STRATO_TESTS_UNIT_DISPATCH_BENCH_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/dispatch.h"
#include "store/memory/memory.h"

#ifndef BENCH_CHANNELS
#define BENCH_CHANNELS 2
#endif
enum { BENCH_ARENA = 1 << 20 };

struct dispatch_bench {
    struct run_child child;
    struct channel_memory *memories[BENCH_CHANNELS];
    struct bulk *bulk;
    struct dispatch *dispatch; /* NULL: not open */
};

static inline void bench_place(int fd, int at)
{
    if (fd < 0 || dup2(fd, at) != at)
        abort();
    if (fd != at)
        close(fd);
}

static inline struct channel_memory *bench_channel(unsigned channel)
{
    int fd = RUN_FD_CHANNEL + (int)channel * RUN_CHANNEL_FDS;
    bench_place(memfd_create("channel", 0), fd + RUN_CHANNEL_MEMORY);
    bench_place(eventfd(0, EFD_NONBLOCK), fd + RUN_CHANNEL_DOORBELL);
    if (ftruncate(fd + RUN_CHANNEL_MEMORY, (off_t)channel_file_size(UINT64_MAX)) != 0)
        abort();
    return mmap(NULL, channel_memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
                fd + RUN_CHANNEL_MEMORY, 0);
}

/* Channels and an arena, all raw; they stay the same when the dispatcher is opened again. */
static inline struct dispatch_bench *bench_make(void)
{
    struct dispatch_bench *bench = calloc(1, sizeof *bench);
    bench->child.name = "store-memory";
    bench->child.conf.max_value = 1 << 16;
    bench->child.conf.max_set = 1 << 16;
    bench_place(memfd_create("arena", 0), RUN_FD_ARENA);
    if (ftruncate(RUN_FD_ARENA, BENCH_ARENA) != 0)
        abort();
    for (unsigned i = 0; i < BENCH_CHANNELS; i++)
        bench->memories[i] = bench_channel(i);
    return bench;
}

/* As a store that starts. */
static inline void bench_open(struct dispatch_bench *bench, const struct engine_ops *ops)
{
    char reason[256];
    for (unsigned i = 0; i < BENCH_CHANNELS; i++) {
        int fd = RUN_FD_CHANNEL + (int)i * RUN_CHANNEL_FDS + RUN_CHANNEL_MEMORY;
        struct channel_memory *mapped = channel_map(fd, true, reason, sizeof reason);
        if (!mapped)
            abort();
        channel_unmap(&mapped); /* the header is as a store wants it now */
    }
    bench->bulk = bulk_open(BENCH_CHANNELS, bench->child.conf.max_value, bench->child.conf.max_set);
    const struct dispatch_options options = {.ops = ops,
                                             .child = &bench->child,
                                             .bulk = bench->bulk,
                                             .channels = BENCH_CHANNELS,
                                             .memories = bench->memories};
    bench->dispatch = dispatch_open(&options);
}

/* As one that is killed: nothing is written any more. */
static inline void bench_close(struct dispatch_bench *bench)
{
    dispatch_close(&bench->dispatch);
    bulk_close(&bench->bulk);
}

static inline void bench_free(struct dispatch_bench *bench)
{
    for (unsigned i = 0; i < BENCH_CHANNELS; i++)
        munmap(bench->memories[i], channel_memory_size());
    free(bench);
}

/* A worker's submission; false when the ring is full. */
static inline bool bench_submit(struct channel_worker *worker, enum op op, const char *key,
                                int64_t number, struct bytes value)
{
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(worker, &sequence);
    if (!slot)
        return false;
    *slot = (struct channel_submission){.number = number,
                                        .value_len = (uint32_t)value.len,
                                        .key_len = (uint16_t)strlen(key),
                                        .op = (uint8_t)op};
    memcpy(slot->payload, key, strlen(key));
    if (value.len > 0)
        memcpy(slot->payload + strlen(key), value.data, value.len);
    channel_worker_commit(worker);
    channel_worker_flush(worker);
    return true;
}

#endif

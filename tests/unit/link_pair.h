/*
 * link_pair - both ends of the link for a test: a store's talk, and workers' transfers, pumped by
 * one loop over their descriptors. In a temporary directory.
 */
#ifndef STRATO_TESTS_UNIT_LINK_PAIR_H
#define STRATO_TESTS_UNIT_LINK_PAIR_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/run/run.h"
#include "store/talk.h"
#include "workers/core/transfer.h"

enum { PAIR_CHANNELS = 4 }; /* http-0 and grpc-0, two lanes each */

struct pair {
    struct conf conf;
    char url[RUN_URL_MAX];
    struct channel_memory *memories[PAIR_CHANNELS];
    uint64_t max_value;
    struct bulk *bulk;
    struct talk *talk;
    struct transfer *transfers[PAIR_CHANNELS];
    unsigned transfer_count;
};

static inline void pair_open_store(struct pair *pair)
{
    static char name[] = "store-memory";
    char reason[200] = "";
    pair->bulk = bulk_open(PAIR_CHANNELS, pair->max_value, pair->max_value);
    struct talk_options options = {
        .url = pair->url,
        .name = name,
        .backend = BACKEND_MEMORY,
        .conf = &pair->conf,
        .bulk = pair->bulk,
        .channels = PAIR_CHANNELS,
        .memories = pair->memories,
    };
    pair->talk = talk_open(&options, reason, sizeof reason);
    if (!pair->talk)
        panic("no store: %s", reason);
}

static inline void pair_close_store(struct pair *pair)
{
    talk_close(&pair->talk);
    bulk_close(&pair->bulk);
}

/* As when a store stops: what comes is no longer read. (Closing while messages come in is what nng
 * cannot do, and what a process does only when it ends.) */
static inline void pair_quiet_store(struct pair *pair)
{
    for (uint64_t until = clock_ms() + 150; clock_ms() < until; usleep(1000))
        for (unsigned i = 0; i < pair->transfer_count; i++)
            transfer_poll(pair->transfers[i], clock_ms());
    pair_close_store(pair);
}

/* A channel's memory, which all processes of a test that use the directory share. */
static inline struct channel_memory *pair_memory(const struct pair *pair, unsigned channel)
{
    char path[CONF_TEXT_MAX + 16];
    snprintf(path, sizeof path, "%s/channel-%u", pair->conf.run_dir, channel);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)channel_memory_size()) != 0)
        panic("no memory for a channel");
    void *memory = mmap(NULL, channel_memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Without a store, in the directory; NULL makes a temporary one. */
static inline void pair_prepare(struct pair *pair, const char *directory)
{
    *pair = (struct pair){.max_value = 64 << 20};
    pair->conf.http.enabled = pair->conf.grpc.enabled = true;
    pair->conf.http.workers = pair->conf.grpc.workers = 1;
    snprintf(pair->conf.run_dir, sizeof pair->conf.run_dir, "%s",
             directory ? directory : "/tmp/strato-link.XXXXXX");
    if (!directory && !mkdtemp(pair->conf.run_dir))
        panic("no temporary directory");
    run_link_url(&pair->conf, BACKEND_MEMORY, pair->url);
    for (unsigned i = 0; i < PAIR_CHANNELS; i++)
        pair->memories[i] = pair_memory(pair, i);
}

static inline void pair_open(struct pair *pair)
{
    pair_prepare(pair, NULL);
    pair_open_store(pair);
}

static inline struct transfer *pair_worker(struct pair *pair, unsigned channel)
{
    char reason[200] = "", name[RUN_NAME_MAX];
    run_worker_name(&pair->conf, channel / RUN_LANES, name);
    struct transfer *transfer =
        transfer_open(pair->url, name, channel, pair->memories[channel], reason, sizeof reason);
    if (!transfer)
        panic("no worker: %s", reason);
    pair->transfers[pair->transfer_count++] = transfer;
    return transfer;
}

/* One round of everybody, after at most 20 ms. */
static inline void pair_round(struct pair *pair)
{
    struct pollfd fds[1 + PAIR_CHANNELS];
    nfds_t count = 0;
    if (pair->talk)
        fds[count++] = (struct pollfd){.fd = talk_fd(pair->talk), .events = POLLIN};
    for (unsigned i = 0; i < pair->transfer_count; i++)
        fds[count++] = (struct pollfd){.fd = transfer_fd(pair->transfers[i]), .events = POLLIN};
    poll(fds, count, 20);
    if (pair->talk)
        talk_poll(pair->talk, clock_ms());
    for (unsigned i = 0; i < pair->transfer_count; i++)
        transfer_poll(pair->transfers[i], clock_ms());
}

/* Rounds until the condition holds; false after so many ms. */
#define PAIR_UNTIL(pair, condition, ms)                                                            \
    __extension__({                                                                                \
        uint64_t until_ = clock_ms() + (ms);                                                       \
        while (!(condition) && clock_ms() < until_)                                                \
            pair_round(pair);                                                                      \
        (condition);                                                                               \
    })

/* Rounds for so many ms, whatever happens. */
static inline void pair_run(struct pair *pair, uint64_t ms)
{
    for (uint64_t until = clock_ms() + ms; clock_ms() < until;)
        pair_round(pair);
}

static inline void pair_close(struct pair *pair)
{
    pair_run(pair, 100); /* see pair_quiet_store() */
    for (unsigned i = 0; i < pair->transfer_count; i++)
        transfer_close(&pair->transfers[i]);
    pair_close_store(pair);
    for (unsigned i = 0; i < PAIR_CHANNELS; i++)
        munmap(pair->memories[i], channel_memory_size());
    for (unsigned i = 0; i < PAIR_CHANNELS; i++) {
        char path[CONF_TEXT_MAX + 16];
        snprintf(path, sizeof path, "%s/channel-%u", pair->conf.run_dir, i);
        unlink(path);
    }
    rmdir(pair->conf.run_dir);
}

/* Open descriptors of this process: what nng leaks shows here. */
static inline unsigned pair_fd_count(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return count;
}

/* How a job ended: a context for pair_done(). */
struct outcome {
    unsigned count;
    enum status status;
    struct buffer data;
};

static inline void pair_done(void *context, enum status status, struct bytes data)
{
    struct outcome *outcome = context;
    outcome->count++;
    outcome->status = status;
    buffer_free(&outcome->data);
    buffer_append(&outcome->data, data.data, data.len);
}

/* A value whose every byte tells its place. */
static inline struct buffer pair_value(size_t len, unsigned seed)
{
    struct buffer value = {0};
    buffer_reserve(&value, len + 8);
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < len; i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(value.data + i, &x, 8);
    }
    value.len = len;
    return value;
}

#endif

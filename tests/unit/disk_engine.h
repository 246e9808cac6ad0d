/*
 * disk_engine - the disk engine without its process, for tests: a temporary directory, an arena at
 * the number where a store finds it, and answers that are remembered.
 */
#ifndef STRATO_TESTS_UNIT_DISK_ENGINE_H
#define STRATO_TESTS_UNIT_DISK_ENGINE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/set.h"
#include "store/disk/disk.h"
#include "store/disk/engine.h"
#include "store/disk/format.h"

enum { DISK_ANSWERS = 4096 };

struct disk_engine {
    char directory[64];
    struct run_child child;
    struct engine *engine;
    uint64_t next[4]; /* sequence number, by channel */
    struct disk_answer {
        bool kept, given;
        struct reply reply; /* its value is in text */
        char *text;
        pid_t owner; /* of text; the answers are shared with children, their texts are not */
    } (*answers)[DISK_ANSWERS]; /* by channel */
    void (*completing)(void);   /* called before each answer */
};

static inline void disk_answer_clear(struct disk_answer *answer)
{
    if (answer->owner == getpid())
        free(answer->text);
    *answer = (struct disk_answer){0};
}

static inline bool disk_keep(void *context, uint32_t channel, uint64_t sequence,
                             const struct reply *reply)
{
    struct disk_engine *disk = context;
    struct disk_answer *answer = &disk->answers[channel][sequence % DISK_ANSWERS];
    disk_answer_clear(answer);
    *answer = (struct disk_answer){.kept = true, .reply = *reply, .owner = getpid()};
    answer->text = malloc(reply->value.len + 1);
    if (reply->value.len > 0)
        memcpy(answer->text, reply->value.data, reply->value.len);
    answer->reply.value.data = (uint8_t *)answer->text;
    return true;
}

static inline void disk_complete(void *context, uint32_t channel, uint64_t sequence,
                                 const struct reply *reply)
{
    struct disk_engine *disk = context;
    struct disk_answer *answer = &disk->answers[channel][sequence % DISK_ANSWERS];
    if (disk->completing)
        disk->completing();
    if (reply)
        (void)disk_keep(context, channel, sequence, reply);
    assert_true(answer->kept);
    answer->given = true;
}

static inline void disk_open(struct disk_engine *disk)
{
    const struct engine_callbacks callbacks = {disk, disk_keep, disk_complete};
    disk->engine = disk_engine.open(&disk->child, &callbacks);
}

static inline void disk_close(struct disk_engine *disk)
{
    disk_engine.close(&disk->engine);
}

/* A new directory and a new arena; not opened yet. */
static inline struct disk_engine *disk_new(void)
{
    struct disk_engine *disk = calloc(1, sizeof *disk);
    disk->answers = mmap(NULL, 4 * sizeof disk->answers[0], PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
#ifdef __SANITIZE_ADDRESS__
    __lsan_register_root_region(disk->answers, 4 * sizeof disk->answers[0]);
#endif
    int arena = memfd_create("arena", 0);
    assert_int_equal(ftruncate(arena, 16 << 20), 0);
    if (arena != RUN_FD_ARENA) {
        assert_int_equal(dup2(arena, RUN_FD_ARENA), RUN_FD_ARENA);
        close(arena);
    }
    /* In memory where there is such a place: what the disk does is not what is tested here. */
    snprintf(disk->directory, sizeof disk->directory, "%s/strato-disk-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(disk->directory));
    conf_defaults(&disk->child.conf, false);
    snprintf(disk->child.conf.disk_path, CONF_TEXT_MAX, "%s/data", disk->directory);
    disk->child.conf.disk_map_size = 1ull << 30;
    disk->child.conf.http.enabled = true;
    disk->child.conf.http.workers = 2;
    disk->child.conf.grpc.enabled = false;
    disk->child.name = "store-disk";
    log_set_level(LOG_ERROR);
    return disk;
}

static inline void disk_remove(struct disk_engine **disk)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", (*disk)->directory);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 4 * DISK_ANSWERS; i++)
        disk_answer_clear(&(*disk)->answers[i / DISK_ANSWERS][i % DISK_ANSWERS]);
#ifdef __SANITIZE_ADDRESS__
    __lsan_unregister_root_region((*disk)->answers, 4 * sizeof(*disk)->answers[0]);
#endif
    munmap((*disk)->answers, 4 * sizeof(*disk)->answers[0]);
    free(*disk);
    *disk = NULL;
}

/* ---- Asking ---- */

/* Hands a request over; returns its sequence number. */
static inline uint64_t disk_submit(struct disk_engine *disk, uint32_t channel,
                                   struct request request)
{
    uint64_t sequence = disk->next[channel]++;
    struct engine_call call = {.channel = channel, .sequence = sequence, .request = request};
    disk_answer_clear(&disk->answers[channel][sequence % DISK_ANSWERS]);
    disk_engine.submit(disk->engine, &call);
    return sequence;
}

static inline void disk_settle(struct disk_engine *disk)
{
    disk_engine.settle(disk->engine);
}

static inline const struct disk_answer *disk_answer(const struct disk_engine *disk,
                                                    uint32_t channel, uint64_t sequence)
{
    return &disk->answers[channel][sequence % DISK_ANSWERS];
}

/* Asks on channel 0 in a round of its own. */
static inline struct reply disk_ask(struct disk_engine *disk, struct request request)
{
    uint64_t sequence = disk_submit(disk, 0, request);
    disk_settle(disk);
    assert_true(disk_answer(disk, 0, sequence)->given);
    return disk_answer(disk, 0, sequence)->reply;
}

static inline struct request disk_request(enum op op, const char *key, const char *value,
                                          int64_t number)
{
    return (struct request){.op = op,
                            .key = bytes_of(key),
                            .value = value ? bytes_of(value) : (struct bytes){0},
                            .number = number};
}

static inline struct reply disk_do(struct disk_engine *disk, enum op op, const char *key,
                                   const char *value, int64_t number)
{
    return disk_ask(disk, disk_request(op, key, value, number));
}

#define assert_reply(r, expected_status, text)                                                     \
    do {                                                                                           \
        struct reply reply_ = (r);                                                                 \
        assert_int_equal(reply_.status, expected_status);                                          \
        assert_int_equal(reply_.value.len, strlen(text));                                          \
        assert_memory_equal(reply_.value.data, text, strlen(text));                                \
    } while (0)

/* ---- Processes ---- */

/* Runs body in a process that then dies without closing anything; returns how it ended. */
static inline int disk_in_child(struct disk_engine *disk, void (*body)(struct disk_engine *disk))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        body(disk);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#endif

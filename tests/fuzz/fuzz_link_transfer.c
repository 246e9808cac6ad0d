/*
 * fuzz_link_transfer - a worker's side of the link hears anything from a store: each job ends at
 * most once, with all of its bytes or with a refusal, and what is kept for it is bounded. Stands in
 * for nng.
 *
 * Input: steps of kind (1 byte), length (2), bytes: an answer, or something that the worker begins.
 */
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/link/link.h"
#include "workers/core/transfer_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { JOBS_MAX = 8, KEPT_MAX = 1 << 20 };

static struct bytes answer; /* data is NULL: there is none */
static uint64_t epoch;
static uint32_t asked_id; /* of the last request */
static struct job {
    struct transfer_job *job; /* NULL: it has ended */
    size_t total;
} jobs[JOBS_MAX];

/* ---- The link's stand-in ---- */

struct link_client {
    int nothing;
};

struct link_client *link_client_open(const char *url, char *reason, size_t reason_size)
{
    (void)url, (void)reason, (void)reason_size;
    return calloc(1, sizeof(struct link_client));
}

void link_client_close(struct link_client **client)
{
    free(*client);
    *client = NULL;
}

int link_client_fd(const struct link_client *client)
{
    (void)client;
    return -1;
}

bool link_client_send(struct link_client *client, const Strato__Control__Request *request)
{
    (void)client;
    if (strato__control__request__get_packed_size(request) > LINK_MESSAGE_MAX - 64)
        abort();
    asked_id = request->id;
    return true;
}

/* An answer without an id is to what was asked last. */
Strato__Control__Reply *link_client_receive(struct link_client *client)
{
    (void)client;
    if (!answer.data)
        return NULL;
    Strato__Control__Reply *reply = strato__control__reply__unpack(NULL, answer.len, answer.data);
    answer = (struct bytes){0};
    if (reply && reply->id == 0)
        reply->id = asked_id;
    return reply;
}

uint64_t link_client_epoch(const struct link_client *client)
{
    (void)client;
    return epoch;
}

bool link_client_connected(const struct link_client *client)
{
    (void)client;
    return true;
}

bool link_client_tick(struct link_client *client, uint64_t now_ms)
{
    (void)client, (void)now_ms;
    return false;
}

bool link_client_answered(const struct link_client *client)
{
    (void)client;
    return true;
}

/* ---- The worker's stand-in ---- */

static void done(void *context, enum status status, struct bytes data)
{
    struct job *job = context;
    if (!job->job || status >= STATUS_COUNT)
        abort();
    if (status == STATUS_OK && job->job->kind == KIND_FETCH && data.len != job->total)
        abort();
    job->job = NULL;
}

static void begin(struct transfer *transfer, unsigned kind, struct bytes bytes)
{
    static const uint8_t value[100000];
    struct job *job = &jobs[kind / 8 % JOBS_MAX];
    uint64_t id;
    size_t total = bytes.len >= 3 ? (size_t)bytes.data[0] | (size_t)bytes.data[1] << 8 |
                                        (size_t)(bytes.data[2] & 1) << 16
                                  : bytes.len;
    if (total > sizeof value)
        total = sizeof value;
    if (job->job)
        transfer_cancel(&job->job);
    job->total = total;
    if (kind % 8 == 1)
        job->job = transfer_stage(transfer, (struct bytes){value, total}, &id, done, job);
    else if (kind % 8 == 2)
        job->job = transfer_fetch(transfer, total, total, done, job);
    else
        transfer_drop(transfer, total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct channel_memory *memory;
    struct bytes rest = {data, len};
    uint64_t now_ms = 1000;
    char reason[100];
    log_set_level(LOG_ERROR + 1);
    if (!memory)
        memory = calloc(1, channel_memory_size());
    epoch++;
    memset(jobs, 0, sizeof jobs);
    struct transfer *transfer =
        transfer_open("ipc://x", "http-0", 0, memory, reason, sizeof reason);
    while (rest.len >= 3) {
        unsigned kind = rest.data[0];
        size_t piece = (size_t)rest.data[1] | (size_t)rest.data[2] << 8;
        rest = (struct bytes){rest.data + 3, rest.len - 3};
        struct bytes bytes = {rest.data, piece < rest.len ? piece : rest.len};
        rest = (struct bytes){rest.data + bytes.len, rest.len - bytes.len};
        if (kind % 8 == 0)
            answer = bytes;
        else if (kind % 8 < 5)
            begin(transfer, kind, bytes);
        else if (kind % 8 == 5)
            epoch++;
        transfer_poll(transfer, now_ms += kind % 8 == 6 ? 2000 : 10);
    }
    answer = (struct bytes){0};
    transfer_close(&transfer);
    return 0;
}

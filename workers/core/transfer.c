/*
 * transfer - see transfer.h. Runs in a worker's event loop.
 *
 * A job is a series of requests, one under way at a time; the answer to one decides the next. On a
 * new connection hello goes first, and when that is accepted every job begins anew: a restarted
 * store has nothing of it. What is not answered in time is asked again under the same id, so that
 * whichever answer comes first counts and the other is ignored.
 *
 * Fails: a job that the store refuses ends with the store's status; one whose answer makes no
 * sense, with STATUS_INTERNAL; all of them, with STATUS_UNAVAILABLE, when our hello is refused.
 */
#include "workers/core/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proto/arena/layout.h"
#include "proto/base/log.h"

enum {
    ASK_AGAIN_MS = 1000,
    ID_MASK = 0x7fffffff,
    PAGES_MAX = 64,
    NAME_MAX_LEN = 64,
};

enum kind { KIND_HELLO, KIND_STAGE, KIND_FETCH, KIND_DROP, KIND_STATS };

struct transfer_job {
    struct transfer_job *next, *prev;
    struct transfer *transfer;
    enum kind kind;
    uint32_t id;      /* of the request under way or to be sent next */
    bool asked;       /* it was sent on this connection */
    uint64_t asked_ms;
    uint64_t key;     /* bulk_id, or sequence */
    uint64_t total;   /* stage, fetch: bytes */
    uint64_t offset;  /* stage: bytes acknowledged */
    struct bytes value; /* stage */
    struct buffer data; /* fetch: what has come */
    Strato__Control__Reply *pages[PAGES_MAX]; /* stats */
    unsigned page_count;
    uint32_t page; /* stats: the next page */
    transfer_done *done;
    void *context;
};

struct transfer {
    struct link_client *link;
    struct channel_memory *channel;
    char name[NAME_MAX_LEN];
    unsigned channel_number;
    uint64_t incarnation;
    uint64_t bulk_id;
    uint32_t last_id;
    uint64_t epoch; /* the connection that hello was said on */
    enum { HELLO_ASKED, HELLO_ACCEPTED, HELLO_REFUSED } state;
    char why[256]; /* we were refused */
    struct transfer_job hello;
    struct transfer_job *first, *last;
};

struct transfer *transfer_open(const char *url, const char *name, unsigned channel_number,
                               struct channel_memory *channel, char *reason, size_t reason_size)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        panic("out of memory");
    transfer->channel = channel;
    transfer->channel_number = channel_number;
    snprintf(transfer->name, sizeof transfer->name, "%s", name);
    if (getrandom(&transfer->incarnation, sizeof transfer->incarnation, 0) < 0)
        panic("no random numbers");
    transfer->bulk_id = transfer->incarnation;
    transfer->hello = (struct transfer_job){.transfer = transfer, .kind = KIND_HELLO};
    transfer->link = link_client_open(url, reason, reason_size);
    if (!transfer->link)
        transfer_close(&transfer);
    return transfer;
}

int transfer_fd(const struct transfer *transfer)
{
    return link_client_fd(transfer->link);
}

bool transfer_busy(const struct transfer *transfer)
{
    return transfer->first || !link_client_answered(transfer->link);
}

bool transfer_accepted(const struct transfer *transfer, const char **why_r)
{
    *why_r = transfer->why;
    return transfer->state != HELLO_REFUSED;
}

/* ---- Jobs ---- */

/* What comes next for a job is a new request. */
static void ask_next(struct transfer_job *job)
{
    struct transfer *transfer = job->transfer;
    transfer->last_id = (transfer->last_id + 1) & ID_MASK;
    job->id = transfer->last_id;
    job->asked = false;
}

static struct transfer_job *start_job(struct transfer *transfer, enum kind kind,
                                      transfer_done *done, void *context)
{
    struct transfer_job *job = calloc(1, sizeof *job);
    if (!job)
        panic("out of memory");
    job->transfer = transfer;
    job->kind = kind;
    job->done = done;
    job->context = context;
    job->prev = transfer->last;
    if (transfer->last)
        transfer->last->next = job;
    else
        transfer->first = job;
    transfer->last = job;
    ask_next(job);
    return job;
}

static void unlink_job(struct transfer_job *job)
{
    struct transfer *transfer = job->transfer;
    if (job->prev)
        job->prev->next = job->next;
    else
        transfer->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        transfer->last = job->prev;
}

static void forget_pages(struct transfer_job *job)
{
    for (unsigned i = 0; i < job->page_count; i++)
        strato__control__reply__free_unpacked(job->pages[i], NULL);
    job->page_count = 0;
    job->page = 0;
}

static void free_job(struct transfer_job *job)
{
    buffer_free(&job->data);
    forget_pages(job);
    free(job);
}

void transfer_close(struct transfer **transfer)
{
    if (!*transfer)
        return;
    while ((*transfer)->first) {
        struct transfer_job *job = (*transfer)->first;
        unlink_job(job);
        free_job(job);
    }
    link_client_close(&(*transfer)->link);
    free(*transfer);
    *transfer = NULL;
}

struct transfer_job *transfer_stage(struct transfer *transfer, struct bytes value,
                                    uint64_t *bulk_id_r, transfer_done *done, void *context)
{
    struct transfer_job *job = start_job(transfer, KIND_STAGE, done, context);
    if (++transfer->bulk_id == 0) /* means none */
        transfer->bulk_id = 1;
    job->key = *bulk_id_r = transfer->bulk_id;
    job->value = value;
    job->total = value.len;
    return job;
}

void transfer_drop(struct transfer *transfer, uint64_t bulk_id)
{
    start_job(transfer, KIND_DROP, NULL, NULL)->key = bulk_id;
}

struct transfer_job *transfer_fetch(struct transfer *transfer, uint64_t sequence, uint64_t total,
                                    transfer_done *done, void *context)
{
    struct transfer_job *job = start_job(transfer, KIND_FETCH, done, context);
    job->key = sequence;
    job->total = total;
    return job;
}

struct transfer_job *transfer_stats(struct transfer *transfer, transfer_done *done, void *context)
{
    return start_job(transfer, KIND_STATS, done, context);
}

/* A fetch that ends becomes the drop of what it fetched. */
static void release(struct transfer_job *job)
{
    if (job->kind != KIND_FETCH) {
        unlink_job(job);
        free_job(job);
        return;
    }
    buffer_free(&job->data);
    job->done = NULL;
    job->kind = KIND_DROP;
    job->total = 1; /* says that key is a sequence number */
    ask_next(job);
}

void transfer_cancel(struct transfer_job **job)
{
    release(*job);
    *job = NULL;
}

static void finish(struct transfer_job *job, enum status status, struct bytes data)
{
    transfer_done *done = job->done;
    void *context = job->context;
    struct buffer kept = job->data; /* data may be in it */
    job->data = (struct buffer){0};
    if (job->kind == KIND_STAGE && status != STATUS_OK)
        transfer_drop(job->transfer, job->key);
    job->done = NULL;
    if (job->kind == KIND_STATS)
        unlink_job(job);
    else
        release(job);
    if (done)
        done(context, status, data);
    buffer_free(&kept);
}

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
    ANSWERS_MAX = 256, /* taken in one round */
    ID_MASK = 0x7fffffff,
    NAME_SIZE = 64,
};

enum kind { KIND_HELLO, KIND_STAGE, KIND_FETCH, KIND_DROP, KIND_STATS };

struct transfer_job {
    struct transfer_job *next, *prev;
    struct transfer *transfer;
    enum kind kind;
    bool asked; /* the request was sent on this connection */
    uint64_t asked_ms;
    uint32_t id;         /* of the request under way or to be sent */
    uint32_t page;       /* stats: the one asked for */
    uint64_t bulk_id;    /* stage, drop; 0: drop what was fetched */
    uint64_t sequence;   /* fetch, drop */
    uint64_t total;      /* fetch: bytes to come */
    uint64_t offset;     /* stage: bytes that the store has */
    struct bytes value;  /* stage */
    struct buffer data;  /* fetch: what has come; stats: pointers to the samples that came */
    struct buffer pages; /* stats: pointers to the answers that hold them */
    transfer_done *done;
    void *context;
};

struct transfer {
    struct link_client *link;
    struct channel_memory *channel;
    char name[NAME_SIZE];
    unsigned channel_number;
    uint64_t incarnation;
    uint64_t last_bulk_id;
    uint32_t last_id;
    uint64_t epoch; /* the connection that all requests under way were made for */
    enum { HELLO_ASKED, HELLO_ACCEPTED, HELLO_REFUSED } state;
    char why[256]; /* it was refused */
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
    transfer->last_bulk_id = transfer->incarnation;
    transfer->hello.transfer = transfer;
    transfer->hello.kind = KIND_HELLO;
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

/* The job's next request is a new one. */
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

static void forget_answers(struct transfer_job *job)
{
    Strato__Control__Reply **pages = (Strato__Control__Reply **)(void *)job->pages.data;
    for (size_t i = 0; i < job->pages.len / sizeof *pages; i++)
        strato__control__reply__free_unpacked(pages[i], NULL);
    buffer_free(&job->pages);
    buffer_free(&job->data);
}

static void free_job(struct transfer_job *job)
{
    forget_answers(job);
    free(job);
}

static void begin_anew(struct transfer_job *job)
{
    forget_answers(job);
    job->offset = 0;
    job->page = 0;
    ask_next(job);
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
    if (++transfer->last_bulk_id == 0) /* means none */
        transfer->last_bulk_id = 1;
    job->bulk_id = *bulk_id_r = transfer->last_bulk_id;
    job->value = value;
    return job;
}

struct transfer_job *transfer_fetch(struct transfer *transfer, uint64_t sequence, uint64_t total,
                                    transfer_done *done, void *context)
{
    struct transfer_job *job = start_job(transfer, KIND_FETCH, done, context);
    job->sequence = sequence;
    job->total = total;
    return job;
}

struct transfer_job *transfer_stats(struct transfer *transfer, transfer_done *done, void *context)
{
    return start_job(transfer, KIND_STATS, done, context);
}

/* A kindness to the store, which bounds what it keeps anyway: so nothing waits for a connection. */
static void drop(struct transfer *transfer, uint64_t bulk_id, uint64_t sequence)
{
    if (transfer->state != HELLO_ACCEPTED || !link_client_connected(transfer->link))
        return;
    struct transfer_job *job = start_job(transfer, KIND_DROP, NULL, NULL);
    job->bulk_id = bulk_id;
    job->sequence = sequence;
}

void transfer_drop(struct transfer *transfer, uint64_t bulk_id)
{
    if (bulk_id != 0)
        drop(transfer, bulk_id, 0);
}

void transfer_cancel(struct transfer_job **job)
{
    unlink_job(*job);
    if ((*job)->kind == KIND_FETCH)
        drop((*job)->transfer, 0, (*job)->sequence);
    free_job(*job);
    *job = NULL;
}

static void finish(struct transfer_job *job, enum status status, struct bytes data)
{
    unlink_job(job);
    if (job->kind == KIND_FETCH)
        drop(job->transfer, 0, job->sequence);
    if (job->kind == KIND_STAGE && status != STATUS_OK)
        drop(job->transfer, job->bulk_id, 0);
    if (job->done)
        job->done(job->context, status, data);
    free_job(job);
}

/* ---- Asking ---- */

static struct bytes next_piece(const struct transfer_job *job)
{
    size_t len = job->value.len - job->offset;
    return (struct bytes){job->value.data + job->offset, len < LINK_CHUNK ? len : LINK_CHUNK};
}

static bool ask_hello(struct transfer *transfer, Strato__Control__Request *request)
{
    static char release[] = STRATO_VERSION;
    Strato__Control__Hello hello = STRATO__CONTROL__HELLO__INIT;
    hello.link_version = LINK_VERSION;
    hello.channel_version = CHANNEL_VERSION;
    hello.arena_version = ARENA_VERSION;
    hello.name = transfer->name;
    hello.channel = transfer->channel_number;
    hello.release = release;
    hello.incarnation = transfer->incarnation;
    request->body_case = STRATO__CONTROL__REQUEST__BODY_HELLO;
    request->hello = &hello;
    return link_client_send(transfer->link, request);
}

static bool ask_stage(const struct transfer_job *job, Strato__Control__Request *request)
{
    Strato__Control__Stage stage = STRATO__CONTROL__STAGE__INIT;
    struct bytes piece = next_piece(job);
    stage.bulk_id = job->bulk_id;
    stage.total = job->value.len;
    stage.offset = job->offset;
    stage.data.data = (uint8_t *)(uintptr_t)piece.data;
    stage.data.len = piece.len;
    request->body_case = STRATO__CONTROL__REQUEST__BODY_STAGE;
    request->stage = &stage;
    return link_client_send(job->transfer->link, request);
}

static bool ask_fetch(const struct transfer_job *job, Strato__Control__Request *request)
{
    Strato__Control__Fetch fetch = STRATO__CONTROL__FETCH__INIT;
    fetch.sequence = job->sequence;
    fetch.offset = job->data.len;
    request->body_case = STRATO__CONTROL__REQUEST__BODY_FETCH;
    request->fetch = &fetch;
    return link_client_send(job->transfer->link, request);
}

static bool ask_drop(const struct transfer_job *job, Strato__Control__Request *request)
{
    Strato__Control__Drop body = STRATO__CONTROL__DROP__INIT;
    body.bulk_id = job->bulk_id;
    body.fetched = job->bulk_id == 0;
    body.sequence = job->sequence;
    request->body_case = STRATO__CONTROL__REQUEST__BODY_DROP;
    request->drop = &body;
    return link_client_send(job->transfer->link, request);
}

static bool ask_stats(const struct transfer_job *job, Strato__Control__Request *request)
{
    Strato__Control__Stats stats = STRATO__CONTROL__STATS__INIT;
    stats.page = job->page;
    request->body_case = STRATO__CONTROL__REQUEST__BODY_STATS;
    request->stats = &stats;
    return link_client_send(job->transfer->link, request);
}

/* Sends the job's request unless it is under way. False when nothing can be sent now. */
static bool ask(struct transfer_job *job, uint64_t now_ms)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    bool sent = false;
    if (job->asked && now_ms - job->asked_ms < ASK_AGAIN_MS)
        return true;
    request.id = job->id;
    switch (job->kind) {
    case KIND_HELLO:
        sent = ask_hello(job->transfer, &request);
        break;
    case KIND_STAGE:
        sent = ask_stage(job, &request);
        break;
    case KIND_FETCH:
        sent = ask_fetch(job, &request);
        break;
    case KIND_DROP:
        sent = ask_drop(job, &request);
        break;
    case KIND_STATS:
        sent = ask_stats(job, &request);
        break;
    }
    job->asked = job->asked || sent;
    job->asked_ms = now_ms;
    return sent;
}

/* ---- Answers ---- */

static void take_hello(struct transfer *transfer, const Strato__Control__Reply *reply)
{
    transfer->state = reply->status == STATUS_OK ? HELLO_ACCEPTED : HELLO_REFUSED;
    snprintf(transfer->why, sizeof transfer->why, "%s", reply->error);
}

static void take_stage(struct transfer_job *job, enum status status)
{
    if (status == STATUS_OK)
        job->offset += next_piece(job).len;
    else if (status == STATUS_RESTAGE)
        job->offset = 0;
    if (status == STATUS_RESTAGE || (status == STATUS_OK && job->offset < job->value.len))
        ask_next(job);
    else
        finish(job, status, (struct bytes){0});
}

static bool is_next_chunk(const struct transfer_job *job, const Strato__Control__Reply *reply)
{
    if (reply->body_case != STRATO__CONTROL__REPLY__BODY_CHUNK)
        return false;
    const Strato__Control__Chunk *chunk = reply->chunk;
    return chunk->total == job->total && chunk->offset == job->data.len && chunk->data.len > 0 &&
           chunk->data.len <= job->total - job->data.len;
}

static void take_chunk(struct transfer_job *job, enum status status,
                       const Strato__Control__Reply *reply)
{
    if (status == STATUS_OK && !is_next_chunk(job, reply))
        status = STATUS_INTERNAL;
    if (status == STATUS_OK)
        buffer_append(&job->data, reply->chunk->data.data, reply->chunk->data.len);
    if (status == STATUS_OK && job->data.len < job->total)
        ask_next(job);
    else
        finish(job, status, buffer_bytes(&job->data));
}

/* Takes over the reply, which is STATUS_OK and has a page. */
static void take_stats(struct transfer_job *job, Strato__Control__Reply *reply)
{
    const Strato__Control__StatsReply *page = reply->stats;
    buffer_append(&job->data, page->samples, page->n_samples * sizeof page->samples[0]);
    buffer_append(&job->pages, &reply, sizeof reply);
    if (page->next > job->page) {
        job->page = page->next;
        ask_next(job);
        return;
    }
    Strato__Control__StatsReply all = STRATO__CONTROL__STATS_REPLY__INIT;
    all.samples = (Strato__Control__Sample **)(void *)job->data.data;
    all.n_samples = job->data.len / sizeof all.samples[0];
    finish(job, STATUS_OK, (struct bytes){(const uint8_t *)&all, 0});
}

static void take_for_job(struct transfer_job *job, Strato__Control__Reply *reply)
{
    enum status status =
        reply->status < STATUS_COUNT ? (enum status)reply->status : STATUS_INTERNAL;
    if (job->kind == KIND_STATS && status == STATUS_OK &&
        reply->body_case == STRATO__CONTROL__REPLY__BODY_STATS) {
        take_stats(job, reply);
        return;
    }
    if (job->kind == KIND_STAGE)
        take_stage(job, status);
    else if (job->kind == KIND_FETCH)
        take_chunk(job, status, reply);
    else /* a drop, or stats without figures */
        finish(job, status == STATUS_OK ? STATUS_INTERNAL : status, (struct bytes){0});
    strato__control__reply__free_unpacked(reply, NULL);
}

/* Takes over the reply. One that nobody waits for is an answer to what was asked twice. */
static void take(struct transfer *transfer, Strato__Control__Reply *reply)
{
    struct transfer_job *job = transfer->first;
    while (job && !(job->asked && job->id == reply->id))
        job = job->next;
    if (job) {
        take_for_job(job, reply);
        return;
    }
    if (transfer->state == HELLO_ASKED && reply->id == transfer->hello.id)
        take_hello(transfer, reply);
    strato__control__reply__free_unpacked(reply, NULL);
}

/* ---- The round ---- */

static void fail_all(struct transfer *transfer)
{
    unsigned count = 0; /* their owners may start new ones: those fail in the next round */
    for (struct transfer_job *job = transfer->first; job; job = job->next)
        count++;
    while (count-- > 0 && transfer->first)
        finish(transfer->first, STATUS_UNAVAILABLE, (struct bytes){0});
}

static void notice_connection(struct transfer *transfer)
{
    uint64_t epoch = link_client_epoch(transfer->link);
    if (transfer->epoch == epoch)
        return;
    transfer->epoch = epoch;
    transfer->state = HELLO_ASKED;
    ask_next(&transfer->hello);
    for (struct transfer_job *job = transfer->first; job; job = job->next)
        begin_anew(job);
}

void transfer_poll(struct transfer *transfer, uint64_t now_ms)
{
    if (link_client_tick(transfer->link, now_ms))
        atomic_fetch_add_explicit(&transfer->channel->link_trouble, 1, memory_order_relaxed);
    notice_connection(transfer);
    for (unsigned i = 0; i < ANSWERS_MAX; i++) {
        Strato__Control__Reply *reply = link_client_receive(transfer->link);
        if (!reply)
            break;
        take(transfer, reply);
    }
    if (transfer->state == HELLO_REFUSED)
        fail_all(transfer);
    if (!link_client_connected(transfer->link) || transfer->state == HELLO_REFUSED)
        return;
    if (transfer->state == HELLO_ASKED) {
        ask(&transfer->hello, now_ms);
        return;
    }
    for (struct transfer_job *job = transfer->first; job && ask(job, now_ms); job = job->next)
        ;
}

/*
 * transfer - see transfer.h. Runs in a worker's event loop.
 *
 * Jobs move their bytes in pieces, a few of them under way at a time. All of a job's requests have
 * one id, and each answer says how far the job has come, so that answers may be lost or come twice:
 * without progress the job goes back to where it was last known to be. On a new connection hello
 * goes first, and when that is accepted every job begins anew under a new id: a restarted store has
 * nothing of it.
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
#include "workers/core/transfer_job.h"

enum {
    ASK_AGAIN_MS = 1000,
    HELLO_AGAIN_MS = 100,
    ANSWERS_MAX = 256, /* taken in one round */
};

struct transfer {
    struct link_client *link;
    struct channel_memory *channel;
    char name[64];
    unsigned channel_number;
    uint64_t incarnation;
    uint64_t last_bulk_id;
    uint64_t epoch; /* the connection that all requests under way were made for */
    uint64_t now_ms;
    enum { HELLO_ASKED, HELLO_ACCEPTED, HELLO_REFUSED } state;
    char why[256]; /* it was refused */
    struct transfer_job hello;
    struct transfer_jobs jobs;
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
    TAILQ_INIT(&transfer->jobs.list);
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
    return !TAILQ_EMPTY(&transfer->jobs.list) || !link_client_answered(transfer->link);
}

bool transfer_accepted(const struct transfer *transfer, const char **why_r)
{
    *why_r = transfer->why;
    return transfer->state != HELLO_REFUSED;
}

/* ---- Jobs ---- */

static struct transfer_job *start_job(struct transfer *transfer, enum transfer_kind kind,
                                      transfer_done *done, void *context)
{
    struct transfer_job *job = transfer_job_add(&transfer->jobs, kind);
    job->transfer = transfer;
    job->done = done;
    job->context = context;
    return job;
}

void transfer_close(struct transfer **transfer)
{
    if (!*transfer)
        return;
    struct transfer_job *job;
    while ((job = TAILQ_FIRST(&(*transfer)->jobs.list))) {
        transfer_job_remove(&(*transfer)->jobs, job);
        transfer_job_free(job);
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
    job->total = value.len;
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

void transfer_decline(struct transfer *transfer, uint64_t sequence)
{
    drop(transfer, 0, sequence);
}

void transfer_cancel(struct transfer_job **job)
{
    transfer_job_remove(&(*job)->transfer->jobs, *job);
    if ((*job)->kind == KIND_FETCH)
        drop((*job)->transfer, 0, (*job)->sequence);
    transfer_job_free(*job);
    *job = NULL;
}

static void finish(struct transfer_job *job, enum status status, struct bytes data)
{
    transfer_job_remove(&job->transfer->jobs, job);
    if (job->kind == KIND_FETCH)
        drop(job->transfer, 0, job->sequence);
    if (job->kind == KIND_STAGE && status != STATUS_OK)
        drop(job->transfer, job->bulk_id, 0);
    if (job->done)
        job->done(job->context, status, data);
    transfer_job_free(job);
}

/* ---- Asking ---- */

static void fill_hello(const struct transfer *transfer, Strato__Control__Hello *hello)
{
    static char release[] = STRATO_VERSION;
    hello->link_version = LINK_VERSION;
    hello->channel_version = CHANNEL_VERSION_SHORT; /* as every store knows; slots say more */
    hello->arena_version = ARENA_VERSION_FIRST;     /* a store of release 0.2.0 takes no other */
    hello->name = (char *)(uintptr_t)transfer->name;
    hello->channel = transfer->channel_number;
    hello->release = release;
    hello->incarnation = transfer->incarnation;
    hello->secret.data = transfer->channel->secret;
    hello->secret.len = sizeof transfer->channel->secret;
}

/* Sends the job's next request. False when nothing can be sent now. */
static bool ask(struct transfer_job *job)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Hello hello = STRATO__CONTROL__HELLO__INIT;
    Strato__Control__Stage stage = STRATO__CONTROL__STAGE__INIT;
    Strato__Control__Fetch fetch = STRATO__CONTROL__FETCH__INIT;
    Strato__Control__Drop body = STRATO__CONTROL__DROP__INIT;

    request.id = job->id;
    request.body_case = (Strato__Control__Request__BodyCase)job->kind;
    switch (job->kind) {
    case KIND_HELLO:
        fill_hello(job->transfer, &hello);
        request.hello = &hello;
        break;
    case KIND_STAGE:
        stage.bulk_id = job->bulk_id;
        stage.total = job->total;
        stage.offset = job->sent;
        stage.data.data = (uint8_t *)(uintptr_t)job->value.data + job->sent;
        stage.data.len = transfer_job_piece(job);
        request.stage = &stage;
        break;
    case KIND_FETCH:
        fetch.sequence = job->sequence;
        fetch.offset = job->sent;
        request.fetch = &fetch;
        break;
    case KIND_DROP:
        body.bulk_id = job->bulk_id;
        body.fetched = job->bulk_id == 0;
        body.sequence = job->sequence;
        request.drop = &body;
        break;
    }
    return link_client_send(job->transfer->link, &request);
}

/* Asks for all jobs in turn, within what a connection may have open. */
static void ask_all(struct transfer *transfer)
{
    uint64_t now_ms = transfer->now_ms;
    unsigned open = transfer_jobs_open(&transfer->jobs, now_ms, ASK_AGAIN_MS);
    for (; open < LINK_IN_FLIGHT_MAX; open++) {
        struct transfer_job *job = transfer_jobs_next(&transfer->jobs);
        if (!job || !ask(job))
            return;
        transfer_job_asked(&transfer->jobs, job, now_ms);
    }
}

static void ask_hello(struct transfer *transfer)
{
    struct transfer_job *hello = &transfer->hello;
    if (hello->in_flight > 0 || transfer->now_ms - hello->asked_ms < HELLO_AGAIN_MS)
        return;
    if (ask(hello)) {
        hello->in_flight = 1;
        hello->asked_ms = transfer->now_ms;
    }
}

/* ---- Answers ---- */

/* The job has come as far as moved. */
static void advance(struct transfer_job *job, uint64_t moved)
{
    job->moved = moved;
    if (job->sent < moved) /* an answer to what was asked before going back */
        job->sent = moved;
    job->asked_ms = job->transfer->now_ms;
    if (moved == job->total)
        finish(job, STATUS_OK, buffer_bytes(&job->data));
}

static void take_acknowledgement(struct transfer_job *job, const Strato__Control__Chunk *chunk)
{
    if (chunk->offset > job->total)
        finish(job, STATUS_INTERNAL, (struct bytes){0});
    else if (chunk->offset > job->moved)
        advance(job, chunk->offset);
}

/* Chunks come in order; one from elsewhere was asked for twice, or follows one that was lost. */
static void take_chunk(struct transfer_job *job, const Strato__Control__Chunk *chunk)
{
    if (chunk->total == job->total && chunk->offset != job->moved)
        return;
    if (chunk->total != job->total || chunk->data.len == 0 ||
        chunk->data.len > job->total - job->moved) {
        finish(job, STATUS_INTERNAL, (struct bytes){0});
        return;
    }
    buffer_append(&job->data, chunk->data.data, chunk->data.len);
    advance(job, job->data.len);
}

/* Hello first, then every job from its beginning. */
static void say_hello(struct transfer *transfer)
{
    struct transfer_job *job;
    transfer->state = HELLO_ASKED;
    transfer_job_renew(&transfer->jobs, &transfer->hello);
    TAILQ_FOREACH(job, &transfer->jobs.list, link)
    {
        transfer_job_begin(&transfer->jobs, job);
    }
}

/* Takes over the reply. */
static void take_for_job(struct transfer_job *job, Strato__Control__Reply *reply)
{
    enum status status =
        reply->status < STATUS_COUNT ? (enum status)reply->status : STATUS_INTERNAL;
    bool chunk = reply->body_case == STRATO__CONTROL__REPLY__BODY_CHUNK;
    if (job->in_flight > 0)
        job->in_flight--;
    if (status == STATUS_OK && job->kind == KIND_STAGE && chunk)
        take_acknowledgement(job, reply->chunk);
    else if (status == STATUS_OK && job->kind == KIND_FETCH && chunk)
        take_chunk(job, reply->chunk);
    else if (status == STATUS_RESTAGE && job->kind == KIND_STAGE)
        transfer_job_begin(&job->transfer->jobs, job);
    else if (status == STATUS_UNAVAILABLE) /* a hello left over from before came after ours */
        say_hello(job->transfer);
    else
        finish(job, status == STATUS_OK ? STATUS_INTERNAL : status, (struct bytes){0});
    strato__control__reply__free_unpacked(reply, NULL);
}

/* Takes over the reply. One that nobody waits for is an answer to what was asked twice. */
static void take(struct transfer *transfer, Strato__Control__Reply *reply)
{
    struct transfer_job *job;
    TAILQ_FOREACH(job, &transfer->jobs.list, link)
    {
        if (job->id == reply->id)
            break;
    }
    if (job) {
        take_for_job(job, reply);
        return;
    }
    if (transfer->state == HELLO_ASKED && reply->id == transfer->hello.id) {
        transfer->state = reply->status == STATUS_OK ? HELLO_ACCEPTED : HELLO_REFUSED;
        snprintf(transfer->why, sizeof transfer->why, "%s", reply->error);
    }
    strato__control__reply__free_unpacked(reply, NULL);
}

/* ---- The round ---- */

static void notice_connection(struct transfer *transfer)
{
    uint64_t epoch = link_client_epoch(transfer->link);
    if (transfer->epoch == epoch)
        return;
    transfer->epoch = epoch;
    transfer->hello.asked_ms = 0;
    say_hello(transfer);
}

static void take_answers(struct transfer *transfer)
{
    Strato__Control__Reply *reply = NULL;
    for (unsigned i = 0; i < ANSWERS_MAX; i++) {
        reply = link_client_receive(transfer->link);
        notice_connection(transfer); /* the answer may be the first on a new one */
        if (!reply)
            break;
        take(transfer, reply);
    }
}

/* Their owners may start new ones: so not without end. */
static void fail_all(struct transfer *transfer)
{
    struct transfer_job *job;
    for (unsigned i = 0; i < ANSWERS_MAX && (job = TAILQ_FIRST(&transfer->jobs.list)); i++)
        finish(job, STATUS_UNAVAILABLE, (struct bytes){0});
}

void transfer_poll(struct transfer *transfer, uint64_t now_ms)
{
    transfer->now_ms = now_ms;
    if (link_client_tick(transfer->link, now_ms))
        atomic_fetch_add_explicit(&transfer->channel->link_trouble, 1, memory_order_relaxed);
    take_answers(transfer);
    if (transfer->state == HELLO_REFUSED)
        fail_all(transfer);
    if (!link_client_connected(transfer->link))
        return;
    if (transfer->state == HELLO_ACCEPTED)
        ask_all(transfer);
    else
        ask_hello(transfer);
}

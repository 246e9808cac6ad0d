/*
 * transfer_job - what a worker has under way on a link: the list of jobs, their ids and how far
 * they have come. Private to transfer.c.
 */
#ifndef STRATO_WORKERS_CORE_TRANSFER_JOB_H
#define STRATO_WORKERS_CORE_TRANSFER_JOB_H

#include <sys/queue.h>

#include "workers/core/transfer.h"

enum transfer_kind {
    KIND_HELLO = STRATO__CONTROL__REQUEST__BODY_HELLO,
    KIND_STAGE = STRATO__CONTROL__REQUEST__BODY_STAGE,
    KIND_FETCH = STRATO__CONTROL__REQUEST__BODY_FETCH,
    KIND_DROP = STRATO__CONTROL__REQUEST__BODY_DROP,
};

struct transfer_job {
    TAILQ_ENTRY(transfer_job) link;
    struct transfer *transfer;
    enum transfer_kind kind;
    uint32_t id;        /* of its requests */
    unsigned in_flight; /* requests sent, not answered and not given up */
    uint64_t asked_ms;  /* when it last sent something or came further */
    uint64_t bulk_id;   /* stage, drop; 0: drop what was fetched */
    uint64_t sequence;  /* fetch, drop */
    uint64_t total;     /* stage, fetch: bytes to move */
    uint64_t sent;      /* stage: bytes sent; fetch: bytes asked for */
    uint64_t moved;     /* bytes that have arrived; always <= sent <= total */
    struct bytes value; /* stage */
    struct buffer data; /* fetch: what has arrived */
    transfer_done *done;
    void *context;
};

struct transfer_jobs {
    TAILQ_HEAD(, transfer_job) list; /* in order of when they last asked */
    uint32_t last_id;
};

/* The caller fills in the rest. */
struct transfer_job *transfer_job_add(struct transfer_jobs *jobs, enum transfer_kind kind);
/* Takes it off the list; transfer_job_free() then frees it. */
void transfer_job_remove(struct transfer_jobs *jobs, struct transfer_job *job);
void transfer_job_free(struct transfer_job *job);

/* Gives it a new id: answers to what it asked so far are no longer waited for. */
void transfer_job_renew(struct transfer_jobs *jobs, struct transfer_job *job);
/* Lets it start from its beginning, under a new id. */
void transfer_job_begin(struct transfer_jobs *jobs, struct transfer_job *job);

/* The bytes of its next request; 0 for those that move none. */
size_t transfer_job_piece(const struct transfer_job *job);
/* It has asked for, or sent, its next piece. The others come before it now. */
void transfer_job_asked(struct transfer_jobs *jobs, struct transfer_job *job, uint64_t now_ms);
/* The job with something to ask that waits longest; NULL when there is none. */
struct transfer_job *transfer_jobs_next(struct transfer_jobs *jobs);
/* Requests that are open. What came no further for patience_ms goes back to where it was. */
unsigned transfer_jobs_open(struct transfer_jobs *jobs, uint64_t now_ms, uint64_t patience_ms);

#endif

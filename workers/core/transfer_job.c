/*
 * transfer_job - see transfer_job.h. Runs in a worker's event loop; fails by panic when memory runs
 * out.
 */
#include "workers/core/transfer_job.h"

#include <stdlib.h>

#include "proto/base/log.h"

enum { ID_MASK = 0x7fffffff };

void transfer_job_renew(struct transfer_jobs *jobs, struct transfer_job *job)
{
    jobs->last_id = (jobs->last_id + 1) & ID_MASK;
    job->id = jobs->last_id;
    job->in_flight = 0;
}

struct transfer_job *transfer_job_add(struct transfer_jobs *jobs, enum transfer_kind kind)
{
    struct transfer_job *job = calloc(1, sizeof *job);
    if (!job)
        panic("out of memory");
    job->kind = kind;
    TAILQ_INSERT_TAIL(&jobs->list, job, link);
    transfer_job_renew(jobs, job);
    return job;
}

void transfer_job_remove(struct transfer_jobs *jobs, struct transfer_job *job)
{
    TAILQ_REMOVE(&jobs->list, job, link);
}

void transfer_job_free(struct transfer_job *job)
{
    buffer_free(&job->data);
    free(job);
}

void transfer_job_begin(struct transfer_jobs *jobs, struct transfer_job *job)
{
    buffer_free(&job->data);
    job->sent = job->moved = 0;
    transfer_job_renew(jobs, job);
}

static bool moves_pieces(const struct transfer_job *job)
{
    return job->kind == KIND_STAGE || job->kind == KIND_FETCH;
}

size_t transfer_job_piece(const struct transfer_job *job)
{
    uint64_t rest = moves_pieces(job) ? job->total - job->sent : 0;
    return rest < LINK_CHUNK ? (size_t)rest : LINK_CHUNK;
}

void transfer_job_asked(struct transfer_jobs *jobs, struct transfer_job *job, uint64_t now_ms)
{
    job->sent += transfer_job_piece(job);
    job->in_flight++;
    job->asked_ms = now_ms;
    TAILQ_REMOVE(&jobs->list, job, link);
    TAILQ_INSERT_TAIL(&jobs->list, job, link);
}

static bool can_ask(const struct transfer_job *job)
{
    bool pieces = moves_pieces(job) && job->total > 0;
    return pieces ? job->sent < job->total : job->in_flight == 0;
}

struct transfer_job *transfer_jobs_next(struct transfer_jobs *jobs)
{
    struct transfer_job *job = TAILQ_FIRST(&jobs->list);
    while (job && !can_ask(job))
        job = TAILQ_NEXT(job, link);
    return job;
}

unsigned transfer_jobs_open(struct transfer_jobs *jobs, uint64_t now_ms, uint64_t patience_ms)
{
    unsigned open = 0;
    struct transfer_job *job;
    TAILQ_FOREACH(job, &jobs->list, link)
    {
        bool waiting = job->in_flight > 0 || job->sent > job->moved;
        if (waiting && now_ms - job->asked_ms >= patience_ms) {
            job->in_flight = 0;
            job->sent = job->moved;
        }
        open += job->in_flight;
    }
    return open;
}

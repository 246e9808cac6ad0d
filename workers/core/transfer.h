/*
 * transfer - a worker's conversation with one store over the link: staging large values, fetching
 * long answers. Everything is asked again when the connection is made anew, until its owner
 * cancels it (the owner keeps the deadline).
 */
#ifndef STRATO_WORKERS_CORE_TRANSFER_H
#define STRATO_WORKERS_CORE_TRANSFER_H

#include "proto/channel/channel.h"
#include "proto/link/link.h"

struct transfer;
struct transfer_job;

/* name, url: copied. channel: reports link_trouble there. NULL with a reason. Does not wait for
 * the store. */
struct transfer *transfer_open(const char *url, const char *name, unsigned channel_number,
                               struct channel_memory *channel, char *reason, size_t reason_size);
void transfer_close(struct transfer **transfer);
int transfer_fd(const struct transfer *transfer);
/* Moves messages and calls the jobs' done(). Once per round. */
void transfer_poll(struct transfer *transfer, uint64_t now_ms);
/* True while jobs are under way or there is no connection that answers (the caller then polls at
 * least every 50 ms). */
bool transfer_busy(const struct transfer *transfer);
/* False when the store has refused our hello; *why_r then says why (borrowed). */
bool transfer_accepted(const struct transfer *transfer, const char **why_r);

/*
 * done() is called exactly once, from transfer_poll() and never from the starting call, unless the
 * job is cancelled first; the job is gone after it. data is borrowed for the call.
 */
typedef void transfer_done(void *context, enum status status, struct bytes data);

/* Sends a value in pieces to be submitted under *bulk_id_r. value is borrowed until the end.
 * STATUS_OK: all of it is there. */
struct transfer_job *transfer_stage(struct transfer *transfer, struct bytes value,
                                    uint64_t *bulk_id_r, transfer_done *done, void *context);
/* The completion of a staged submission came, or it or its staging is given up: the store may free
 * it. Not needed after a staging that failed. */
void transfer_drop(struct transfer *transfer, uint64_t bulk_id);
/* Fetches the long answer of a submission; data is all of it. STATUS_NOT_FOUND: the store has it no
 * more. */
struct transfer_job *transfer_fetch(struct transfer *transfer, uint64_t sequence, uint64_t total,
                                    transfer_done *done, void *context);
/* A long answer will not be fetched: the store may free it. */
void transfer_decline(struct transfer *transfer, uint64_t sequence);
void transfer_cancel(struct transfer_job **job);

#endif

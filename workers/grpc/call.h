/*
 * call - what calls of every kind have in common: gRPC's side of a call, from being posted to being
 * given back. With the server's mutex held.
 */
#ifndef STRATO_WORKERS_GRPC_CALL_H
#define STRATO_WORKERS_GRPC_CALL_H

#include "workers/grpc/server.h"

struct rpc_call {
    struct rpc_server *server;
    /* Filled by gRPC. */
    grpc_call *call;
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    grpc_byte_buffer *payload;
    int cancelled; /* the client has not waited for the end */

    struct rpc_conn
        *conn;        /* from rpc_call_take() to rpc_call_clear(); NULL: it has none any more */
    int descriptor;   /* of it; 0: none */
    uint64_t counted; /* bytes that it takes, */
    uint64_t granted; /* and how many of them are in the core's budget */

    grpc_slice whole; /* of a payload that came in several slices */
};

/* Readies a call to be posted. */
void rpc_call_init(struct rpc_call *call, struct rpc_server *server);
/* Releases all that the call holds. It is over for the client too if it was not yet. */
void rpc_call_clear(struct rpc_call *call);

/* How a call is ended. */
struct rpc_end {
    grpc_status_code status;
    struct bytes text;           /* copied */
    const struct bytes *message; /* copied, and sent before; NULL: none */
    bool headers;                /* nothing was sent yet */
    bool close;                  /* wait until the call is over, too */
};

/* Takes in a call that has arrived. False: it must be ended as end_r, of which status and text are
 * set (valid until the next call of this), says. */
bool rpc_call_take(struct rpc_call *call, struct rpc_end *end_r) MUST_CHECK;
/* Whether a call that has no message was ended because of it (see frames.h); then like above. */
bool rpc_call_ended(struct rpc_call *call, struct rpc_end *end_r) MUST_CHECK;
/* Counts bytes of an answer for the call until it is cleared, and what they cost for its
 * connection. False: there is no memory for them. */
bool rpc_call_count(struct rpc_call *call, uint64_t bytes) MUST_CHECK;

/* The payload as one run of bytes, valid until the payload is dropped. False when it is compressed,
 * which we tell no client that we understand. */
bool rpc_call_message(struct rpc_call *call, struct bytes *message_r);
/* Lets go of the payload, so that the next one may be received. */
void rpc_call_drop(struct rpc_call *call);

/* Starts operations; tag runs once, when all of them are over. */
void rpc_call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag);
/* Starts waiting until the call is over, whichever side ends it. */
void rpc_call_watch(struct rpc_call *call, struct rpc_tag *tag);

void rpc_call_end(struct rpc_call *call, const struct rpc_end *end, struct rpc_tag *tag);

/* A message for GRPC_OP_SEND_MESSAGE; copies. To be destroyed once the batch has been started. */
grpc_byte_buffer *rpc_message(struct bytes message);

#endif

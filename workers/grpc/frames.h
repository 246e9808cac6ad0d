/*
 * frames - what a client sends, looked at before gRPC sees it: the frames of HTTP/2 and, in DATA,
 * the lengths of messages. Finds clients that must be cut off, and calls that must be ended because
 * their message is too long, does not come, or finds no memory. Pure: takes the clock as an
 * argument.
 *
 * A call is ended by a frame that its client did not send: an empty DATA with END_STREAM, put
 * between two frames of the client. gRPC takes it for the end of the client's half, hands over the
 * call without a message, and the worker answers it as it likes. The other calls do not notice.
 *
 * gRPC reads the same bytes. Where they make no sense to it, it closes the connection itself;
 * nothing is judged from there on.
 */
#ifndef STRATO_WORKERS_GRPC_FRAMES_H
#define STRATO_WORKERS_GRPC_FRAMES_H

#include "workers/grpc/block.h"

enum {
    RPC_FRAME_HEAD = 9,
    /* What is counted for each call and for each field of its headers: as gRPC was seen to need. */
    RPC_CALL_BYTES = 12288,
    RPC_FIELD_BYTES = 200,
};

/* Why a call was ended. */
enum rpc_ending {
    RPC_ENDING_LONG, /* the message is longer than allowed */
    RPC_ENDING_LATE, /* it did not come in time */
    RPC_ENDING_FULL, /* no memory for it */
    RPC_ENDINGS,
};

/* A call whose first message is not complete. */
struct rpc_waiting {
    uint32_t stream;
    uint32_t left;  /* bytes of the message to come, once its prefix is complete */
    uint64_t bytes; /* counted for it */
    uint64_t since_ns;
    uint8_t prefix[5];
    uint8_t prefix_len;
    uint8_t ending; /* 0: none; else it is to be ended, for this reason + 1 */
};

struct rpc_frames {
    uint64_t message_max; /* bytes that a message may have */
    uint64_t now_ns;      /* when rpc_frames_take() was called */
    uint64_t share; /* what it may hold: less than UINT64_MAX when memory is scarce; set before */
    const char *fault; /* why the connection must be cut; NULL: it need not */

    uint64_t held;               /* bytes counted for what is waiting; less than 2^40 */
    uint64_t cost_ns;            /* of all that has come, reckoned */
    uint64_t debt_ns;            /* work that led to nothing, less what is forgiven over time */
    uint64_t looked_ns;          /* when late calls were last looked for */
    unsigned endings;            /* calls to be ended */
    unsigned ended[RPC_ENDINGS]; /* that have been, so far */

    bool blind;          /* gRPC closes this connection by itself */
    uint8_t preface_len; /* bytes of the client's preface that have come */
    uint8_t head_len;    /* bytes of a frame's head that have come */
    uint8_t head[RPC_FRAME_HEAD];
    uint8_t kind, flags;  /* of the frame in hand, */
    uint32_t stream;      /* its stream, */
    uint32_t left;        /* and the bytes of it to come */
    uint32_t last_stream; /* the highest that was opened */
    bool in_block;        /* between HEADERS and the end of their block */
    bool block_ends;      /* the stream's client half ends with the block */
    uint8_t priority;     /* bytes before the block to pass over */
    uint8_t small_parts;  /* small frames that the block has come in */
    uint32_t block_stream;
    struct rpc_block block;

    struct rpc_waiting *waiting; /* the oldest first */
    unsigned count, room;
};

void rpc_frames_open(struct rpc_frames *frames, uint64_t message_max, uint64_t now_ns);
void rpc_frames_close(struct rpc_frames *frames);
/* The next bytes of the connection. May set fault; then no more may be given. */
void rpc_frames_take(struct rpc_frames *frames, const uint8_t *data, size_t len, uint64_t now_ns);
/* How many bytes of the client come before frames of ours may; 0: they may now. */
size_t rpc_frames_rest(const struct rpc_frames *frames);
/* Writes the frames that end calls, as many as fit; returns their bytes. Only when
 * rpc_frames_rest() is 0. */
size_t rpc_frames_end(struct rpc_frames *frames, uint8_t *out, size_t room);

#endif

/*
 * intake - the connections of a worker, and what comes in over them: each is looked at (frames.h)
 * on its way into gRPC, and the memory that its client holds is counted.
 *
 * gRPC reads with recvmsg(), waits with epoll_wait() for what epoll_ctl() told it to, and closes
 * with close(); this program defines all of them, and the dynamic linker gives gRPC these.
 * Descriptors that are no client's are passed on.
 *
 * Threads: a connection's frames belong to whoever reads it, which gRPC makes one thread at a time.
 * rpc_conn.calls, .streams and .answers are guarded by the server's mutex. The rest is atomic.
 */
#ifndef STRATO_WORKERS_GRPC_INTAKE_H
#define STRATO_WORKERS_GRPC_INTAKE_H

#include <stdatomic.h>

#include <sys/epoll.h>
#include <sys/queue.h>

#include "workers/grpc/frames.h"
#include "workers/grpc/turn.h"

struct rpc_conn {
    struct rpc_conn *next; /* the epoll thread's */
    int fd;
    _Atomic bool closed;                 /* gRPC has no more to do with it */
    _Atomic bool cut;                    /* nothing is read from it any more */
    _Atomic uint64_t waiting;            /* = frames.held, for other threads */
    _Atomic uint64_t read_ns;            /* when something came last */
    _Atomic unsigned ended[RPC_ENDINGS]; /* calls that were ended and that nobody has asked for */
    unsigned calls;                      /* that have arrived and are not over */
    unsigned streams;                    /* of Watch and reflection among them */
    unsigned done;                       /* that are over, so far */
    uint64_t full_ns;                    /* when there was no memory for it last */
    unsigned seen; /* = done, at seen_ns, when it was last seen to have changed */
    uint64_t seen_ns;
    uint64_t answers;         /* bytes counted for those calls and their answers */
    _Atomic uint64_t owed_ns; /* what answers cost, and was not taken from its turns yet */
    int epoll_fd;             /* of gRPC, in which it is with event; -1: in none */
    struct epoll_event event;
    bool queued; /* it waits for its next turn */
    TAILQ_ENTRY(rpc_conn) turn_next;
    struct rpc_turn turn;
    struct rpc_frames frames;
};

/* Once, before gRPC reads. descriptors: how many may be open. limit: bytes that clients may hold,
 * beyond which memory is scarce. Ends the process when gRPC would not read through here. */
void rpc_intake_open(unsigned descriptors, uint64_t message_max, uint64_t limit);
void rpc_intake_close(void);

/* A client's socket, before gRPC has it. The epoll thread's. */
struct rpc_conn *rpc_intake_add(int fd);
/* Whether the client has closed or broken off the connection, at which gRPC would cancel its calls.
 */
bool rpc_intake_has_left(int fd);
/* The connection of a descriptor; NULL: there is none. */
struct rpc_conn *rpc_intake_find(int fd);
/* Says that the connection is no more to be read from, and ends it. */
void rpc_intake_cut(struct rpc_conn *conn, const char *why);
/* Whether a call that came without a message was ended here, and why; each is told once. Returns
 * RPC_ENDINGS when it was not. */
enum rpc_ending rpc_intake_ending(struct rpc_conn *conn);

unsigned rpc_intake_count(void);   /* open connections */
unsigned rpc_intake_cuts(void);    /* connections cut off so far */
uint64_t rpc_intake_waiting(void); /* bytes counted for calls whose message is not there */
/* Other bytes that clients hold, as the worker counts them. When these and those that wait are more
 * than half of the limit, memory is scarce: the rest is for clients that hold little. */
void rpc_intake_answers(uint64_t bytes);
/* Whether memory is scarce and the connection would hold more than its share with these. */
bool rpc_intake_greedy(struct rpc_conn *conn, uint64_t bytes);

/* The epoll thread's, now and then, with the server's mutex: forgets what is closed, and cuts off
 * whoever only keeps others waiting. */
void rpc_intake_sweep(uint64_t now_ns);

#endif

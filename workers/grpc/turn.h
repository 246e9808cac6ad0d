/*
 * turn - how much of what a client has sent is worked on before the other connections are looked
 * at. Pure: takes the clock as an argument.
 *
 * gRPC works on all that has come over one connection before it looks at the next. So a connection
 * is told that nothing more has come when what it was given is reckoned to cost RPC_TURN_NS, and is
 * asked again in gRPC's next round. What a turn cost too much, its answers included, is taken from
 * the next ones (deficit round robin).
 */
#ifndef STRATO_WORKERS_GRPC_TURN_H
#define STRATO_WORKERS_GRPC_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RPC_TURN_NS = 200000,
    RPC_ROOM_FIRST = 512, /* bytes read at once: a first call with what comes before it, */
    RPC_ROOM_MIN = 128,   /* fewer when they cost much; */
    RPC_ROOM_MAX = 65536, /* the most that gRPC asks for */
};

struct rpc_turn {
    uint64_t round; /* of gRPC, in which it is */
    uint64_t spent_ns;
    int64_t left_ns; /* of its time; 0 or less: over */
    size_t room;     /* bytes that may be read at once */
};

void rpc_turn_open(struct rpc_turn *turn);
/* Whether its connection may be read from in this round. now_ns() is asked when there is a debt. */
bool rpc_turn_goes_on(struct rpc_turn *turn, uint64_t round, uint64_t (*now_ns)(void));
/* So many bytes were read, and cost so much. */
void rpc_turn_spend(struct rpc_turn *turn, size_t bytes, uint64_t cost_ns, uint64_t now_ns);
/* An answer, or what else is known only afterwards, cost so much. */
void rpc_turn_owe(struct rpc_turn *turn, uint64_t cost_ns);

#endif

/*
 * turn - see turn.h. Runs in the gRPC workers on whatever thread reads a connection; cannot fail.
 */
#include "workers/grpc/turn.h"

void rpc_turn_open(struct rpc_turn *turn)
{
    *turn = (struct rpc_turn){.left_ns = RPC_TURN_NS, .room = RPC_ROOM_FIRST};
}

bool rpc_turn_goes_on(struct rpc_turn *turn, uint64_t round, uint64_t (*now_ns)(void))
{
    if (turn->round != round) {
        turn->round = round;
        turn->left_ns += RPC_TURN_NS;
        if (turn->left_ns <= 0) { /* the others have had the time since then */
            uint64_t now = now_ns();
            turn->left_ns += (int64_t)(now - turn->spent_ns);
            turn->spent_ns = now;
        }
        if (turn->left_ns > RPC_TURN_NS)
            turn->left_ns = RPC_TURN_NS;
    }
    return turn->left_ns > 0;
}

/* As many bytes as would cost half a turn, if they are like the last ones; but not many more than
 * those at once, for the next may be others. */
static void adapt(struct rpc_turn *turn, size_t bytes, uint64_t cost_ns)
{
    uint64_t room = 2 * turn->room, fit = bytes * (RPC_TURN_NS / 2) / (cost_ns + 1);
    room = fit < room ? fit : room;
    room = room < RPC_ROOM_MAX ? room : RPC_ROOM_MAX;
    turn->room = room > RPC_ROOM_MIN ? room : RPC_ROOM_MIN;
}

void rpc_turn_spend(struct rpc_turn *turn, size_t bytes, uint64_t cost_ns, uint64_t now_ns)
{
    turn->left_ns -= (int64_t)cost_ns;
    turn->spent_ns = now_ns;
    adapt(turn, bytes, cost_ns);
}

void rpc_turn_owe(struct rpc_turn *turn, uint64_t cost_ns)
{
    turn->left_ns -= (int64_t)cost_ns;
}

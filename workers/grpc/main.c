/*
 * main - strato-grpc-worker, the process grpc-N: gRPC on the inherited listening socket.
 *
 * Started by the supervisor only (see proto/run/run.h). It ends when told to, after draining, and
 * with RUN_EXIT_FAILURE when what it was handed cannot be used.
 */
#include <malloc.h>

#include "workers/grpc/server.h"

int main(int argc, char **argv)
{
    static struct run_child child;
    static struct rpc_server server;
    run_child_start(&child, argc, argv);
    /* One heap for all threads: what one allocates and another frees is used again at once. */
    mallopt(M_ARENA_MAX, 1);
    struct core *core = core_open(&child);
    rpc_server_open(&server, &child, core);
    run_child_ready();
    rpc_server_run(&server);
    return RUN_EXIT_OK;
}

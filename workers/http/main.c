/*
 * main - strato-http-worker, the process http-N: HTTP/1.1 on the inherited listening socket.
 *
 * Started by the supervisor only (see proto/run/run.h). It ends when told to, after draining, and
 * with RUN_EXIT_FAILURE when what it was handed cannot be used.
 */
#include "workers/http/server.h"

int main(int argc, char **argv)
{
    struct run_child child;
    struct http_server server;
    run_child_start(&child, argc, argv);
    struct core *core = core_open(&child);
    http_server_open(&server, &child, core);
    run_child_ready();
    http_server_run(&server);
    core_close(&core);
    return RUN_EXIT_OK;
}

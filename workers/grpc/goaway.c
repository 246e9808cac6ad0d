/*
 * goaway - see goaway.h. Runs in the gRPC workers; cannot fail.
 *
 * The function must be called on a thread on which gRPC is at work already, because it leaves work
 * behind for the end of that. grpc.h offers one way to get there: what is called when a completion
 * queue of the callback kind has been shut down.
 */
#include "workers/grpc/goaway.h"

#include <semaphore.h>
#include <stddef.h>

extern void send_goaways(grpc_server *server) __asm__("_ZN9grpc_core6Server11SendGoawaysEv")
    __attribute__((weak));

static grpc_server *goaway_server;
static grpc_completion_queue *goaway_queue;
static sem_t sent;

static void on_grpc_thread(grpc_completion_queue_functor *functor, int ok)
{
    (void)functor;
    (void)ok;
    send_goaways(goaway_server);
    sem_post(&sent);
}

bool rpc_goaway_known(void)
{
    return send_goaways != NULL;
}

void rpc_goaway_send(grpc_server *server)
{
    static grpc_completion_queue_functor functor = {.functor_run = on_grpc_thread};
    if (!rpc_goaway_known())
        return;
    sem_init(&sent, 0, 0);
    goaway_server = server;
    goaway_queue = grpc_completion_queue_create_for_callback(&functor, NULL);
    grpc_completion_queue_shutdown(goaway_queue);
}

void rpc_goaway_finish(void)
{
    if (!goaway_queue)
        return;
    while (sem_wait(&sent) != 0)
        ; /* a signal */
    grpc_completion_queue_destroy(goaway_queue);
    goaway_queue = NULL;
}

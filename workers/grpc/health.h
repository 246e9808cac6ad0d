/*
 * health - grpc.health.v1.Health: Check and Watch, for "" (all of it) and for every service, as the
 * backends answer.
 *
 * The backends are asked through their rings (core_ready), at most once a second: for a Check, and
 * each second while somebody watches. A stopping worker serves nothing any more.
 */
#ifndef STRATO_WORKERS_GRPC_HEALTH_H
#define STRATO_WORKERS_GRPC_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct rpc_server;

struct rpc_health {
    void *check_handle, *watch_handle; /* of the methods */
    bool asking;                       /* the backends, for those who watch */
    uint64_t asked_ns;                 /* when that last began; 0: ask at once */
    unsigned watching;                 /* streams of Watch that have said what they watch */
};

/* Before the server starts. */
void rpc_health_register(struct rpc_server *server);
/* After it has started. */
void rpc_health_post(struct rpc_server *server);
/* Now and then, at least each second. */
void rpc_health_poll(struct rpc_server *server, uint64_t now_ns);
/* Tells those who watch that the server is draining. */
void rpc_health_drain(struct rpc_server *server);

#endif

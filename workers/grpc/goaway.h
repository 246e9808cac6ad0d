/*
 * goaway - tells every client to take its next calls elsewhere, while this server still serves what
 * it is sent: the first half of a graceful stop.
 *
 * The C core knows how (GOAWAY, a ping to be sure that it has arrived, a second GOAWAY), but begins
 * it by itself only together with the shutdown of the server, after which it cancels every call
 * that crosses the GOAWAY. A planned restart must not cost a call. So this calls the C core's own
 * function, grpc_core::Server::SendGoaways(), which libgrpc.so exports but grpc.h does not declare.
 * A libgrpc without it still works; then such calls are cancelled.
 */
#ifndef STRATO_WORKERS_GRPC_GOAWAY_H
#define STRATO_WORKERS_GRPC_GOAWAY_H

#include <grpc/grpc.h>
#include <stdbool.h>

/* Whether that function was found. */
bool rpc_goaway_known(void);
/* Once per process. Returns at once. The server must stay until rpc_goaway_finish(). */
void rpc_goaway_send(grpc_server *server);
/* Waits until the sending has begun for all connections, if it was asked for. */
void rpc_goaway_finish(void);

#endif

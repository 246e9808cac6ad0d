/*
 * wire - what both ends of the link do with nng. Private to this folder.
 */
#ifndef STRATO_PROTO_LINK_WIRE_H
#define STRATO_PROTO_LINK_WIRE_H

#include <nng/nng.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    WIRE_QUEUE_MAX = 64, /* messages waiting to be sent */
    WIRE_CLOSE_MS = 200,
};

/* "ipc://PATH" for a path that a socket can have, with room for a suffix. False and a reason. */
bool wire_url_ok(const char *url, char *reason, size_t reason_size);
/* Bounds the queues of a new socket and gets the descriptor to poll. An nng error. */
int wire_prepare(nng_socket socket, int *fd_r);
/* A message with this body; NULL when memory runs out. */
nng_msg *wire_pack(const ProtobufCMessage *body);
/* Sends and frees a message without blocking; false when it could not be queued. */
bool wire_send(nng_socket socket, nng_msg *message);
/* Closes a socket, waiting at most WIRE_CLOSE_MS. False when it is not closed yet: what its
 * callbacks use must stay. */
bool wire_close(nng_socket socket);

#endif

/*
 * link - the conversation between workers and a store over nng, and the only code that knows nng.
 *
 * The store listens on one ipc socket in the run directory and answers; workers dial and ask. Raw
 * REQ/REP is used, so that nothing is ever resent behind our back: correlation ids are ours, every
 * message carries one, and an answer that does not come is the caller's deadline's business.
 * Messages are the protobuf messages of control.proto; one larger than LINK_MESSAGE_MAX is refused
 * by nng itself. nng's own threads only move messages; our code runs in the caller's event loop.
 *
 * Listeners, dialers and connections of nng 1.5.2 can stop for good (see wire.c, which prevents the
 * known ways). What a worker sees then is a connection on which nothing is answered. So a client
 * that has no connection, or no answer on the one it has, makes its dialer anew and says so in its
 * channel (link_trouble), upon which the store makes its listener anew.
 */
#ifndef STRATO_PROTO_LINK_LINK_H
#define STRATO_PROTO_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/link/control.pb-c.h"

enum {
    LINK_VERSION = 1,
    LINK_CHUNK = 31 * 1024,            /* most payload bytes in one message */
    LINK_MESSAGE_MAX = 32 * 1024 - 64, /* small enough to pass a socket in one piece, see wire.c */
    LINK_IN_FLIGHT_MAX = 6, /* most requests open on a connection: less than a socket's buffer */
    LINK_STRANGERS_MAX = 16,
    LINK_PATIENCE_MS = 200, /* for a connection's first answer; doubles up to */
    LINK_PATIENCE_MAX_MS = 3200,
    LINK_ABSENCE_MS = 1000, /* for a connection, at least: stores need time to start again */
    LINK_SILENCE_MS = 2000, /* for any later answer, at least */
};

/* ---- The store's end ---- */

struct link_server;

/* Listens; a stale socket file is replaced. NULL and a reason when it cannot. */
struct link_server *link_server_open(const char *url, char *reason, size_t reason_size);
void link_server_close(struct link_server **server);
/* Readable when link_server_receive() has something. Stays the same for the server's life. */
int link_server_fd(const struct link_server *server);

/*
 * Who may connect: processes of this one's own user and of root; no others are answered, and of
 * those that were not started by our own parent (stratoctl, and anybody) LINK_STRANGERS_MAX at a
 * time.
 */
struct link_peer { /* where an answer goes */
    uint8_t header[64];
    uint32_t header_len;
    uint32_t pipe; /* nng's pipe id; identifies one connection */
};

/* Takes the next request, without blocking; NULL when there is none. Messages that do not parse
 * are dropped. Free it with strato__control__request__free_unpacked(request, NULL). */
Strato__Control__Request *link_server_receive(struct link_server *server, struct link_peer *peer_r);
/* Sends without blocking; an answer that cannot be sent is dropped (the asker will ask again). */
void link_server_reply(struct link_server *server, const struct link_peer *peer,
                       const Strato__Control__Reply *reply);
/* Connections that were turned away so far. */
uint64_t link_server_turned_away(const struct link_server *server);
/* Whether a connection is of a process that our parent did not start. */
bool link_server_stranger(const struct link_server *server, uint32_t pipe);
/* Whether the connection that a request came on still stands. */
bool link_server_connected(const struct link_server *server, uint32_t pipe);
/* Makes the listener anew when its name was removed; looks once a second. Connections that stand
 * are not touched. Tried again as long as it fails: the directory may come back. */
void link_server_look(struct link_server *server, uint64_t now_ms);
/* Makes the listener anew; connections that stand are not touched. At most once per
 * LINK_PATIENCE_MS, else it does nothing. False when it did nothing or could not (logged). */
bool link_server_renew(struct link_server *server, uint64_t now_ms);

/* ---- The worker's end ---- */

struct link_client;

/* NULL and a reason only when the url or this process is at fault; does not wait for the store. */
struct link_client *link_client_open(const char *url, char *reason, size_t reason_size);
void link_client_close(struct link_client **client);
/* Readable when there is an answer, or a connection was made or lost. Stays the same for the
 * client's life. */
int link_client_fd(const struct link_client *client);

/* Sends without blocking. False when there is no connection now or its queue is full: try again
 * later. request->id is the caller's correlation id (31 bits). */
bool link_client_send(struct link_client *client, const Strato__Control__Request *request);
/* Takes the next answer; NULL when there is none. Free it with
 * strato__control__reply__free_unpacked(reply, NULL). */
Strato__Control__Reply *link_client_receive(struct link_client *client);
/* Counts up each time a connection is made, before an answer can be received that came on it. What
 * was sent before is to be asked again; it may even be sent now, as the first on the new one. */
uint64_t link_client_epoch(const struct link_client *client);
bool link_client_connected(const struct link_client *client);
/* Housekeeping; call it each time round, and at least every 50 ms while link_client_answered() is
 * false. True when it made its dialer anew just now (report link_trouble). Each connection must be
 * asked something at once, or it counts as dead. */
bool link_client_tick(struct link_client *client, uint64_t now_ms);
/* Whether the connection there is now has ever answered. */
bool link_client_answered(const struct link_client *client);

#endif

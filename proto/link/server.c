/*
 * server - the store's end of the link, on nng's raw REP protocol. Runs in a store's event loop.
 *
 * A raw REP socket gives each request with a header: the id of its pipe, then the request id as
 * the peer sent it. The answer needs the same header; the pipe's id finds the way back.
 *
 * The listener binds a name of its own ("store-memory.link.3"), which is then renamed to the public
 * one: so the public name always leads to the newest listener and is never missing, and an older
 * listener can stay open for the connections it has (closing it would break them, and would remove
 * the public name). Only so many old ones are kept; the oldest is closed for a newer one.
 *
 * Fails: a peer's message that cannot be understood is dropped, a peer's answer that cannot be sent
 * is dropped; the peer asks again.
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/transport/ipc/ipc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/link/link.h"
#include "proto/link/wire.h"

enum {
    LISTENERS = 16,   /* the newest and old ones that still have connections */
    GARBAGE_MAX = 16, /* messages dropped in one call */
    LOOK_MS = 1000,   /* between two looks whether the public name is still there */
};

struct link_server {
    nng_socket socket;
    int fd;
    char path[128];
    nng_listener listeners[LISTENERS]; /* by generation; id 0: none */
    unsigned generation;
    uint64_t renewed_ms, looked_ms;
    dev_t device; /* of the public name */
    ino_t inode;

    /* Written by nng's threads. */
    _Atomic uint32_t strangers[LINK_STRANGERS_MAX]; /* their pipes; 0: free */
    _Atomic uint64_t turned_away;
};

/* ---- Who may connect: in nng's threads ---- */

/* The parent of a process; 0: unknown. */
static pid_t parent_of(pid_t pid)
{
    char path[32], text[256];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *end = strrchr(text, ')'); /* a name may have anything in it */
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

/* One of those that the supervisor started together with us, or a part of a test. */
static bool is_sibling(pid_t pid)
{
    pid_t parent = parent_of(pid);
    return pid == getpid() || pid == getppid() || parent == getppid() || parent == getpid();
}

static bool take_place(struct link_server *server, uint32_t id)
{
    for (size_t i = 0; i < LINK_STRANGERS_MAX; i++) {
        uint32_t none = 0;
        if (atomic_compare_exchange_strong(&server->strangers[i], &none, id))
            return true;
    }
    return false;
}

static bool may_connect(struct link_server *server, nng_pipe pipe)
{
    uint64_t uid, pid;
    if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) != 0 ||
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_PID, &pid) != 0)
        return false;
    if (uid != 0 && uid != geteuid())
        return false;
    return is_sibling((pid_t)pid) || take_place(server, (uint32_t)nng_pipe_id(pipe));
}

/* A new connection is turned away before anything can come on it (to close one on which something
 * comes is what nng cannot do, see wire.c). */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *context)
{
    struct link_server *server = context;
    if (event == NNG_PIPE_EV_ADD_PRE) {
        if (may_connect(server, pipe))
            return;
        atomic_fetch_add(&server->turned_away, 1);
        nng_pipe_close(pipe);
        return;
    }
    for (size_t i = 0; i < LINK_STRANGERS_MAX; i++) {
        uint32_t id = (uint32_t)nng_pipe_id(pipe);
        atomic_compare_exchange_strong(&server->strangers[i], &id, 0);
    }
}

bool link_server_stranger(const struct link_server *server, uint32_t pipe)
{
    for (size_t i = 0; i < LINK_STRANGERS_MAX; i++)
        if (atomic_load(&server->strangers[i]) == pipe)
            return true;
    return false;
}

uint64_t link_server_turned_away(const struct link_server *server)
{
    return atomic_load(&server->turned_away);
}

/* ---- Listening ---- */

/* Whether the public name leads to us. */
static bool is_there(const struct link_server *server)
{
    struct stat info;
    return lstat(server->path, &info) == 0 && info.st_dev == server->device &&
           info.st_ino == server->inode;
}

/* Opens the next listener and makes it the public one. An nng error. */
static int listen_anew(struct link_server *server)
{
    unsigned generation = server->generation;
    nng_listener *place = &server->listeners[generation % LISTENERS];
    nng_listener listener = NNG_LISTENER_INITIALIZER;
    char path[160], url[176];

    snprintf(path, sizeof path, "%s.%u", server->path, generation);
    snprintf(url, sizeof url, "ipc://%s", path);
    int rv = nng_listener_create(&listener, server->socket, url);
    if (rv != 0)
        return rv;
    rv = nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, LINK_MESSAGE_MAX);
    if (rv == 0)
        rv = nng_listener_start(listener, 0);
    struct stat info;
    if (rv == 0 && (lstat(path, &info) != 0 || rename(path, server->path) != 0))
        rv = NNG_EADDRINUSE;
    if (rv != 0) {
        nng_listener_close(listener);
        return rv;
    }
    if (nng_listener_id(*place) > 0)
        nng_listener_close(*place);
    *place = listener;
    server->device = info.st_dev;
    server->inode = info.st_ino;
    server->generation++;
    return 0;
}

struct link_server *link_server_open(const char *url, char *reason, size_t reason_size)
{
    if (!wire_url_ok(url, reason, reason_size))
        return NULL;
    struct link_server *server = calloc(1, sizeof *server);
    if (!server)
        panic("out of memory");
    snprintf(server->path, sizeof server->path, "%s", url + strlen("ipc://"));
    int rv = nng_rep0_open_raw(&server->socket);
    if (rv != 0) {
        snprintf(reason, reason_size, "nng: %s", nng_strerror(rv));
        free(server);
        return NULL;
    }
    rv = wire_prepare(server->socket, &server->fd);
    if (rv == 0)
        rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, pipe_changed, server);
    if (rv == 0)
        rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, pipe_changed, server);
    if (rv == 0)
        rv = listen_anew(server);
    if (rv != 0) {
        snprintf(reason, reason_size, "cannot listen on %s: %s", server->path, nng_strerror(rv));
        link_server_close(&server);
    }
    return server;
}

void link_server_close(struct link_server **server)
{
    if (!*server)
        return;
    if ((*server)->generation > 0 && is_there(*server))
        unlink((*server)->path);
    if (wire_close((*server)->socket))
        free(*server); /* else its callbacks may still come */
    *server = NULL;
}

int link_server_fd(const struct link_server *server)
{
    return server->fd;
}

/* Takes a message apart. NULL when it is none of ours. */
static Strato__Control__Request *parse(nng_msg *message, struct link_peer *peer_r)
{
    size_t header_len = nng_msg_header_len(message);
    if (header_len > sizeof peer_r->header)
        return NULL;
    memcpy(peer_r->header, nng_msg_header(message), header_len);
    peer_r->header_len = (uint32_t)header_len;
    peer_r->pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
    return strato__control__request__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
}

Strato__Control__Request *link_server_receive(struct link_server *server, struct link_peer *peer_r)
{
    for (int i = 0; i < GARBAGE_MAX; i++) {
        nng_msg *message;
        if (nng_recvmsg(server->socket, &message, NNG_FLAG_NONBLOCK) != 0)
            return NULL;
        Strato__Control__Request *request = parse(message, peer_r);
        nng_msg_free(message);
        if (request)
            return request;
    }
    return NULL;
}

void link_server_reply(struct link_server *server, const struct link_peer *peer,
                       const Strato__Control__Reply *reply)
{
    nng_msg *message = wire_pack(&reply->base);
    if (!message)
        return;
    if (nng_msg_header_append(message, peer->header, peer->header_len) != 0) {
        nng_msg_free(message);
        return;
    }
    wire_send(server->socket, message);
}

bool link_server_connected(const struct link_server *server, uint32_t pipe)
{
    return nng_socket_id(nng_pipe_socket((nng_pipe){pipe})) == nng_socket_id(server->socket);
}

void link_server_look(struct link_server *server, uint64_t now_ms)
{
    if (now_ms - server->looked_ms < LOOK_MS)
        return;
    server->looked_ms = now_ms;
    if (!is_there(server) && listen_anew(server) == 0)
        log_warn("somebody removed %s: made anew", server->path);
}

bool link_server_renew(struct link_server *server, uint64_t now_ms)
{
    if (now_ms - server->renewed_ms < LINK_PATIENCE_MS)
        return false;
    server->renewed_ms = now_ms;
    int rv = listen_anew(server);
    if (rv != 0) {
        log_error("cannot make the listener of %s anew: %s", server->path, nng_strerror(rv));
        return false;
    }
    log_warn("made the listener of %s anew: a worker could not reach it", server->path);
    return true;
}

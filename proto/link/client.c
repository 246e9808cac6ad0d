/*
 * client - the worker's end of the link, on nng's raw REQ protocol. Runs in a worker's event loop.
 *
 * nng's threads touch only the atomics below and the eventfd, in pipe_changed(). One dialer has one
 * connection at a time; just after it was made anew the old one's can linger, so the newest counts.
 *
 * Fails: never for good. Without an answer it dials again, and again.
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/link/link.h"
#include "proto/link/wire.h"

enum {
    RECONNECT_MIN_MS = 10,
    RECONNECT_MAX_MS = 100,
    GARBAGE_MAX = 16, /* messages dropped in one call */
};

struct link_client {
    nng_socket socket;
    nng_dialer dialer; /* id 0: none, to be made by the next tick */
    char url[128];
    int epoll_fd; /* of receive_fd and event_fd */
    int event_fd;
    int receive_fd; /* nng's */

    /* Written by nng's threads. */
    _Atomic uint64_t epoch; /* connections made so far */
    _Atomic uint32_t pipe;  /* the newest connection; 0 when there is none */
    _Atomic bool changed;   /* event_fd is to be cleared; set after it was written */

    uint32_t answered_pipe;    /* the last one that an answer came on */
    bool asked;                /* since the last answer */
    uint64_t waiting_epoch;    /* what the wait is for */
    uint64_t waiting_since_ms; /* 0: not waiting */
    uint64_t patience_ms;
};

/* Called by nng's threads, for a new connection before anything can come on it. */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *context)
{
    struct link_client *client = context;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    if (event == NNG_PIPE_EV_ADD_PRE) {
        atomic_store(&client->pipe, id);
        atomic_fetch_add(&client->epoch, 1);
    } else {
        atomic_compare_exchange_strong(&client->pipe, &id, 0);
    }
    eventfd_write(client->event_fd, 1);
    atomic_store(&client->changed, true);
}

/* An nng error. */
static int dial_anew(struct link_client *client)
{
    if (nng_dialer_id(client->dialer) > 0)
        nng_dialer_close(client->dialer);
    atomic_store(&client->pipe, 0); /* in case nng never says so */
    client->dialer = (nng_dialer)NNG_DIALER_INITIALIZER;
    nng_dialer dialer;
    int rv = nng_dialer_create(&dialer, client->socket, client->url);
    if (rv != 0)
        return rv;
    rv = nng_dialer_set_size(dialer, NNG_OPT_RECVMAXSZ, LINK_MESSAGE_MAX);
    if (rv == 0)
        rv = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
    if (rv == 0)
        rv = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
    if (rv == 0)
        rv = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    if (rv != 0) {
        nng_dialer_close(dialer);
        return rv;
    }
    client->dialer = dialer;
    return 0;
}

/* Makes the descriptor that the caller polls. False with errno set. */
static bool open_fds(struct link_client *client)
{
    struct epoll_event event = {.events = EPOLLIN};
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return client->epoll_fd >= 0 && client->event_fd >= 0 &&
           epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, client->receive_fd, &event) == 0 &&
           epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, client->event_fd, &event) == 0;
}

static int start(struct link_client *client)
{
    int rv = wire_prepare(client->socket, &client->receive_fd);
    if (rv != 0)
        return rv;
    if (!open_fds(client))
        return NNG_ENOFILES;
    rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_PRE, pipe_changed, client);
    if (rv == 0)
        rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, pipe_changed, client);
    return rv == 0 ? dial_anew(client) : rv;
}

struct link_client *link_client_open(const char *url, char *reason, size_t reason_size)
{
    if (!wire_url_ok(url, reason, reason_size))
        return NULL;
    struct link_client *client = calloc(1, sizeof *client);
    if (!client)
        panic("out of memory");
    client->epoll_fd = client->event_fd = -1;
    client->patience_ms = LINK_PATIENCE_MS;
    snprintf(client->url, sizeof client->url, "%s", url);
    int rv = nng_req0_open_raw(&client->socket);
    if (rv != 0) {
        snprintf(reason, reason_size, "nng: %s", nng_strerror(rv));
        free(client);
        return NULL;
    }
    rv = start(client);
    if (rv != 0) {
        snprintf(reason, reason_size, "cannot dial %s: %s", url, nng_strerror(rv));
        link_client_close(&client);
    }
    return client;
}

void link_client_close(struct link_client **client)
{
    struct link_client *closing = *client;
    *client = NULL;
    if (!closing || !wire_close(closing->socket))
        return; /* its callbacks may still come */
    if (closing->epoll_fd >= 0)
        close(closing->epoll_fd);
    if (closing->event_fd >= 0)
        close(closing->event_fd);
    free(closing);
}

int link_client_fd(const struct link_client *client)
{
    return client->epoll_fd;
}

bool link_client_send(struct link_client *client, const Strato__Control__Request *request)
{
    if (!link_client_connected(client))
        return false;
    nng_msg *message = wire_pack(&request->base);
    if (!message)
        return false;
    /* The protocol wants the request's id with its highest bit set, which ends the header. */
    if (nng_msg_header_append_u32(message, request->id | 0x80000000u) != 0) {
        nng_msg_free(message);
        return false;
    }
    bool sent = wire_send(client->socket, message);
    client->asked = client->asked || sent;
    return sent;
}

Strato__Control__Reply *link_client_receive(struct link_client *client)
{
    for (int i = 0; i < GARBAGE_MAX; i++) {
        nng_msg *message;
        if (nng_recvmsg(client->socket, &message, NNG_FLAG_NONBLOCK) != 0)
            return NULL;
        Strato__Control__Reply *reply =
            strato__control__reply__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
        client->answered_pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
        client->asked = false;
        client->waiting_since_ms = 0;
        nng_msg_free(message);
        if (reply)
            return reply;
    }
    return NULL;
}

uint64_t link_client_epoch(const struct link_client *client)
{
    return atomic_load(&client->epoch);
}

bool link_client_connected(const struct link_client *client)
{
    return atomic_load(&client->pipe) != 0;
}

bool link_client_answered(const struct link_client *client)
{
    uint32_t pipe = atomic_load(&client->pipe);
    return pipe != 0 && pipe == client->answered_pipe;
}

/* Whether there is nothing to wait for; else for how long it may be waited. */
static bool content(const struct link_client *client, uint64_t *patience_ms_r)
{
    bool answered = link_client_answered(client);
    uint64_t least = 0;
    if (answered)
        least = LINK_SILENCE_MS;
    else if (!link_client_connected(client))
        least = LINK_ABSENCE_MS;
    *patience_ms_r = client->patience_ms > least ? client->patience_ms : least;
    return answered && !client->asked;
}

bool link_client_tick(struct link_client *client, uint64_t now_ms)
{
    eventfd_t ignored;
    uint64_t epoch = link_client_epoch(client), patience_ms;
    if (atomic_exchange(&client->changed, false))
        eventfd_read(client->event_fd, &ignored);
    if (content(client, &patience_ms)) {
        client->waiting_since_ms = 0;
        client->patience_ms = LINK_PATIENCE_MS;
        return false;
    }
    if (client->waiting_since_ms == 0 || client->waiting_epoch != epoch) {
        client->waiting_since_ms = now_ms;
        client->waiting_epoch = epoch;
        return false;
    }
    if (now_ms - client->waiting_since_ms < patience_ms)
        return false;
    client->waiting_since_ms = now_ms;
    if (client->patience_ms < LINK_PATIENCE_MAX_MS)
        client->patience_ms *= 2;
    int rv = dial_anew(client);
    if (rv != 0)
        log_error("cannot dial %s: %s", client->url, nng_strerror(rv));
    return true;
}

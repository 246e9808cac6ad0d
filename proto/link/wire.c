/*
 * wire - what both ends of the link do with nng: bounds, messages, closing, and keeping clear of
 * two faults of nng 1.5.2 that would end the conversation. Stores and workers.
 *
 * BUGS
 * As read in Debian's source of 1.5.2-2 (whose one backported fix is another one) and tried out:
 *
 * Lost listeners and dialers, upstream issue 1518. Of two ends that connect, each first sends its
 * 8-byte header. When the peer is gone by then, sendmsg() fails with EPIPE; nng calls that
 * NNG_ECLOSED, takes it for the close of the listener or dialer itself, and never accepts or dials
 * again. One connect() + close() does it. The transport below a listener goes on accepting and even
 * shakes hands, but nobody takes the connections over, and they and their descriptors leak.
 * Such an EPIPE is an ECONNRESET here, because nng rightly goes on after that one: this file
 * defines the sendmsg() that libnng finds. Sockets of other families are left alone.
 *
 * Lost completions, upstream issues 1236 and 1813. When a connection is closed while nng is about
 * to go on with a message of which a part was sent or received, that operation never ends; the one
 * thread that frees connections then waits for it for good, and with it every later end of a
 * connection in this process, every redial, and nng_close(). So messages are small enough for one
 * buffer of a local socket (48 KiB), where nothing is ever sent or received in part. What is left
 * is the instant between a message's length and its body, if sending fails in that very instant;
 * then both ends recover as link.h says, and leak a descriptor with each connection that ends.
 *
 * A handshake that fails in any other way makes nng's listener pause for 100 ms. So a process that
 * connects and fails all the time can keep new connections waiting, but does not harm those that
 * stand; the socket is in a directory of mode 0700.
 */
#include "proto/link/wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t n = syscall(SYS_sendmsg, fd, message, flags);
    if (n < 0 && errno == EPIPE) {
        int family = 0;
        socklen_t len = sizeof family;
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 && family == AF_UNIX)
            errno = ECONNRESET;
        else
            errno = EPIPE;
    }
    return n;
}

bool wire_url_ok(const char *url, char *reason, size_t reason_size)
{
    enum { SUFFIX_MAX = 12 }; /* see server.c */
    size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1 - SUFFIX_MAX;
    if (strncmp(url, "ipc://", 6) != 0 || url[6] == '\0') {
        snprintf(reason, reason_size, "no ipc:// url: %s", url);
        return false;
    }
    if (strlen(url + 6) > most) {
        snprintf(reason, reason_size, "the path of a socket can have %zu bytes at most: %s", most,
                 url + 6);
        return false;
    }
    return true;
}

int wire_prepare(nng_socket socket, int *fd_r)
{
    int rv = nng_socket_set_int(socket, NNG_OPT_SENDBUF, WIRE_QUEUE_MAX);
    if (rv == 0)
        rv = nng_socket_set_int(socket, NNG_OPT_RECVBUF, WIRE_QUEUE_MAX / 4);
    if (rv == 0)
        rv = nng_socket_get_int(socket, NNG_OPT_RECVFD, fd_r);
    return rv;
}

nng_msg *wire_pack(const ProtobufCMessage *body)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, protobuf_c_message_get_packed_size(body)) != 0)
        return NULL;
    protobuf_c_message_pack(body, nng_msg_body(message));
    return message;
}

bool wire_send(nng_socket socket, nng_msg *message)
{
    if (nng_sendmsg(socket, message, NNG_FLAG_NONBLOCK) == 0)
        return true;
    nng_msg_free(message);
    return false;
}

static void *close_thread(void *id)
{
    nng_close((nng_socket){(uint32_t)(uintptr_t)id});
    return NULL;
}

bool wire_close(nng_socket socket)
{
    pthread_t thread;
    struct timespec until;
    if (pthread_create(&thread, NULL, close_thread, (void *)(uintptr_t)socket.id) != 0)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WIRE_CLOSE_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
        return true;
    pthread_detach(thread);
    log_warn("closing a link takes longer than %d ms; leaving it", WIRE_CLOSE_MS);
    return false;
}

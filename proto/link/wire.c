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
 *
 * Lost completions, upstream issues 1236 and 1813. When a connection is closed while nng is about
 * to go on with a message of which a part was sent or received, that operation never ends. The one
 * thread that frees connections then waits for it for good, and so does every later end of a
 * connection in this process, every redial, and nng_close(). Received are first a message's length,
 * then its body; so this happens when sending fails, and closes the connection, in between.
 *
 * So this file defines the sendmsg() that libnng finds. When the peer is gone, a header fails with
 * ECONNRESET, on which nng goes on accepting or dialling; and anything else seems to be sent: it is
 * lost either way, and the receiving side will come to the end of the connection in good order.
 * Sockets that are none of the link's are left alone. And messages are small enough for one buffer
 * of a local socket (35 KiB or more), and so few are under way (LINK_IN_FLIGHT_MAX) that its queue
 * (208 KiB) has room, so that nothing is ever sent in part or waits to be sent.
 *
 * Where this does not help (libnng linked in some other way; a connection that this process closes
 * itself while messages come in, as link_server_close() may), nng_close() can hang, so it is not
 * waited for; and both ends recover as link.h says, though each connection that ends then leaks.
 *
 * A handshake that fails in any other way makes nng's listener pause for 100 ms. So a process that
 * connects and fails all the time can keep new connections waiting, but does not harm those that
 * stand; the socket is in a directory of mode 0700.
 */
#include "proto/link/wire.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/conf/conf.h"

/* Sockets of the link have names in run_dir that end in .link, or in .link. and a number. */
static bool is_name_of_link(const struct sockaddr_un *name, socklen_t len)
{
    char path[sizeof name->sun_path + 1] = "";
    if (len <= offsetof(struct sockaddr_un, sun_path) || name->sun_family != AF_UNIX)
        return false;
    memcpy(path, name->sun_path, len - offsetof(struct sockaddr_un, sun_path));
    const char *end = strstr(path, ".link");
    return end && (end[5] == '\0' || end[5] == '.');
}

/* Whether this is a connection of the link: HTTP and gRPC may come over local sockets too. */
static bool is_link(int fd)
{
    struct sockaddr_un name = {0};
    socklen_t len = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &len) == 0 && is_name_of_link(&name, len))
        return true;
    len = sizeof name;
    return getpeername(fd, (struct sockaddr *)&name, &len) == 0 && is_name_of_link(&name, len);
}

/* What sendmsg() is to return when the peer is gone; see above. */
static ssize_t send_to_nobody(const struct msghdr *message)
{
    static const uint8_t header[] = {0, 'S', 'P', 0};
    size_t len = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        len += message->msg_iov[i].iov_len;
    errno = ECONNRESET;
    if (len == 8 && memcmp(message->msg_iov[0].iov_base, header, sizeof header) == 0)
        return -1;
    return (ssize_t)len;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t sent = syscall(SYS_sendmsg, fd, message, flags);
    int error = errno;
    if (sent < 0 && (error == EPIPE || error == ECONNRESET) && is_link(fd))
        return send_to_nobody(message);
    errno = error;
    return sent;
}

bool wire_url_ok(const char *url, char *reason, size_t reason_size)
{
    size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1 - CONF_LINK_SUFFIX; /* server.c */
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

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WIRE_LEAKS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WIRE_LEAKS)
/* nng can lose a message, or a connection, that ends in the wrong moment. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libnng.so\n";
}
#endif

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

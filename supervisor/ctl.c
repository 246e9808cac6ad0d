/*
 * ctl - see ctl.h. The supervisor. A connection that cannot be served is closed, with a line that
 * says why where one can be sent.
 */
#include "supervisor/ctl.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/text.h"

enum { GROUPS_MAX = 1024, ACCEPT_BURST = 64 };

static const char refused[] = "{\"result\": \"error\", \"error\": \"only root, the user of stratod "
                              "and the group " CONTROL_GROUP " may do this\"}\n";
static const char crowded[] = "{\"result\": \"error\", \"error\": \"" CONTROL_CROWDED "\"}\n";

/* ---- Who may ---- */

static bool in_group(int fd, int64_t wanted)
{
    gid_t groups[GROUPS_MAX];
    socklen_t len = sizeof groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        return false;
    for (size_t i = 0; i < len / sizeof groups[0]; i++)
        if (groups[i] == wanted)
            return true;
    return false;
}

static bool may_speak(const struct ctl *ctl, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    return ctl->gid >= 0 && (peer.gid == ctl->gid || in_group(fd, ctl->gid));
}

/* ---- Connections ---- */

static unsigned index_of(const struct ctl *ctl, const struct ctl_connection *connection)
{
    return (unsigned)(connection - ctl->connections) + 1;
}

static bool watch(const struct ctl *ctl, int operation, int fd, unsigned index, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = ctl->token + index};
    return epoll_ctl(ctl->epoll_fd, operation, fd, &event) == 0;
}

static void drop(struct ctl_connection *connection)
{
    close(connection->fd);
    buffer_free(&connection->answer);
    connection->fd = -1;
    connection->state = CTL_FREE;
}

/* The descriptor to be passed goes with the first byte. */
static ssize_t send_answer(struct ctl_connection *connection)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec piece = {connection->answer.data, connection->answer.len};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (connection->pass >= 0) {
        memcpy(CMSG_DATA(&control.header), &connection->pass, sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = sizeof control.space;
    }
    ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
    if (sent > 0)
        connection->pass = -1;
    return sent;
}

/* Sends what it can. When all is sent and the answer has ended, the connection has too. */
static void send_some(struct ctl *ctl, struct ctl_connection *connection)
{
    struct buffer *answer = &connection->answer;
    if (answer->len > 0) {
        ssize_t sent = send_answer(connection);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            drop(connection);
            return;
        }
        if (sent > 0) {
            connection->since_ms = ctl->now_ms;
            buffer_consume(answer, (size_t)sent);
        }
    }
    bool done = connection->state == CTL_WRITING && answer->len == 0;
    uint32_t events = answer->len > 0 ? EPOLLOUT : 0;
    if (done || !watch(ctl, EPOLL_CTL_MOD, connection->fd, index_of(ctl, connection), events))
        drop(connection);
}

static struct ctl_connection *free_one(struct ctl *ctl)
{
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++)
        if (ctl->connections[i].state == CTL_FREE)
            return &ctl->connections[i];
    return NULL;
}

/* Says why not, if that goes without waiting, and closes. */
static void turn_away(int fd, const char *why)
{
    if (send(fd, why, strlen(why), MSG_NOSIGNAL) < 0)
        log_debug("a refused control connection is gone already");
    close(fd);
}

static void admit(struct ctl *ctl, int fd)
{
    struct ctl_connection *connection = free_one(ctl);
    if (!may_speak(ctl, fd)) {
        turn_away(fd, refused);
        return;
    }
    if (!connection || !watch(ctl, EPOLL_CTL_ADD, fd, index_of(ctl, connection), EPOLLIN)) {
        turn_away(fd, crowded);
        return;
    }
    connection->state = CTL_READING;
    connection->fd = fd;
    connection->pass = -1;
    connection->since_ms = ctl->now_ms;
    connection->len = 0;
}

static void accept_some(struct ctl *ctl)
{
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        admit(ctl, fd);
    }
}

static void read_some(struct ctl *ctl, struct ctl_connection *connection)
{
    char *line = connection->line;
    ssize_t n =
        recv(connection->fd, line + connection->len, CONTROL_LINE_MAX - connection->len + 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(connection);
        return;
    }
    char *newline = memchr(line + connection->len, '\n', (size_t)n);
    connection->len += (size_t)n;
    if (newline) {
        *newline = '\0';
        connection->order = ++ctl->orders;
        connection->state = CTL_RUNNING;
        ctl->handler(ctl->context, connection, line);
    } else if (connection->len > CONTROL_LINE_MAX) {
        ctl_end(ctl, connection, "the request is too long");
    }
}

void ctl_event(struct ctl *ctl, unsigned index, uint64_t now_ms)
{
    ctl->now_ms = now_ms;
    if (index == 0) {
        accept_some(ctl);
        return;
    }
    struct ctl_connection *connection = &ctl->connections[index - 1];
    if (connection->state == CTL_READING)
        read_some(ctl, connection);
    else if (connection->state != CTL_FREE && connection->answer.len > 0)
        send_some(ctl, connection);
    else if (connection->state != CTL_FREE)
        drop(connection); /* it hung up; what it asked for goes on */
}

/* ---- Time ---- */

/* A request that is carried out may take its time; reading and writing may not. */
static uint64_t ends(const struct ctl_connection *connection)
{
    bool timed = connection->state == CTL_READING || connection->state == CTL_WRITING;
    return timed ? connection->since_ms + CTL_PATIENCE_MS : UINT64_MAX;
}

uint64_t ctl_deadline(const struct ctl *ctl)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++)
        if (ends(&ctl->connections[i]) < next)
            next = ends(&ctl->connections[i]);
    return next;
}

void ctl_check(struct ctl *ctl, uint64_t now_ms)
{
    ctl->now_ms = now_ms;
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++)
        if (now_ms >= ends(&ctl->connections[i]))
            drop(&ctl->connections[i]);
}

/* ---- For the handler ---- */

void ctl_json(struct buffer *out, const char *text)
{
    char piece[TEXT_JSON_MAX];
    buffer_append_text(out, "\"");
    while (*text) {
        text += text_json(text, piece);
        buffer_append_text(out, piece);
    }
    buffer_append_text(out, "\"");
}

void ctl_note(struct ctl *ctl, struct ctl_connection *connection, const char *text)
{
    buffer_append_text(&connection->answer, "{\"note\": ");
    ctl_json(&connection->answer, text);
    buffer_append_text(&connection->answer, "}\n");
    send_some(ctl, connection);
}

void ctl_end(struct ctl *ctl, struct ctl_connection *connection, const char *error)
{
    struct buffer *answer = &connection->answer;
    if (connection->state == CTL_FREE)
        return; /* it hung up while it was told something */
    if (error) {
        buffer_append_text(answer, "{\"result\": \"error\", \"error\": ");
        ctl_json(answer, error);
        buffer_append_text(answer, "}\n");
    } else {
        buffer_append_text(answer, "{\"result\": \"ok\"}\n");
    }
    connection->state = CTL_WRITING;
    connection->since_ms = ctl->now_ms;
    send_some(ctl, connection);
}

void ctl_queue(struct ctl *ctl, struct ctl_connection *connection)
{
    connection->state = CTL_QUEUED;
    send_some(ctl, connection);
}

void ctl_wait_for_end(struct ctl *ctl, struct ctl_connection *connection)
{
    connection->state = CTL_STOPPING;
    send_some(ctl, connection);
}

struct ctl_connection *ctl_next(struct ctl *ctl)
{
    struct ctl_connection *next = NULL;
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++) {
        struct ctl_connection *connection = &ctl->connections[i];
        if (connection->state == CTL_QUEUED && (!next || connection->order < next->order))
            next = connection;
    }
    return next;
}

/* ---- Opening ---- */

static void socket_address(const char *run_dir, struct sockaddr_un *address_r)
{
    *address_r = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address_r->sun_path, sizeof address_r->sun_path, "%s/" CONTROL_SOCKET, run_dir);
}

static bool listen_on(struct ctl *ctl, int fd, const struct sockaddr_un *address)
{
    const struct group *group = getgrnam(CONTROL_GROUP);
    struct stat info;
    ctl->gid = group ? (int64_t)group->gr_gid : -1;
    unlink(address->sun_path);
    mode_t mask = umask(0117);
    int bound = bind(fd, (const struct sockaddr *)address, sizeof *address);
    umask(mask);
    if (bound < 0 || lstat(address->sun_path, &info) < 0)
        return false;
    ctl->device = info.st_dev;
    ctl->inode = info.st_ino;
    /* An ordinary user who is not in the group keeps it to himself. */
    if (group && lchown(address->sun_path, (uid_t)-1, group->gr_gid) < 0)
        log_debug("ctl.sock stays with our own group: %s", strerror(errno));
    return listen(fd, CTL_CONNECTIONS) == 0 && watch(ctl, EPOLL_CTL_ADD, fd, 0, EPOLLIN);
}

void ctl_open(struct ctl *ctl)
{
    ctl->fd = -1;
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++)
        ctl->connections[i].fd = -1;
}

enum status ctl_listen(struct ctl *ctl, const char *run_dir, struct buffer *why)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socket_address(run_dir, &address);
    if (fd >= 0 && listen_on(ctl, fd, &address)) {
        if (ctl->fd >= 0)
            close(ctl->fd);
        ctl->fd = fd;
        return STATUS_OK;
    }
    buffer_append_format(why, "cannot listen on %s: %s", address.sun_path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return STATUS_UNAVAILABLE;
}

bool ctl_is_there(const struct ctl *ctl, const char *run_dir)
{
    struct sockaddr_un address;
    struct stat info;
    socket_address(run_dir, &address);
    return lstat(address.sun_path, &info) == 0 && info.st_dev == ctl->device &&
           info.st_ino == ctl->inode;
}

void ctl_close(struct ctl *ctl, const char *run_dir)
{
    struct sockaddr_un address;
    if (ctl->fd < 0)
        return;
    socket_address(run_dir, &address);
    if (ctl_is_there(ctl, run_dir)) /* else it is somebody else's */
        unlink(address.sun_path);
    close(ctl->fd);
    ctl->fd = -1;
}

void ctl_finish(struct ctl *ctl)
{
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++) {
        struct ctl_connection *connection = &ctl->connections[i];
        if (connection->state == CTL_STOPPING)
            ctl_end(ctl, connection, NULL);
        if (connection->state != CTL_FREE)
            drop(connection);
    }
}

/*
 * ask - see ask.h. stratoctl. Fails by a line on standard error that names the socket.
 */
#include "supervisor/stratoctl/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "proto/run/control.h"

enum {
    PATH_SIZE = sizeof((struct sockaddr_un *)0)->sun_path,
    CROWDED_TRIES = 40, /* others are served, or dropped, meanwhile */
    CROWDED_PAUSE_MS = 250,
    LINE_SIZE = 1 << 16,
    ROWS_MAX = 10000,
};

/* How an answer ended. */
enum end { MORE, DONE, FAILED, CROWDED };

static bool failed(const char *path, const char *why)
{
    fprintf(stderr, "stratoctl: %s: ", path);
    text_print(stderr, why, strlen(why));
    fputc('\n', stderr);
    return false;
}

void ask_directory(const char *socket_path, char *directory, size_t size)
{
    char text[PATH_SIZE];
    snprintf(text, sizeof text, "%s", socket_path);
    snprintf(directory, size, "%s", dirname(text));
}

/* ---- Whose socket it is ---- */

/* Whether somebody holds the lock on a file or directory. Opens nothing that could have us wait. */
static bool is_locked(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return locked;
}

static int pid_in(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    return n > 0 ? atoi(text) : 0;
}

/* No stratod answers at the socket: says what is known of the one that should. */
static void explain_absence(const char *path, bool socket_there)
{
    char directory[PATH_SIZE], lock[PATH_SIZE + 8], text[256];
    ask_directory(path, directory, sizeof directory);
    snprintf(lock, sizeof lock, "%s/lock", directory);
    int pid = pid_in(lock);
    if (is_locked(directory) || is_locked(lock))
        snprintf(text, sizeof text,
                 "stratod, pid %d, runs, but its socket was removed; it makes another one within "
                 "seconds, and at once on SIGHUP",
                 pid);
    else if (socket_there)
        snprintf(text, sizeof text, "no stratod is running here (another socket: --socket PATH)");
    else
        snprintf(text, sizeof text,
                 "no stratod is running here, or its files were removed: then it makes them anew "
                 "within seconds, and at once on SIGHUP (another socket: --socket PATH)");
    failed(path, text);
}

/*
 * The process that listens there is believed, so its user must be root, ourselves, or the owner of
 * a run_dir that nobody else can write to.
 */
static bool is_trusted(int fd, const char *path, uid_t *uid_r)
{
    char directory[PATH_SIZE];
    struct ucred peer;
    struct stat info;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return failed(path, strerror(errno));
    *uid_r = peer.uid;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    ask_directory(path, directory, sizeof directory);
    if (stat(directory, &info) == 0 && info.st_uid == peer.uid &&
        (info.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    return failed(path,
                  "who listens here is neither root, nor you, nor the owner of the directory");
}

static int dial(const char *path, uid_t *uid_r)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        failed(path, "too long for the path of a socket");
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        if (is_trusted(fd, path, uid_r))
            return fd;
    } else if (errno == ENOENT || errno == ECONNREFUSED) {
        explain_absence(path, errno == ECONNREFUSED);
    } else {
        failed(path, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- The answer ---- */

static enum end take_row(json_t *row, bool json, json_t *rows)
{
    const char *note = json_string_value(json_object_get(row, "note"));
    const char *result = json_string_value(json_object_get(row, "result"));
    const char *error = json_string_value(json_object_get(row, "error"));
    if (result && strcmp(result, "ok") == 0)
        return DONE;
    if (result && error && strcmp(error, CONTROL_CROWDED) == 0)
        return CROWDED;
    if (result) {
        fputs("stratoctl: ", stderr);
        text_print(stderr, error ? error : "it failed", strlen(error ? error : "it failed"));
        fputc('\n', stderr);
        return FAILED;
    }
    if (note && !json) {
        text_print(stdout, note, strlen(note));
        putchar('\n');
    } else if (json_array_size(rows) < ROWS_MAX) {
        json_array_append(rows, row);
    }
    return MORE;
}

static enum end read_answer(FILE *file, const char *path, bool json, json_t *rows)
{
    static char line[LINE_SIZE]; /* a longer one comes in pieces, which are no JSON */
    enum end end = MORE;
    while (end == MORE && fgets(line, sizeof line, file)) {
        json_t *row = json_loads(line, 0, NULL);
        end = row ? take_row(row, json, rows) : MORE;
        json_decref(row);
    }
    if (end == MORE)
        failed(path, "stratod ended before it had answered");
    return end;
}

/* The descriptor that comes with the answer's first byte, which is left there; -1: none. */
static int take_descriptor(int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    char byte;
    int taken = -1;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_PEEK | MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&taken, CMSG_DATA(header), sizeof taken);
    return taken;
}

/* Asks once. */
static enum end converse(const char *path, const char *request, bool json, json_t *rows,
                         uid_t *uid_r, int *fd_r)
{
    int fd = dial(path, uid_r);
    if (fd < 0)
        return FAILED;
    FILE *file = fdopen(fd, "r");
    /* One that is turned away is answered all the same, so the outcome of sending says little. */
    bool sent = dprintf(fd, "%s\n", request) > 0;
    if (fd_r)
        *fd_r = take_descriptor(fd);
    enum end end = file ? read_answer(file, path, json, rows) : FAILED;
    if (!sent && !file)
        failed(path, strerror(errno));
    if (file)
        fclose(file);
    return end;
}

static bool ask_all(const char *path, const char *request, bool json, json_t **rows_r, uid_t *uid_r,
                    int *fd_r)
{
    json_t *rows = json_array();
    enum end end = CROWDED;
    for (int i = 0; end == CROWDED && i < CROWDED_TRIES; i++) {
        if (i > 0)
            poll(NULL, 0, CROWDED_PAUSE_MS);
        end = converse(path, request, json, rows, uid_r, fd_r);
    }
    if (end == CROWDED)
        failed(path, CONTROL_CROWDED);
    if (rows_r && end == DONE)
        *rows_r = rows;
    else
        json_decref(rows);
    return end == DONE;
}

bool ask_as(const char *socket_path, const char *request, bool json, json_t **rows_r, uid_t *uid_r)
{
    return ask_all(socket_path, request, json, rows_r, uid_r, NULL);
}

bool ask(const char *socket_path, const char *request, bool json, json_t **rows_r)
{
    uid_t uid;
    return ask_all(socket_path, request, json, rows_r, &uid, NULL);
}

bool ask_status(const char *socket_path, bool json, json_t **rows_r, int *fd_r)
{
    uid_t uid;
    *fd_r = -1;
    return ask_all(socket_path, "status", json, rows_r, &uid, fd_r);
}

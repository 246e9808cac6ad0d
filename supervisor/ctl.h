/*
 * ctl - the control socket's connections: who may speak, one request line each, its answer. What
 * the lines mean is command.c's; their form is in proto/run/control.h.
 *
 * Nothing here waits: a peer that says nothing, half a line, or takes no answer is dropped in time,
 * and only so many are served at once.
 */
#ifndef STRATO_SUPERVISOR_CTL_H
#define STRATO_SUPERVISOR_CTL_H

#include <sys/types.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/run/control.h"

enum {
    CTL_CONNECTIONS = 16,
    CTL_PATIENCE_MS = 5000, /* for a request line, and for the answer to be taken */
};

enum ctl_state { CTL_FREE, CTL_READING, CTL_QUEUED, CTL_RUNNING, CTL_STOPPING, CTL_WRITING };

struct ctl_connection {
    enum ctl_state state;
    int fd;
    uint64_t since_ms; /* of the last progress in reading or writing */
    uint64_t order;    /* of its request among all */
    size_t len;        /* of the line, while reading */
    char line[CONTROL_LINE_MAX + 1];
    struct buffer answer;
    int pass; /* a descriptor that goes with the answer, not owned; -1: none, or it has gone */
};

/* Takes a whole request line. It says something with ctl_row(), then ctl_end() or ctl_queue(). */
typedef void ctl_handler(void *context, struct ctl_connection *connection, const char *line);

struct ctl {
    int fd;       /* listening; -1: none */
    dev_t device; /* of the socket in run_dir */
    ino_t inode;
    int epoll_fd;
    uint64_t token; /* of our events; their index is added */
    int64_t gid;    /* of the group that may connect, or -1 */
    uint64_t orders;
    uint64_t now_ms;
    ctl_handler *handler;
    void *context;
    struct ctl_connection connections[CTL_CONNECTIONS];
};

/* Prepares it. ctl's epoll_fd, token, handler and context are set by the caller. */
void ctl_open(struct ctl *ctl);
/* Listens on run_dir's socket, from now on. The caller has the lock of run_dir, so a socket there
 * is stale. On failure appends why, and an older listener stays. */
enum status ctl_listen(struct ctl *ctl, const char *run_dir, struct buffer *why) MUST_CHECK;
/* Whether the socket in run_dir is the one that we listen on. */
bool ctl_is_there(const struct ctl *ctl, const char *run_dir);
/* Stops listening and removes the socket. The caller still has the lock of run_dir. */
void ctl_close(struct ctl *ctl, const char *run_dir);
/* Tells those who wait for the end that it has come, and closes every connection. */
void ctl_finish(struct ctl *ctl);

/* An event with the token plus this index. */
void ctl_event(struct ctl *ctl, unsigned index, uint64_t now_ms);
/* When ctl_check() has something to do; UINT64_MAX for never. */
uint64_t ctl_deadline(const struct ctl *ctl);
/* Drops those whose time is up. */
void ctl_check(struct ctl *ctl, uint64_t now_ms);

/* ---- For the handler ---- */

/* The text as a JSON string, quotes included. */
void ctl_json(struct buffer *out, const char *text);
/* Sends one row {"note": TEXT} at once if it can be. */
void ctl_note(struct ctl *ctl, struct ctl_connection *connection, const char *text);
/* Ends the answer: error NULL is success. */
void ctl_end(struct ctl *ctl, struct ctl_connection *connection, const char *error);
/* Keeps the request for later, in order of arrival. */
void ctl_queue(struct ctl *ctl, struct ctl_connection *connection);
/* Keeps the request until ctl_finish(). */
void ctl_wait_for_end(struct ctl *ctl, struct ctl_connection *connection);
/* The longest queued one, or NULL. */
struct ctl_connection *ctl_next(struct ctl *ctl);

#endif

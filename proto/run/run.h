/*
 * run - the whole contract between the supervisor and its children.
 *
 * A child is started as   PROGRAM NAME [LANE]   where NAME is "http-0", "grpc-1", "store-memory"
 * and LANE ("0" or "1") is given to workers only. Everything else comes as open descriptors at the
 * numbers below, and the environment, in which STRATO_CLOCK is the service clock (epoch.h); every
 * other descriptor of the supervisor is closed on exec.
 *
 *     stdout, stderr  log lines; the supervisor relays them and keeps the last one
 *     SIGTERM         finish what is open (bounded by drain_timeout) and exit RUN_EXIT_OK;
 *                     sent with an enum run_stop
 *     SIGRTMIN        sent with a value, only to a ready process: the new enum log_level
 *     SIGINT, SIGHUP  ignored by children, each of which also has a process group of its own
 *     death of the supervisor: RUN_FD_LIFE reads end-of-file, and PR_SET_PDEATHSIG kills
 *
 * The status pipe carries lines, child to supervisor, each at most RUN_STATUS_MAX bytes:
 *     "ready\n"         it serves; the supervisor never assumes this
 *     "fail TEXT\n"     it cannot start, and why; it exits next
 *     "beat\n"          it is alive (its loop came round); at least every RUN_BEAT_MS when ready.
 *                       One that says nothing for RUN_SILENCE_MS when ready, or for
 *                       RUN_START_MS while it starts, is killed and restarted (one stopped by
 *                       SIGSTOP too)
 * What a child says there is not trusted: an unknown line is logged and ignored.
 *
 * Lanes: a worker slot has two channels to each store, so that a successor can start on one while
 * its predecessor drains on the other. Channel number = 2 * worker + lane, where workers are
 * counted http-0, grpc-0, http-1, grpc-1 and so on (protocols[]): a worker keeps its channels when
 * the number of workers changes. Channels of a worker that is not wanted exist all the same and
 * stay unused.
 */
#ifndef STRATO_PROTO_RUN_RUN_H
#define STRATO_PROTO_RUN_RUN_H

#include "proto/conf/protocol.h"

enum {
    RUN_FD_CONFIG = 3,   /* memfd: canonical INI text */
    RUN_FD_STATUS = 4,   /* pipe, write end */
    RUN_FD_LIFE = 5,     /* pipe, read end; never carries data */
    RUN_FD_DOORBELL = 6, /* eventfd: rung by peers when this process sleeps */

    /* workers */
    RUN_FD_LISTEN = 7, /* the first listening socket, non-blocking; see run_listen_fd() */
    /* and for each backend in use three, from RUN_FD_BACKEND + 3 * enum backend: */
    RUN_FD_BACKEND = 8,
    RUN_BACKEND_ARENA = 0,    /* arena memfd, opened read-only */
    RUN_BACKEND_CHANNEL = 1,  /* this worker's and lane's channel memfd */
    RUN_BACKEND_DOORBELL = 2, /* the store's eventfd */
    RUN_BACKEND_FDS = 3,
    RUN_FD_ROSTER = 32,      /* HTTP workers: see roster.h */
    RUN_FD_FIGURES = 33,     /* where every process counts; see run_store_figures_fd() */
    RUN_FD_LISTEN_MORE = 40, /* the other listening sockets, up to CONF_LISTEN_MAX in all */

    /* stores */
    RUN_FD_ARENA = 7, /* arena memfd, read-write */
    /* and for each channel two, from RUN_FD_CHANNEL + 2 * channel number: */
    RUN_FD_CHANNEL = 8,
    RUN_CHANNEL_MEMORY = 0,   /* channel memfd */
    RUN_CHANNEL_DOORBELL = 1, /* the worker's eventfd */
    RUN_CHANNEL_FDS = 2,
};

enum {
    RUN_EXIT_OK = 0,      /* asked to stop, or the supervisor is gone */
    RUN_EXIT_FAILURE = 1, /* restarted with backoff */
    RUN_EXIT_CONFIG = 78, /* cannot work with this configuration (as EX_CONFIG) */
};

enum {
    RUN_STATUS_MAX = 512,
    RUN_BEAT_MS = 5000,
    RUN_SILENCE_MS = 6 * RUN_BEAT_MS,
    RUN_START_MS = 60000,
    RUN_LANES = 2,
    RUN_NAME_MAX = 32, /* bytes of a process's name, with its NUL */
    RUN_URL_MAX = 600, /* bytes of a link's url, with its NUL */
};

/* RUN_START_MS; less if a test says so (environment STRATO_START_MS, not in a release). */
uint64_t run_start_ms(void);
enum run_stop {
    RUN_STOP_ONE = 0,     /* another process goes on, or will */
    RUN_STOP_SERVICE = 1, /* nobody goes on: Strato stops as a whole */
};

/* The number of a worker's listening socket, of any family; those that are open have no gaps. */
static inline int run_listen_fd(unsigned i)
{
    return i == 0 ? RUN_FD_LISTEN : RUN_FD_LISTEN_MORE + (int)i - 1;
}

/* The same for a store: behind those of its channels. */
static inline int run_store_figures_fd(unsigned channels)
{
    return RUN_FD_CHANNEL + RUN_CHANNEL_FDS * (int)channels;
}

/* Whether a backend keeps records in an arena. Without one RUN_BACKEND_ARENA and RUN_FD_ARENA are
 * not given, and workers ask the store for everything. */
bool run_has_arena(enum backend backend);
/* Channels that a store serves: RUN_LANES for every worker number up to the highest in use. */
unsigned run_channel_count(const struct conf *conf);
/* The worker number of http-N or grpc-N. */
unsigned run_worker_number(enum protocol protocol, unsigned number);
/* Writes "http-0" and so on for a worker number, "store-memory" and so on for a store; name holds
 * RUN_NAME_MAX bytes. */
void run_name_worker(unsigned worker, char *name);
void run_name_store(enum backend backend, char *name);
/* The same for a worker; whether conf wants it. */
bool run_worker_name(const struct conf *conf, unsigned worker, char *name);
/* Where a store's nng socket is: "ipc://RUN_DIR/store-memory.link". url holds RUN_URL_MAX bytes. */
void run_link_url(const struct conf *conf, enum backend backend, char *url);

/* ---- The child's skeleton ---- */

struct run_child {
    const char *name;       /* "http-0" */
    enum protocol protocol; /* workers only */
    unsigned number;        /* its number in its name; 0 for stores */
    unsigned lane;          /* workers only */
    unsigned channel;       /* workers only: its channel number */
    unsigned listen_count;  /* workers only: listening sockets, at run_listen_fd() */
    bool parent_is_0_2;     /* stores only: the stratod is of 0.2.0, so some workers may be too */
    struct conf conf;
    int stop_fd; /* epoll this: readable when run_child_stopping() has something to look at */
};

/*
 * Takes up what the supervisor left: parses argv, reads the configuration, opens the log, blocks
 * the signals and makes stop_fd, names the process, asks for PR_SET_PDEATHSIG, arms its failpoint.
 * On any mismatch it reports "fail" and exits; so it returns only a usable child. Call it first,
 * before any thread is started. Does not block.
 */
void run_child_start(struct run_child *child, int argc, char **argv);

/* True once SIGTERM came or the supervisor is gone. Call it when stop_fd is readable. */
bool run_child_stopping(struct run_child *child);
/* Once that is true: whether Strato stops as a whole (or the supervisor is gone). */
bool run_child_service_stops(void);
void run_child_ready(void);
/*
 * Reports a "beat" if RUN_BEAT_MS / 2 have passed since the last. Cheap; call it per loop round,
 * and in a long loop whenever some of its work is done, while it starts too. Does nothing in a
 * process that is no child of a supervisor (a test). By one thread only.
 */
void run_child_beat(uint64_t now_ms);
/* Reports why it cannot start, logs it, and exits with code. */
_Noreturn void run_child_fail(int code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

/*
 * state - all that stratod knows while it runs. The files of its loop share it, nobody else does:
 * each calls only those that stand below it.
 *
 *      supervisor.c   the loop and the phases
 *      command.c      what stratoctl asks for        keep.c    run_dir
 *      reload.c       the configuration read again   roster.c  what /metrics says of processes
 *      roll.c         planned restarts
 *      fleet.c        processes started and stopped
 *      in_force.c     which configuration is in force
 */
#ifndef STRATO_SUPERVISOR_STATE_H
#define STRATO_SUPERVISOR_STATE_H

#include "supervisor/ctl.h"
#include "supervisor/lock.h"
#include "supervisor/slot.h"

enum { SLOTS_MAX = BACKEND_COUNT + 2 * CONF_WORKERS_MAX };

/* The watch over run_dir. */
struct keep {
    int fd;           /* of inotify; -1: none */
    uint64_t at_ms;   /* when to look */
    bool told;        /* that something is wrong with it */
    bool listen_told; /* that the file of a listening socket cannot be made anew */
};

enum phase { START_STORES, START_WORKERS, RUNNING, STOP_WORKERS, STOP_STORES, DONE };

/* What a reload has changed, until every process serves with the new configuration. */
struct before {
    bool valid;
    struct conf conf, loaded;
    int config; /* owned; the listeners are, as far as they are not in use now */
    struct listeners listen[PROTOCOL_COUNT];
    bool used[SLOTS_MAX];        /* which slots were in use */
    unsigned serials[SLOTS_MAX]; /* of the processes in them */
};

struct supervisor {
    struct conf *conf;  /* in force: every process started from now on gets it */
    struct conf loaded; /* as it was read: port 0 instead of the port taken */
    const char *path;   /* of the file; NULL if there is none */
    const char *program;
    char directory[CONF_TEXT_MAX]; /* of the programs */
    struct shared shared;
    struct slot_world world;
    struct slot slots[SLOTS_MAX]; /* by role, then number: a place of its own for each */
    enum phase phase;
    uint64_t started_ms;
    uint64_t look_at_ms;     /* when to look for addresses that were away; UINT64_MAX: never */
    uint64_t watchdog_at_ms; /* when systemd's is to be told; UINT64_MAX: never */
    uint64_t told_at_ms;     /* when it was first told to stop */
    int epoll_fd, signal_fd;
    struct lock lock;
    struct keep keep;
    bool reap; /* SIGCHLD came */
    int exit_code;

    bool rolling;         /* a plan is under way */
    char roll_error[768]; /* why it stopped, or empty */
    bool reload_asked;    /* by SIGHUP, to be done when nothing rolls */
    bool listen_lost;     /* a listening socket has no file any more; likewise */
    bool reload_left;     /* the last one has left something to a restart of stratod */
    struct before before;
    bool going_back; /* the plan is to undo a reload */
    struct ctl ctl;
};

/* Each slot that is in use. */
#define EACH_SLOT(s, slot)                                                                         \
    for ((slot) = (s)->slots; (slot) < (s)->slots + SLOTS_MAX; (slot)++)                           \
        if ((slot)->role)

#endif

/*
 * internal - what the files of the supervisor's loop share. Nobody else includes this.
 *
 * supervisor.c has the loop and the phases, roll.c planned restarts, reload.c the configuration
 * read again, command.c what stratoctl asks for, keep.c run_dir, roster.c what /metrics says of the
 * processes.
 */
#ifndef STRATO_SUPERVISOR_INTERNAL_H
#define STRATO_SUPERVISOR_INTERNAL_H

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

/* The place of a process, in use or not. */
struct slot *supervisor_slot(struct supervisor *s, const struct role *role, unsigned number);
/* Starts or begins to stop; watches what was started. */
void supervisor_start(struct supervisor *s, struct slot *slot, bool successor, uint64_t now_ms);
/* Begins to stop everything, in order. */
void supervisor_stop(struct supervisor *s, int exit_code, uint64_t now_ms);

/* ---- roll.c ---- */

/* Plans the restart of every process whose name or kind this is, or of all ("all"). False when
 * there is none. roll_step() carries it out. */
bool roll_plan(struct supervisor *s, const char *name);
/* Begins to carry out what is planned in the slots. */
void roll_begin(struct supervisor *s);
/* Goes on with it: stores first, one process at a time. Clears rolling when all is done. */
void roll_step(struct supervisor *s, uint64_t now_ms);
/* Forgets it: everything stops. */
void roll_cancel(struct supervisor *s);

/* ---- roster.c ---- */

/* Tells the workers who is there. Cheap when nothing has changed. */
void roster_update(struct supervisor *s, uint64_t now_ms);

/* ---- keep.c ---- */

/* Makes the control socket and begins to watch run_dir, which is locked. The caller has keep.fd
 * watched. On failure appends why. */
enum status keep_open(struct supervisor *s, uint64_t now_ms, struct buffer *why) MUST_CHECK;
/* keep.fd is readable. */
void keep_event(struct supervisor *s, uint64_t now_ms);
/* At keep.at_ms: makes anew what is missing in run_dir, and asks for listening sockets without a
 * file. */
void keep_check(struct supervisor *s, uint64_t now_ms);

/* ---- reload.c ---- */

/*
 * Reads the file again and plans what it takes to apply it; nothing is changed when it has a
 * problem. Appends one line per change or problem to report. False when it was refused.
 */
bool reload(struct supervisor *s, struct buffer *report, uint64_t now_ms);
/* Makes unix sockets anew whose files were removed, and plans the restart of their workers; the
 * configuration is not read. What cannot be done is logged, once for each trouble. */
void reload_listeners(struct supervisor *s, uint64_t now_ms);
/* It has succeeded, or everything stops: what was before is given up. */
void reload_settle(struct supervisor *s);
/* A process could not start with it: puts in force what was before, and plans the restart of every
 * process that knows the new configuration. False when no reload is under way. */
bool reload_go_back(struct supervisor *s, uint64_t now_ms);

/* ---- command.c ---- */

/* Does what a connection asks for; see ctl.h. */
void command_take(void *supervisor, struct ctl_connection *connection, const char *line);
/* Ends what waits for the plan, when it is done, and begins what waits for its turn. */
void command_step(struct supervisor *s, uint64_t now_ms);

#endif

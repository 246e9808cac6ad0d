/*
 * shared - every descriptor that outlives a child: arenas, channels, doorbells, listening sockets,
 * the configuration. The supervisor makes them and hands them out; it maps none of the memory.
 */
#ifndef STRATO_SUPERVISOR_SHARED_H
#define STRATO_SUPERVISOR_SHARED_H

#include "supervisor/listen.h"

enum { SHARED_CHANNELS_MAX = RUN_LANES * 2 * CONF_WORKERS_MAX };

/* -1 where there is none. Owned, close-on-exec, open until the process ends. */
struct shared {
    int null; /* standard input of the children */
    int config;
    int roster;
    int figures, figures_readonly;
    int life_read, life_write; /* the write end is the supervisor's life; nobody else has it */
    int arena[BACKEND_COUNT], arena_readonly[BACKEND_COUNT];
    int store_bell[BACKEND_COUNT];
    int channel[BACKEND_COUNT][SHARED_CHANNELS_MAX];
    int worker_bell[SHARED_CHANNELS_MAX]; /* by channel number */
    struct listeners listen[PROTOCOL_COUNT];
};

/*
 * Makes everything that conf asks for. Writes the ports that were taken for port 0 back into
 * conf. On failure appends one line to why; what is open stays open, as the process ends then.
 */
enum status shared_open(struct shared *shared, struct conf *conf, struct buffer *why) MUST_CHECK;

/* Makes the channels that conf asks for and that are missing. On failure appends why; what was made
 * stays for the next time. */
enum status shared_grow(struct shared *shared, const struct conf *conf,
                        struct buffer *why) MUST_CHECK;
/* Makes a descriptor of the configuration for children. On failure appends why. */
enum status shared_make_config(const struct conf *conf, int *fd_r, struct buffer *why) MUST_CHECK;
/* Replaces the configuration that children are given. On failure appends why. */
enum status shared_set_config(struct shared *shared, const struct conf *conf,
                              struct buffer *why) MUST_CHECK;
/* Stops listening; the accept queues end with the last worker's copy. */
void shared_stop_listening(struct shared *shared);

#endif

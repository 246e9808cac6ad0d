/* fleet - all processes together: where each has its place, how they are started and stopped. */
#ifndef STRATO_SUPERVISOR_FLEET_H
#define STRATO_SUPERVISOR_FLEET_H

#include "supervisor/state.h"

/* What an event of epoll comes from. */
enum source { FROM_SIGNALS, FROM_STATUS, FROM_LOG, FROM_CTL, FROM_RUN_DIR };

/* What an event carries: slot and lane, or the index of a control connection. */
uint64_t fleet_token(enum source source, unsigned slot, unsigned lane);
enum status fleet_watch(struct supervisor *s, int fd, uint64_t token) MUST_CHECK;

/* The place of a process, in use or not. */
struct slot *fleet_slot(struct supervisor *s, const struct role *role, unsigned number);
/* Starts a process and watches it. */
void fleet_start(struct supervisor *s, struct slot *slot, bool successor, uint64_t now_ms);
/* After a start that failed, or a death. Ends everything if Strato has not been ready yet and this
 * process fails again and again: its operator should see why at once. code: of the exit, or -1. */
void fleet_judge_start(struct supervisor *s, struct slot *slot, int code, uint64_t now_ms);
/* Whether all workers are ready, or all stores. */
bool fleet_all_ready(struct supervisor *s, bool workers);

/* Begins to stop everything, in order: STOP_WORKERS, which fleet_enter_stop() begins. */
void fleet_stop(struct supervisor *s, int exit_code, uint64_t now_ms);
/* Begins STOP_WORKERS or STOP_STORES: tells these processes to stop. */
void fleet_enter_stop(struct supervisor *s, enum phase phase, uint64_t now_ms);
bool fleet_any_alive(struct supervisor *s, bool workers);

#endif

/*
 * failpoint - named instants at which a test can have a process killed, as by kill -9.
 *
 * Built only with -DSTRATO_FAILPOINTS (every preset but release). A child arms at most one when it
 * starts: if the environment variable STRATO_FAILPOINT names a file, the child reads
 * "PROCESS POINT COUNT" from it, removes the file when PROCESS is its own name, and dies the
 * COUNT-th time it reaches POINT. The restarted child finds no file and runs on.
 */
#ifndef STRATO_PROTO_BASE_FAILPOINT_H
#define STRATO_PROTO_BASE_FAILPOINT_H

#ifdef STRATO_FAILPOINTS
void failpoint_arm(const char *process);
void failpoint(const char *point);
/* A piece of a long piece of work is done: waits for STRATO_PAUSE_MS (environment), if there is
 * such, so that a test can have the work take longer than a watchdog's time. */
void failpoint_pause(void);
#else
static inline void failpoint_arm(const char *process)
{
    (void)process;
}
static inline void failpoint(const char *point)
{
    (void)point;
}
static inline void failpoint_pause(void)
{
}
#endif

#endif

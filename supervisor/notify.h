/*
 * notify - tells systemd what goes on, where it asked for it (NOTIFY_SOCKET).
 */
#ifndef STRATO_SUPERVISOR_NOTIFY_H
#define STRATO_SUPERVISOR_NOTIFY_H

#include <stdint.h>

/* Takes what systemd said out of the environment, so that no child speaks in our name. Descriptors
 * that it kept for us and that are not asked for by notify_kept() are closed on exec. */
void notify_open(void);
/* Every how many ms the watchdog wants to hear WATCHDOG=1 (half of its patience); 0: there is
 * none. */
uint64_t notify_watchdog_ms(void);
/* Gives a descriptor into systemd's keeping under a name; it comes back after a restart of the
 * service, and stays ours as well. Does nothing without a socket. */
void notify_keep(int fd, const char *name);
/* The descriptor that was kept, or that a socket unit opened, under this name, taken over by the
 * caller; -1 if there is none. Asked again, it gives the next one of that name. */
int notify_kept(const char *name);
/* Logs which descriptors of sockets were not asked for: they are not served. */
void notify_warn_unused(void);
/* Sends lines such as "READY=1\nSTATUS=...". Does nothing without a socket; never blocks. */
void notify_send(const char *text);

#endif

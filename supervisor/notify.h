/*
 * notify - tells systemd what goes on, where it asked for it (NOTIFY_SOCKET).
 */
#ifndef STRATO_SUPERVISOR_NOTIFY_H
#define STRATO_SUPERVISOR_NOTIFY_H

/* Takes NOTIFY_SOCKET out of the environment, so that no child speaks in our name. */
void notify_open(void);
/* Sends lines such as "READY=1\nSTATUS=...". Does nothing without a socket; never blocks. */
void notify_send(const char *text);

#endif

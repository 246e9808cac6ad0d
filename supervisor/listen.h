/*
 * listen - the listening sockets of each protocol: opened by us or handed over by systemd, of any
 * family. The supervisor makes them and hands them to the workers; it accepts nothing.
 */
#ifndef STRATO_SUPERVISOR_LISTEN_H
#define STRATO_SUPERVISOR_LISTEN_H

#include <sys/types.h>

#include "proto/run/run.h"

struct listener {
    int fd;
    char wanted[CONF_ADDRESS_MAX]; /* as configured; empty: systemd opened it */
    char text[CONF_ADDRESS_MAX];   /* as it is: with the port that was taken for port 0 */
    bool v6only;                   /* [::] leaves IPv4 to another address */
    bool away;                     /* no interface has its address yet */
    dev_t device;                  /* of the file of a unix socket that we made, */
    ino_t inode;                   /* so that nobody else's is removed; 0: there is none */
};

struct listeners {
    unsigned count;
    struct listener at[CONF_LISTEN_MAX];
};

/*
 * Opens every address of conf->listen. now (or NULL) are the PROTOCOL_COUNT listeners in force:
 * what the protocol has there of its addresses is taken as it is, both then hold the same
 * descriptor. A port that they hold for another address (0.0.0.0 instead of 127.0.0.1) cannot be
 * had. conf->listen becomes the addresses as they are. On failure appends why, opens nothing, and
 * errno is that of the address that failed.
 *
 * An address that no interface has yet is listened on all the same: connections come once it is
 * there. A unix socket's file is replaced when nobody listens there any more.
 */
enum status listen_open(enum protocol protocol, struct conf_protocol *conf,
                        const struct listeners *now, struct listeners *new_r,
                        struct buffer *why) MUST_CHECK;
/* Takes every socket that systemd opened for a protocol; conf->listen becomes their addresses.
 * False when there is none. */
bool listen_handed(enum protocol protocol, struct conf_protocol *conf, struct listeners *new_r);
/* Whether systemd opened them. */
bool listen_is_handed(const struct listeners *listeners);
/* Closes what kept (or NULL) does not hold too, and removes the files that were made for it. */
void listen_close(struct listeners *listeners, const struct listeners *kept);
/* Gives the files of unix sockets their permissions again; what cannot be done is logged. */
void listen_set_modes(const struct listeners *listeners, const struct conf_protocol *conf);
/* Whether the file of a unix socket was removed; one that others have put there is left alone. */
bool listen_lost(const struct listeners *listeners);
/* Looks whether addresses have come that were away, and logs it. True while some are. */
bool listen_look(enum protocol protocol, struct listeners *listeners);
/* Appends the addresses for people: "http://127.0.0.1:8081 and unix:/run/strato/http.sock". */
void listen_describe(enum protocol protocol, const struct listeners *listeners,
                     struct buffer *text);

#endif

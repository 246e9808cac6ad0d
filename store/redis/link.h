/*
 * link - one connection to one Redis server: connecting, greeting, pipelining, and coming back.
 *
 *     AWAY -> RESOLVING -> CONNECTING -> GREETING -> UP -> AWAY ...
 *
 * Commands are appended while it is up and written together by redis_link_flush(); answers come in
 * the same order. A connection is given up when the network or Redis says so, not because Redis is
 * slow: one whose oldest answer is overdue is "stalled", takes no more, and goes on where it was
 * when answers come. (What was sent on it is then carried out before anything sent later, which a
 * new connection could not promise.) Only one stalled for a minute is given up: something between
 * us and Redis must have lost it.
 *
 * A name is looked up at each attempt, and another of its addresses is taken each time. While a
 * connection is up its name is looked up now and then: when it no longer has the address that we
 * are connected to, the connection is renewed: it takes no more, and when all is answered it ends
 * and is made again. So is one whose server says that it is the wrong one.
 */
#ifndef STRATO_STORE_REDIS_LINK_H
#define STRATO_STORE_REDIS_LINK_H

#include <hiredis/hiredis.h>

#include "proto/conf/url.h"
#include "store/redis/command.h"

struct redis_link;

/* A command on its way; embedded in its owner's. */
struct redis_item {
    struct redis_item *next;
    uint64_t end;    /* the link's: where its last byte is in all that it was given */
    uint64_t due_ns; /* the link's: when its answer is overdue */
    bool asking;     /* set by the owner: ASKING goes before it */
    /* Called once. answer: borrowed; NULL when the connection ended first: sent then says whether
     * all of the command had been written, and so whether it may have been carried out. May append
     * to any link, but not flush one. */
    void (*done)(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                 bool sent);
};

/* Counted over all links of an engine. */
struct redis_link_figures {
    uint64_t connects;  /* connections that came up */
    uint64_t losses;    /* connections that ended after they were up */
    uint64_t in_flight; /* commands waiting for their answers now */
};

struct redis_link_options {
    int epoll_fd;               /* the link's pointer is the event's data */
    const struct conf_url *url; /* user and password; borrowed for good */
    const char *host;           /* copied */
    uint16_t port;
    int database; /* or REDIS_DATABASE_CLUSTER */
    uint64_t timeout_ns;
    uint64_t string_max, answer_max;    /* see intake.h */
    struct redis_link_figures *figures; /* borrowed for good */
};

/* Begins to connect at the next redis_link_tend(). */
struct redis_link *redis_link_open(const struct redis_link_options *options);
/* What is under way is told that the connection has ended. */
void redis_link_close(struct redis_link **link);

const char *redis_link_host(const struct redis_link *link);
uint16_t redis_link_port(const struct redis_link *link);
/* Which of its host's addresses it was last connected to, in numbers. */
const char *redis_link_address(const struct redis_link *link);
/* Takes commands now. */
bool redis_link_ready(const struct redis_link *link);
/* Up and slow: an answer is overdue. */
bool redis_link_stalled(const struct redis_link *link);
/* Not ready, and nothing says that it soon will be: do not wait for it. */
bool redis_link_hopeless(const struct redis_link *link);
bool redis_link_idle(const struct redis_link *link);

/*
 * What is wrong with the server, as far as is known: STATUS_OK: nothing. STATUS_REFUSED: it refuses
 * us, or some of our commands, for good. STATUS_UNAVAILABLE: it takes no writes now. why_r: valid
 * until the next call for this link.
 */
enum status redis_link_trouble(const struct redis_link *link, const char **why_r);
/* Says so; STATUS_OK: it is well again. The link itself notes a refused greeting. */
void redis_link_set_trouble(struct redis_link *link, enum status trouble, const char *why);
/* Connects anew, with the name looked up again, once all that is under way is answered; takes
 * nothing until then. False when that was done within the last second, unless the name has
 * addresses that were not tried since. */
bool redis_link_renew(struct redis_link *link, const char *reason, uint64_t now_ns);
/* True once after each time that it came up. */
bool redis_link_is_new(struct redis_link *link);

/* Only while it is ready. The command is copied. */
void redis_link_append(struct redis_link *link, struct redis_item *item,
                       const struct redis_command *command, uint64_t now_ns);
/* Writes what the socket takes. */
void redis_link_flush(struct redis_link *link);
/* After epoll reported events for it. */
void redis_link_event(struct redis_link *link, uint32_t events, uint64_t now_ns);
/* Connects, gives up, notices stalls. Returns when it wants to be called again at the latest;
 * UINT64_MAX: no such moment. */
uint64_t redis_link_tend(struct redis_link *link, uint64_t now_ns);

/* How long to wait after so many failures in a row, 1 or more: 10 ms doubling up to 800 ms, less up
 * to half of it by random. Pure. */
uint64_t redis_backoff_ns(unsigned failures, uint32_t random);

#endif

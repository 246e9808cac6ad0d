/*
 * link - see link.h. Runs in store-redis, on hiredis without blocking, driven by the engine's
 * epoll.
 *
 * DIAGNOSTICS  Says once that a server is away and why, and once that it is back.
 */
#include "store/redis/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "store/redis/fault.h"
#include "store/redis/greeting.h"
#include "store/redis/resolve.h"

#define MS              1000000ull
#define STALLED_MAX_NS  (60000 * MS)
#define RESOLVE_POLL_NS (5 * MS)
/* A connection that ends sooner than this after it came up is not made again at once. */
#define STEADY_NS (100 * MS)

enum {
    READS_MAX = 64,    /* reads of one link before the next has its turn */
    READ_SIZE = 16384, /* what redisBufferRead() takes at most */
    /* Unacknowledged for this long means the machine is gone; a stopped Redis still acknowledges.
     */
    DEAD_MS = 3000,
};

enum state { LINK_AWAY, LINK_RESOLVING, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct redis_link {
    struct redis_link_options options;
    char host[REDIS_HOST_MAX];
    char name[REDIS_HOST_MAX + 32]; /* for the log */
    enum state state;
    bool stalled;
    bool wants_write;  /* EPOLLOUT is asked for */
    bool complained;   /* the log knows that it is away */
    unsigned failures; /* since it was last up */
    unsigned attempts; /* since ever: another address each time */
    uint64_t look_ns;  /* AWAY: when to try again; RESOLVING to GREETING: when to give up */
    uint64_t up_ns;
    uint32_t random;
    struct redis_resolve *resolve;
    redisContext *context; /* NULL while AWAY or RESOLVING */
    struct redis_greeting greeting;
    struct redis_item *first, **last;
    uint64_t appended; /* bytes ever given to the context */
    uint64_t written;  /* of these, to the socket */
};

uint64_t redis_backoff_ns(unsigned failures, uint32_t random)
{
    uint64_t most = failures > 7 ? 800 * MS : (10 * MS) << (failures - 1);
    if (most > 800 * MS)
        most = 800 * MS;
    return most - most / 2 * (random % 1024) / 1024;
}

/* ---- Its state ---- */

struct redis_link *redis_link_open(const struct redis_link_options *options)
{
    struct redis_link *link = calloc(1, sizeof *link);
    if (!link)
        panic("out of memory");
    link->options = *options;
    snprintf(link->host, sizeof link->host, "%s", options->host);
    if (options->database == REDIS_DATABASE_CLUSTER)
        snprintf(link->name, sizeof link->name, "%s:%u", link->host, options->port);
    else
        snprintf(link->name, sizeof link->name, "%s:%u/%d", link->host, options->port,
                 options->database);
    link->last = &link->first;
    link->random = (uint32_t)(clock_ns() ^ (uintptr_t)link);
    return link;
}

static void disconnect(struct redis_link *link)
{
    redis_resolve_end(&link->resolve);
    if (link->context)
        redisFree(link->context); /* closing takes it out of the epoll set */
    link->context = NULL;
    link->wants_write = false;
    link->stalled = false;
}

const char *redis_link_host(const struct redis_link *link)
{
    return link->host;
}

uint16_t redis_link_port(const struct redis_link *link)
{
    return link->options.port;
}

bool redis_link_ready(const struct redis_link *link)
{
    return link->state == LINK_UP && !link->stalled;
}

bool redis_link_stalled(const struct redis_link *link)
{
    return link->stalled;
}

bool redis_link_hopeless(const struct redis_link *link)
{
    return link->stalled || (link->state != LINK_UP && link->failures > 1);
}

bool redis_link_idle(const struct redis_link *link)
{
    return !link->first;
}

/* ---- The end of a connection ---- */

static struct redis_item *take_first(struct redis_link *link)
{
    struct redis_item *item = link->first;
    link->first = item->next;
    if (!link->first)
        link->last = &link->first;
    link->options.figures->in_flight--;
    return item;
}

/* Every command that was under way is told; when to try again depends on what went before. */
static void end(struct redis_link *link, uint64_t now, const char *reason)
{
    bool was_up = link->state == LINK_UP;
    uint64_t written = link->written;
    if (was_up)
        link->options.figures->losses++;
    else
        link->failures++;
    if (was_up) {
        log_info("redis %s: the connection is lost: %s", link->name, reason);
    } else if (link->failures > 1 && !link->complained) {
        log_warn("redis %s is away: %s", link->name, reason);
        link->complained = true;
    }
    disconnect(link);
    link->state = LINK_AWAY;
    link->random = link->random * 1664525u + 1013904223u;
    if (link->failures > 0)
        link->look_ns = now + redis_backoff_ns(link->failures, link->random >> 8);
    else
        link->look_ns = now - link->up_ns < STEADY_NS ? now + redis_backoff_ns(1, 0) : now;
    struct redis_item *item = link->first;
    link->first = NULL;
    link->last = &link->first;
    while (item) {
        struct redis_item *next = item->next;
        link->options.figures->in_flight--;
        item->done(item, link, NULL, item->end <= written);
        item = next;
    }
}

void redis_link_close(struct redis_link **link)
{
    (*link)->complained = true; /* nobody need know */
    (*link)->state = LINK_AWAY;
    end(*link, 0, "closed");
    free(*link);
    *link = NULL;
}

/* ---- Writing ---- */

static void watch(struct redis_link *link, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    if (epoll_ctl(link->options.epoll_fd, operation, link->context->fd, &event) != 0)
        panic("epoll_ctl: %s", strerror(errno));
    link->wants_write = events & EPOLLOUT;
}

void redis_link_append(struct redis_link *link, struct redis_item *item,
                       const struct redis_command *command, uint64_t now_ns)
{
    redisContext *context = link->context;
    size_t before = sdslen(context->obuf);
    if (item->asking)
        redisAppendCommand(context, "ASKING");
    if (redisAppendCommandArgv(context, command->count, (const char **)(uintptr_t)command->words,
                               command->lens) != REDIS_OK)
        panic("a command for Redis: %s", context->errstr);
    link->appended += sdslen(context->obuf) - before;
    item->end = link->appended;
    item->due_ns = now_ns + link->options.timeout_ns;
    item->next = NULL;
    *link->last = item;
    link->last = &item->next;
    link->options.figures->in_flight++;
}

void redis_link_flush(struct redis_link *link)
{
    if (link->state < LINK_GREETING || sdslen(link->context->obuf) == 0)
        return;
    int all = 0;
    size_t before, after;
    do {
        before = sdslen(link->context->obuf);
        if (redisBufferWrite(link->context, &all) != REDIS_OK) {
            end(link, clock_ns(), link->context->errstr);
            return;
        }
        after = sdslen(link->context->obuf);
        link->written += before - after;
    } while (!all && after < before);
    if (link->wants_write != !all)
        watch(link, EPOLL_CTL_MOD, all ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* ---- Coming up ---- */

static void connect_to(struct redis_link *link, const char *address, uint64_t now)
{
    redisContext *context = link->context = redisConnectNonBlock(address, link->options.port);
    if (!context)
        panic("out of memory");
    link->state = LINK_CONNECTING;
    if (context->err) {
        end(link, now, context->errstr);
        return;
    }
    unsigned dead_ms = DEAD_MS;
    (void)setsockopt(context->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
    (void)redisEnableKeepAlive(context);
    watch(link, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void start(struct redis_link *link, uint64_t now)
{
    link->attempts++;
    link->look_ns = now + link->options.timeout_ns;
    if (redis_is_address(link->host)) {
        connect_to(link, link->host, now);
        return;
    }
    link->state = LINK_RESOLVING;
    link->resolve = redis_resolve_start(link->host);
    if (!link->resolve)
        end(link, now, "its name cannot be looked up");
}

static void look_up(struct redis_link *link, uint64_t now)
{
    char address[REDIS_ADDRESS_MAX], reason[400];
    enum status status =
        redis_resolve_poll(link->resolve, link->attempts, address, reason, sizeof reason);
    if (status == STATUS_RETRY)
        return;
    redis_resolve_end(&link->resolve);
    if (status == STATUS_OK)
        connect_to(link, address, now);
    else
        end(link, now, reason);
}

static void connected(struct redis_link *link, uint64_t now)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        end(link, now, strerror(error));
        return;
    }
    link->state = LINK_GREETING;
    redis_greeting_say(&link->greeting, link->context, link->options.url, link->options.database);
    redis_link_flush(link);
}

static void greeted(struct redis_link *link, const redisReply *answer, uint64_t now)
{
    char reason[400];
    if (!redis_greeting_hear(&link->greeting, answer, reason, sizeof reason)) {
        end(link, now, reason);
        return;
    }
    if (!redis_greeting_over(&link->greeting))
        return;
    link->state = LINK_UP;
    link->appended = link->written = 0;
    link->failures = 0;
    link->up_ns = now;
    link->options.figures->connects++;
    if (link->complained)
        log_info("redis %s is back", link->name);
    else
        log_debug("redis %s is connected", link->name);
    link->complained = false;
}

/* ---- Reading ---- */

/* The first answer to an item that asks is ASKING's own. */
static void answered(struct redis_link *link, const redisReply *answer, uint64_t now)
{
    if (link->stalled)
        log_info("redis %s answers again", link->name);
    link->stalled = false;
    if (link->state == LINK_GREETING) {
        greeted(link, answer, now);
    } else if (!link->first) {
        end(link, now,
            answer->type == REDIS_REPLY_ERROR ? answer->str : "it says what nobody asked");
    } else if (link->first->asking) {
        link->first->asking = false;
    } else {
        struct redis_item *item = take_first(link);
        item->done(item, link, answer, true);
    }
}

/* Answers as they are complete. False when the connection ended. */
static bool parse(struct redis_link *link, uint64_t now)
{
    void *answer;
    do {
        if (redisGetReplyFromReader(link->context, &answer) != REDIS_OK) {
            end(link, now, link->context->errstr);
            return false;
        }
        if (!answer)
            return true;
        answered(link, answer, now);
        freeReplyObject(answer);
    } while (link->context);
    return false;
}

static void read_answers(struct redis_link *link, uint64_t now)
{
    for (int i = 0; i < READS_MAX; i++) {
        size_t before = link->context->reader->len;
        if (redisBufferRead(link->context) != REDIS_OK) {
            end(link, now, link->context->errstr);
            return;
        }
        bool more = link->context->reader->len - before == READ_SIZE;
        if (!parse(link, now) || !more)
            return;
    }
}

void redis_link_event(struct redis_link *link, uint32_t events, uint64_t now_ns)
{
    if (!link->context)
        return;
    if (link->state == LINK_CONNECTING)
        connected(link, now_ns);
    else if (events & EPOLLOUT)
        redis_link_flush(link);
    if (link->context && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        read_answers(link, now_ns);
}

/* ---- Time ---- */

static uint64_t tend_up(struct redis_link *link, uint64_t now)
{
    if (!link->first)
        return UINT64_MAX;
    uint64_t due = link->first->due_ns;
    if (now < due)
        return due;
    if (!link->stalled)
        log_warn("redis %s is up but does not answer", link->name);
    link->stalled = true;
    if (now < due + STALLED_MAX_NS)
        return due + STALLED_MAX_NS;
    end(link, now, "no answer for too long");
    return now;
}

uint64_t redis_link_tend(struct redis_link *link, uint64_t now_ns)
{
    if (link->state == LINK_UP)
        return tend_up(link, now_ns);
    if (link->state == LINK_RESOLVING)
        look_up(link, now_ns);
    if (now_ns >= link->look_ns) {
        if (link->state == LINK_AWAY)
            start(link, now_ns);
        else
            end(link, now_ns, "it does not answer in time");
    }
    return link->state == LINK_RESOLVING ? now_ns + RESOLVE_POLL_NS : link->look_ns;
}

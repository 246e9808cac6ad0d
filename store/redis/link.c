/*
 * link - see link.h. Runs in store-redis, on hiredis without blocking, driven by the engine's
 * epoll.
 *
 * DIAGNOSTICS  Says once that a server is away and why, and once that it is back.
 */
#include "store/redis/link_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

/* A connection that ends sooner than this after it came up is not made again at once. */
#define STEADY_NS (100 * REDIS_MS)
#define QUIET_NS  (10000 * REDIS_MS) /* between two losses that are logged */

enum {
    READS_MAX = 64, /* reads of one link before the next has its turn */
    READ_SIZE = 16384,
    GREETING_MAX = 16384, /* memory for one answer until it is up */
    /* Unacknowledged for this long means the machine is gone; a stopped Redis still acknowledges.
     */
    DEAD_MS = 3000,
};

/* ---- Its state ---- */

struct redis_link *redis_link_open(const struct redis_link_options *options)
{
    struct redis_link *link = calloc(1, sizeof *link);
    if (!link)
        panic("out of memory");
    link->options = *options;
    redis_peer_open(&link->peer, options->host);
    if (options->database == REDIS_DATABASE_CLUSTER)
        snprintf(link->name, sizeof link->name, "%s:%u", link->peer.host, options->port);
    else
        snprintf(link->name, sizeof link->name, "%s:%u/%d", link->peer.host, options->port,
                 options->database);
    link->last = &link->first;
    link->random = (uint32_t)(clock_ns() ^ (uintptr_t)link);
    return link;
}

static void disconnect(struct redis_link *link)
{
    if (link->context)
        redisFree(link->context); /* closing takes it out of the epoll set */
    link->context = NULL;
    redis_intake_close(&link->intake);
    link->renewing[0] = '\0';
    link->is_new = false;
    link->wants_write = false;
    link->stalled = false;
}

const char *redis_link_host(const struct redis_link *link)
{
    return link->peer.host;
}

const char *redis_link_address(const struct redis_link *link)
{
    return link->peer.address;
}

uint16_t redis_link_port(const struct redis_link *link)
{
    return link->options.port;
}

bool redis_link_ready(const struct redis_link *link)
{
    return link->state == LINK_UP && !link->stalled && !link->renewing[0];
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

/* ---- What is wrong ---- */

enum status redis_link_trouble(const struct redis_link *link, const char **why_r)
{
    *why_r = link->why;
    return link->trouble;
}

void redis_link_set_trouble(struct redis_link *link, enum status trouble, const char *why)
{
    link->trouble = trouble;
    snprintf(link->why, sizeof link->why, "%s", why);
    if (trouble == STATUS_OK)
        link->renewals = 0;
}

bool redis_link_renew(struct redis_link *link, const char *reason, uint64_t now_ns)
{
    if (link->state != LINK_UP || link->renewing[0])
        return true;
    if (link->renewals >= link->peer.addresses && now_ns < link->renewed_ns + REDIS_RENEW_NS)
        return false;
    link->renewals++;
    link->renewed_ns = now_ns;
    snprintf(link->renewing, sizeof link->renewing, "%s", reason);
    return true;
}

bool redis_link_is_new(struct redis_link *link)
{
    bool is_new = link->is_new;
    link->is_new = false;
    return is_new;
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

/* A server that takes us and loses us again and again must not fill the log. */
static void say_lost(struct redis_link *link, uint64_t now, const char *reason)
{
    if (now < link->quiet_ns || (link->renewing[0] && link->trouble != STATUS_OK))
        return; /* or this was logged with the trouble */
    link->quiet_ns = now + QUIET_NS;
    if (link->renewing[0])
        log_info("redis %s: connecting again: %s", link->name, reason);
    else
        log_info("redis %s: the connection is lost: %s", link->name, reason);
}

static void say_away(struct redis_link *link, const char *reason)
{
    if (link->failures <= 1 || link->complained)
        return;
    if (link->trouble == STATUS_REFUSED)
        log_error("redis %s refuses us: %s", link->name, reason);
    else
        log_warn("redis %s is away: %s", link->name, reason);
    link->complained = true;
}

uint64_t redis_backoff_ns(unsigned failures, uint32_t random)
{
    uint64_t most = failures > 7 ? 800 * REDIS_MS : (10 * REDIS_MS) << (failures - 1);
    if (most > 800 * REDIS_MS)
        most = 800 * REDIS_MS;
    return most - most / 2 * (random % 1024) / 1024;
}

void redis_link_end(struct redis_link *link, uint64_t now, const char *reason)
{
    bool was_up = link->state == LINK_UP;
    uint64_t written = link->written;
    if (was_up)
        link->options.figures->losses++;
    else
        link->failures++;
    if (was_up)
        say_lost(link, now, reason);
    else
        say_away(link, reason);
    if (link->state < LINK_GREETING && link->trouble == STATUS_REFUSED)
        redis_link_set_trouble(link, STATUS_OK, ""); /* who is away refuses nothing */
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
    (*link)->complained = true; /* no line in the log for this end */
    (*link)->state = LINK_AWAY;
    redis_link_end(*link, 0, "closed");
    redis_peer_close(&(*link)->peer);
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
            redis_link_end(link, clock_ns(), link->context->errstr);
            return;
        }
        after = sdslen(link->context->obuf);
        link->written += before - after;
    } while (!all && after < before);
    if (link->wants_write != !all)
        watch(link, EPOLL_CTL_MOD, all ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* ---- Coming up ---- */

static void connect_to_peer(struct redis_link *link, uint64_t now)
{
    redisContext *context = link->context =
        redisConnectNonBlock(link->peer.address, link->options.port);
    if (!context)
        panic("out of memory");
    link->state = LINK_CONNECTING;
    redis_intake_open(&link->intake, GREETING_MAX, GREETING_MAX);
    if (context->err) {
        redis_link_end(link, now, context->errstr);
        return;
    }
    unsigned dead_ms = DEAD_MS;
    (void)setsockopt(context->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
    (void)redisEnableKeepAlive(context);
    watch(link, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

void redis_link_look_up(struct redis_link *link, uint64_t now)
{
    char reason[400];
    enum status status = redis_peer_find(&link->peer, reason, sizeof reason);
    if (status == STATUS_OK)
        connect_to_peer(link, now);
    else if (status != STATUS_RETRY)
        redis_link_end(link, now, reason);
}

void redis_link_start(struct redis_link *link, uint64_t now)
{
    link->look_ns = now + link->options.timeout_ns;
    link->state = LINK_RESOLVING;
    redis_link_look_up(link, now);
}

static void connected(struct redis_link *link, uint64_t now)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        redis_link_end(link, now, strerror(error));
        return;
    }
    link->state = LINK_GREETING;
    redis_greeting_say(&link->greeting, link->context, link->options.url, link->options.database);
    redis_link_flush(link);
}

static void came_up(struct redis_link *link, uint64_t now)
{
    link->state = LINK_UP;
    link->is_new = true;
    link->intake.limit = link->options.answer_max;
    link->intake.string_max = link->options.string_max;
    link->appended = link->written = 0;
    link->failures = 0;
    link->up_ns = now;
    link->look_ns = now + REDIS_LOOK_NS;
    link->options.figures->connects++;
    if (link->complained)
        log_info("redis %s is back", link->name);
    else
        log_debug("redis %s is connected", link->name);
    link->complained = false;
}

static void greeted(struct redis_link *link, const redisReply *answer, uint64_t now)
{
    char reason[sizeof link->why];
    enum status status = redis_greeting_hear(&link->greeting, answer, reason, sizeof reason);
    if (status == STATUS_OK && !redis_greeting_over(&link->greeting))
        return;
    if (status == STATUS_OK) {
        came_up(link, now);
        return;
    }
    if (status == STATUS_REFUSED && strcmp(reason, link->why) != 0) {
        redis_link_set_trouble(link, STATUS_REFUSED, reason);
        link->complained = false;
    }
    redis_link_end(link, now, reason);
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
        redis_link_end(link, now,
                       answer->type == REDIS_REPLY_ERROR ? answer->str
                                                         : "it says what nobody asked");
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
    redisReply *answer;
    do {
        enum redis_intake_result result = redis_intake_next(&link->intake, &answer);
        if (result == INTAKE_BROKEN)
            redis_link_end(link, now, redis_intake_error(&link->intake));
        if (result != INTAKE_ANSWER)
            return result == INTAKE_MORE;
        answered(link, answer, now);
        redis_intake_free(answer);
    } while (link->context);
    return false;
}

static void read_answers(struct redis_link *link, uint64_t now)
{
    static char piece[READ_SIZE];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t got = read(link->context->fd, piece, sizeof piece);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            redis_link_end(link, now, got < 0 ? strerror(errno) : "the server closed it");
            return;
        }
        redis_intake_feed(&link->intake, piece, (size_t)got);
        if (!parse(link, now) || got < (ssize_t)sizeof piece)
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

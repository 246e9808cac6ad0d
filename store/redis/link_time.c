/*
 * link_time - what a link does as time passes: connects, gives up, notices stalls, watches its
 * name. Runs in store-redis.
 */
#include "proto/base/log.h"
#include "store/redis/link_state.h"

#define STALLED_MAX_NS (60000 * REDIS_MS)
#define POLL_NS        (5 * REDIS_MS) /* between looks at a lookup */

static bool in_trouble(const struct redis_link *link)
{
    return link->stalled || link->trouble != STATUS_OK;
}

/* While it is up. In trouble one look at another address is enough; else it takes two in a row,
 * because a name server may err. Returns when to look again. */
static uint64_t watch_name(struct redis_link *link, uint64_t now)
{
    static const char reason[] = "its name has another address now";
    unsigned enough = in_trouble(link) ? 1 : 2;
    if (!link->peer.is_named)
        return UINT64_MAX;
    if (in_trouble(link) && link->look_ns > now + REDIS_RENEW_NS)
        link->look_ns = now + REDIS_RENEW_NS;
    if (now < link->look_ns)
        return link->look_ns;
    enum status status = redis_peer_look(&link->peer);
    if (status == STATUS_RETRY)
        return now + POLL_NS;
    bool again = status == STATUS_NOT_FOUND || in_trouble(link);
    link->look_ns = now + (again ? REDIS_RENEW_NS : REDIS_LOOK_NS);
    if (link->peer.elsewhere >= enough && link->stalled)
        redis_link_end(link, now, reason); /* what it still does not answer is the old server's */
    else if (link->peer.elsewhere >= enough)
        (void)redis_link_renew(link, reason, now);
    return now;
}

static uint64_t tend_answers(struct redis_link *link, uint64_t now)
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
    redis_link_end(link, now, "no answer for too long");
    return now;
}

static uint64_t tend_up(struct redis_link *link, uint64_t now)
{
    if (link->renewing[0] && (!link->first || now >= link->first->due_ns)) {
        char reason[sizeof link->renewing];
        memcpy(reason, link->renewing, sizeof reason);
        redis_link_end(link, now, reason);
        return now;
    }
    uint64_t answers = tend_answers(link, now);
    if (link->state != LINK_UP)
        return now;
    uint64_t name = watch_name(link, now);
    return answers < name ? answers : name;
}

uint64_t redis_link_tend(struct redis_link *link, uint64_t now_ns)
{
    if (link->state == LINK_UP) {
        uint64_t next = tend_up(link, now_ns);
        if (link->state == LINK_UP)
            return next;
    }
    if (link->state == LINK_RESOLVING)
        redis_link_look_up(link, now_ns);
    if (now_ns >= link->look_ns) {
        if (link->state == LINK_AWAY)
            redis_link_start(link, now_ns);
        else
            redis_link_end(link, now_ns, "it does not answer in time");
    }
    return link->state == LINK_RESOLVING ? now_ns + POLL_NS : link->look_ns;
}

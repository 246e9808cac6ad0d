/*
 * checks - see checks.h. Runs in store-redis; panics when memory runs out.
 */
#include "store/redis/checks.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define AGAIN_NS 1000000000ull

/* A check of one link on its way. */
struct check {
    struct redis_checks *checks;
    struct redis_link *link;
    unsigned left; /* answers */
    bool lost;     /* the connection ended first */
    enum redis_fault fault;
    char text[REDIS_TEXT_MAX];
};

/* One of its commands. */
struct
try {
    struct redis_item item;
    struct check *check;
};

/* ---- What is wrong ---- */

/* What an error says about the server, not about one request; STATUS_OK: nothing. */
static enum status trouble_of(const struct redis_checks *checks, enum redis_fault fault)
{
    switch (fault) {
    case FAULT_READ_ONLY:
    case FAULT_SUSPENDED:
    case FAULT_ELSEWHERE:
        return STATUS_UNAVAILABLE;
    case FAULT_LOGIN:
    case FAULT_ACCESS:
        return STATUS_REFUSED;
    case FAULT_MOVED:
        return checks->map ? STATUS_OK : STATUS_REFUSED;
    case FAULT_WAIT:
        return checks->map ? STATUS_UNAVAILABLE : STATUS_OK;
    default:
        return STATUS_OK;
    }
}

/* Whether another link to the same server is in the same trouble, or in any when kind is STATUS_OK:
 * databases of one server are one server to a reader of the log. */
static bool shared(const struct redis_checks *checks, const struct redis_link *link,
                   enum status kind)
{
    const char *why;
    for (unsigned i = 0; i < checks->links->count; i++) {
        const struct redis_link *other = checks->links->all[i];
        enum status trouble = redis_link_trouble(other, &why);
        if (other != link && trouble != STATUS_OK && (kind == STATUS_OK || kind == trouble) &&
            redis_link_port(other) == redis_link_port(link) &&
            strcmp(redis_link_host(other), redis_link_host(link)) == 0)
            return true;
    }
    return false;
}

/* Whether the connection should go to another server, or log in again. */
static bool is_wrong_server(enum redis_fault fault)
{
    return fault == FAULT_READ_ONLY || fault == FAULT_ELSEWHERE || fault == FAULT_LOGIN;
}

static void note(const struct redis_checks *checks, struct redis_link *link, enum redis_fault fault,
                 const char *text)
{
    const char *why;
    enum status before = redis_link_trouble(link, &why), now = trouble_of(checks, fault);
    const char *host = redis_link_host(link);
    unsigned port = redis_link_port(link);
    if (now != before && !shared(checks, link, now)) {
        if (now == STATUS_UNAVAILABLE)
            log_error("redis %s:%u takes no writes%s: %s", host, port,
                      is_wrong_server(fault) ? ", connecting again" : "", text);
        else if (now == STATUS_REFUSED)
            log_error("redis %s:%u refuses some commands: %s", host, port, text);
        else
            log_info("redis %s:%u takes all commands again", host, port);
    }
    redis_link_set_trouble(link, now, now == STATUS_OK ? "" : text);
}

/* What is true of one connection to a single server is true of all, but for what a check of each
 * tells. */
static bool blame(struct redis_checks *checks, struct redis_link *link, enum redis_fault fault,
                  const char *text, uint64_t now_ns)
{
    if (fault == FAULT_MOVED && !checks->map)
        text = "it is a cluster: set cluster = yes in [redis]";
    note(checks, link, fault, text);
    if (!is_wrong_server(fault))
        return false;
    bool renews = redis_link_renew(link, text, now_ns);
    for (unsigned i = 0; renews && !checks->map && i < checks->links->count; i++) {
        note(checks, checks->links->all[i], fault, text);
        (void)redis_link_renew(checks->links->all[i], text, now_ns);
    }
    return renews;
}

bool redis_checks_blame(struct redis_checks *checks, struct redis_link *link, struct bytes text,
                        uint64_t now_ns)
{
    char shown[REDIS_TEXT_MAX];
    enum redis_fault fault = redis_fault_of(text);
    if (fault == FAULT_ACCESS || fault == FAULT_MOVED || trouble_of(checks, fault) == STATUS_OK)
        return false; /* perhaps of this key alone: a check will tell */
    return blame(checks, link, fault, redis_fault_text(text, shown, sizeof shown), now_ns);
}

/* ---- One check ---- */

/* The one that matters more: for good before for now. */
static bool is_worse(const struct check *check, enum redis_fault fault)
{
    enum status now = trouble_of(check->checks, fault);
    enum status before = trouble_of(check->checks, check->fault);
    return now != STATUS_OK &&
           (before == STATUS_OK || (before == STATUS_UNAVAILABLE && now == STATUS_REFUSED));
}

static void conclude(struct check *check)
{
    struct redis_checks *checks = check->checks;
    checks->under_way--;
    if (!check->lost)
        (void)blame(checks, check->link, check->fault, check->text, clock_ns());
    free(check);
}

static void try_done(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                     bool sent)
{
    struct check *check = ((struct try *)item)->check;
    (void)link;
    (void)sent;
    if (!answer) {
        check->lost = true;
    } else if (answer->type == REDIS_REPLY_ERROR) {
        struct bytes text = {(const uint8_t *)answer->str, answer->len};
        if (is_worse(check, redis_fault_of(text))) {
            check->fault = redis_fault_of(text);
            redis_fault_text(text, check->text, sizeof check->text);
        }
    }
    if (--check->left == 0)
        conclude(check);
    free(item);
}

static void send_try(struct check *check, const struct redis_command *command, uint64_t now_ns)
{
    struct try *try = calloc(1, sizeof *try);
    if (!try)
        panic("out of memory");
    try->item.done = try_done;
    try->check = check;
    check->left++;
    redis_link_append(check->link, &try->item, command, now_ns);
}

static void try_service(struct check *check, enum service service, unsigned tag, uint64_t now_ns)
{
    char key[REDIS_TRY_KEY_MAX];
    struct redis_command command;
    struct bytes name =
        redis_command_try_key(check->checks->prefixed ? redis_prefix(service) : "", tag, key);
    for (unsigned i = 0; redis_command_try(&command, service, i, name); i++)
        send_try(check, &command, now_ns);
}

static void start(struct redis_checks *checks, struct redis_link *link, uint64_t now_ns)
{
    unsigned tag = 0;
    if (!redis_link_ready(link) || (checks->map && !redis_map_tag(checks->map, link, &tag)))
        return;
    struct check *check = calloc(1, sizeof *check);
    if (!check)
        panic("out of memory");
    *check = (struct check){.checks = checks, .link = link, .fault = FAULT_OTHER};
    checks->under_way++;
    for (enum service service = 0; service < SERVICE_COUNT; service++)
        if (checks->used[service] && (checks->map || checks->databases[service] == link))
            try_service(check, service, tag, now_ns);
    if (check->left == 0)
        conclude(check); /* nothing is kept there */
}

/* ---- All of them ---- */

void redis_checks_ask(struct redis_checks *checks, uint64_t now_ns)
{
    if (checks->under_way > 0)
        return;
    for (unsigned i = 0; i < checks->links->count; i++)
        start(checks, checks->links->all[i], now_ns);
}

/* Whether what is kept may be behind this link. On a cluster that nobody has told us about yet, any
 * node may know. */
static bool serves(const struct redis_checks *checks, const struct redis_link *link, bool mapped)
{
    unsigned tag;
    return !checks->map || !mapped || redis_map_tag(checks->map, link, &tag);
}

static bool is_mapped(const struct redis_checks *checks)
{
    unsigned tag;
    for (unsigned i = 0; checks->map && i < checks->links->count; i++)
        if (redis_map_tag(checks->map, checks->links->all[i], &tag))
            return true;
    return false;
}

enum status redis_checks_result(const struct redis_checks *checks, const char **why_r)
{
    bool mapped = is_mapped(checks), coming = checks->map && !mapped;
    *why_r = "";
    if (redis_links_stalled(checks->links))
        return STATUS_UNAVAILABLE;
    if (checks->under_way > 0)
        return STATUS_RETRY;
    for (unsigned i = 0; i < checks->links->count; i++) {
        const struct redis_link *link = checks->links->all[i];
        if (!serves(checks, link, mapped))
            continue;
        enum status trouble = redis_link_trouble(link, why_r);
        if (trouble != STATUS_OK)
            return trouble;
        if (redis_link_hopeless(link))
            return STATUS_UNAVAILABLE;
        coming = coming || !redis_link_ready(link);
    }
    return coming ? STATUS_RETRY : STATUS_OK;
}

uint64_t redis_checks_tend(struct redis_checks *checks, uint64_t now_ns)
{
    const char *why;
    bool again = now_ns >= checks->again_ns, wrong = false;
    for (unsigned i = 0; i < checks->links->count; i++) {
        struct redis_link *link = checks->links->all[i];
        bool trouble = redis_link_trouble(link, &why) != STATUS_OK;
        wrong = wrong || trouble;
        if (redis_link_is_new(link) || (trouble && again))
            start(checks, link, now_ns);
    }
    if (again)
        checks->again_ns = now_ns + AGAIN_NS;
    return wrong ? checks->again_ns : UINT64_MAX;
}

/*
 * layout - see layout.h. Runs in store-redis, once, when it starts.
 */
#include "store/redis/layout.h"

#include "store/bulk.h"
#include "store/redis/greeting.h"

enum { ANSWER_MAX = 256 << 20 }; /* bytes of memory for one answer at most */

/* The most memory that one answer may take: what the store keeps of long answers of one channel. */
static uint64_t answer_max(const struct conf *conf)
{
    uint64_t longest = conf->max_set > conf->max_value ? conf->max_set : conf->max_value;
    uint64_t most = longest * BULK_PER_CHANNEL;
    return most < ANSWER_MAX ? most : ANSWER_MAX;
}

/* A link for each database, or one for all. */
static void open_databases(struct redis_checks *checks, const struct conf *conf,
                           const struct conf_url *url)
{
    struct redis_link *link = NULL;
    for (int i = 0; i < SERVICE_COUNT; i++) {
        if (!checks->used[i])
            continue;
        int database =
            checks->prefixed ? conf->redis_database : (int)redis_database((enum service)i);
        if (!link || !checks->prefixed)
            link = redis_links_add(checks->links, url->host, url->port, database);
        checks->databases[i] = link;
    }
}

struct redis_map *redis_layout_open(struct redis_links *links, struct redis_checks *checks,
                                    const struct conf *conf,
                                    const struct redis_link_options *options)
{
    const struct conf_url *url = options->url;
    links->options = *options;
    links->options.timeout_ns = conf->redis_timeout_ms * 1000000;
    links->options.string_max = conf->max_value > KEY_MAX ? conf->max_value : KEY_MAX;
    links->options.answer_max = answer_max(conf);
    checks->links = links;
    checks->prefixed = conf->redis_cluster || conf->redis_database >= 0;
    for (int i = 0; i < SERVICE_COUNT; i++)
        checks->used[i] = conf->services[i] == BACKEND_REDIS;
    if (!conf->redis_cluster) {
        open_databases(checks, conf, url);
        return NULL;
    }
    struct redis_link *seed = redis_links_add(links, url->host, url->port, REDIS_DATABASE_CLUSTER);
    return checks->map = redis_map_open(links, seed);
}

/*
 * table - every key of strato.ini, one row each. Any process; it only holds and finds rows.
 *
 * A new key is a field in struct conf and a row here; the parser, the defaults, the sample file, the
 * manual page, the check for typing errors and what a reload does follow from the row.
 */
#include <stddef.h>

#include "proto/conf/internal.h"

#define AT(field) offsetof(struct conf, field)
#define K         1024ull
#define M         (1024 * K)
#define G         (1024 * M)
#define T         (1024 * G)
#define SECOND    1000ull
#define HOUR      (3600 * SECOND)
/* Every service without a line of its own is kept here. It becomes disk when disk is built. */
#define USUAL_BACKEND "memory"

/* The order is that of the sample file; rows of one section stand together. */
/* clang-format off */
const struct conf_key conf_keys[CONF_KEY_COUNT] = {
    {"strato", "run_dir", CONF_DIRECTORY, AT(run_dir), "/run/strato", "./strato-run", 0, 0, NULL,
     "where the lock and the sockets are; one running stratod per directory", 0},
    {"strato", "data_dir", CONF_DIRECTORY, AT(data_dir), "/var/lib/strato", "./strato-data", 0, 0,
     NULL, "where data is kept that outlives the machine's power", 0},
    {"strato", "backend", CONF_BACKEND, AT(backend), USUAL_BACKEND, NULL, 0, 0, NULL,
     "memory, disk or redis: for every service not named in [services]", 0},
    {"strato", "log_level", CONF_LEVEL, AT(log_level), "info", NULL, 0, 0, NULL,
     "debug, info, warn or error", CONF_LIVE},
    {"strato", "log_format", CONF_FORMAT, AT(log_json), "text", NULL, 0, 0, NULL,
     "text, or json: one object a line", CONF_ROLL_ALL},
    {"strato", "request_timeout", CONF_TIME, AT(request_timeout_ms), "5s", NULL, 1, HOUR, NULL,
     "how long a request may wait for its store before it is refused (504)", CONF_ROLL_WORKERS},
    {"strato", "drain_timeout", CONF_TIME, AT(drain_timeout_ms), "10s", NULL, 1, HOUR, NULL,
     "how long a stopping process may finish what is open", CONF_ROLL_WORKERS},
    {"strato", "max_value", CONF_SIZE, AT(max_value), "1M", NULL, 1 * K, 64 * M, NULL,
     "largest value; also at most a quarter of [memory] size where memory is used", CONF_ROLL_ALL},
    {"strato", "include", CONF_INCLUDE, 0, NULL, NULL, 0, 0, "conf.d/*.ini",
     "more files, relative to this one; read after it, by name, the later one overrides", 0},

    {"services", "cache", CONF_SERVICE, AT(services[SERVICE_CACHE]), NULL, NULL, 0, 0, "memory",
     "backend of the cache; the arena evicts its entries when it is full", 0},
    {"services", "counter", CONF_SERVICE, AT(services[SERVICE_COUNTER]), NULL, NULL, 0, 0,
     "memory", "backend of the counters", 0},
    {"services", "flag", CONF_SERVICE, AT(services[SERVICE_FLAG]), NULL, NULL, 0, 0, "memory",
     "backend of the flags", 0},
    {"services", "kv", CONF_SERVICE, AT(services[SERVICE_KV]), NULL, NULL, 0, 0, "memory",
     "backend of key/value", 0},
    {"services", "set", CONF_SERVICE, AT(services[SERVICE_SET]), NULL, NULL, 0, 0, "memory",
     "backend of the sets", 0},

    {"http", "enabled", CONF_BOOL, AT(http.enabled), "yes", NULL, 0, 0, NULL,
     "yes or no", CONF_ROLL_STORES},
    {"http", "listen", CONF_ADDRESS, AT(http.listen), "127.0.0.1:8081", NULL, 0, 0, NULL,
     "ADDRESS:PORT or [IPV6]:PORT; port 0 takes a free one", CONF_ROLL_HTTP},
    {"http", "workers", CONF_WORKERS, AT(http.workers), "auto", NULL, 1, CONF_WORKERS_MAX, NULL,
     "processes; auto is one per CPU", CONF_ROLL_STORES},
    {"http", "idle_timeout", CONF_TIME, AT(http.idle_timeout_ms), "60s", NULL, 1 * SECOND, HOUR,
     NULL, "a connection without a request is closed after this", CONF_ROLL_HTTP},
    {"http", "max_connections", CONF_COUNT, AT(http.max_connections), "10000", NULL, 1, 1000000,
     NULL, "open connections of one worker", CONF_ROLL_HTTP},

    {"grpc", "enabled", CONF_BOOL, AT(grpc.enabled), "yes", NULL, 0, 0, NULL,
     "yes or no", CONF_ROLL_STORES},
    {"grpc", "listen", CONF_ADDRESS, AT(grpc.listen), "127.0.0.1:8080", NULL, 0, 0, NULL,
     "ADDRESS:PORT or [IPV6]:PORT; port 0 takes a free one", CONF_ROLL_GRPC},
    {"grpc", "workers", CONF_WORKERS, AT(grpc.workers), "auto", NULL, 1, CONF_WORKERS_MAX, NULL,
     "processes; auto is one per CPU", CONF_ROLL_STORES},
    {"grpc", "max_connections", CONF_COUNT, AT(grpc.max_connections), "10000", NULL, 1, 1000000,
     NULL, "open connections of one worker", CONF_ROLL_GRPC},

    {"memory", "size", CONF_SIZE, AT(memory_size), "256M", NULL, 4 * M, 16 * T, NULL,
     "shared memory for records; it is used as it fills", 0},

    {"disk", "path", CONF_PATH, AT(disk_path), "disk", NULL, 0, 0, NULL,
     "directory of the database; relative to data_dir", 0},
    {"disk", "map_size", CONF_SIZE, AT(disk_map_size), "64G", NULL, 16 * M, 16 * T, NULL,
     "most that the database may grow to", CONF_ROLL_STORES},
    {"disk", "sync", CONF_SYNC, AT(disk_sync), "commit", NULL, 0, 0, NULL,
     "commit: acknowledged is on disk; interval: on disk each sync_interval; off", CONF_ROLL_STORES},
    {"disk", "sync_interval", CONF_TIME, AT(disk_sync_interval_ms), "100ms", NULL, 1,
     60 * SECOND, NULL, "for sync = interval", CONF_ROLL_STORES},

    {"redis", "url", CONF_URL, AT(redis_url), "redis://127.0.0.1:6379", NULL, 0, 0, NULL,
     "redis://[user:password@]host:port", CONF_ROLL_STORES},
    {"redis", "cluster", CONF_BOOL, AT(redis_cluster), "no", NULL, 0, 0, NULL,
     "yes when the url is one node of a Redis Cluster", CONF_ROLL_STORES},
    {"redis", "timeout", CONF_TIME, AT(redis_timeout_ms), "1s", NULL, 1, HOUR, NULL,
     "how long Redis may take to answer", CONF_ROLL_STORES},
};
/* clang-format on */

enum service conf_key_service(const struct conf_key *key)
{
    return (enum service)((key->offset - AT(services)) / sizeof(enum backend));
}

const struct conf_key *conf_find(const char *section, const char *key)
{
    for (size_t i = 0; i < CONF_KEY_COUNT; i++)
        if (strcmp(conf_keys[i].section, section) == 0 && strcmp(conf_keys[i].key, key) == 0)
            return &conf_keys[i];
    return NULL;
}

bool conf_section_known(const char *section)
{
    for (size_t i = 0; i < CONF_KEY_COUNT; i++)
        if (strcmp(conf_keys[i].section, section) == 0)
            return true;
    return false;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* How many letters to insert, drop or change to get from a to b; large when b is long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32];
    size_t width = strlen(b);
    if (width >= 32)
        return 32;
    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= width; j++) {
            unsigned above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[width];
}

/* Whether word is near enough to be what was meant. */
static bool near(const char *given, const char *word)
{
    return distance(given, word) <= (strlen(word) > 4 ? 2 : 1);
}

void conf_explain_section(const char *section, struct buffer *text)
{
    buffer_append_format(text, "unknown section [%s]", section);
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        if (!near(section, conf_keys[i].section))
            continue;
        buffer_append_format(text, "; did you mean [%s]?", conf_keys[i].section);
        return;
    }
    buffer_append_text(text, "; there are");
    for (size_t i = 0; i < CONF_KEY_COUNT; i++)
        if (i == 0 || strcmp(conf_keys[i].section, conf_keys[i - 1].section) != 0)
            buffer_append_format(text, " [%s]", conf_keys[i].section);
}

/* Names the sections that do have this key. False if none has. */
static bool explain_elsewhere(const char *key, struct buffer *text)
{
    bool found = false;
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        if (strcmp(conf_keys[i].key, key) != 0)
            continue;
        buffer_append_format(text, "%s[%s]", found ? " or " : "; it belongs to ",
                             conf_keys[i].section);
        found = true;
    }
    return found;
}

void conf_explain_key(const char *section, const char *key, struct buffer *text)
{
    buffer_append_format(text, "unknown key %s in [%s]", key, section);
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        if (strcmp(conf_keys[i].section, section) != 0 || !near(key, conf_keys[i].key))
            continue;
        buffer_append_format(text, "; did you mean %s?", conf_keys[i].key);
        return;
    }
    if (explain_elsewhere(key, text))
        return;
    buffer_append_text(text, "; there are");
    for (size_t i = 0; i < CONF_KEY_COUNT; i++)
        if (strcmp(conf_keys[i].section, section) == 0)
            buffer_append_format(text, " %s", conf_keys[i].key);
}

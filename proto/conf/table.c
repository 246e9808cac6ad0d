/*
 * table - every key of strato.ini, one row each. Any process; it only holds and finds rows.
 *
 * A new key is a field in struct conf and a row here; the parser, the defaults, the sample file,
 * the manual page, the check for typing errors and what a reload does follow from the row.
 */
#include <stdarg.h>
#include <stddef.h>

#include "proto/base/text.h"
#include "proto/conf/key.h"

#define AT(field) offsetof(struct conf, field)
#define K         1024ull
#define M         (1024 * K)
#define G         (1024 * M)
#define T         (1024 * G)
#define SECOND    1000ull
#define HOUR      (3600 * SECOND)
/* Every service without a line of its own is kept here. */
#define USUAL_BACKEND "disk"

/* The order is that of the sample file; rows of one section stand together. */
/* clang-format off */
const struct conf_key conf_keys[CONF_KEY_COUNT] = {
    {"strato", "run_dir", CONF_DIRECTORY, 0, AT(run_dir), "/run/strato", "./strato-run", 0, 0, NULL,
     "where the lock and the sockets are; one running stratod per directory"},
    {"strato", "data_dir", CONF_DIRECTORY, 0, AT(data_dir), "/var/lib/strato", "./strato-data", 0,
     0,
     NULL, "where data is kept that outlives the machine's power"},
    {"strato", "backend", CONF_BACKEND, 0, AT(backend), USUAL_BACKEND, NULL, 0, 0, NULL,
     "memory, disk or redis: for every service not named in [services]"},
    {"strato", "log_level", CONF_LEVEL, CONF_LIVE, AT(log_level), "info", NULL, 0, 0, NULL,
     "debug, info, warn or error"},
    {"strato", "log_format", CONF_FORMAT, CONF_ROLL_ALL, AT(log_json), "text", NULL, 0, 0, NULL,
     "text, or json: one object a line"},
    {"strato", "request_timeout", CONF_TIME, CONF_ROLL_WORKERS, AT(request_timeout_ms), "5s", NULL,
     1, HOUR, NULL,
     "how long a request may wait for its store before it is refused (504)"},
    {"strato", "drain_timeout", CONF_TIME, CONF_ROLL_WORKERS, AT(drain_timeout_ms), "10s", NULL, 1,
     HOUR, NULL,
     "how long a stopping process may finish what is open"},
    {"strato", "max_value", CONF_SIZE, CONF_ROLL_ALL, AT(max_value), "1M", NULL, 1 * K, 64 * M,
     NULL,
     "largest value; also at most a quarter of [memory] size where memory is used"},
    {"strato", "max_set", CONF_SIZE, CONF_ROLL_ALL, AT(max_set), "1M", NULL, 1 * K, 64 * M, NULL,
     "largest set: the bytes of all its items and 2 more for each; the same rule for memory"},
    {"strato", "include", CONF_INCLUDE, 0, 0, NULL, NULL, 0, 0, "conf.d/*.ini",
     "more files, relative to this one; read after it, by name, the later one overrides"},

#define SERVICE(number, symbol, name, holds, absent, rpc, format, help)                                    \
    {"services", name, CONF_SERVICE, 0, AT(services[number]), NULL, NULL, 0, 0, "memory", help},
#include "proto/api/operations.def"

    {"http", "enabled", CONF_BOOL, CONF_ROLL_STORES, AT(http.enabled), "yes", NULL, 0, 0, NULL,
     "yes or no"},
    {"http", "listen", CONF_LISTEN, CONF_ROLL_HTTP, AT(http.listen), "127.0.0.1:8081", NULL, 0, 0,
     NULL,
     "ADDRESS:PORT, [IPV6]:PORT or unix:/PATH; several with commas; port 0 takes a free one"},
    {"http", "socket_mode", CONF_MODE, CONF_LIVE, AT(http.socket_mode), "0660", NULL, 0, 0, NULL,
     "permissions of unix: sockets, in octal"},
    {"http", "socket_group", CONF_GROUP, CONF_LIVE, AT(http.socket_gid), NULL, NULL, 0, 0, "www-data",
     "their group, by name or number; stratod must be a member of it"},
    {"http", "workers", CONF_WORKERS, CONF_ROLL_STORES, AT(http.workers), "auto", NULL, 1,
     CONF_WORKERS_MAX, NULL,
     "processes; auto is one per CPU"},
    {"http", "idle_timeout", CONF_TIME, CONF_ROLL_HTTP, AT(http.idle_timeout_ms), "60s", NULL,
     1 * SECOND, HOUR,
     NULL, "a connection without a request is closed after this"},
    {"http", "max_connections", CONF_COUNT, CONF_ROLL_HTTP, AT(http.max_connections), "10000",
     NULL, 1, 1000000,
     NULL, "open connections of one worker"},
    {"http", "max_memory", CONF_SIZE, CONF_ROLL_HTTP, AT(http.max_memory), "128M", NULL, 4 * M, 16 * T,
     NULL,
     "values that one worker's clients may have under way; at least 16 times max_value"},
    {"http", "allowed_hosts", CONF_HOSTS, CONF_ROLL_HTTP, AT(http_hosts), NULL, NULL, 0, 0,
     "strato.example.org, *.internal.example.org",
     "names that Host may have besides localhost and dotless ones; * for any"},
    {"http", "allowed_origins", CONF_ORIGINS, CONF_ROLL_HTTP, AT(http_origins), NULL, NULL, 0, 0,
     "https://app.example.org", "web pages that browsers let ask here (CORS); * for any"},

    {"grpc", "enabled", CONF_BOOL, CONF_ROLL_STORES, AT(grpc.enabled), "yes", NULL, 0, 0, NULL,
     "yes or no"},
    {"grpc", "listen", CONF_LISTEN, CONF_ROLL_GRPC, AT(grpc.listen), "127.0.0.1:8080", NULL, 0, 0,
     NULL,
     "ADDRESS:PORT, [IPV6]:PORT or unix:/PATH; several with commas; port 0 takes a free one"},
    {"grpc", "socket_mode", CONF_MODE, CONF_LIVE, AT(grpc.socket_mode), "0660", NULL, 0, 0, NULL,
     "permissions of unix: sockets, in octal"},
    {"grpc", "socket_group", CONF_GROUP, CONF_LIVE, AT(grpc.socket_gid), NULL, NULL, 0, 0, "www-data",
     "their group, by name or number; stratod must be a member of it"},
    {"grpc", "workers", CONF_WORKERS, CONF_ROLL_STORES, AT(grpc.workers), "auto", NULL, 1,
     CONF_WORKERS_MAX, NULL,
     "processes; auto is one per CPU"},
    {"grpc", "max_connections", CONF_COUNT, CONF_ROLL_GRPC, AT(grpc.max_connections), "10000",
     NULL, 1, 1000000,
     NULL, "open connections of one worker"},
    {"grpc", "max_memory", CONF_SIZE, CONF_ROLL_GRPC, AT(grpc.max_memory), "128M", NULL, 4 * M, 16 * T,
     NULL,
     "values that one worker's clients may have under way; at least 16 times max_value"},

    {"memory", "size", CONF_ROOM, 0, AT(memory_size), "auto", NULL, 4 * M, 16 * T, NULL,
     "shared memory for records, used as it fills; auto is 256M, or a quarter of a tighter limit"},

    {"disk", "path", CONF_PATH, 0, AT(disk_path), "disk", NULL, 0, 0, NULL,
     "directory of the database; relative to data_dir"},
    {"disk", "map_size", CONF_SIZE, CONF_ROLL_STORES, AT(disk_map_size), "64G", NULL, 16 * M,
     16 * T, NULL,
     "most that the database may grow to"},
    {"disk", "sync", CONF_SYNC, CONF_ROLL_STORES, AT(disk_sync), "commit", NULL, 0, 0, NULL,
     "what a power loss takes: commit: nothing; interval: the last sync_interval; off: everything"},
    {"disk", "sync_interval", CONF_TIME, CONF_ROLL_STORES, AT(disk_sync_interval_ms), "100ms",
     NULL, 1,
     60 * SECOND, NULL, "for sync = interval"},

    {"redis", "url", CONF_URL, CONF_ROLL_STORES, AT(redis_url), "redis://127.0.0.1:6379", NULL, 0,
     0, NULL,
     "redis://[user:password@]host:port"},
    {"redis", "cluster", CONF_BOOL, CONF_ROLL_STORES, AT(redis_cluster), "no", NULL, 0, 0, NULL,
     "yes when the url is one node of a Redis Cluster"},
    {"redis", "database", CONF_DATABASE, CONF_ROLL_STORES, AT(redis_database), "per-service", NULL,
     0, 65535, NULL,
     "per-service: databases 0 to 4; or the number of one for all, their keys begin with cache:, ..."},
    {"redis", "timeout", CONF_TIME, CONF_ROLL_STORES, AT(redis_timeout_ms), "1s", NULL, 1, HOUR,
     NULL,
     "how long Redis may take to answer"},
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

void conf_explain_section(const char *section, struct buffer *text)
{
    buffer_append_format(text, "unknown section [%s]", section);
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        if (!text_is_near(section, conf_keys[i].section))
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
        if (strcmp(conf_keys[i].section, section) != 0 || !text_is_near(key, conf_keys[i].key))
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

void conf_problem(struct buffer *problems, const char *where, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_append_format(problems, "%s: %s\n", where, text);
}

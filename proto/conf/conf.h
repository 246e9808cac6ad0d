/*
 * conf - strato.ini: one table of keys (name, type, default, limits, doc) from which the parser,
 * the defaults, etc/strato.ini and the manual page follow.
 *
 * The supervisor reads and checks the file once and hands the result to its children as a memfd of
 * canonical INI text (conf_write), so that nobody ever runs on a half-changed file.
 */
#ifndef STRATO_PROTO_CONF_CONF_H
#define STRATO_PROTO_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/bytes.h"
#include "proto/base/log.h"
#include "proto/base/op.h"
#include "proto/base/status.h"

enum backend { BACKEND_MEMORY = 0, BACKEND_DISK = 1, BACKEND_REDIS = 2, BACKEND_COUNT };
/* "memory", "disk", "redis". */
const char *backend_name(enum backend backend);

enum sync_mode { SYNC_COMMIT, SYNC_INTERVAL, SYNC_OFF };

enum {
    CONF_TEXT_MAX = 512,    /* longest string value, with its NUL */
    CONF_WORKERS_MAX = 32,  /* most workers of one kind */
    CONF_LISTEN_MAX = 16,   /* most addresses of one protocol */
    CONF_ADDRESS_MAX = 128, /* bytes of one of them as text, with its NUL */
    CONF_LINK_SUFFIX = 12,  /* bytes that proto/link adds to the name of a socket in run_dir */
};

/* All times in milliseconds, all sizes in bytes. */
struct conf {
    char run_dir[CONF_TEXT_MAX];
    char data_dir[CONF_TEXT_MAX];
    enum backend backend;
    enum log_level log_level;
    bool log_json;
    uint64_t request_timeout_ms;
    uint64_t drain_timeout_ms;
    uint64_t max_value;
    uint64_t max_set; /* of all items of one set, each with its two length bytes */
    enum backend services[SERVICE_COUNT]; /* resolved: [services], else [strato] backend */
    unsigned services_named;              /* bit 1 << service: it is named in [services] */
    struct conf_protocol {
        bool enabled;
        char listen[CONF_TEXT_MAX]; /* see conf_address(); several with ", " between them */
        uint32_t socket_mode;       /* permissions of unix: sockets */
        uint32_t socket_gid;        /* their group; CONF_NO_GROUP: as stratod's files have it */
        unsigned workers;           /* resolved: auto is one per CPU that there is for us */
        bool workers_auto;
        uint64_t idle_timeout_ms; /* http */
        uint64_t max_connections; /* per worker */
        uint64_t max_memory;      /* per worker; for what clients hold */
    } http, grpc;
    char http_hosts[CONF_TEXT_MAX];   /* allowed_hosts; may be empty */
    char http_origins[CONF_TEXT_MAX]; /* allowed_origins; may be empty */
    uint64_t memory_size;             /* of each arena */
    bool memory_auto;                 /* it was not given: another size will do as well */
    char disk_path[CONF_TEXT_MAX];    /* absolute in a child; else relative to data_dir */
    uint64_t disk_map_size;
    enum sync_mode disk_sync;
    uint64_t disk_sync_interval_ms;
    char redis_url[CONF_TEXT_MAX];
    bool redis_cluster;
    int redis_database; /* of all services; -1: each has its own */
    uint64_t redis_timeout_ms;
};

#define CONF_NO_GROUP UINT32_MAX

struct sockaddr_storage;
/* Reads ADDRESS:PORT or [IPV6]:PORT, numbers only (port 0 takes a free one), unix:/PATH or
 * unix:@NAME (abstract). The length of the address; 0 if it is none. */
unsigned conf_address(const char *text, struct sockaddr_storage *address_r);
/* Takes the next address off the front of a list into address_r (CONF_ADDRESS_MAX bytes). False at
 * the end of the list. */
bool conf_listen_next(const char **list, char *address_r);
/* Whether an address of one list is one of the other, or within it. */
bool conf_listen_overlap(const char *list, const char *other_list);
/* Whether this address of the list must leave IPv4 to another one of it: [::] takes both else. */
bool conf_listen_v6only(const char *list, const char *address);

/* Whether some service is kept by this backend. */
bool conf_uses(const struct conf *conf, enum backend backend);

/* Sets every key to its default, those of an ordinary user in the current directory when here is
 * true (run_dir and data_dir below it), those of an installed service otherwise. */
void conf_defaults(struct conf *conf, bool here);

/*
 * Reads an INI file with its includes over *conf (set the defaults first), checks everything, and
 * appends one line per problem, "file:line: what is wrong", to problems. Included files are read
 * after the file that names them, in the order of their names, and override it. Paths become
 * absolute, from the current directory.
 * STATUS_OK only when there is none; conf is unusable otherwise. Blocks on the file system.
 */
enum status conf_load(struct conf *conf, const char *path, struct buffer *problems) MUST_CHECK;

/* Sets one key from text, as a line of the file would ("http", "listen", "..."); where names the
 * source in problems ("--port", "STRATO_HTTP_PORT"). */
enum status conf_set(struct conf *conf, const char *section, const char *key, const char *value,
                     const char *where, struct buffer *problems) MUST_CHECK;

/* The rules that look at several keys at once (no protocol enabled, a value that cannot fit).
 * conf_load() has applied them already. */
enum status conf_check(const struct conf *conf, const char *where,
                       struct buffer *problems) MUST_CHECK;

/* Appends one line for each key that is auto and was resolved by a limit (a cgroup's). */
void conf_notes(const struct conf *conf, struct buffer *notes);

/* What a running service needs to take up a changed key; 0: a restart of stratod itself. */
enum conf_reload {
    CONF_LIVE = 1,
    CONF_ROLL_STORES = 2, /* new store processes */
    CONF_ROLL_HTTP = 4,   /* new http workers */
    CONF_ROLL_GRPC = 8,
    CONF_ROLL_WORKERS = CONF_ROLL_HTTP | CONF_ROLL_GRPC,
    CONF_RESTART = 16, /* stratod itself: not applied */
    CONF_ROLL_ALL = CONF_ROLL_STORES | CONF_ROLL_WORKERS,
};

/*
 * Takes from file what differs from loaded, the file as it was read before, and can change while
 * Strato runs: into loaded, and into conf, the configuration in force. Appends one line per
 * difference to report, those too that need a restart and are left as they are. Gives what is
 * needed (enum conf_reload).
 */
unsigned conf_merge(struct conf *loaded, struct conf *conf, const struct conf *file,
                    struct buffer *report);

/* Appends canonical INI text; conf_load() of it gives the same conf, with disk_path absolute. */
void conf_write(const struct conf *conf, struct buffer *text);

/* Reads what conf_write() wrote from a descriptor (pread from offset 0). For children. */
enum status conf_read_fd(struct conf *conf, int fd, struct buffer *problems) MUST_CHECK;

/* Writes the commented sample file etc/strato.ini. */
void conf_write_sample(FILE *out);
/* Writes the same as sections of a manual page (roff), with what a reload does for each key. */
void conf_write_manual(FILE *out);

#endif

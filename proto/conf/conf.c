/*
 * conf - see conf.h: defaults, single settings, the rules over several keys, writing. Any process.
 *
 * Fails by lines in problems; panics only when the table itself is wrong.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "proto/conf/key.h"
#include "proto/conf/machine.h"
#include "proto/conf/protocol.h"

enum { SOCKET_PATH_MAX = 107 }; /* sun_path without its NUL */
/* The longest name of a socket that Strato puts into run_dir. */
#define LONGEST_SOCKET "/store-memory.link"

bool conf_uses(const struct conf *conf, enum backend backend)
{
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        if (conf->services[i] == backend)
            return true;
    return false;
}

void conf_defaults(struct conf *conf, bool here)
{
    struct buffer why = {0};
    memset(conf, 0, sizeof *conf);
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++)
        protocol_conf(conf, i)->socket_gid = CONF_NO_GROUP;
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        const struct conf_key *key = &conf_keys[i];
        const char *text = here && key->here ? key->here : key->initial;
        if (!text || conf_value_parse(key, text, conf, &why))
            continue;
        /* A current directory without a name: conf_check() asks for a path of the user's own. */
        if (key->type != CONF_DIRECTORY)
            panic("the default of %s %.*s", key->key, (int)why.len, (const char *)why.data);
    }
    buffer_free(&why);
}

enum status conf_set(struct conf *conf, const char *section, const char *key, const char *value,
                     const char *where, struct buffer *problems)
{
    char text[CONF_TEXT_MAX];
    struct buffer why = {0};
    const struct conf_key *row = conf_find(section, key);
    bool set = row && row->type != CONF_INCLUDE && conf_expand(value, text, &why) &&
               conf_value_parse(row, text, conf, &why);
    if (!row)
        conf_explain_key(section, key, &why);
    if (!set)
        conf_problem(problems, where, "%.*s", (int)why.len, (const char *)why.data);
    buffer_free(&why);
    return set ? STATUS_OK : STATUS_INVALID;
}

/* ---- Rules over several keys ---- */

struct rules {
    const struct conf *conf;
    const struct conf_origin *origins; /* or NULL */
    const char *where;
    struct buffer *problems;
    enum status status;
};

/* The line that set a key; NULL when none did. */
static const struct conf_origin *origin_of(const struct rules *rules, const char *section,
                                           const char *key)
{
    size_t row = (size_t)(conf_find(section, key) - conf_keys);
    return rules->origins && rules->origins[row].path ? &rules->origins[row] : NULL;
}

/* Reports what is wrong with a key, at the line that set it; when it has its default, at the line
 * that set the other key of the rule. */
static void blame_two(struct rules *rules, const char *section, const char *key,
                      const char *other_section, const char *other_key, const char *text)
{
    char where[4096 + 16];
    const struct conf_origin *origin = origin_of(rules, section, key);
    if (!origin)
        origin = origin_of(rules, other_section, other_key);
    if (origin)
        snprintf(where, sizeof where, "%s:%u", origin->path, origin->line);
    else
        snprintf(where, sizeof where, "%s", rules->where);
    conf_problem(rules->problems, where, "%s", text);
    rules->status = STATUS_INVALID;
}

static void blame(struct rules *rules, const char *section, const char *key, const char *text)
{
    blame_two(rules, section, key, section, key, text);
}

/* Names in run_dir that are Strato's own. */
static bool is_own_name(const char *name)
{
    size_t len = strlen(name);
    return strcmp(name, "lock") == 0 || strcmp(name, "ctl.sock") == 0 ||
           strncmp(name, "store-", 6) == 0 || (len > 5 && strcmp(name + len - 5, ".link") == 0);
}

static void check_own_names(struct rules *rules, const char *section, const char *list)
{
    char address[CONF_ADDRESS_MAX] = "";
    const char *run_dir = rules->conf->run_dir;
    size_t len = strlen(run_dir);
    while (conf_listen_next(&list, address))
        if (strncmp(address, "unix:", 5) == 0 && strncmp(address + 5, run_dir, len) == 0 &&
            address[5 + len] == '/' && is_own_name(address + 5 + len + 1))
            blame(rules, section, "listen",
                  "listen has a name in run_dir that is kept for Strato itself (ctl.sock, lock, "
                  "store-..., ....link)");
}

static void check_overlap(struct rules *rules, enum protocol one, enum protocol other)
{
    const struct conf_protocol *first = protocol_of(rules->conf, one);
    const struct conf_protocol *second = protocol_of(rules->conf, other);
    char text[512];
    if (!first->enabled || !second->enabled || !conf_listen_overlap(first->listen, second->listen))
        return;
    snprintf(text, sizeof text,
             "listen: [%s] (%.160s) and [%s] (%.160s) have one address, or addresses that overlap",
             protocol_name(one), first->listen, protocol_name(other), second->listen);
    blame_two(rules, protocol_name(other), "listen", protocol_name(one), "listen", text);
}

static void check_protocols(struct rules *rules)
{
    bool any = false;
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++)
        any = any || protocol_of(rules->conf, i)->enabled;
    if (!any)
        blame_two(rules, protocol_name(0), "enabled", protocol_name(1), "enabled",
                  "no protocol is enabled; nobody could connect");
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        for (enum protocol j = i + 1; j < PROTOCOL_COUNT; j++)
            check_overlap(rules, i, j);
        check_own_names(rules, protocol_name(i), protocol_of(rules->conf, i)->listen);
    }
}

/* An absolute path without empty names, "." and ".."; plain_r holds strlen(path) + 2 bytes. */
static void make_plain(const char *path, char *plain_r)
{
    size_t len = 0;
    while (*path) {
        size_t name = strcspn(path, "/");
        if (name == 2 && strncmp(path, "..", 2) == 0) {
            while (len > 0 && plain_r[--len] != '/')
                ;
        } else if (name > 0 && !(name == 1 && *path == '.')) {
            plain_r[len++] = '/';
            memcpy(plain_r + len, path, name);
            len += name;
        }
        path += name + (path[name] == '/');
    }
    plain_r[len] = '\0';
}

/* Whether two absolute paths are one directory: by their names, or, if they are there, in fact. */
static bool is_one(const char *path, const char *other)
{
    char plain[2 * CONF_TEXT_MAX + 2], other_plain[2 * CONF_TEXT_MAX + 2];
    struct stat info, other_info;
    make_plain(path, plain);
    make_plain(other, other_plain);
    return strcmp(plain, other_plain) == 0 ||
           (stat(path, &info) == 0 && stat(other, &other_info) == 0 &&
            info.st_dev == other_info.st_dev && info.st_ino == other_info.st_ino);
}

static void check_database_path(struct rules *rules)
{
    const struct conf *conf = rules->conf;
    bool absolute = *conf->disk_path == '/';
    char path[2 * CONF_TEXT_MAX];
    snprintf(path, sizeof path, "%s/%s", absolute ? "" : conf->data_dir, conf->disk_path);
    if (conf_uses(conf, BACKEND_DISK) && is_one(path, conf->run_dir))
        blame_two(rules, "disk", "path", "strato", "run_dir",
                  "path is the same directory as run_dir; the database needs one of its own");
}

static void check_paths(struct rules *rules)
{
    const struct conf *conf = rules->conf;
    char text[200];
    size_t longest = SOCKET_PATH_MAX - strlen(LONGEST_SOCKET) - CONF_LINK_SUFFIX;
    if (*conf->run_dir != '/')
        blame(rules, "strato", "run_dir", "run_dir must begin with / here");
    if (*conf->data_dir != '/')
        blame(rules, "strato", "data_dir", "data_dir must begin with / here");
    if (strlen(conf->run_dir) > longest) {
        snprintf(text, sizeof text,
                 "run_dir is too long for the sockets in it: %zu bytes, at most %zu",
                 strlen(conf->run_dir), longest);
        blame(rules, "strato", "run_dir", text);
    }
    if (*conf->disk_path != '/' &&
        strlen(conf->data_dir) + 1 + strlen(conf->disk_path) >= CONF_TEXT_MAX)
        blame_two(rules, "disk", "path", "strato", "data_dir",
                  "path is too long together with data_dir");
    check_database_path(rules);
}

/* What one value may have must be little of what holds them all. */
static void check_quarter(struct rules *rules, const char *key, uint64_t size, const char *section,
                          const char *whole, uint64_t whole_size)
{
    char text[120];
    if (size <= whole_size / 4)
        return;
    snprintf(text, sizeof text, "%s must be at most a quarter of [%s] %s", key, section, whole);
    blame_two(rules, "strato", key, section, whole, text);
}

/* Memory beyond a limit is not swapped: who takes it is killed, again and again. So there must be
 * room for the arenas when they are full, and for the processes. */
static void check_room(struct rules *rules)
{
    const struct conf *conf = rules->conf;
    const struct machine *here = machine();
    char text[MACHINE_PATH_MAX + 200];
    uint64_t arenas = (uint64_t)conf_uses(conf, BACKEND_MEMORY) + conf_uses(conf, BACKEND_DISK);
    uint64_t room = here->memory / 4 * 3;
    if (!*here->memory_from && conf->memory_size > here->memory)
        snprintf(text, sizeof text,
                 "size is more than this machine's memory, which is %" PRIu64 "M",
                 here->memory >> 20);
    else if (*here->memory_from && arenas > 0 && conf->memory_size > room / arenas)
        snprintf(text, sizeof text,
                 "size is %" PRIu64 "M, and the memory limit is %" PRIu64 "M (%s): a quarter of it "
                 "is for the processes, so size may be at most %" PRIu64 "M%s",
                 conf->memory_size >> 20, here->memory >> 20, here->memory_from,
                 room / arenas >> 20, arenas > 1 ? " (memory and disk each take it)" : "");
    else
        return;
    blame(rules, "memory", "size", text);
}

static void check_sizes(struct rules *rules)
{
    const struct conf *conf = rules->conf;
    if (conf_uses(conf, BACKEND_MEMORY)) {
        check_quarter(rules, "max_value", conf->max_value, "memory", "size", conf->memory_size);
        check_quarter(rules, "max_set", conf->max_set, "memory", "size", conf->memory_size);
    }
    if (conf_uses(conf, BACKEND_DISK)) {
        check_quarter(rules, "max_value", conf->max_value, "disk", "map_size", conf->disk_map_size);
        check_quarter(rules, "max_set", conf->max_set, "disk", "map_size", conf->disk_map_size);
    }
    check_room(rules);
}

static void check_redis(struct rules *rules)
{
    if (rules->conf->redis_cluster && rules->conf->redis_database > 0)
        blame(rules, "redis", "database",
              "database must be per-service or 0 with cluster = yes: a cluster has but one");
}

enum status conf_rules(const struct conf *conf, const struct conf_origin *origins,
                       const char *where, struct buffer *problems)
{
    struct rules rules = {conf, origins, where, problems, STATUS_OK};
    check_protocols(&rules);
    check_paths(&rules);
    check_sizes(&rules);
    check_redis(&rules);
    return rules.status;
}

enum status conf_check(const struct conf *conf, const char *where, struct buffer *problems)
{
    return conf_rules(conf, NULL, where, problems);
}

/* ---- What is auto ---- */

static void note_workers(const char *section, const struct conf_protocol *protocol,
                         struct buffer *notes)
{
    const struct machine *here = machine();
    unsigned milli = here->milli_cpus;
    if (protocol->enabled && protocol->workers_auto && *here->cpus_from &&
        protocol->workers == milli / 1000 + (milli % 1000 != 0))
        buffer_append_format(notes, "[%s] workers = auto is %u: the CPU limit is %u.%03u (%s)\n",
                             section, protocol->workers, milli / 1000, milli % 1000,
                             here->cpus_from);
}

void conf_notes(const struct conf *conf, struct buffer *notes)
{
    const struct machine *here = machine();
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++)
        note_workers(protocol_name(i), protocol_of(conf, i), notes);
    if (conf->memory_auto && conf->memory_size < CONF_USUAL_SIZE)
        buffer_append_format(
            notes, "[memory] size = auto is %" PRIu64 "M: the %s is %" PRIu64 "M%s%s%s\n",
            conf->memory_size >> 20, *here->memory_from ? "memory limit" : "machine's memory",
            here->memory >> 20, *here->memory_from ? " (" : "", here->memory_from,
            *here->memory_from ? ")" : "");
}

/* ---- Changing while it runs ---- */

/* One value as text, NUL-terminated. */
static const char *value_text(const struct conf_key *key, const struct conf *conf,
                              struct buffer *text)
{
    text->len = 0;
    conf_value_format(key, conf, text);
    buffer_append(text, "", 1);
    return (const char *)text->data;
}

static void report_key(const struct conf_key *key, const char *before, const char *after,
                       struct buffer *report)
{
    buffer_append_format(report, "[%s] %s", key->section, key->key);
    if (key->type != CONF_URL)
        buffer_append_format(report, ": %s, was %s", after, before);
    buffer_append_text(report, key->reload ? "\n" : "; this needs a restart of stratod\n");
}

static unsigned merge_key(const struct conf_key *key, struct conf *loaded, struct conf *conf,
                          const struct conf *file, struct buffer *report)
{
    struct buffer before = {0}, after = {0}, why = {0};
    const char *old = value_text(key, loaded, &before), *new = value_text(key, file, &after);
    unsigned needs = 0;
    if (strcmp(old, new) != 0) {
        report_key(key, old, new, report);
        needs = key->reload ? key->reload : CONF_RESTART;
    }
    if (needs && needs != CONF_RESTART &&
        (!conf_value_parse(key, new, loaded, &why) || !conf_value_parse(key, new, conf, &why)))
        panic("%s is written in a way that cannot be read", key->key);
    buffer_free(&before);
    buffer_free(&after);
    buffer_free(&why);
    return needs;
}

unsigned conf_merge(struct conf *loaded, struct conf *conf, const struct conf *file,
                    struct buffer *report)
{
    unsigned needs = 0;
    for (size_t i = 0; i < CONF_KEY_COUNT; i++)
        if (conf_keys[i].type != CONF_INCLUDE)
            needs |= merge_key(&conf_keys[i], loaded, conf, file, report);
    return needs;
}

/* ---- Writing ---- */

static bool written(const struct conf *conf, const struct conf_key *key)
{
    if (key->type == CONF_SERVICE)
        return conf->services_named & 1u << conf_key_service(key);
    if (key->type == CONF_HOSTS || key->type == CONF_ORIGINS)
        return *((const char *)conf + key->offset);
    return key->type != CONF_INCLUDE;
}

void conf_write(const struct conf *conf, struct buffer *text)
{
    const char *section = "";
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        const struct conf_key *key = &conf_keys[i];
        if (!written(conf, key))
            continue;
        if (strcmp(section, key->section) != 0)
            buffer_append_format(text, "[%s]\n", key->section);
        section = key->section;
        buffer_append_format(text, "%s = ", key->key);
        conf_value_format(key, conf, text);
        buffer_append_text(text, "\n");
    }
}

void conf_write_sample(FILE *out)
{
    const char *section = "";
    fputs("; strato.ini: every key with its default. What begins with a semicolon is a comment.\n"
          "; Sizes take K, M, G and T; times take ms, s, m and h; ${NAME} is taken from the\n"
          "; environment. `stratod --check-config --config FILE` checks a file and changes "
          "nothing.\n",
          out);
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        const struct conf_key *key = &conf_keys[i];
        if (strcmp(section, key->section) != 0)
            fprintf(out, "\n[%s]\n", key->section);
        section = key->section;
        fprintf(out, "; %s\n%s%s = %s\n", key->doc, key->initial ? "" : "; ", key->key,
                key->initial ? key->initial : key->example);
    }
}

static const char *reload_text(enum conf_type type, unsigned reload)
{
    if (type == CONF_INCLUDE)
        return "read again too";
    if (reload == 0)
        return "restart of stratod";
    if (reload == CONF_LIVE)
        return "at once";
    return reload & CONF_ROLL_STORES ? "new processes, stores too" : "new workers";
}

void conf_write_manual(FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < CONF_KEY_COUNT; i++) {
        const struct conf_key *key = &conf_keys[i];
        if (strcmp(section, key->section) != 0)
            fprintf(out, ".SH [%s]\n", key->section);
        section = key->section;
        fprintf(out, ".TP\n.B %s = %s\n%s%s.\nOn reload: %s.\n", key->key,
                key->initial ? key->initial : key->example,
                key->initial ? "" : "Not set; this is an example.\n", key->doc,
                reload_text(key->type, key->reload));
    }
}

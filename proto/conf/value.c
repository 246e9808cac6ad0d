/*
 * value - one text to one value of struct conf and back, by the type of its key. Any process.
 *
 * Every text is from outside: nothing is assumed about it but that it ends. A failure says what is
 * allowed instead.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "proto/conf/key.h"
#include "proto/conf/machine.h"
#include "proto/conf/protocol.h"
#include "proto/conf/url.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* From large to small: formatting takes the largest that divides. */
static const struct unit sizes[] = {{"T", 1ull << 40}, {"G", 1ull << 30}, {"M", 1ull << 20},
                                    {"K", 1ull << 10}, {"", 1},           {NULL, 0}};
static const struct unit times[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};

static const char *const backends[] = {"memory", "disk", "redis", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"text", "json", NULL};
static const char *const syncs[] = {"commit", "interval", "off", NULL};
/* Odd is true. */
static const char *const bools[] = {"no", "yes", "off", "on", "false", "true", "0", "1", NULL};

const char *backend_name(enum backend backend)
{
    return (unsigned)backend < BACKEND_COUNT ? backends[backend] : "none";
}

static bool parse_units(const char *text, const struct unit *units, uint64_t *number_r)
{
    uint64_t number;
    const char *rest;
    if (!text_digits(text, &number, &rest))
        return false;
    while (*rest == ' ')
        rest++;
    for (; units->name; units++)
        if (strcasecmp(rest, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, number_r);
    return false;
}

static void format_units(uint64_t number, const struct unit *units, struct buffer *text)
{
    while (units[1].name && (number == 0 || number % units->factor != 0))
        units++;
    buffer_append_format(text, "%" PRIu64 "%s", number / units->factor, units->name);
}

static bool parse_limited(const struct conf_key *key, const char *text, uint64_t *field,
                          struct buffer *why)
{
    const struct unit *units = key->type == CONF_TIME ? times : sizes;
    const char *example = key->type == CONF_TIME   ? "a time with its unit (ms, s, m or h)"
                          : key->type == CONF_SIZE ? "a size (bytes, or with K, M, G or T)"
                                                   : "auto or a size (bytes, or with K, M, G or T)";
    uint64_t number;
    if (parse_units(text, units, &number) && number >= key->min && number <= key->max) {
        *field = number;
        return true;
    }
    buffer_append_format(why, "must be %s from ", example);
    format_units(key->min, units, why);
    buffer_append_text(why, " to ");
    format_units(key->max, units, why);
    return false;
}

static bool parse_count(const struct conf_key *key, const char *text, uint64_t *number_r,
                        struct buffer *why)
{
    if (text_number(text, key->min, key->max, number_r))
        return true;
    buffer_append_format(why, "must be %sa number from %" PRIu64 " to %" PRIu64,
                         key->type == CONF_WORKERS    ? "auto or "
                         : key->type == CONF_DATABASE ? "per-service or "
                                                      : "",
                         key->min, key->max);
    return false;
}

static unsigned cpu_count(void)
{
    unsigned count = machine()->cpus;
    return count > CONF_WORKERS_MAX ? CONF_WORKERS_MAX : count;
}

static bool parse_workers(const struct conf_key *key, const char *text, struct conf *conf,
                          struct buffer *why)
{
    struct conf_protocol *protocol = protocol_conf(conf, protocol_find(key->section));
    uint64_t number = cpu_count();
    bool automatic = strcmp(text, "auto") == 0;
    if (!automatic && !parse_count(key, text, &number, why))
        return false;
    protocol->workers = (unsigned)number;
    protocol->workers_auto = automatic;
    return true;
}

uint64_t conf_auto_size(uint64_t min)
{
    const struct machine *here = machine();
    uint64_t share = *here->memory_from ? here->memory / 4 : here->memory / 2;
    uint64_t size = share < CONF_USUAL_SIZE ? share >> 20 << 20 : CONF_USUAL_SIZE;
    return size < min ? min : size;
}

static bool parse_room(const struct conf_key *key, const char *text, struct conf *conf,
                       struct buffer *why)
{
    bool automatic = strcmp(text, "auto") == 0;
    if (automatic)
        conf->memory_size = conf_auto_size(key->min);
    else if (!parse_limited(key, text, &conf->memory_size, why))
        return false;
    conf->memory_auto = automatic;
    return true;
}

/* The number of text in a NULL-ended list of words, or -1. */
static int find_word(const char *text, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

static int parse_word(const char *text, const char *const *words, struct buffer *why)
{
    int word = find_word(text, words);
    if (word >= 0)
        return word;
    buffer_append_text(why, "must be ");
    for (int i = 0; words[i]; i++)
        buffer_append_format(why, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    return -1;
}

static bool parse_bool(const char *text, bool *field, struct buffer *why)
{
    int word = find_word(text, bools);
    if (word < 0) {
        buffer_append_text(why, "must be yes or no (also true, false, on, off, 1, 0)");
        return false;
    }
    *field = word & 1;
    return true;
}

/* The rest becomes zero, so that equal configurations are equal byte by byte. */
static bool copy_text(const char *text, char *field, struct buffer *why)
{
    if (!*text) {
        buffer_append_text(why, "must not be empty");
        return false;
    }
    memset(field, 0, CONF_TEXT_MAX);
    memcpy(field, text, strnlen(text, CONF_TEXT_MAX - 1));
    return true;
}

/* Children have another current directory in mind than the one the path was written for. */
static bool parse_directory(const char *text, char *field, struct buffer *why)
{
    char here[PATH_MAX] = "";
    char path[CONF_TEXT_MAX];
    if (*text == '/' || !*text)
        return copy_text(text, field, why);
    if (!getcwd(here, sizeof here)) {
        buffer_append_format(why, "must begin with /: the current directory has no name (%s)",
                             strerror(errno));
        return false;
    }
    if (strncmp(text, "./", 2) == 0)
        text += 2;
    int len = snprintf(path, sizeof path, "%s/%s", strcmp(here, "/") == 0 ? "" : here, text);
    if (len >= CONF_TEXT_MAX) {
        buffer_append_format(why, "is too long: %d bytes with the current directory, of %d", len,
                             CONF_TEXT_MAX - 1);
        return false;
    }
    return copy_text(path, field, why);
}

static bool parse_mode(const char *text, uint32_t *mode, struct buffer *why)
{
    char *end;
    unsigned long number = *text >= '0' && *text <= '7' ? strtoul(text, &end, 8) : 0;
    if (number >= 0600 && number <= 0777 && !*end) {
        *mode = (uint32_t)number;
        return true;
    }
    buffer_append_text(why, "must be permissions in octal from 0600 to 0777, such as 0660");
    return false;
}

/* Children get the number: they need not ask for names. */
static bool parse_group(const char *text, uint32_t *gid, struct buffer *why)
{
    uint64_t number;
    const struct group *group;
    *gid = CONF_NO_GROUP;
    if (!*text)
        return true;
    if (text_number(text, 0, CONF_NO_GROUP - 1, &number))
        *gid = (uint32_t)number;
    else if ((group = getgrnam(text)))
        *gid = group->gr_gid;
    else
        buffer_append_text(why, "must be a group that there is on this machine, or its number");
    return *gid != CONF_NO_GROUP;
}

/* Calls good for each name of a list with commas or blanks between. */
static bool all_names(const char *text, bool (*good)(const char *name))
{
    char list[CONF_TEXT_MAX], *rest = list, *name;
    snprintf(list, sizeof list, "%s", text);
    while ((name = strsep(&rest, ", \t")))
        if (*name && !good(name))
            return false;
    return true;
}

/* Words with dots between, none of them empty. */
static bool is_dotted(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t len = strlen(name);
    return len > 0 && strspn(name, letters) == len && *name != '.' && name[len - 1] != '.' &&
           !strstr(name, "..");
}

static bool is_bracketed(const char *name)
{
    struct sockaddr_storage address;
    char with_port[CONF_TEXT_MAX + 2];
    snprintf(with_port, sizeof with_port, "%s:0", name);
    return *name == '[' && conf_address(with_port, &address) > 0;
}

/* NAME, *.NAME or *; also an address without a port. */
static bool is_host_pattern(const char *name)
{
    if (strcmp(name, "*") == 0 || is_bracketed(name))
        return true;
    return is_dotted(strncmp(name, "*.", 2) == 0 ? name + 2 : name);
}

/* SCHEME://HOST or SCHEME://HOST:PORT, as browsers write them; "null" or *. */
static bool is_origin(const char *name)
{
    char host[CONF_TEXT_MAX];
    const char *colon = strstr(name, "://");
    uint64_t number;
    if (strcmp(name, "*") == 0 || strcmp(name, "null") == 0)
        return true;
    if (!colon || colon == name || strcspn(name, "/*?#@\"\\[]") < (size_t)(colon - name))
        return false;
    snprintf(host, sizeof host, "%s", colon + 3);
    char *port = strrchr(host, ':');
    if (port && !strchr(port, ']')) {
        *port = '\0';
        if (!text_number(port + 1, 1, 65535, &number))
            return false;
    }
    return is_dotted(host) || is_bracketed(host);
}

static bool parse_names(const struct conf_key *key, const char *text, char *field,
                        struct buffer *why)
{
    bool hosts = key->type == CONF_HOSTS;
    if (all_names(text, hosts ? is_host_pattern : is_origin)) {
        memset(field, 0, CONF_TEXT_MAX);
        memcpy(field, text, strnlen(text, CONF_TEXT_MAX - 1));
        return true;
    }
    buffer_append_text(why, hosts ? "must be names without scheme and port, such as "
                                    "strato.example.org, *.example.org (all names below that) or *"
                                  : "must be origins of web pages, such as "
                                    "https://app.example.org or http://localhost:3000 (port 1 to "
                                    "65535), or *");
    return false;
}

static bool parse_url(const char *text, char *field, struct buffer *why)
{
    struct conf_url url;
    const char *reason;
    if (conf_url_parse(text, &url, &reason))
        return copy_text(text, field, why);
    buffer_append_text(why, reason);
    return false;
}

static bool parse_database(const struct conf_key *key, const char *text, int *database,
                           struct buffer *why)
{
    uint64_t number = 0;
    bool each = strcmp(text, "per-service") == 0;
    if (!each && !parse_count(key, text, &number, why))
        return false;
    *database = each ? -1 : (int)number;
    return true;
}

/* Services without a line of their own follow the backend of [strato]. */
static void follow_backend(struct conf *conf)
{
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        if (!(conf->services_named & 1u << i))
            conf->services[i] = conf->backend;
}

static bool parse_choice(const struct conf_key *key, const char *text, struct conf *conf,
                         struct buffer *why)
{
    void *field = (char *)conf + key->offset;
    const char *const *words = key->type == CONF_LEVEL    ? levels
                               : key->type == CONF_SYNC   ? syncs
                               : key->type == CONF_FORMAT ? formats
                                                          : backends;
    int word = parse_word(text, words, why);
    if (word < 0)
        return false;
    if (key->type == CONF_FORMAT)
        *(bool *)field = word == 1;
    else
        *(unsigned *)field = (unsigned)word; /* enums without negative values */
    if (key->type == CONF_SERVICE)
        conf->services_named |= 1u << conf_key_service(key);
    if (key->type == CONF_BACKEND)
        follow_backend(conf);
    return true;
}

bool conf_value_parse(const struct conf_key *key, const char *text, struct conf *conf,
                      struct buffer *why)
{
    void *field = (char *)conf + key->offset;
    switch (key->type) {
    case CONF_INCLUDE:
        return true;
    case CONF_DIRECTORY:
        return parse_directory(text, field, why);
    case CONF_PATH:
        return copy_text(text, field, why);
    case CONF_LISTEN:
        return conf_listen_parse(text, field, why);
    case CONF_MODE:
        return parse_mode(text, field, why);
    case CONF_GROUP:
        return parse_group(text, field, why);
    case CONF_HOSTS:
    case CONF_ORIGINS:
        return parse_names(key, text, field, why);
    case CONF_URL:
        return parse_url(text, field, why);
    case CONF_BOOL:
        return parse_bool(text, field, why);
    case CONF_SIZE:
    case CONF_TIME:
        return parse_limited(key, text, field, why);
    case CONF_COUNT:
        return parse_count(key, text, field, why);
    case CONF_WORKERS:
        return parse_workers(key, text, conf, why);
    case CONF_ROOM:
        return parse_room(key, text, conf, why);
    case CONF_DATABASE:
        return parse_database(key, text, field, why);
    case CONF_BACKEND:
    case CONF_SERVICE:
    case CONF_LEVEL:
    case CONF_SYNC:
    case CONF_FORMAT:
        return parse_choice(key, text, conf, why);
    }
    panic("key %s has no type", key->key);
}

/* Text such as "a${b" must not be taken for a variable when it is read again. */
static void format_text(const char *value, struct buffer *text)
{
    for (; *value; value++) {
        if (strncmp(value, "${", 2) == 0)
            buffer_append_text(text, "$");
        buffer_append(text, value, 1);
    }
}

void conf_value_format(const struct conf_key *key, const struct conf *conf, struct buffer *text)
{
    const void *field = (const char *)conf + key->offset;
    switch (key->type) {
    case CONF_INCLUDE:
        break;
    case CONF_DIRECTORY:
    case CONF_LISTEN:
    case CONF_HOSTS:
    case CONF_ORIGINS:
    case CONF_URL:
        format_text(field, text);
        break;
    case CONF_PATH:
        if (*(const char *)field != '/') {
            format_text(conf->data_dir, text);
            buffer_append_text(text, "/");
        }
        format_text(field, text);
        break;
    case CONF_BOOL:
        buffer_append_text(text, bools[*(const bool *)field]);
        break;
    case CONF_MODE:
        buffer_append_format(text, "%04o", *(const uint32_t *)field);
        break;
    case CONF_GROUP:
        if (*(const uint32_t *)field != CONF_NO_GROUP)
            buffer_append_format(text, "%u", *(const uint32_t *)field);
        break;
    case CONF_FORMAT:
        buffer_append_text(text, formats[*(const bool *)field]);
        break;
    case CONF_SIZE:
    case CONF_ROOM:
        format_units(*(const uint64_t *)field, sizes, text);
        break;
    case CONF_TIME:
        format_units(*(const uint64_t *)field, times, text);
        break;
    case CONF_COUNT:
        buffer_append_format(text, "%" PRIu64, *(const uint64_t *)field);
        break;
    case CONF_WORKERS:
        buffer_append_format(text, "%u", *(const unsigned *)field);
        break;
    case CONF_DATABASE:
        if (*(const int *)field < 0)
            buffer_append_text(text, "per-service");
        else
            buffer_append_format(text, "%d", *(const int *)field);
        break;
    case CONF_BACKEND:
    case CONF_SERVICE:
        buffer_append_text(text, backends[*(const unsigned *)field]);
        break;
    case CONF_LEVEL:
        buffer_append_text(text, levels[*(const unsigned *)field]);
        break;
    case CONF_SYNC:
        buffer_append_text(text, syncs[*(const unsigned *)field]);
        break;
    }
}

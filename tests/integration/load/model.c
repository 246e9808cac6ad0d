/*
 * model - what the load generator's clients expect to find. Test program; cannot fail by itself.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/load/load.h"

void load_key_path(const struct client *client, bool cache, unsigned key, char path[512])
{
    snprintf(path, 512, "/%s/%sk-%u-%u", cache ? "cache" : "kv", client->prefix, client->number,
             key);
}

void load_set_path(const struct client *client, unsigned set, char path[512])
{
    snprintf(path, 512, "/sets/%ss-%u-%u", client->prefix, client->number, set);
}

void load_counter_path(const struct client *client, unsigned counter, char path[512])
{
    if (counter == COUNTER_OWN)
        snprintf(path, 512, "/counters/%sown-%u", client->prefix, client->number);
    else
        snprintf(path, 512, "/counters/%sshared-%u", client->prefix, counter);
}

void load_flag_path(const struct client *client, unsigned flag, char path[512])
{
    snprintf(path, 512, "/flags/%sf-%u-%u", client->prefix, client->number, flag);
}

/* Mostly what fits a ring slot; one in sixteen KV values is large enough to go another way. */
static size_t value_len(bool cache, uint32_t mixed)
{
    if (cache)
        return 16 + mixed % 300;
    return mixed % 16 ? 16 + mixed % 800 : 1000 + mixed % (VALUE_MAX - 1000);
}

size_t load_value(const struct client *client, bool cache, unsigned key, uint32_t version,
                  char value[VALUE_MAX])
{
    uint32_t mixed = (key * 2654435761u) ^ (version * 2246822519u) ^ (client->number * 3266489917u);
    mixed ^= mixed >> 15;
    size_t len = value_len(cache, mixed);
    for (size_t i = 0; i < len; i++) {
        mixed = mixed * 1664525u + 1013904223u;
        value[i] = (char)('a' + (mixed >> 24) % 26);
    }
    char stamp[17];
    snprintf(stamp, sizeof stamp, "%04u.%05u.%05u", client->number % 10000, key % 100000,
             version % 100000);
    memcpy(value, stamp, 16);
    return len;
}

static bool shows(const struct client *client, bool cache, unsigned key, uint32_t version,
                  const struct wire_answer *answer)
{
    char value[VALUE_MAX];
    if (version == 0)
        return answer->status == 404;
    size_t len = load_value(client, cache, key, version, value);
    if (answer->status != 200)
        return false;
    if (!cache)
        return answer->body_len == len && memcmp(answer->body, value, len) == 0;
    const char *text = strchr(answer->body, ':'); /* {"value":"..."} */
    text = text ? strchr(text, '"') : NULL;
    return text && strncmp(text + 1, value, len) == 0 && text[1 + len] == '"';
}

bool load_matches(struct client *client, bool cache, unsigned key, const struct wire_answer *answer)
{
    const struct versions *versions = cache ? &client->cache[key] : &client->kv[key];
    if (shows(client, cache, key, versions->acknowledged, answer))
        return true;
    if (versions->unknown_count > VERSIONS_UNKNOWN)
        return true;
    for (unsigned i = 0; i < versions->unknown_count; i++)
        if (shows(client, cache, key, versions->unknown[i], answer))
            return true;
    return false;
}

bool load_set_matches(struct client *client, unsigned set, const struct wire_answer *answer)
{
    const char *items = answer->status == 200 ? strchr(answer->body, '[') : NULL;
    const char *end = items ? strchr(items, ']') : NULL;
    if (!end)
        return false;
    unsigned quotes = 0;
    for (const char *p = items; p < end; p++)
        quotes += *p == '"';
    unsigned found = 0;
    for (unsigned i = 0; i < ITEMS; i++) {
        char item[32];
        snprintf(item, sizeof item, "\"item-%u\"", i);
        const char *at = strstr(items, item);
        bool present = at && at < end;
        if (present && client->items[set][i] == ABSENT)
            return false;
        if (!present && client->items[set][i] == PRESENT)
            return false;
        found += present;
    }
    return quotes == 2 * found; /* each once, and nothing else */
}

int64_t load_number(const struct wire_answer *answer)
{
    const char *value = strstr(answer->body, "\"value\"");
    value = value ? strchr(value, ':') : NULL;
    return value ? strtoll(value + 1, NULL, 10) : INT64_MIN;
}

void load_wrong(struct client *client, const char *format, ...)
{
    static atomic_uint printed;
    client->wrong++;
    if (atomic_fetch_add(&printed, 1) >= 20)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "wrong: client %u: %s\n", client->number, text);
}

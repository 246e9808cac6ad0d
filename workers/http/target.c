/*
 * target - see target.h. Runs in the http workers; touches nothing but its arguments.
 */
#include "workers/http/target.h"

#include <stddef.h>
#include <strings.h>

#include "proto/base/text.h"

static struct http_text after(struct http_text text, size_t n)
{
    return (struct http_text){text.data + n, text.len - n};
}

struct bytes http_target_host(struct http_text target)
{
    static const char *const schemes[] = {"http://", "https://"};
    if (target.len == 0 || target.data[0] == '/')
        return (struct bytes){0}; /* as nearly always */
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i]), end = len;
        if (target.len < len || strncasecmp((char *)target.data, schemes[i], len) != 0)
            continue;
        while (end < target.len && target.data[end] != '/' && target.data[end] != '?')
            end++;
        return (struct bytes){target.data + len, end - len};
    }
    return (struct bytes){0};
}

/* The path of "http://host/path" or "http://host"; the latter's is empty and means "/", as the
 * second slash of "//" says. *rest is moved to what may hold the query. */
static bool skip_authority(struct http_text *rest, struct http_text *path_r)
{
    struct bytes host = http_target_host(*rest);
    if (host.len == 0)
        return false;
    uint8_t *slash = rest->data + (host.data - rest->data) - 1;
    *rest = after(*rest, (size_t)(host.data + host.len - rest->data));
    *path_r = *rest;
    if (rest->len == 0 || rest->data[0] != '/')
        *path_r = (struct http_text){slash, 1};
    return true;
}

bool http_target_split(struct http_text target, struct http_text *path_r, struct http_text *query_r)
{
    *path_r = target;
    *query_r = (struct http_text){0};
    if (target.len == 0 || (target.data[0] != '/' && !skip_authority(&target, path_r)))
        return false;
    uint8_t *mark = target.len > 0 ? memchr(target.data, '?', target.len) : NULL;
    if (mark) {
        if (path_r->data == target.data)
            path_r->len = (size_t)(mark - target.data);
        *query_r = after(target, (size_t)(mark - target.data) + 1);
    }
    return true;
}

bool http_percent_decode(struct http_text *text, bool plus)
{
    if (!plus && (text->len == 0 || !memchr(text->data, '%', text->len)))
        return true;
    return text_percent_decode(text->data, &text->len, plus);
}

static const struct {
    const char *name;
    size_t offset;
} parameters[HTTP_PARAMETER_COUNT] = {
    [HTTP_PARAMETER_VALUE] = {"value", offsetof(struct http_query, value)},
    [HTTP_PARAMETER_TTL] = {"ttl", offsetof(struct http_query, ttl)},
    [HTTP_PARAMETER_INCREMENT] = {"increment", offsetof(struct http_query, increment)},
    [HTTP_PARAMETER_ITEM] = {"item", offsetof(struct http_query, item)},
    [HTTP_PARAMETER_KEY] = {"key", offsetof(struct http_query, key)},
};

const char *http_parameter_name(enum http_parameter parameter)
{
    return parameters[parameter].name;
}

static void take_parameter(struct http_query *query, struct bytes name, struct bytes value)
{
    for (size_t i = 0; i < HTTP_PARAMETER_COUNT; i++)
        if (bytes_equal(name, bytes_of(parameters[i].name))) {
            struct bytes *known = (struct bytes *)((char *)query + parameters[i].offset);
            if (known->data)
                query->twice |= 1u << i;
            else
                *known = value;
            return;
        }
}

int http_query_next(struct http_text *query, struct bytes *name_r, struct bytes *value_r)
{
    if (query->len == 0)
        return 0;
    uint8_t *end = memchr(query->data, '&', query->len);
    struct http_text name = *query;
    if (end)
        name.len = (size_t)(end - query->data);
    *query = after(*query, end ? name.len + 1 : name.len);
    struct http_text value = after(name, name.len);
    uint8_t *equals = name.len > 0 ? memchr(name.data, '=', name.len) : NULL;
    if (equals) {
        value = after(name, (size_t)(equals - name.data) + 1);
        name.len = (size_t)(equals - name.data);
    }
    if (!http_percent_decode(&name, true) || !http_percent_decode(&value, true))
        return -1;
    *name_r = (struct bytes){name.data, name.len};
    *value_r = (struct bytes){value.data, value.len};
    return 1;
}

bool http_query_has_key(struct http_text query)
{
    while (query.len >= 4) {
        if (memcmp(query.data, "key=", 4) == 0)
            return true;
        uint8_t *end = memchr(query.data, '&', query.len);
        query = after(query, end ? (size_t)(end - query.data) + 1 : query.len);
    }
    return false;
}

bool http_query_parse(struct http_text query, struct http_query *query_r)
{
    struct bytes name, value;
    int found;
    *query_r = (struct http_query){0};
    while ((found = http_query_next(&query, &name, &value)) > 0)
        take_parameter(query_r, name, value);
    return found == 0;
}

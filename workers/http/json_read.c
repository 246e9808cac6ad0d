/*
 * json_read - takes "content" out of a JSON body (see json.h). Runs in the http workers; touches
 * nothing but its arguments.
 *
 * One pass checks the whole body and remembers where the content is.
 */
#include "workers/http/json.h"

#include <stdio.h>

#include "workers/core/scan.h"

/* What is known of the last member of that name. */
struct found {
    bool there, string;
    struct bytes text; /* as it stands */
};

static bool is_content(struct bytes name)
{
    static const char word[] = "content";
    uint8_t text[6 * (sizeof word - 1)];
    size_t len;
    return name.len >= sizeof word - 1 && name.len <= sizeof text &&
           scan_unescape(name, text, &len) && len == sizeof word - 1 &&
           memcmp(text, word, len) == 0;
}

static bool take_member(struct scan *scan, struct found *found)
{
    struct bytes name;
    if (!scan_take_name(scan, &name))
        return false;
    if (!is_content(name))
        return scan_skip_value(scan);
    scan_skip_space(scan);
    *found = (struct found){.there = true, .string = scan_peek(scan) == '"'};
    return found->string ? scan_skip_string(scan, &found->text) : scan_skip_value(scan);
}

static bool take_object(struct scan *scan, struct found *found)
{
    scan->at++;
    if (scan_take(scan, '}'))
        return true;
    do
        if (!take_member(scan, found))
            return false;
    while (scan_take(scan, ','));
    return scan_take(scan, '}') || scan_bad(scan, "a comma or a closing bracket is expected");
}

/* The shape nearly every body has: one member and nothing to unescape. */
static bool quick_content(struct scan scan, struct bytes *content_r)
{
    static const char name[] = "\"content\"";
    if (!scan_take(&scan, '{'))
        return false;
    scan_skip_space(&scan);
    if ((size_t)(scan.end - scan.at) < sizeof name || memcmp(scan.at, name, sizeof name - 1) != 0)
        return false;
    scan.at += sizeof name - 1;
    if (!scan_take(&scan, ':') || !scan_take(&scan, '"'))
        return false;
    struct bytes content = {scan.at, (size_t)(scan.end - scan.at)};
    content.len = core_json_plain_prefix(content);
    scan.at += content.len;
    if (!scan_take(&scan, '"') || content.data + content.len + 1 != scan.at ||
        !scan_take(&scan, '}'))
        return false;
    scan_skip_space(&scan);
    *content_r = content;
    return scan.at == scan.end;
}

static bool refuse(char *error, size_t size, const char *what)
{
    snprintf(error, size,
             "%s; the body must be {\"content\":\"...\"}, or any bytes with "
             "Content-Type: application/octet-stream",
             what);
    return false;
}

static bool refuse_text(const struct scan *scan, const uint8_t *body, char *error, size_t size)
{
    char what[128];
    snprintf(what, sizeof what, "the body is no JSON (%s, at byte %zu)", scan->why,
             (size_t)(scan->at - body));
    return refuse(error, size, what);
}

/* Of UTF-8 or UTF-16: some editors write one, and it cannot be seen. */
static bool has_mark(const uint8_t *body, size_t len)
{
    return (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) ||
           (len >= 2 && (memcmp(body, "\xff\xfe", 2) == 0 || memcmp(body, "\xfe\xff", 2) == 0));
}

/* Checks the whole body, and finds the content in it. */
static bool scan_body(uint8_t *body, size_t len, struct found *found, char *error, size_t size)
{
    struct scan scan = {.at = body, .end = body + len};
    if (has_mark(body, len))
        return refuse(
            error, size,
            "the body is no JSON: it begins with a byte order mark; send UTF-8 without it");
    scan_skip_space(&scan);
    bool object = scan_peek(&scan) == '{';
    bool good = object ? take_object(&scan, found) : scan_skip_value(&scan);
    scan_skip_space(&scan);
    if (good && scan.at != scan.end)
        good = scan_bad(&scan, "more follows behind its end");
    if (!good)
        return refuse_text(&scan, body, error, size);
    if (!object)
        return refuse(error, size, "the body is no JSON object");
    if (!found->there)
        return refuse(error, size, "\"content\" is missing");
    return found->string || refuse(error, size, "\"content\" is no string");
}

bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error, size_t size)
{
    struct found found = {0};
    if (!quick_content((struct scan){.at = body, .end = body + len}, content_r)) {
        if (!scan_body(body, len, &found, error, size))
            return false;
        uint8_t *out = body + (found.text.data - body);
        *content_r = (struct bytes){.data = out};
        if (!scan_unescape(found.text, out, &content_r->len))
            return refuse(error, size,
                          "\"content\" has half of a surrogate pair (\\ud800 to \\udfff alone), "
                          "which is no character");
    }
    return content_r->len > 0 || refuse(error, size, "\"content\" is empty");
}

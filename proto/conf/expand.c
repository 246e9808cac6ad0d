/*
 * expand - ${NAME} in a value. Any process; pure but for reading the environment.
 */
#include <ctype.h>
#include <stdlib.h>

#include "proto/conf/key.h"

enum { NAME_MAX_LEN = 128 };

static bool append(char *out, size_t *len, const char *text, size_t n, struct buffer *why)
{
    if (n >= CONF_TEXT_MAX - *len) {
        buffer_append_format(why, "is too long: at most %d bytes", CONF_TEXT_MAX - 1);
        return false;
    }
    memcpy(out + *len, text, n);
    *len += n;
    return true;
}

/* text stands behind "${". Returns what follows the "}", or NULL. */
static const char *append_variable(const char *text, char *out, size_t *len, struct buffer *why)
{
    char name[NAME_MAX_LEN];
    size_t n = 0;
    while ((isalnum((unsigned char)text[n]) || text[n] == '_') && n < sizeof name - 1)
        n++;
    if (n == 0 || text[n] != '}' || isdigit((unsigned char)text[0])) {
        buffer_append_text(why, "has ${ without a NAME} behind it (a plain ${ is written $${)");
        return NULL;
    }
    memcpy(name, text, n);
    name[n] = '\0';
    const char *value = getenv(name);
    if (!value) {
        buffer_append_format(why, "needs the environment variable %s, which is not set", name);
        return NULL;
    }
    return append(out, len, value, strlen(value), why) ? text + n + 1 : NULL;
}

static void strip(char *text, size_t len)
{
    size_t skip = 0;
    while (len > 0 && text[len - 1] == ' ')
        len--;
    while (skip < len && text[skip] == ' ')
        skip++;
    memmove(text, text + skip, len - skip);
    text[len - skip] = '\0';
}

/* What the canonical text (conf_write) could not carry. */
static bool printable(const char *text, struct buffer *why)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p >= 0x20 && *p != 0x7f)
            continue;
        buffer_append_text(why, "must not contain control characters");
        return false;
    }
    if (*text != ';' && !strstr(text, " ;"))
        return true;
    buffer_append_text(why, "must not contain a ; behind a blank: it begins a comment");
    return false;
}

bool conf_expand(const char *text, char *out, struct buffer *why)
{
    size_t len = 0;
    while (text && *text) {
        if (strncmp(text, "$${", 3) == 0) {
            if (!append(out, &len, "${", 2, why))
                return false;
            text += 3;
        } else if (strncmp(text, "${", 2) == 0) {
            text = append_variable(text + 2, out, &len, why);
        } else {
            if (!append(out, &len, text, 1, why))
                return false;
            text++;
        }
    }
    if (!text)
        return false;
    strip(out, len);
    return printable(out, why);
}

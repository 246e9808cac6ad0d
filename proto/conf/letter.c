/*
 * letter - values of a file that were hardly meant as they stand: with quotes, with a remark, with
 * what a shell or a template would have replaced. Taken by the letter they would make directories
 * of such names. The supervisor; pure but for asking for the current directory.
 *
 * Fails by a text that says what to write instead.
 */
#include <ctype.h>
#include <limits.h>
#include <unistd.h>

#include "proto/conf/key.h"

/* What follows a mark, for it to be one. */
enum follows { ANYTHING, A_NAME };

struct mark {
    const char *text;
    enum follows follows;
    bool at_start; /* it is one only there */
    const char *advice;
};

#define VARIABLE "${NAME} is taken from the environment"

/* In every value. */
static const struct mark everywhere[] = {
    {"\"", ANYTHING, true, "write the value without quotes"},
    {"'", ANYTHING, true, "write the value without quotes"},
    {" #", ANYTHING, false, "a remark behind a value begins with ;"},
    {"\t#", ANYTHING, false, "a remark behind a value begins with ;"},
    {NULL, ANYTHING, false, NULL}};

/* In paths and addresses. */
static const struct mark in_paths[] = {
    {"\"", ANYTHING, false, "write the value without quotes"},
    {"~", ANYTHING, true, "write the whole path, or ${HOME}/..."},
    {"$", A_NAME, false, VARIABLE},
    {"$(", ANYTHING, false, VARIABLE},
    {"`", ANYTHING, false, VARIABLE},
    {"{{", ANYTHING, false, "a template was not filled in; " VARIABLE},
    {"}}", ANYTHING, false, "a template was not filled in; " VARIABLE},
    {"<", ANYTHING, false, "write the value itself in place of <...>"},
    {">", ANYTHING, false, "write the value itself in place of <...>"},
    {"%", A_NAME, true, "systemd's specifiers are not known here; " VARIABLE},
    {"/%", A_NAME, false, "systemd's specifiers are not known here; " VARIABLE},
    {"%(", ANYTHING, false, "a template was not filled in; " VARIABLE},
    {"\\", ANYTHING, false, "a blank needs no \\ before it"},
    {" //", ANYTHING, false, "a remark behind a value begins with ;"},
    {NULL, ANYTHING, false, NULL}};

/* In paths but those of include, which may be patterns. */
static const struct mark in_names[] = {{"*", ANYTHING, false, "a path is no pattern"},
                                       {"?", ANYTHING, false, "a path is no pattern"},
                                       {NULL, ANYTHING, false, NULL}};

static bool is_followed(enum follows follows, char next)
{
    return follows == ANYTHING || isalpha((unsigned char)next) || next == '_';
}

static bool has_mark(const struct mark *mark, const char *text)
{
    size_t len = strlen(mark->text);
    if (mark->at_start)
        return strncmp(text, mark->text, len) == 0 && is_followed(mark->follows, text[len]);
    for (const char *at = text; (at = strstr(at, mark->text)); at++)
        if (is_followed(mark->follows, at[len]))
            return true;
    return false;
}

static bool has_none(const struct mark *marks, const char *text, struct buffer *why)
{
    for (; marks->text; marks++) {
        if (!has_mark(marks, text))
            continue;
        buffer_append_format(why, "is taken by the letter, but has %s in it: %s",
                             marks->text + strspn(marks->text, " \t"), marks->advice);
        return false;
    }
    return true;
}

/* A remark of one word is a path too: only ./ and ../ say that the current directory is meant. */
static bool is_meant(const char *text, struct buffer *why)
{
    char here[PATH_MAX] = "";
    if (*text == '/' || !*text || strcmp(text, ".") == 0 || strcmp(text, "..") == 0 ||
        strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0)
        return true;
    if (!getcwd(here, sizeof here))
        here[0] = '\0';
    buffer_append_format(why,
                         "must begin with /; for a directory below the current one (%s) write ./%s",
                         here, text);
    return false;
}

static bool is_path(enum conf_type type)
{
    return type == CONF_INCLUDE || type == CONF_DIRECTORY || type == CONF_PATH ||
           type == CONF_LISTEN;
}

bool conf_letter(const struct conf_key *key, const char *text, struct buffer *why)
{
    size_t len = strlen(text);
    if (!has_none(everywhere, text, why) ||
        (len > 0 && strchr("\"'", text[len - 1]) && !has_none(everywhere, text + len - 1, why)))
        return false;
    if (is_path(key->type) && !has_none(in_paths, text, why))
        return false;
    if ((key->type == CONF_DIRECTORY || key->type == CONF_PATH) && !has_none(in_names, text, why))
        return false;
    return key->type != CONF_DIRECTORY || is_meant(text, why);
}

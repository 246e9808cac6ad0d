/*
 * key - one row for each key, and what the files of proto/conf share. Nobody else includes this.
 *
 * table.c has the keys, value.c turns one text into one value and back, letter.c knows what is
 * hardly meant, file.c reads files, conf.c is the rest: defaults, rules over several keys, writing.
 */
#ifndef STRATO_PROTO_CONF_KEY_H
#define STRATO_PROTO_CONF_KEY_H

#include <stddef.h>

#include "proto/conf/conf.h"

enum conf_type {
    CONF_INCLUDE,   /* a file or pattern; kept nowhere, read at once */
    CONF_DIRECTORY, /* made absolute from the current directory */
    CONF_PATH,      /* kept as it is */
    CONF_LISTEN,    /* addresses */
    CONF_MODE,      /* permissions, octal */
    CONF_GROUP,     /* a group by name or number; may be empty */
    CONF_HOSTS,     /* names, perhaps none */
    CONF_ORIGINS,   /* likewise */
    CONF_URL,       /* never shown in a problem: it may hold a password */
    CONF_BOOL,
    CONF_FORMAT, /* text or json, as a bool */
    CONF_SIZE,
    CONF_ROOM, /* a size or auto */
    CONF_TIME,
    CONF_COUNT,
    CONF_WORKERS,
    CONF_DATABASE, /* per-service, as -1, or a number */
    CONF_BACKEND,
    CONF_SERVICE, /* a backend; a service not named follows [strato] backend */
    CONF_LEVEL,
    CONF_SYNC,
};

struct conf_key {
    const char *section;
    const char *key;
    enum conf_type type;
    unsigned reload;     /* enum conf_reload: what a change needs */
    size_t offset;       /* of the field in struct conf */
    const char *initial; /* default; NULL: none, and then example is shown instead */
    const char *here;    /* default below the current directory, where it differs */
    uint64_t min, max;   /* of sizes (bytes), times (ms) and counts */
    const char *example;
    const char *doc; /* one line */
};

enum { CONF_KEY_COUNT = 41 };
extern const struct conf_key conf_keys[CONF_KEY_COUNT];

/* The row of a key, or NULL. */
const struct conf_key *conf_find(const char *section, const char *key);
bool conf_section_known(const char *section);
/* Appends why section or key is not known, with what was perhaps meant. */
void conf_explain_section(const char *section, struct buffer *text);
void conf_explain_key(const char *section, const char *key, struct buffer *text);

/* Which service a CONF_SERVICE row is about. */
enum service conf_key_service(const struct conf_key *key);

/*
 * Takes ${NAME} from the environment and $${ as ${, strips blanks at both ends. out holds
 * CONF_TEXT_MAX bytes. On false, appends the reason to why.
 */
bool conf_expand(const char *text, char *out, struct buffer *why);
/* Whether an expanded text of a file can be meant as it stands. On false, appends what to write
 * instead to why; nothing of a URL is in it. */
bool conf_letter(const struct conf_key *key, const char *text, struct buffer *why);
/* Sets field (CONF_TEXT_MAX bytes) from a list of addresses. On false, appends what is allowed. */
bool conf_listen_parse(const char *text, char *field, struct buffer *why);
enum { CONF_USUAL_SIZE = 256 << 20 };
/* What [memory] size = auto is here: at most CONF_USUAL_SIZE, at least min. */
uint64_t conf_auto_size(uint64_t min);
/* Sets key in conf from an expanded text. On false, appends what is allowed to why. */
bool conf_value_parse(const struct conf_key *key, const char *text, struct conf *conf,
                      struct buffer *why);
/* Appends the value as a line of the file has it. */
void conf_value_format(const struct conf_key *key, const struct conf *conf, struct buffer *text);

/* Where a key was last set; path NULL: nowhere, it has its default. */
struct conf_origin {
    const char *path;
    unsigned line;
};

/* conf_check() that blames the line of the key (origins, one per row, or NULL), else where. */
enum status conf_rules(const struct conf *conf, const struct conf_origin *origins,
                       const char *where, struct buffer *problems) MUST_CHECK;

/* Appends "where: text" and a newline, with a printf format. */
void conf_problem(struct buffer *problems, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

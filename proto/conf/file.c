/*
 * file - reads strato.ini and what it includes. The supervisor, and children for the text that the
 * supervisor hands them.
 *
 * inih splits a line into section, key and value, but cuts lines at 200 bytes, knows no line
 * numbers and keeps quiet about lines that it cannot read. So it gets its lines from read_clean():
 * bounded, counted, without comments, each known to be a section or a setting.
 *
 * Fails by lines in problems, all of them up to PROBLEMS_MAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ini.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/conf/key.h"
#include "proto/conf/machine.h"

enum {
    LINE_BYTES = 1024,    /* longest line, with its NUL */
    FILE_BYTES = 1 << 20, /* longest file */
    FILES_MAX = 64,       /* most files in one load */
    DEPTH_MAX = 8,        /* of includes */
    PROBLEMS_MAX = 100,
    WHERE_BYTES = 4096 + 16,
};

/* One load of a file with its includes. */
struct load {
    struct conf *conf;
    struct buffer *problems;
    bool by_hand; /* written by a person: not what conf_write() wrote */
    unsigned problem_count;
    struct conf_origin origins[CONF_KEY_COUNT];
    char *paths[FILES_MAX]; /* owned: origins point to them */
    unsigned path_count;
};

/* One file being read. */
struct file {
    struct load *load;
    const struct file *parent;
    const char *path;
    FILE *stream;
    dev_t device;
    ino_t inode;
    unsigned depth;
    unsigned line;
    size_t bytes;
    char text[LINE_BYTES];           /* the line, cleaned */
    const char *long_value;          /* in text, when the line is too long for inih */
    unsigned set_on[CONF_KEY_COUNT]; /* line that set the key in this file; 0 none */
    char include[CONF_TEXT_MAX];
    unsigned include_line;
};

static void complain(struct file *file, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void complain(struct file *file, unsigned line, const char *format, ...)
{
    char where[WHERE_BYTES];
    char text[LINE_BYTES * 2];
    if (file->load->problem_count++ >= PROBLEMS_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(where, sizeof where, line ? "%s:%u" : "%s", file->path, line);
    conf_problem(file->load->problems, where, "%s", text);
}

/* Complains in the words of a buffer, and frees it. */
static void complain_why(struct file *file, struct buffer *why, const char *key)
{
    complain(file, file->line, "%s%s%.*s", key, *key ? " " : "", (int)why->len,
             (const char *)why->data);
    buffer_free(why);
}

/* Reads one raw line into file->text. False at the end of the file. */
static bool read_raw(struct file *file)
{
    size_t len = 0;
    bool zero = false;
    int c = getc(file->stream);
    if (c == EOF)
        return false;
    file->line++;
    for (; c != EOF && c != '\n'; c = getc(file->stream)) {
        if (++file->bytes > FILE_BYTES) {
            complain(file, file->line, "the file is larger than 1M; reading stops here");
            return false;
        }
        zero |= c == '\0';
        if (len < LINE_BYTES)
            file->text[len++] = (char)c;
    }
    if (len == LINE_BYTES || zero) {
        complain(file, file->line,
                 zero ? "the line contains a zero byte" : "the line is longer than 1023 bytes");
        len = 0;
    }
    file->text[len] = '\0';
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes comments, a byte order mark and blanks at both ends off the line. */
static void clean(struct file *file)
{
    char *text = file->text;
    if (file->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    while (blank(*text))
        text++;
    if (*text == '#')
        *text = '\0';
    for (char *p = text; *p; p++)
        if (*p == ';' && (p == text || blank(p[-1])))
            *p = '\0';
    size_t len = strlen(text);
    while (len > 0 && blank(text[len - 1]))
        len--;
    memmove(file->text, text, len);
    file->text[len] = '\0';
}

/* Checks a line that is a [section]. */
static bool check_section(struct file *file)
{
    char name[LINE_BYTES];
    size_t len = strlen(file->text);
    if (file->text[len - 1] != ']' || strchr(file->text, ']') != file->text + len - 1) {
        complain(file, file->line, "a section is written [name]");
        return false;
    }
    memcpy(name, file->text + 1, len - 2);
    name[len - 2] = '\0';
    if (!conf_section_known(name)) {
        struct buffer why = {0};
        conf_explain_section(name, &why);
        complain_why(file, &why, "");
    }
    return true;
}

/* Makes the line fit for inih: a line too long keeps its value here. False: nothing to hand on. */
static bool check_line(struct file *file, size_t room)
{
    file->long_value = NULL;
    if (!*file->text)
        return false;
    if (*file->text == '[' && !check_section(file))
        return false;
    char *equals = strchr(file->text, '=');
    if (*file->text != '[' && (!equals || equals == file->text)) {
        complain(file, file->line, "a line is [section], key = value or a comment");
        return false;
    }
    if (strlen(file->text) + 2 < room)
        return true;
    if (*file->text == '[')
        return false; /* unknown, and said so */
    if ((size_t)(equals - file->text) + 4 >= room) {
        complain(file, file->line, "the key is too long");
        return false;
    }
    for (equals++; blank(*equals);)
        equals++;
    file->long_value = equals;
    return true;
}

/* The reader that inih calls for each line; size is what its own line buffer holds. */
static char *read_clean(char *out, int size, void *context)
{
    struct file *file = context;
    size_t room = (size_t)size;
    if (!read_raw(file))
        return NULL;
    clean(file);
    if (!check_line(file, room))
        snprintf(out, room, "\n");
    else if (file->long_value)
        snprintf(out, room, "%.*s=_\n", (int)strcspn(file->text, "="), file->text);
    else
        snprintf(out, room, "%s\n", file->text);
    return out;
}

static void remember(struct file *file, size_t row)
{
    file->set_on[row] = file->line;
    file->load->origins[row] = (struct conf_origin){file->path, file->line};
}

static void set(struct file *file, const struct conf_key *key, const char *value)
{
    char text[CONF_TEXT_MAX];
    struct buffer why = {0};
    size_t row = (size_t)(key - conf_keys);
    if (file->set_on[row]) {
        complain(file, file->line, "%s is set twice in this file, first on line %u", key->key,
                 file->set_on[row]);
        return;
    }
    remember(file, row);
    if (!conf_expand(value, text, &why) || (file->load->by_hand && !conf_letter(key, text, &why)) ||
        !conf_value_parse(key, text, file->load->conf, &why)) {
        complain_why(file, &why, key->key);
        return;
    }
    if (key->type == CONF_INCLUDE) {
        memcpy(file->include, text, sizeof text);
        file->include_line = file->line;
    }
}

/* What inih calls for each setting. */
static int handle(void *context, const char *section, const char *name, const char *value)
{
    struct file *file = context;
    const struct conf_key *key = conf_find(section, name);
    if (!*section) {
        complain(file, file->line, "%s stands before the first [section]", name);
    } else if (key) {
        set(file, key, file->long_value ? file->long_value : value);
    } else if (conf_section_known(section)) {
        struct buffer why = {0};
        conf_explain_key(section, name, &why);
        complain_why(file, &why, "");
    }
    return 1;
}

static void read_settings(struct file *file)
{
    if (ini_parse_stream(read_clean, file, handle, file) == -2)
        panic("out of memory: reading %s", file->path);
    if (ferror(file->stream))
        complain(file, 0, "cannot be read: %s", strerror(errno));
}

static void load_file(struct load *load, const char *path, const struct file *parent);

/* Reads what the include line of a file names, in the order of names. */
static void read_includes(struct file *file)
{
    char pattern[WHERE_BYTES + CONF_TEXT_MAX];
    char *copy = strdup(file->path);
    glob_t found = {0};
    if (!copy)
        panic("out of memory: reading %s", file->path);
    snprintf(pattern, sizeof pattern, "%s%s%s", *file->include == '/' ? "" : dirname(copy),
             *file->include == '/' ? "" : "/", file->include);
    free(copy);
    file->line = file->include_line;
    int result = glob(pattern, 0, NULL, &found);
    if (result == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            load_file(file->load, found.gl_pathv[i], file);
    } else if (result != GLOB_NOMATCH || !strpbrk(file->include, "*?[") ||
               strpbrk(file->include, " ,")) { /* several are not taken */
        complain(file, file->line, "include %s: no such file", file->include);
    }
    globfree(&found);
}

/* Says where the trouble with opening a file belongs: to the line that includes it. */
static void complain_open(struct file *file, const char *reason)
{
    struct file blamed = *file;
    if (file->parent) {
        blamed.path = file->parent->path;
        complain(&blamed, file->parent->include_line, "include %s: %s", file->path, reason);
    } else {
        complain(&blamed, 0, "%s", reason);
    }
}

/* Whether this file is being read already, further up. */
static bool includes_itself(const struct file *file)
{
    for (const struct file *up = file->parent; up; up = up->parent)
        if (up->device == file->device && up->inode == file->inode)
            return true;
    return false;
}

/* A pipe or a device could make the supervisor wait when it reads the file again on SIGHUP. */
static bool open_stream(struct file *file)
{
    struct stat stat_;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &stat_) < 0 || !S_ISREG(stat_.st_mode)) {
        complain_open(file, fd < 0 ? strerror(errno) : "is not a file");
        if (fd >= 0)
            close(fd);
        return false;
    }
    file->stream = fdopen(fd, "r");
    if (!file->stream)
        panic("out of memory: reading %s", file->path);
    file->device = stat_.st_dev;
    file->inode = stat_.st_ino;
    return true;
}

static void read_open_file(struct file *file)
{
    if (includes_itself(file)) {
        complain_open(file, "the file includes itself");
        return;
    }
    read_settings(file);
    if (*file->include)
        read_includes(file);
}

static void load_file(struct load *load, const char *path, const struct file *parent)
{
    struct file file = {.load = load, .path = path, .parent = parent};
    file.depth = parent ? parent->depth + 1 : 0;
    if (load->path_count == FILES_MAX || file.depth >= DEPTH_MAX) {
        complain_open(&file, "too many files (at most 64, 8 deep)");
        return;
    }
    file.path = load->paths[load->path_count++] = strdup(path);
    if (!file.path)
        panic("out of memory: reading %s", path);
    if (!open_stream(&file))
        return;
    read_open_file(&file);
    fclose(file.stream);
}

/* The rules over several keys, once every file is read. */
static enum status finish(struct load *load, const char *path)
{
    struct buffer *problems = load->problems;
    if (load->problem_count > PROBLEMS_MAX)
        conf_problem(problems, path, "and %u more problems", load->problem_count - PROBLEMS_MAX);
    enum status status = conf_rules(load->conf, load->origins, path, problems);
    for (unsigned i = 0; i < load->path_count; i++)
        free(load->paths[i]);
    return load->problem_count > 0 ? STATUS_INVALID : status;
}

enum status conf_load(struct conf *conf, const char *path, struct buffer *problems)
{
    struct load load = {.conf = conf, .problems = problems, .by_hand = true};
    load_file(&load, path, NULL);
    return finish(&load, path);
}

enum status conf_read_fd(struct conf *conf, int fd, struct buffer *problems)
{
    struct load load = {.conf = conf, .problems = problems};
    struct file file = {.load = &load, .path = "configuration"};
    char text[CONF_KEY_COUNT * LINE_BYTES];
    ssize_t len = pread(fd, text, sizeof text, 0);
    file.stream = len > 0 ? fmemopen(text, (size_t)len, "r") : NULL;
    if (!file.stream) {
        conf_problem(problems, file.path, "cannot be read: %s",
                     len < 0 ? strerror(errno) : "empty");
        return STATUS_INVALID;
    }
    machine_trust(); /* the supervisor has judged; and a limit may have changed since */
    conf_defaults(conf, false);
    read_settings(&file);
    fclose(file.stream);
    return finish(&load, file.path);
}

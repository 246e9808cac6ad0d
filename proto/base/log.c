/*
 * log - see log.h. Any process. A line that standard error does not take at
 * once is lost: no process waits to write its log.
 */
#include "proto/base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/text.h"

static const char *process_name = "strato";
static enum log_level threshold = LOG_INFO;
static bool as_json;
static bool to_journal;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_open(const char *name, enum log_level level, bool json)
{
    process_name = name;
    threshold = level;
    as_json = json;
}

void log_set_level(enum log_level level)
{
    threshold = level;
}

enum log_level log_level(void)
{
    return threshold;
}

/* Copies text into out (size bytes), escaped as the inside of a JSON string; cuts what does not
 * fit. */
static void escape_json(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text && n + TEXT_JSON_MAX < size) {
        text += text_json(text, out + n);
        n += strlen(out + n);
    }
    out[n] = '\0';
}

/* A stopped terminal or a full pipe must not stop us too. */
static void emit(const char *line, size_t len)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) == 1 && write(STDERR_FILENO, line, len) < 0)
        return; /* nowhere left to say it */
}

__attribute__((format(printf, 2, 0))) static void write_line(enum log_level level,
                                                             const char *format, va_list args)
{
    char message[LOG_LINE_MAX / 2];
    char line[LOG_LINE_MAX];
    struct timespec now;
    struct tm utc;
    char stamp[32];

    vsnprintf(message, sizeof message, format, args);
    if (!as_json)
        text_flatten(message); /* it must stay one line */
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    int len;
    if (as_json) {
        char escaped[LOG_LINE_MAX - 160];
        escape_json(message, escaped, sizeof escaped);
        len = snprintf(line, sizeof line,
                       "%s{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,"
                       "\"message\":\"%s\"}\n",
                       log_prefix(level), stamp, now.tv_nsec / 1000000, level_names[level],
                       process_name, (int)getpid(), escaped);
    } else {
        len = snprintf(line, sizeof line, "%s%s.%03ldZ %-5s %s[%d]: %s\n", log_prefix(level), stamp,
                       now.tv_nsec / 1000000, level_names[level], process_name, (int)getpid(),
                       message);
    }
    if (len > 0)
        emit(line, (size_t)len);
}

enum log_level log_level_of(const char *line)
{
    char name[8] = "";
    if (sscanf(line, "%*24[0-9T:.Z-] %5[a-z] ", name) != 1)
        (void)!sscanf(line, "{\"time\":\"%*24[0-9T:.Z-]\",\"level\":\"%5[a-z]\"", name);
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++)
        if (strcmp(name, level_names[level]) == 0)
            return (enum log_level)level;
    return LOG_WARN;
}

/* ---- The journal ---- */

bool log_find_journal(void)
{
    struct stat info;
    unsigned long long device = 0, inode = 0;
    const char *stream = getenv("JOURNAL_STREAM"); /* see systemd.exec(5) */
    to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
    return to_journal;
}

const char *log_prefix(enum log_level level)
{
    static const char *const prefixes[] = {"<7>", "<6>", "<4>", "<3>"}; /* see sd-daemon(3) */
    return to_journal ? prefixes[level] : "";
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level < threshold)
        return;
    va_list args;
    va_start(args, format);
    write_line(level, format, args);
    va_end(args);
}

void log_always(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(LOG_INFO, format, args);
    va_end(args);
}

void panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(LOG_ERROR, format, args);
    va_end(args);
    abort();
}

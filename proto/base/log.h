/*
 * log - one line per event on standard error, as text or as JSON.
 *
 * A process calls log_open() once with its name; the supervisor relays its children's lines and
 * keeps the last warning or error of each. An error is logged once, where it is handled. A line is
 * at most LOG_LINE_MAX bytes and is written with one write().
 */
#ifndef STRATO_PROTO_BASE_LOG_H
#define STRATO_PROTO_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum { LOG_LINE_MAX = 2048 };

/* name is borrowed for good ("stratod", "http-0"). Until it is called: text, level info. */
void log_open(const char *name, enum log_level level, bool json);
void log_set_level(enum log_level level);
/* The level of a line that log_write() of some process has made; LOG_WARN for any other. */
enum log_level log_level_of(const char *line);
/* Whether standard error is systemd's journal; from then on each line begins with its level as the
 * journal reads it. */
bool log_find_journal(void);
/* That beginning, for lines of others that are passed on; "" when there is no journal. */
const char *log_prefix(enum log_level level);
enum log_level log_level(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same at level info, whatever the level is. */
void log_always(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* An invariant of our own does not hold: say which, and abort(). Never for a peer's data. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

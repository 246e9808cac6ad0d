/*
 * status - one row per process: what the supervisor says of it, its memory from /proc, and the
 * requests it answered per second, from two looks at its figures.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "supervisor/stratoctl/ask.h"
#include "supervisor/stratoctl/samples.h"
#include "supervisor/stratoctl/table.h"
#include "supervisor/stratoctl/views.h"

enum { FIRST_LOOK_MS = 250, WATCH_MS = 1000 };

struct look {
    uint64_t at_ms;
    struct samples samples;
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static void take_look(int fd, const json_t *rows, struct look *look)
{
    samples_free(&look->samples);
    look->at_ms = clock_ms();
    (void)!samples_take(&look->samples, fd, rows); /* then there is no rate */
}

static double resident_bytes(int pid)
{
    char path[64];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* What a process has done so far: workers count requests, stores what they took from the rings. */
static double done_by(const struct look *look, const json_t *row)
{
    const char *name = text_of(row, "name");
    if (strcmp(text_of(row, "kind"), "store") == 0)
        return samples_sum(&look->samples, "strato_store_submissions_total", "backend",
                           name + strlen("store-"));
    return samples_sum(&look->samples, "strato_requests_total", "process", name);
}

/* Adds what the supervisor does not know: memory and, if there were two looks, requests. */
static void complete(json_t *rows, const struct look *before, const struct look *now)
{
    size_t i;
    json_t *row;
    double seconds = (double)(now->at_ms - before->at_ms) / 1e3;
    json_array_foreach(rows, i, row)
    {
        double more = done_by(now, row) - done_by(before, row);
        json_object_set_new(row, "memory_bytes",
                            json_integer((json_int_t)resident_bytes((int)number_of(row, "pid"))));
        if (i > 0 && seconds > 0 && before->samples.count > 0)
            json_object_set_new(row, "requests_per_second",
                                json_real(more > 0 ? more / seconds : 0));
    }
}

static void add_row(struct table *table, const json_t *row)
{
    char pid[32], restarts[32];
    bool up = number_of(row, "pid") > 0;
    const json_t *rate = json_object_get(row, "requests_per_second");
    snprintf(pid, sizeof pid, ">%.0f", number_of(row, "pid"));
    snprintf(restarts, sizeof restarts, ">%.0f", number_of(row, "restarts"));
    table_row(table, text_of(row, "name"), text_of(row, "kind"), up ? pid : ">-",
              text_of(row, "state"), up ? table_time(number_of(row, "uptime_ms") / 1e3) : ">-",
              restarts, rate ? table_number(json_number_value(rate)) : ">-",
              up ? table_bytes(number_of(row, "memory_bytes")) : ">-", text_of(row, "reason"),
              NULL);
    if (number_of(row, "other_pid") <= 0)
        return;
    snprintf(pid, sizeof pid, ">%.0f", number_of(row, "other_pid"));
    table_row(table, "", "", pid, text_of(row, "other_state"), NULL);
}

static void print(const json_t *rows, bool json)
{
    size_t i;
    json_t *row;
    if (json) {
        json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
        printf("\n");
        return;
    }
    struct table *table = table_new();
    table_row(table, "NAME", "KIND", ">PID", "STATE", ">UPTIME", ">RESTARTS", ">REQ/S", ">MEMORY",
              "LAST END", NULL);
    json_array_foreach(rows, i, row)
    {
        add_row(table, row);
    }
    table_print(&table);
    const char *listen = text_of(json_array_get(rows, 0), "listen");
    if (*listen)
        printf("\n%s\n", listen);
}

static void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* One picture. before: of the last one; nothing in it for the first. */
static bool show(const struct options *options, struct look *before)
{
    struct look now = {0};
    json_t *rows = NULL;
    int fd;
    if (!ask_status(options->socket, options->json, &rows, &fd))
        return false;
    bool first = before->samples.count == 0;
    if (first)
        take_look(fd, rows, before);
    if (first && before->samples.count > 0)
        pause_ms(FIRST_LOOK_MS);
    if (before->samples.count > 0)
        take_look(fd, rows, &now);
    complete(rows, before, &now);
    if (options->watch && !options->json)
        printf("\033[H\033[J");
    print(rows, options->json);
    bool shown = fflush(stdout) == 0;
    json_decref(rows);
    if (fd >= 0)
        close(fd);
    samples_free(&before->samples);
    *before = now;
    return shown;
}

int view_status(const struct options *options)
{
    struct look before = {0};
    bool good = show(options, &before);
    while (good && options->watch) {
        pause_ms(WATCH_MS);
        good = show(options, &before);
    }
    samples_free(&before.samples);
    return good ? 0 : 1;
}

/*
 * processes - which processes there are: the supervisor's roster, and what /proc says of each.
 *
 * Without a roster (an older supervisor's, for the time of an upgrade) there is this process alone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/run/roster.h"
#include "workers/core/internal.h"

/* Its time on the processors, in ticks, and its memory in RAM, in pages. */
struct use {
    bool known;
    uint64_t ticks, pages;
};

static struct use look_at(int32_t pid)
{
    struct use use = {0};
    char path[64], text[1024];
    uint64_t user, system;
    snprintf(path, sizeof path, "/proc/%" PRId32 "/stat", pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file)
        return use;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *rest = strrchr(text, ')'); /* the end of its name, which may hold anything */
    use.known = rest && sscanf(rest,
                               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                               " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                               &user, &system, &use.pages) == 3;
    if (use.known)
        use.ticks = user + system;
    return use;
}

/* The value of one figure of a process; false: it has none. */
typedef bool value_of(const struct roster_row *row, const struct use *use, double *value_r);

static bool ready(const struct roster_row *row, const struct use *use, double *value_r)
{
    (void)use;
    *value_r = row->ready;
    return true;
}

static bool restarts(const struct roster_row *row, const struct use *use, double *value_r)
{
    (void)use;
    *value_r = row->restarts;
    return true;
}

static bool deaths(const struct roster_row *row, const struct use *use, double *value_r)
{
    (void)use;
    *value_r = row->deaths;
    return true;
}

static bool processor(const struct roster_row *row, const struct use *use, double *value_r)
{
    (void)row;
    *value_r = (double)use->ticks / (double)sysconf(_SC_CLK_TCK);
    return use->known;
}

static bool memory(const struct roster_row *row, const struct use *use, double *value_r)
{
    (void)row;
    *value_r = (double)use->pages * (double)sysconf(_SC_PAGESIZE);
    return use->known;
}

static bool started(const struct roster_row *row, const struct use *use, double *value_r)
{
    *value_r = (double)row->started_ms / 1e3;
    return use->known && row->started_ms > 0;
}

static const struct {
    const char *name, *help;
    value_of *value;
    enum figure_type type;
    bool of_roster; /* the roster alone knows it */
} rows[] = {
    {"strato_process_ready", "1 when a process serves, else 0.", ready, FIGURE_GAUGE, true},
    {"strato_process_restarts_total", "Starts of a process since the first, planned or not.",
     restarts, FIGURE_COUNTER, true},
    {"strato_process_deaths_total", "Ends of a process that nobody had asked for.", deaths,
     FIGURE_COUNTER, true},
    {"strato_process_cpu_seconds_total", "CPU time used by a process.", processor, FIGURE_COUNTER,
     false},
    {"strato_process_resident_memory_bytes",
     "Memory of a process that is in RAM, shared mappings included.", memory, FIGURE_GAUGE, false},
    {"strato_process_start_time_seconds", "When a process started, in Unix time.", started,
     FIGURE_GAUGE, false},
};

static void give(const struct roster *roster, const struct use *uses, unsigned r,
                 figures_take *take, void *context)
{
    char labels[64];
    double value;
    for (uint32_t i = 0; i < roster->count; i++) {
        if (!rows[r].value(&roster->rows[i], &uses[i], &value))
            continue;
        snprintf(labels, sizeof labels, "process=\"%s\"", roster->rows[i].name);
        const struct figure figure = {rows[r].name, rows[r].name, labels,
                                      rows[r].help, rows[r].type, value};
        take(context, &figure);
    }
}

void core_processes(const struct core *core, struct figures *figures, figures_take *take,
                    void *context)
{
    struct roster roster;
    struct use uses[ROSTER_ROWS];
    bool known = roster_read(RUN_FD_ROSTER, &roster);
    if (!known) {
        roster = (struct roster){.count = 1, .rows[0].pid = getpid()};
        snprintf(roster.rows[0].name, sizeof roster.rows[0].name, "%s", core->child->name);
    }
    for (uint32_t i = 0; i < roster.count; i++) {
        uses[i] = look_at(roster.rows[i].pid);
        figures_show(figures, roster.rows[i].name);
    }
    for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++)
        if (known || !rows[r].of_roster)
            give(&roster, uses, r, take, context);
}

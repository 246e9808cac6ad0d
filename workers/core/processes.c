/*
 * processes - the figures of every process: the supervisor's roster, and what /proc says of each.
 *
 * Without a roster (an older supervisor's, for the time of an upgrade) there is this process alone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/run/roster.h"
#include "workers/core/internal.h"

static void add(struct core *core, const struct roster_row *row, const char *name, const char *help,
                bool counter, double value)
{
    char labels[64];
    snprintf(labels, sizeof labels, "process=\"%s\"", row->name);
    Strato__Control__Sample sample = STRATO__CONTROL__SAMPLE__INIT;
    sample.name = (char *)name;
    sample.help = (char *)help;
    sample.labels = labels;
    sample.counter = counter;
    sample.value = value;
    core_stats_add(core, &sample);
}

/* Its time on the processors, in ticks, and its memory in RAM, in pages. */
static bool look_at(int32_t pid, uint64_t *ticks_r, uint64_t *pages_r)
{
    char path[64], text[1024];
    uint64_t user, system;
    snprintf(path, sizeof path, "/proc/%" PRId32 "/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *rest = strrchr(text, ')'); /* the end of its name, which may hold anything */
    if (!rest || sscanf(rest,
                        ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                        " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                        &user, &system, pages_r) != 3)
        return false;
    *ticks_r = user + system;
    return true;
}

static void add_use(struct core *core, const struct roster_row *row)
{
    uint64_t ticks, pages;
    if (row->pid <= 0 || !look_at(row->pid, &ticks, &pages))
        return;
    add(core, row, "strato_process_cpu_seconds_total", "CPU time used by a process.", true,
        (double)ticks / (double)sysconf(_SC_CLK_TCK));
    add(core, row, "strato_process_resident_memory_bytes",
        "Memory of a process that is in RAM, shared mappings included.", false,
        (double)pages * (double)sysconf(_SC_PAGESIZE));
    if (row->started_ms > 0)
        add(core, row, "strato_process_start_time_seconds", "When a process started, in Unix time.",
            false, (double)row->started_ms / 1e3);
}

static void add_row(struct core *core, const struct roster_row *row)
{
    add(core, row, "strato_process_ready", "1 when a process serves, else 0.", false, row->ready);
    add(core, row, "strato_process_restarts_total",
        "Starts of a process since the first, planned or not.", true, row->restarts);
    add(core, row, "strato_process_deaths_total", "Ends of a process that nobody had asked for.",
        true, row->deaths);
    add_use(core, row);
}

void core_processes_add(struct core *core)
{
    struct roster roster;
    if (!roster_read(RUN_FD_ROSTER, &roster)) {
        struct roster_row own = {.pid = getpid()};
        snprintf(own.name, sizeof own.name, "%s", core->child->name);
        add_use(core, &own);
        return;
    }
    for (uint32_t i = 0; i < roster.count; i++)
        add_row(core, &roster.rows[i]);
}

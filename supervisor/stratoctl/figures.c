/*
 * figures - see figures.h. stratoctl, as a client of the stores' links. What a store says is only
 * ever copied and printed.
 */
#include "supervisor/stratoctl/figures.h"

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/link/link.h"
#include "proto/run/run.h"

enum { PATIENCE_MS = 2000, LOOK_MS = 20, SAMPLES_MAX = 100000 };

static char *copy(const char *text)
{
    char *own = strdup(text);
    if (!own)
        err(1, "out of memory");
    return own;
}

static void add(struct figures *figures, const Strato__Control__Sample *from)
{
    if (figures->count >= SAMPLES_MAX)
        return;
    if ((figures->count & (figures->count - 1)) == 0) { /* at powers of two */
        size_t capacity = figures->count ? 2 * figures->count : 1;
        figures->samples = realloc(figures->samples, capacity * sizeof *figures->samples);
        if (!figures->samples)
            err(1, "out of memory");
    }
    figures->samples[figures->count++] = (struct figure_sample){
        copy(from->name), copy(from->labels), copy(from->help), from->value, false};
}

static bool send_page(struct link_client *link, uint32_t page)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Stats stats = STRATO__CONTROL__STATS__INIT;
    request.id = page + 1;
    request.body_case = STRATO__CONTROL__REQUEST__BODY_STATS;
    stats.page = page;
    request.stats = &stats;
    return link_client_send(link, &request);
}

/* Takes the answer for a page; false when there is none yet. */
static bool take_page(struct link_client *link, struct figures *figures, uint32_t *page,
                      bool *end_r)
{
    Strato__Control__Reply *reply = link_client_receive(link);
    if (!reply)
        return false;
    bool mine = reply->id == *page + 1 && reply->body_case == STRATO__CONTROL__REPLY__BODY_STATS;
    for (size_t i = 0; mine && i < reply->stats->n_samples; i++)
        add(figures, reply->stats->samples[i]);
    if (mine) {
        *page = reply->stats->next;
        *end_r = *page == 0;
    }
    strato__control__reply__free_unpacked(reply, NULL);
    return mine;
}

static void drop_from(struct figures *figures, size_t count)
{
    while (figures->count > count) {
        struct figure_sample *sample = &figures->samples[--figures->count];
        free(sample->name);
        free(sample->labels);
        free(sample->help);
    }
}

static bool converse(struct link_client *link, struct figures *figures)
{
    bool end = false, asked = false;
    uint32_t page = 0;
    uint64_t until = clock_ms() + PATIENCE_MS, now;
    while (!end && (now = clock_ms()) < until) {
        struct pollfd readable = {.fd = link_client_fd(link), .events = POLLIN};
        link_client_tick(link, now);
        if (!asked)
            asked = send_page(link, page);
        if (take_page(link, figures, &page, &end))
            asked = false;
        else
            poll(&readable, 1, LOOK_MS);
    }
    return end;
}

static bool backend_called(const char *name, enum backend *backend_r)
{
    for (int i = 0; i < BACKEND_COUNT; i++) {
        *backend_r = (enum backend)i;
        if (strcmp(backend_name(*backend_r), name) == 0)
            return true;
    }
    return false;
}

bool figures_fetch(struct figures *figures, const char *run_dir, const char *backend_text)
{
    struct conf conf = {0};
    enum backend backend;
    char url[RUN_URL_MAX], reason[256];
    size_t before = figures->count;
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", run_dir);
    if (!backend_called(backend_text, &backend))
        return false;
    run_link_url(&conf, backend, url);
    if (access(url + strlen("ipc://"), R_OK | W_OK) != 0)
        return false;
    struct link_client *link = link_client_open(url, reason, sizeof reason);
    if (!link)
        return false;
    bool done = converse(link, figures);
    link_client_close(&link);
    if (!done)
        drop_from(figures, before);
    return done;
}

void figures_free(struct figures *figures)
{
    drop_from(figures, 0);
    free(figures->samples);
    *figures = (struct figures){0};
}

const char *figures_label(const struct figure_sample *sample, const char *label)
{
    static char value[128];
    size_t len = strlen(label);
    for (const char *at = sample->labels; at && *at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, label, len) == 0 && at[len] == '=' && at[len + 1] == '"') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + len + 2, "\""), at + len + 2);
            return value;
        }
    }
    return "";
}

bool figures_is(const struct figure_sample *sample, const char *name, const char *label,
                const char *value)
{
    return strcmp(sample->name, name) == 0 &&
           (!label || strcmp(figures_label(sample, label), value) == 0);
}

double figures_sum(const struct figures *figures, const char *name, const char *label,
                   const char *value)
{
    double sum = 0;
    for (size_t i = 0; i < figures->count; i++)
        if (figures_is(&figures->samples[i], name, label, value))
            sum += figures->samples[i].value;
    return sum;
}

/*
 * reload - see internal.h: the configuration read again while everything runs. The supervisor.
 *
 * What each key needs stands in the table of keys (conf_key.reload): a message, other processes, or
 * a restart of stratod itself. What cannot be had while it runs keeps its old value, and the report
 * says so.
 *
 * Fails as a whole and before anything is changed: a file with a problem, an address that cannot
 * be listened on, no descriptors.
 */
#include <unistd.h>

#include "supervisor/internal.h"

struct change {
    struct conf loaded;         /* the file as it is now */
    struct conf next;           /* what shall be in force */
    unsigned needs;             /* enum conf_reload */
    int listen[PROTOCOL_COUNT]; /* new sockets, or -1 */
};

static void log_lines(enum log_level level, const struct buffer *text)
{
    for (size_t at = 0; at < text->len;) {
        const char *line = (const char *)text->data + at;
        const char *end = memchr(line, '\n', text->len - at);
        size_t len = end ? (size_t)(end - line) : text->len - at;
        log_write(level, "%.*s", (int)len, line);
        at += len + 1;
    }
}

static bool open_listener(struct change *change, const struct supervisor *s, enum protocol protocol,
                          struct buffer *why)
{
    bool grpc = protocol == PROTOCOL_GRPC;
    const struct conf_protocol *before = grpc ? &s->loaded.grpc : &s->loaded.http;
    struct conf_protocol *next = grpc ? &change->next.grpc : &change->next.http;
    bool same =
        strcmp(before->listen, grpc ? change->loaded.grpc.listen : change->loaded.http.listen) == 0;
    if (!next->enabled || (same && before->enabled))
        return true;
    return shared_listen(protocol, next->listen, s->shared.listen[protocol],
                         &change->listen[protocol], why) == STATUS_OK;
}

/* Whether everything that can fail is done. */
static bool prepare(struct supervisor *s, struct change *change, struct buffer *report,
                    struct buffer *problems)
{
    struct conf file;
    if (!s->path) {
        buffer_append_text(problems, "there is no configuration file to read again");
        return false;
    }
    conf_defaults(&file, false);
    if (conf_load(&file, s->path, problems) != STATUS_OK)
        return false;
    change->needs = conf_merge(&change->loaded, &change->next, &file, report);
    return conf_check(&change->next, s->path, problems) == STATUS_OK &&
           open_listener(change, s, PROTOCOL_HTTP, problems) &&
           open_listener(change, s, PROTOCOL_GRPC, problems) &&
           shared_grow(&s->shared, &change->next, problems) == STATUS_OK &&
           shared_set_config(&s->shared, &change->next, problems) == STATUS_OK;
}

static void swap_listener(struct supervisor *s, const struct change *change, enum protocol protocol,
                          bool enabled)
{
    int *fd = &s->shared.listen[protocol];
    if (*fd >= 0 && (!enabled || change->listen[protocol] >= 0)) {
        close(*fd);
        *fd = -1;
    }
    if (change->listen[protocol] >= 0)
        *fd = change->listen[protocol];
}

static unsigned need_of(const struct role *role)
{
    if (!role->worker)
        return CONF_ROLL_STORES;
    return strcmp(role->kind, "grpc") == 0 ? CONF_ROLL_GRPC : CONF_ROLL_HTTP;
}

static void plan_slot(struct supervisor *s, const struct change *change, const struct role *role,
                      unsigned number, uint64_t now_ms)
{
    struct slot *slot = supervisor_slot(s, role, number);
    bool wanted = role->wanted(s->conf, number);
    if (slot->role && !wanted) {
        slot_stop(slot, RUN_STOP_ONE, now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
        slot->plan = SLOT_TO_LEAVE;
    } else if (!slot->role && wanted) {
        slot_init(slot, role, s->conf, number);
        slot->waiting = false; /* its turn comes after the stores' */
        slot->plan = SLOT_TO_RESTART;
    } else if (wanted && (change->needs & need_of(role))) {
        slot->plan = SLOT_TO_RESTART;
    }
    if (slot->role)
        slot_log_level(slot, s->conf->log_level);
}

static void commit(struct supervisor *s, const struct change *change, uint64_t now_ms)
{
    *s->conf = change->next;
    s->loaded = change->loaded;
    log_open(s->program, s->conf->log_level, s->conf->log_json);
    swap_listener(s, change, PROTOCOL_HTTP, s->conf->http.enabled);
    swap_listener(s, change, PROTOCOL_GRPC, s->conf->grpc.enabled);
    for (unsigned r = 0; r < ROLE_COUNT; r++)
        for (unsigned i = 0; i < roles[r].limit; i++)
            plan_slot(s, change, &roles[r], i, now_ms);
    roll_begin(s);
}

bool reload(struct supervisor *s, struct buffer *report, uint64_t now_ms)
{
    struct buffer problems = {0};
    struct change change = {s->loaded, *s->conf, 0, {-1, -1}};
    if (prepare(s, &change, report, &problems)) {
        if (report->len == 0)
            buffer_append_text(report, "nothing has changed\n");
        commit(s, &change, now_ms);
        s->reload_left = change.needs & CONF_RESTART;
        log_info("%s is read again", s->path);
        log_lines(LOG_INFO, report);
        buffer_free(&problems);
        return true;
    }
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        if (change.listen[i] >= 0)
            close(change.listen[i]);
    log_error("the configuration is not reloaded, everything goes on as it is:");
    log_lines(LOG_ERROR, &problems);
    buffer_free(report);
    *report = problems;
    return false;
}

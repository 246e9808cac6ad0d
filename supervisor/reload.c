/*
 * reload - see reload.h. The supervisor.
 *
 * What each key needs stands in the table of keys (conf_key.reload): a message, other processes, or
 * a restart of stratod itself. What cannot be had while it runs keeps its old value, and the report
 * says so.
 *
 * Fails as a whole and before anything is changed: a file with a problem, an address that cannot
 * be listened on, no descriptors. And when a process cannot start with it, what was in force before
 * is brought back (in_force.h), and so are the processes that were replaced already.
 */
#include "supervisor/reload.h"

#include <unistd.h>

#include "proto/conf/machine.h"
#include "supervisor/announce.h"
#include "supervisor/fleet.h"
#include "supervisor/in_force.h"
#include "supervisor/limits.h"
#include "supervisor/roll.h"

struct change {
    struct conf loaded; /* the file as it is now */
    struct conf next;   /* what shall be in force */
    unsigned needs;     /* enum conf_reload */
    int config;
    struct listeners listen[PROTOCOL_COUNT];
};

static bool same_listeners(const struct listeners *one, const struct listeners *other)
{
    bool same = one->count == other->count;
    for (unsigned i = 0; same && i < one->count; i++)
        same = one->at[i].fd == other->at[i].fd;
    return same;
}

/* Reports the files of unix sockets that were removed. */
static void tell_made_anew(enum protocol protocol, const struct listeners *now,
                           const struct listeners *next, struct buffer *report)
{
    for (unsigned i = 0; i < now->count; i++)
        for (unsigned j = 0; j < next->count; j++)
            if (now->at[i].inode != 0 && now->at[i].fd != next->at[j].fd &&
                strcmp(now->at[i].wanted, next->at[j].wanted) == 0)
                buffer_append_format(report, "[%s] listen: %s was removed and is made anew\n",
                                     protocol_name(protocol), now->at[i].text);
}

/* Opens what is new; what stays is taken as it is. */
static bool open_listeners(struct change *change, struct supervisor *s, enum protocol protocol,
                           struct buffer *report, struct buffer *why)
{
    struct conf_protocol *next = protocol_conf(&change->next, protocol);
    const struct listeners *now = &s->shared.listen[protocol];
    const char *name = protocol_name(protocol);
    if (listen_is_handed(now)) {
        memcpy(next->listen, protocol_conf(s->conf, protocol)->listen, sizeof next->listen);
        if (change->needs & protocols[protocol].roll)
            buffer_append_format(report, "[%s] listens on the sockets of systemd's unit\n", name);
        change->listen[protocol] = *now;
        return true;
    }
    memcpy(next->listen, protocol_conf(&change->loaded, protocol)->listen, sizeof next->listen);
    if (!next->enabled)
        return true;
    if (listen_open(protocol, next, s->shared.listen, &change->listen[protocol], why) != STATUS_OK)
        return false;
    tell_made_anew(protocol, now, &change->listen[protocol], report);
    if (!same_listeners(now, &change->listen[protocol]))
        change->needs |= protocols[protocol].roll;
    return true;
}

static bool open_all_listeners(struct change *change, struct supervisor *s, struct buffer *report,
                               struct buffer *why)
{
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++)
        if (!open_listeners(change, s, i, report, why))
            return false;
    return true;
}

/* Whether everything that can fail before a process is started is done. */
static bool prepare_change(struct supervisor *s, struct change *change, struct buffer *report,
                           struct buffer *problems)
{
    struct conf file;
    if (!s->path) {
        buffer_append_text(problems, "there is no configuration file to read again");
        return false;
    }
    machine_forget(); /* limits may have changed */
    conf_defaults(&file, false);
    if (conf_load(&file, s->path, problems) != STATUS_OK)
        return false;
    change->needs = conf_merge(&change->loaded, &change->next, &file, report);
    return conf_check(&change->next, s->path, problems) == STATUS_OK &&
           limits_fit(&change->next, report, problems) == STATUS_OK &&
           open_all_listeners(change, s, report, problems) &&
           shared_grow(&s->shared, &change->next, problems) == STATUS_OK &&
           shared_make_config(&change->next, &change->config, problems) == STATUS_OK;
}

static unsigned need_of(const struct role *role)
{
    if (!role->worker)
        return CONF_ROLL_STORES;
    return protocols[role->protocol].roll;
}

static void plan_slot(struct supervisor *s, const struct change *change, const struct role *role,
                      unsigned number, uint64_t now_ms)
{
    struct slot *slot = fleet_slot(s, role, number);
    bool wanted = role->wanted(role, s->conf, number);
    if (slot->role && !wanted) {
        slot_stop(slot, RUN_STOP_ONE, now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
        slot->plan = SLOT_TO_LEAVE;
    } else if (!slot->role && wanted) {
        slot_init(slot, role, number);
        slot->waiting = false; /* its turn comes after the stores' */
        slot->plan = SLOT_TO_RESTART;
    } else if (wanted && (change->needs & need_of(role))) {
        slot->plan = SLOT_TO_RESTART;
    }
    if (slot->role)
        slot_log_level(slot, s->conf->log_level);
}

static void commit_change(struct supervisor *s, const struct change *change, uint64_t now_ms)
{
    in_force_replace(s, &change->next, &change->loaded, change->config, change->listen);
    for (unsigned r = 0; r < ROLE_COUNT; r++)
        for (unsigned i = 0; i < roles[r].limit; i++)
            plan_slot(s, change, &roles[r], i, now_ms);
    roll_begin(s);
}

static void drop_change(struct supervisor *s, struct change *change)
{
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        listen_close(&change->listen[i], &s->shared.listen[i]);
    if (change->config >= 0)
        close(change->config);
}

static void refuse_change(struct supervisor *s, struct change *change, struct buffer *problems)
{
    drop_change(s, change);
    log_error("the configuration is not reloaded, everything goes on as it is:");
    announce_lines(LOG_ERROR, problems);
}

bool reload(struct supervisor *s, struct buffer *report, uint64_t now_ms)
{
    struct buffer problems = {0};
    struct change change = {s->loaded, *s->conf, 0, -1, {{0}}};
    if (prepare_change(s, &change, report, &problems)) {
        if (report->len == 0)
            buffer_append_text(report, "nothing has changed\n");
        commit_change(s, &change, now_ms);
        s->reload_left = change.needs & CONF_RESTART;
        log_info("%s is read again", s->path);
        announce_lines(LOG_INFO, report);
        buffer_free(&problems);
        return true;
    }
    refuse_change(s, &change, &problems);
    buffer_free(report);
    *report = problems;
    return false;
}

void reload_listeners(struct supervisor *s, uint64_t now_ms)
{
    struct buffer report = {0}, why = {0};
    struct change change = {s->loaded, *s->conf, 0, -1, {{0}}};
    s->listen_lost = false;
    bool good = open_all_listeners(&change, s, &report, &why) &&
                shared_make_config(&change.next, &change.config, &why) == STATUS_OK;
    if (good && change.needs != 0) {
        announce_lines(LOG_WARN, &report);
        commit_change(s, &change, now_ms);
    } else {
        drop_change(s, &change);
    }
    if (!good && !s->keep.listen_told)
        announce_lines(LOG_ERROR, &why);
    s->keep.listen_told = !good;
    buffer_free(&report);
    buffer_free(&why);
}

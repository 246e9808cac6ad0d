/*
 * in_force - see in_force.h. The supervisor. Nothing here can fail: whatever can was done before.
 */
#include "supervisor/in_force.h"

#include <unistd.h>

static void put_in_force(struct supervisor *s, const struct conf *conf, const struct conf *loaded,
                         int config, const struct listeners *listen)
{
    *s->conf = *conf;
    s->loaded = *loaded;
    s->shared.config = config;
    memcpy(s->shared.listen, listen, sizeof s->shared.listen);
    log_open(s->program, s->conf->log_level, s->conf->log_json);
    s->look_at_ms = 0;
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        listen_set_modes(&s->shared.listen[i], protocol_conf(s->conf, (enum protocol)i));
}

static void keep_before(struct supervisor *s)
{
    struct before *before = &s->before;
    before->valid = true;
    before->conf = *s->conf;
    before->loaded = s->loaded;
    before->config = s->shared.config;
    memcpy(before->listen, s->shared.listen, sizeof before->listen);
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        before->used[i] = s->slots[i].role != NULL;
        before->serials[i] = slot_child(&s->slots[i])->serial;
    }
}

void in_force_replace(struct supervisor *s, const struct conf *conf, const struct conf *loaded,
                      int config, const struct listeners *listen)
{
    keep_before(s);
    put_in_force(s, conf, loaded, config, listen);
}

void in_force_settle(struct supervisor *s)
{
    struct before *before = &s->before;
    if (!before->valid)
        return;
    before->valid = false;
    close(before->config);
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        listen_close(&before->listen[i], &s->shared.listen[i]);
}

/* Plans what a slot needs to be as it was before the reload. */
static void plan_back(struct supervisor *s, unsigned i, uint64_t now_ms)
{
    struct slot *slot = &s->slots[i];
    const struct role *role = roles;
    unsigned number = i;
    for (; number >= role->limit; role++)
        number -= role->limit;
    if (slot->role && !s->before.used[i]) {
        slot_stop(slot, RUN_STOP_ONE, now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
        slot->plan = SLOT_TO_LEAVE;
    } else if (!slot->role && s->before.used[i]) {
        slot_init(slot, role, number);
        slot->waiting = false;
        slot->plan = SLOT_TO_RESTART;
    } else if (slot->role && slot_alive(slot) && slot_child(slot)->serial != s->before.serials[i]) {
        slot->plan = SLOT_TO_RESTART;
    }
    if (slot->role)
        slot_log_level(slot, s->conf->log_level);
}

bool in_force_go_back(struct supervisor *s, uint64_t now_ms)
{
    struct before *before = &s->before;
    struct listeners tried[PROTOCOL_COUNT];
    if (!before->valid)
        return false;
    log_error("the reloaded configuration does not work; going back to the one before");
    memcpy(tried, s->shared.listen, sizeof tried);
    close(s->shared.config);
    put_in_force(s, &before->conf, &before->loaded, before->config, before->listen);
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        listen_close(&tried[i], &before->listen[i]);
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        plan_back(s, i, now_ms);
    before->valid = false;
    s->reload_left = false;
    s->going_back = true;
    return true;
}

/*
 * command - see command.h: one row for each word that stratoctl may send. The supervisor.
 *
 * Fails by an answer that says why.
 */
#include "supervisor/command.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "supervisor/announce.h"
#include "supervisor/fleet.h"
#include "supervisor/reload.h"
#include "supervisor/roll.h"

/* ---- At once ---- */

static void append_child(struct buffer *out, const struct child *child, uint64_t now_ms)
{
    bool alive = child->state != CHILD_NONE;
    buffer_append_format(out, ", \"pid\": %d, \"uptime_ms\": %" PRIu64, alive ? (int)child->pid : 0,
                         alive ? now_ms - child->started_ms : 0);
}

static void append_slot(struct buffer *out, struct slot *slot, uint64_t now_ms)
{
    const struct child *other = slot_other(slot);
    buffer_append_format(out, "{\"name\": \"%s\", \"kind\": \"%s\", \"state\": \"%s\"", slot->name,
                         role_kind(slot->role), slot_state(slot));
    append_child(out, slot_child(slot), now_ms);
    buffer_append_format(out, ", \"other_pid\": %d, \"other_state\": \"%s\"",
                         other->state == CHILD_NONE ? 0 : (int)other->pid,
                         other->state == CHILD_STARTING ? "starting" : "draining");
    buffer_append_format(out, ", \"restarts\": %u, \"deaths\": %u, \"reason\": ",
                         slot->starts > 0 ? slot->starts - 1 : 0, slot->deaths);
    ctl_json(out, slot->reason);
    buffer_append_text(out, "}\n");
}

/* Where the disk backend has its data. */
static void append_directories(const struct conf *conf, struct buffer *out)
{
    char path[2 * CONF_TEXT_MAX];
    if (!conf_uses(conf, BACKEND_DISK))
        return;
    lock_database_path(conf, path, sizeof path);
    buffer_append_text(out, ", \"data_dir\": ");
    ctl_json(out, conf->data_dir);
    buffer_append_text(out, ", \"database\": ");
    ctl_json(out, path);
}

static void append_addresses(struct supervisor *s, struct buffer *out)
{
    struct buffer text = {0};
    announce_addresses(s->conf, &s->shared, &text);
    buffer_append(&text, "", 1);
    buffer_append_text(out, ", \"listen\": ");
    ctl_json(out, (const char *)text.data);
    buffer_free(&text);
}

static void take_status(struct supervisor *s, struct ctl_connection *connection, const char *word)
{
    static const char *const phases[] = {"starting", "starting", "running",
                                         "stopping", "stopping", "stopping"};
    struct buffer *out = &connection->answer;
    struct slot *slot;
    (void)word;
    buffer_append_format(out,
                         "{\"name\": \"stratod\", \"kind\": \"supervisor\", \"state\": \"%s\", "
                         "\"pid\": %d, \"uptime_ms\": %" PRIu64 ", \"restarts\": 0, \"deaths\": 0, "
                         "\"reason\": \"\", \"release\": \"%s\", \"run_dir\": ",
                         phases[s->phase], (int)getpid(), s->ctl.now_ms - s->started_ms,
                         STRATO_VERSION);
    ctl_json(out, s->conf->run_dir);
    append_directories(s->conf, out);
    append_addresses(s, out);
    buffer_append_text(out, ", \"backends\": [");
    for (unsigned i = 0, n = 0; i < BACKEND_COUNT; i++)
        if (conf_uses(s->conf, (enum backend)i))
            buffer_append_format(out, "%s\"%s\"", n++ ? ", " : "", backend_name((enum backend)i));
    buffer_append_text(out, "]}\n");
    EACH_SLOT(s, slot)
    {
        append_slot(out, slot, s->ctl.now_ms);
    }
    connection->pass = s->shared.figures_readonly;
    ctl_end(&s->ctl, connection, NULL);
}

static void take_stop(struct supervisor *s, struct ctl_connection *connection, const char *word)
{
    (void)word;
    log_info("told to stop over the control socket");
    ctl_wait_for_end(&s->ctl, connection);
    fleet_stop(s, 0, s->ctl.now_ms);
}

static void take_log_level(struct supervisor *s, struct ctl_connection *connection,
                           const char *word)
{
    struct buffer why = {0};
    struct slot *slot;
    struct conf conf = *s->conf;
    if (conf_set(&conf, "strato", "log_level", word, "log-level", &why) == STATUS_OK &&
        shared_set_config(&s->shared, &conf, &why) == STATUS_OK) {
        s->conf->log_level = conf.log_level;
        log_set_level(conf.log_level);
        EACH_SLOT(s, slot)
        {
            slot_log_level(slot, conf.log_level);
        }
    }
    if (why.len > 0 && why.data[why.len - 1] == '\n')
        why.len--;
    buffer_append(&why, "", 1);
    ctl_end(&s->ctl, connection, *why.data ? (const char *)why.data : NULL);
    buffer_free(&why);
}

/* ---- When their turn has come ---- */

static void begin_restart(struct supervisor *s, struct ctl_connection *connection, const char *word)
{
    char error[CONTROL_LINE_MAX + 100];
    if (roll_plan(s, word)) {
        log_info("restarting %s, as told over the control socket", word);
        roll_begin(s);
        return;
    }
    snprintf(error, sizeof error, "there is no process and no kind of process called %s", word);
    ctl_end(&s->ctl, connection, error);
}

static void begin_reload(struct supervisor *s, struct ctl_connection *connection, const char *word)
{
    struct buffer report = {0};
    (void)word;
    bool good = reload(s, &report, s->ctl.now_ms);
    buffer_append(&report, "", 1);
    char *save = NULL;
    for (char *line = strtok_r((char *)report.data, "\n", &save);
         line && connection->state != CTL_FREE; line = strtok_r(NULL, "\n", &save))
        ctl_note(&s->ctl, connection, line);
    buffer_free(&report);
    if (!good)
        ctl_end(&s->ctl, connection, "the configuration was refused; all goes on as it is");
}

static const struct command {
    const char *word;
    bool argument, queued;
    void (*take)(struct supervisor *s, struct ctl_connection *connection, const char *argument);
} commands[] = {
    {"status", false, false, take_status},      {"stop", false, false, take_stop},
    {"log-level", true, false, take_log_level}, {"restart", true, true, begin_restart},
    {"reload", false, true, begin_reload},
};

/* Splits a line at its first blank; NULL when it is no command. */
static const struct command *find_command(const char *line, const char **argument_r)
{
    size_t len = strcspn(line, " ");
    *argument_r = line[len] ? line + len + 1 : "";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strlen(commands[i].word) == len && memcmp(commands[i].word, line, len) == 0 &&
            commands[i].argument == (**argument_r != '\0'))
            return &commands[i];
    return NULL;
}

void command_take(void *supervisor, struct ctl_connection *connection, const char *line)
{
    struct supervisor *s = supervisor;
    const char *argument;
    const struct command *command = find_command(line, &argument);
    if (!command)
        ctl_end(&s->ctl, connection, "unknown request");
    else if (command->queued)
        ctl_queue(&s->ctl, connection);
    else
        command->take(s, connection, argument);
}

/* ---- What waits ---- */

/* The connection whose plan is, or was just, under way. */
static struct ctl_connection *running_connection(struct supervisor *s)
{
    for (unsigned i = 0; i < CTL_CONNECTIONS; i++)
        if (s->ctl.connections[i].state == CTL_RUNNING)
            return &s->ctl.connections[i];
    return NULL;
}

static void end_running(struct supervisor *s)
{
    struct ctl_connection *connection = running_connection(s);
    const char *error = *s->roll_error ? s->roll_error : NULL;
    if (error)
        log_error("the planned restart was given up: %s", error);
    else if (s->reload_left)
        error = "all is applied but what needs a restart of stratod";
    if (connection)
        ctl_end(&s->ctl, connection, error);
    *s->roll_error = '\0';
    s->reload_left = false;
}

/* SIGHUP: the report goes to the log only. */
static void reload_by_signal(struct supervisor *s, uint64_t now_ms)
{
    struct buffer report = {0};
    s->reload_asked = false;
    if (!reload(s, &report, now_ms))
        s->rolling = false;
    buffer_free(&report);
}

void command_step(struct supervisor *s, uint64_t now_ms)
{
    struct ctl_connection *next;
    s->ctl.now_ms = now_ms;
    while (!s->rolling) {
        end_running(s);
        if (s->phase < RUNNING)
            return;
        if (s->reload_asked && s->phase == RUNNING) {
            reload_by_signal(s, now_ms);
        } else if (s->listen_lost && s->phase == RUNNING) {
            reload_listeners(s, now_ms);
        } else if ((next = ctl_next(&s->ctl))) {
            const char *argument;
            const struct command *command = find_command(next->line, &argument);
            next->state = CTL_RUNNING;
            if (s->phase != RUNNING)
                ctl_end(&s->ctl, next, "everything is stopping");
            else
                command->take(s, next, argument);
        } else {
            return;
        }
        roll_step(s, now_ms);
    }
}

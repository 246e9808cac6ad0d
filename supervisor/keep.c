/*
 * keep - see keep.h. The supervisor.
 *
 * Fails by a line in the log, once for each trouble; it tries again.
 */
#include "supervisor/keep.h"

#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    LOOK_MS = 5000, /* between two looks, as inotify may be missing or overwhelmed */
    SETTLE_MS = 20, /* from the first removal: rm -r shall find an empty directory */
};

/* Watches the directory that has the name now. */
static void watch_run_dir(struct supervisor *s)
{
    if (s->keep.fd >= 0)
        (void)!inotify_add_watch(s->keep.fd, s->conf->run_dir,
                                 IN_DELETE | IN_MOVED_FROM | IN_MOVE_SELF | IN_DELETE_SELF);
}

/* The place of the lock, the lock, then the socket: a stratod without the lock answers nothing. */
static enum status make_anew(struct supervisor *s, struct buffer *why)
{
    if (lock_renew(&s->lock, s->conf, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    watch_run_dir(s);
    return ctl_listen(&s->ctl, s->conf->run_dir, why);
}

enum status keep_open(struct supervisor *s, uint64_t now_ms, struct buffer *why)
{
    s->keep.at_ms = now_ms + LOOK_MS;
    s->keep.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK); /* -1: looking now and then must do */
    watch_run_dir(s);
    ctl_open(&s->ctl);
    return ctl_listen(&s->ctl, s->conf->run_dir, why);
}

void keep_event(struct supervisor *s, uint64_t now_ms)
{
    char events[4096];
    while (read(s->keep.fd, events, sizeof events) > 0)
        if (s->keep.at_ms > now_ms + SETTLE_MS)
            s->keep.at_ms = now_ms + SETTLE_MS;
}

static void check_run_dir(struct supervisor *s)
{
    struct buffer why = {0};
    if (lock_is_there(&s->lock, s->conf) && ctl_is_there(&s->ctl, s->conf->run_dir)) {
        s->keep.told = false;
        return;
    }
    bool made = make_anew(s, &why) == STATUS_OK;
    if (made)
        log_warn("somebody emptied run_dir %s: lock and control socket are made anew",
                 s->conf->run_dir);
    else if (!s->keep.told)
        log_error("somebody emptied run_dir, and stratoctl does not reach us: %.*s", (int)why.len,
                  (const char *)why.data);
    s->keep.told = !made;
    buffer_free(&why);
}

/* The workers must have the new ones: that waits for its turn among reloads and restarts. */
static void check_listeners(struct supervisor *s)
{
    s->listen_lost = false;
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        s->listen_lost |= listen_lost(&s->shared.listen[i]);
    if (!s->listen_lost)
        s->keep.listen_told = false;
}

void keep_check(struct supervisor *s, uint64_t now_ms)
{
    if (now_ms < s->keep.at_ms || s->phase == DONE)
        return;
    s->keep.at_ms = now_ms + LOOK_MS;
    check_run_dir(s);
    check_listeners(s);
}

/*
 * shared - see shared.h. The supervisor, before it starts a child and when it reloads.
 *
 * Fails with one line: what could not be made and why.
 */
#include "supervisor/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/os.h"
#include "proto/channel/channel.h"
#include "proto/figures/figures.h"
#include "proto/run/roster.h"
#include "supervisor/notify.h"

enum { LISTEN_TRIES = 20, LISTEN_PAUSE_MS = 50, ARENA_LEAST = 4 << 20 };

static enum status failed(struct buffer *why, const char *what)
{
    const char *limit = errno == EMFILE  ? " (more open files are needed: ulimit -Hn)"
                        : errno == EFBIG ? " (larger files are needed: ulimit -Hf)"
                                         : "";
    buffer_append_format(why, "cannot make %s: %s%s", what, strerror(errno), limit);
    return STATUS_UNAVAILABLE;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A memfd of this size that can neither shrink nor grow: a child that maps it may trust that. */
static int make_memory(const char *name, uint64_t size, struct buffer *why)
{
    int fd = os_memfd(name);
    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    (void)failed(why, name);
    return -1;
}

/* The one that systemd kept for us since before a restart of the service, if it is what we would
 * make now; else -1. A size that is auto follows it: a limit that has changed loses no data. An
 * arena of another size is forgotten: its data is lost, and the log says so. */
static int kept_memory(const char *name, struct conf *conf)
{
    struct stat stat_;
    int fd = notify_kept(name);
    if (fd < 0)
        return -1;
    int seals = fcntl(fd, F_GET_SEALS);
    bool usable = seals >= 0 && (seals & F_SEAL_SHRINK) && (seals & F_SEAL_GROW) &&
                  fstat(fd, &stat_) == 0 && stat_.st_size >= ARENA_LEAST;
    if (usable && conf->memory_auto)
        conf->memory_size = (uint64_t)stat_.st_size;
    if (usable && (uint64_t)stat_.st_size == conf->memory_size)
        return fd;
    log_warn("the %s of the last run has another size: its data is not taken over", name);
    close(fd);
    char text[128];
    snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    notify_send(text);
    return -1;
}

static int make_bell(struct buffer *why)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        (void)failed(why, "a doorbell");
    return fd;
}

/* Read-only for good: a descriptor opened so, of a file that cannot be opened for writing again. */
static int open_readonly(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readonly = open(path, O_RDONLY | O_CLOEXEC);
    if (readonly >= 0 && fchmod(fd, 0400) < 0)
        close_one(&readonly);
    return readonly;
}

static enum status make_arena(struct shared *shared, struct conf *conf, enum backend backend,
                              struct buffer *why)
{
    char name[64];
    snprintf(name, sizeof name, "strato-arena-%s", backend_name(backend));
    int fd = kept_memory(name, conf);
    bool kept = fd >= 0;
    if (!kept)
        fd = make_memory(name, conf->memory_size, why);
    if (fd < 0)
        return STATUS_UNAVAILABLE;
    if (!kept)
        notify_keep(fd, name);
    shared->arena[backend] = fd;
    shared->arena_readonly[backend] = open_readonly(fd);
    return shared->arena_readonly[backend] < 0 ? failed(why, name) : STATUS_OK;
}

static enum status make_backend(struct shared *shared, struct conf *conf, enum backend backend,
                                struct buffer *why)
{
    if (run_has_arena(backend) && make_arena(shared, conf, backend, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    shared->store_bell[backend] = make_bell(why);
    return shared->store_bell[backend] < 0 ? STATUS_UNAVAILABLE : STATUS_OK;
}

static enum status make_figures(struct shared *shared, struct buffer *why)
{
    static const char name[] = "strato-figures";
    shared->figures = make_memory(name, FIGURES_SIZE, why);
    if (shared->figures < 0)
        return STATUS_UNAVAILABLE;
    shared->figures_readonly = open_readonly(shared->figures);
    return shared->figures_readonly < 0 ? failed(why, name) : STATUS_OK;
}

static enum status make_channels(struct shared *shared, const struct conf *conf,
                                 enum backend backend, struct buffer *why)
{
    char name[64];
    struct rlimit limit;
    uint64_t most = getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : 0;
    for (unsigned i = 0; i < run_channel_count(conf); i++) {
        if (shared->channel[backend][i] >= 0)
            continue;
        snprintf(name, sizeof name, "strato-channel-%s-%u", backend_name(backend), i);
        shared->channel[backend][i] = make_memory(name, channel_file_size(most), why);
        if (shared->channel[backend][i] < 0)
            return STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}

enum status shared_make_config(const struct conf *conf, int *fd_r, struct buffer *why)
{
    struct buffer text = {0};
    conf_write(conf, &text);
    int fd = os_memfd("strato-config");
    bool written =
        fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0;
    buffer_free(&text);
    if (!written) {
        enum status status = failed(why, "the configuration for the children");
        close_one(&fd);
        return status;
    }
    *fd_r = fd;
    return STATUS_OK;
}

enum status shared_set_config(struct shared *shared, const struct conf *conf, struct buffer *why)
{
    int fd;
    if (shared_make_config(conf, &fd, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    close_one(&shared->config);
    shared->config = fd;
    return STATUS_OK;
}

enum status shared_grow(struct shared *shared, const struct conf *conf, struct buffer *why)
{
    for (unsigned i = 0; i < run_channel_count(conf); i++)
        if (shared->worker_bell[i] < 0 && (shared->worker_bell[i] = make_bell(why)) < 0)
            return STATUS_UNAVAILABLE;
    for (unsigned i = 0; i < BACKEND_COUNT; i++)
        if (conf_uses(conf, (enum backend)i) &&
            make_channels(shared, conf, (enum backend)i, why) != STATUS_OK)
            return STATUS_UNAVAILABLE;
    return STATUS_OK;
}

static enum status make_backends(struct shared *shared, struct conf *conf, struct buffer *why)
{
    for (unsigned i = 0; i < BACKEND_COUNT; i++)
        if (conf_uses(conf, (enum backend)i) &&
            make_backend(shared, conf, (enum backend)i, why) != STATUS_OK)
            return STATUS_UNAVAILABLE;
    return shared_grow(shared, conf, why);
}

/* The children of a predecessor that was killed let go of its sockets within moments. */
static enum status listen_patiently(enum protocol protocol, struct shared *shared,
                                    struct conf *conf, struct buffer *why)
{
    size_t len = why->len;
    struct listeners *listeners = &shared->listen[protocol];
    struct conf_protocol *own = protocol_conf(conf, protocol);
    if (listen_handed(protocol, own, listeners)) {
        if (!own->enabled)
            log_warn("a socket unit listens for [%s], which is not enabled: connections to it wait "
                     "in vain",
                     protocol_name(protocol));
        return STATUS_OK;
    }
    if (!own->enabled)
        return STATUS_OK;
    for (int tries = 0;; tries++) {
        why->len = len;
        enum status status = listen_open(protocol, own, NULL, listeners, why);
        if (status == STATUS_OK || errno != EADDRINUSE || tries == LISTEN_TRIES)
            return status;
        poll(NULL, 0, LISTEN_PAUSE_MS);
    }
}

static enum status open_listeners(struct shared *shared, struct conf *conf, struct buffer *why)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < PROTOCOL_COUNT && status == STATUS_OK; i++)
        status = listen_patiently((enum protocol)i, shared, conf, why);
    notify_warn_unused();
    return status;
}

enum status shared_open(struct shared *shared, struct conf *conf, struct buffer *why)
{
    int life[2];
    memset(shared, 0xff, sizeof *shared); /* every int is -1 */
    memset(shared->listen, 0, sizeof shared->listen);
    shared->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (shared->null < 0)
        return failed(why, "standard input of the processes from /dev/null");
    if (pipe2(life, O_CLOEXEC) < 0)
        return failed(why, "a pipe");
    shared->roster = roster_create();
    if (shared->roster < 0)
        return failed(why, "the roster");
    shared->life_read = life[0];
    shared->life_write = life[1];
    enum status status = make_figures(shared, why);
    if (status == STATUS_OK)
        status = make_backends(shared, conf, why);
    if (status == STATUS_OK)
        status = open_listeners(shared, conf, why);
    return status == STATUS_OK ? shared_set_config(shared, conf, why) : status;
}

void shared_stop_listening(struct shared *shared)
{
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        listen_close(&shared->listen[i], NULL);
}

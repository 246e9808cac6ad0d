/*
 * backup - a copy of the disk backend's database: store-disk makes a snapshot of one moment beside
 * its data, and this fetches it. Fails by a line on standard error; until all of it is on disk,
 * FILE is as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/text.h"
#include "proto/link/link.h"
#include "proto/run/run.h"
#include "supervisor/stratoctl/ask.h"
#include "supervisor/stratoctl/table.h"
#include "supervisor/stratoctl/target.h"
#include "supervisor/stratoctl/views.h"

enum {
    ASK_MS = 100,        /* between two questions whether it is made */
    PATIENCE_MS = 10000, /* without an answer; a store that restarts meanwhile is asked again */
    PATH_SIZE = 4096 + 64,
    PIECE = 1 << 20,
};

/* Whose database it is. */
struct source {
    char run_dir[128];
    uid_t owner; /* the user that stratod runs as */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static bool failed(const char *what, const char *why)
{
    char text[PATH_SIZE + 512];
    snprintf(text, sizeof text, "stratoctl: %s: %s\n", what, why);
    text_print(stderr, text, strlen(text));
    return false;
}

/* ---- Having the store make it ---- */

/* Asks once. NULL when there is no answer in time. */
static Strato__Control__Reply *ask_store(struct link_client *link, char *name)
{
    static uint32_t id;
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Snapshot snapshot = STRATO__CONTROL__SNAPSHOT__INIT;
    Strato__Control__Reply *reply = NULL;
    uint64_t sent_on = 0; /* the connection that it went out on; the first is 1 */
    uint64_t until_ms = clock_ms() + PATIENCE_MS;
    snapshot.name = name;
    request.id = ++id;
    request.body_case = STRATO__CONTROL__REQUEST__BODY_SNAPSHOT;
    request.snapshot = &snapshot;
    for (uint64_t now = clock_ms(); !reply && now < until_ms && !interrupted; now = clock_ms()) {
        struct pollfd fd = {.fd = link_client_fd(link), .events = POLLIN};
        uint64_t epoch = link_client_epoch(link);
        if (sent_on != epoch && link_client_send(link, &request))
            sent_on = epoch;
        poll(&fd, 1, 20);
        link_client_tick(link, clock_ms());
        reply = link_client_receive(link);
        if (reply && reply->id != request.id) {
            strato__control__reply__free_unpacked(reply, NULL);
            reply = NULL;
        }
    }
    return reply;
}

/* Takes an answer: true when the snapshot is there, and its directory. *more_r: ask again. */
static bool take_reply(const Strato__Control__Reply *reply, char *directory, bool *more_r)
{
    *more_r = false;
    if (interrupted)
        return failed("backup", "interrupted");
    if (!reply)
        return failed("store-disk", "no answer");
    if (reply->status != STATUS_OK)
        return failed("store-disk",
                      *reply->error ? reply->error : status_info((enum status)reply->status)->text);
    if (reply->body_case != STRATO__CONTROL__REPLY__BODY_SNAPSHOT ||
        strlen(reply->snapshot->path) >= PATH_SIZE - 16)
        return failed("store-disk", "it is of another version");
    *more_r = !reply->snapshot->done;
    snprintf(directory, PATH_SIZE, "%s", reply->snapshot->path);
    return reply->snapshot->done;
}

static bool make_snapshot(const char *run_dir, char *name, char *directory)
{
    struct conf conf = {0};
    char url[RUN_URL_MAX], reason[256];
    bool done = false;
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", run_dir);
    run_link_url(&conf, BACKEND_DISK, url);
    struct link_client *link = link_client_open(url, reason, sizeof reason);
    if (!link)
        return failed("store-disk", reason);
    for (bool more = true; more;) {
        Strato__Control__Reply *reply = ask_store(link, name);
        done = take_reply(reply, directory, &more);
        if (reply)
            strato__control__reply__free_unpacked(reply, NULL);
        if (more)
            poll(NULL, 0, ASK_MS);
    }
    link_client_close(&link);
    return done;
}

/* ---- Fetching it ---- */

static bool write_all(int to, const uint8_t *data, size_t len)
{
    ssize_t n = 0;
    for (size_t at = 0; at < len; at += (size_t)n)
        if ((n = write(to, data + at, len - at)) < 0)
            return false;
    return true;
}

/* The number of bytes; -1 when it failed (errno). */
static int64_t copy(int from, int to)
{
    static uint8_t piece[PIECE];
    int64_t total = 0;
    ssize_t n;
    while ((n = read(from, piece, sizeof piece)) > 0 && !interrupted) {
        if (!write_all(to, piece, (size_t)n))
            return -1;
        total += n;
    }
    if (interrupted)
        errno = EINTR;
    return n == 0 && fsync(to) == 0 ? total : -1;
}

static bool sync_directory_of(const char *path)
{
    char text[PATH_SIZE];
    snprintf(text, sizeof text, "%s", path);
    int fd = open(dirname(text), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced;
}

/*
 * A snapshot as the answer names it. The answer may come from a store that somebody has taken over,
 * and we may be root: so it is read and removed only where and as the store would have made it.
 */
struct snapshot {
    int parent, directory, file; /* descriptors, -1: not open */
    const char *name;
};

static bool belongs(int fd, uid_t owner, mode_t type)
{
    struct stat info;
    return fd >= 0 && fstat(fd, &info) == 0 && (info.st_mode & S_IFMT) == type &&
           info.st_uid == owner && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
           (type == S_IFDIR || info.st_nlink == 1);
}

static void close_snapshot(struct snapshot *snapshot)
{
    const int fds[] = {snapshot->parent, snapshot->directory, snapshot->file};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* path must be DATABASE/snapshots/NAME with the name that we chose, owned by the service's user. */
static bool open_snapshot(struct snapshot *snapshot, const char *path, const char *name,
                          uid_t owner)
{
    enum { FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC };
    char parent[PATH_SIZE], end[128];
    *snapshot = (struct snapshot){-1, -1, -1, name};
    int end_len = snprintf(end, sizeof end, "/snapshots/%s", name);
    size_t len = strlen(path);
    if (len < (size_t)end_len || strcmp(path + len - end_len, end) != 0)
        return failed(path, "this is not where a store makes snapshots; it is left alone");
    snprintf(parent, sizeof parent, "%.*s", (int)(len - strlen(name) - 1), path);
    snapshot->parent = open(parent, FLAGS | O_DIRECTORY);
    if (snapshot->parent >= 0)
        snapshot->directory = openat(snapshot->parent, name, FLAGS | O_DIRECTORY);
    if (snapshot->directory >= 0)
        snapshot->file = openat(snapshot->directory, "data.mdb", FLAGS);
    if (snapshot->file < 0)
        failed(path, strerror(errno));
    else if (belongs(snapshot->parent, owner, S_IFDIR) &&
             belongs(snapshot->directory, owner, S_IFDIR) &&
             belongs(snapshot->file, owner, S_IFREG))
        return true;
    else
        failed(path, "this is not what the service's own user has made there; it is left alone");
    close_snapshot(snapshot);
    return false;
}

static void remove_snapshot(const struct snapshot *snapshot, const char *path)
{
    if (unlinkat(snapshot->directory, "data.mdb", 0) != 0 ||
        unlinkat(snapshot->parent, snapshot->name, AT_REMOVEDIR) != 0)
        failed(path, strerror(errno));
}

/* Copies it, and gives the copy its name when all of it is on disk. */
static bool fetch(const struct snapshot *snapshot, int to, const char *unfinished, const char *path)
{
    int64_t size = copy(snapshot->file, to);
    if (size < 0)
        return failed(unfinished, strerror(errno));
    if (rename(unfinished, path) != 0)
        return failed(path, strerror(errno));
    if (!sync_directory_of(path))
        return failed(path, "it is there, but its directory could not be synced");
    const char *bytes = table_bytes((double)size);
    printf("%s: %s bytes\n", path, bytes + (*bytes == '>'));
    return true;
}

static bool make_and_fetch(const struct source *source, int to, const char *unfinished,
                           const char *path)
{
    char directory[PATH_SIZE] = "", name[64];
    struct snapshot snapshot;
    snprintf(name, sizeof name, "backup-%" PRIu64 "-%d", clock_wall_ms(), (int)getpid());
    if (!make_snapshot(source->run_dir, name, directory) ||
        !open_snapshot(&snapshot, directory, name, source->owner))
        return false;
    bool done = fetch(&snapshot, to, unfinished, path);
    remove_snapshot(&snapshot, directory);
    close_snapshot(&snapshot);
    return done;
}

/* The file is opened first: most of what can fail does so before any work is done. */
static bool back_up(const struct source *source, const char *path)
{
    char unfinished[PATH_SIZE];
    if (snprintf(unfinished, sizeof unfinished, "%s.unfinished", path) >= PATH_SIZE - 1)
        return failed(path, strerror(ENAMETOOLONG));
    int to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return failed(unfinished, strerror(errno));
    bool done = make_and_fetch(source, to, unfinished, path);
    close(to);
    unlink(unfinished); /* it is gone already when it got its name */
    return done;
}

/* ---- Whether it can be ---- */

/* The row of a process. */
static const json_t *row_called(const json_t *rows, const char *name)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *text = json_string_value(json_object_get(row, "name"));
        if (text && strcmp(text, name) == 0)
            return row;
    }
    return NULL;
}

static bool check_and_back_up(const json_t *rows, const struct source *source, const char *path)
{
    if (!*path || path[strlen(path) - 1] == '/')
        return failed("backup", "give it the name of a file");
    const json_t *store = row_called(rows, "store-disk");
    if (!store)
        return failed("backup",
                      "no service has the disk backend, which alone can be backed up here");
    pid_t pid = (pid_t)json_integer_value(json_object_get(store, "pid"));
    if (pid > 0 && kill(pid, 0) != 0 && errno == EPERM)
        return failed("backup", "only root and the service's own user may read its data");
    char why[CONF_TEXT_MAX + 256];
    if (!target_check(path, row_called(rows, "stratod"), source->run_dir, why, sizeof why))
        return failed(path, why);
    return back_up(source, path);
}

int view_backup(const struct options *options, const char *path)
{
    struct sigaction action = {.sa_handler = on_signal};
    json_t *rows = NULL;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct source source;
    if (!ask_as(options->socket, "status", true, &rows, &source.owner))
        return 1;
    ask_directory(options->socket, source.run_dir, sizeof source.run_dir);
    bool done = check_and_back_up(rows, &source, path);
    json_decref(rows);
    return done ? 0 : 1;
}

/*
 * live - see live.h. strato-inspect; a process that ends meanwhile shows as one without memfds.
 */
#include "store/inspect/live.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "proto/conf/conf.h"

static const char arenas[] = "strato-arena-", channels[] = "strato-channel-";

/* ---- Which process ---- */

static int to_pid(const char *text)
{
    const char *rest;
    uint64_t pid;
    bool good = text_digits(text, &pid, &rest) && pid <= INT32_MAX;
    return good && rest[strspn(rest, " \n")] == '\0' ? (int)pid : 0;
}

int live_process(const char *where, char *reason, size_t reason_size)
{
    char path[LIVE_PATH_MAX], text[32] = "";
    int pid = to_pid(where);
    if (pid > 0)
        return pid;
    snprintf(path, sizeof path, "%s/lock", where);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(reason, reason_size, "%s is neither a pid nor a run_dir: %s: %s", where, path,
                 strerror(errno));
        return 0;
    }
    if (read(fd, text, sizeof text - 1) > 0)
        pid = to_pid(text);
    close(fd);
    if (pid == 0)
        snprintf(reason, reason_size, "no stratod is running in %s", where);
    return pid;
}

/* ---- Its memfds ---- */

struct memfd {
    char path[LIVE_PATH_MAX]; /* /proc/PID/fd/N */
    char name[128];           /* as stratod named it */
    uint64_t inode;
    uint64_t size;
};

/* The descriptor as a memfd of Strato; false for any other. */
static bool look(int pid, const char *number, struct memfd *memfd_r)
{
    static const char before[] = "/memfd:strato-", after[] = " (deleted)";
    char target[256];
    struct stat info;
    snprintf(memfd_r->path, sizeof memfd_r->path, "/proc/%d/fd/%s", pid, number);
    ssize_t len = readlink(memfd_r->path, target, sizeof target - 1);
    if (len < (ssize_t)(sizeof before + sizeof after - 2))
        return false;
    target[len] = '\0';
    char *end = target + len - (sizeof after - 1);
    if (strncmp(target, before, sizeof before - 1) != 0 || strcmp(end, after) != 0 ||
        stat(memfd_r->path, &info) != 0)
        return false;
    *end = '\0';
    snprintf(memfd_r->name, sizeof memfd_r->name, "%.100s", target + sizeof "/memfd:" - 1);
    memfd_r->inode = info.st_ino;
    memfd_r->size = (uint64_t)info.st_size;
    return true;
}

/* Calls visit for each memfd until it says false. False when the process cannot be looked into. */
static bool each(int pid, bool (*visit)(void *context, const struct memfd *memfd), void *context,
                 char *reason, size_t reason_size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (!directory) {
        snprintf(reason, reason_size, "cannot look into process %d: %s", pid, strerror(errno));
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(directory));) {
        struct memfd memfd;
        if (entry->d_name[0] != '.' && look(pid, entry->d_name, &memfd) && !visit(context, &memfd))
            break;
    }
    closedir(directory);
    return true;
}

struct wanted {
    const char *name;
    char *path;
    bool found;
};

static bool is_wanted(void *context, const struct memfd *memfd)
{
    struct wanted *wanted = context;
    if (strcmp(memfd->name, wanted->name) != 0)
        return true;
    snprintf(wanted->path, LIVE_PATH_MAX, "%s", memfd->path);
    wanted->found = true;
    return false;
}

bool live_find(int pid, const char *name, char *path, char *reason, size_t reason_size)
{
    struct wanted wanted = {name, path, false};
    if (!each(pid, is_wanted, &wanted, reason, reason_size))
        return false;
    if (!wanted.found)
        snprintf(reason, reason_size, "process %d has no %s; what it has shows: list", pid, name);
    return wanted.found;
}

bool live_database(int pid, char *path, char *reason, size_t reason_size)
{
    static struct conf conf;
    struct buffer problems = {0};
    if (!live_find(pid, "strato-config", path, reason, reason_size))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read = fd >= 0 && conf_read_fd(&conf, fd, &problems) == STATUS_OK;
    if (fd >= 0)
        close(fd);
    buffer_free(&problems);
    if (!read || !conf_uses(&conf, BACKEND_DISK)) {
        snprintf(reason, reason_size,
                 read ? "process %d does not use the disk backend"
                      : "the configuration of process %d cannot be read",
                 pid);
        return false;
    }
    snprintf(path, LIVE_PATH_MAX, "%s", conf.disk_path);
    return true;
}

/* ---- The list ---- */

enum { LISTED_MAX = 1024 };

struct list {
    struct memfd *found;
    size_t count;
};

/* A memfd may be there twice: an arena for its writer and for its readers. */
static bool take(void *context, const struct memfd *memfd)
{
    struct list *list = context;
    if (strncmp(memfd->name, arenas, sizeof arenas - 1) != 0 &&
        strncmp(memfd->name, channels, sizeof channels - 1) != 0)
        return true;
    for (size_t i = 0; i < list->count; i++)
        if (list->found[i].inode == memfd->inode)
            return true;
    list->found[list->count++] = *memfd;
    return list->count < LISTED_MAX;
}

static int compare(const void *a, const void *b)
{
    return strverscmp(((const struct memfd *)a)->name, ((const struct memfd *)b)->name);
}

static void show_row_of(json_t *array, const struct memfd *memfd)
{
    bool arena = strncmp(memfd->name, arenas, sizeof arenas - 1) == 0;
    json_t *row = show_row(array);
    show_text(row, "what", "%s", arena ? "arena" : "channel");
    show_bytes(row, "name", bytes_of(memfd->name + (arena ? sizeof arenas : sizeof channels) - 1),
               64);
    show_number(row, "bytes", memfd->size);
    show_text(row, "path", "%s", memfd->path);
}

void live_list(int pid, struct report *report)
{
    char reason[300], path[LIVE_PATH_MAX];
    struct list list = {calloc(LISTED_MAX, sizeof *list.found), 0};
    if (!list.found)
        panic("out of memory");
    show_number(report->root, "process", (uint64_t)pid);
    if (!each(pid, take, &list, reason, sizeof reason))
        report_trouble(report, "%s", reason);
    else if (list.count == 0)
        report_trouble(report, "process %d has no shared memory of Strato", pid);
    else if (live_database(pid, path, reason, sizeof reason))
        show_bytes(report->root, "database", bytes_of(path), sizeof path);
    qsort(list.found, list.count, sizeof *list.found, compare);
    json_t *array = show_array(report->root, "shared memory");
    for (size_t i = 0; i < list.count; i++)
        show_row_of(array, &list.found[i]);
    free(list.found);
}

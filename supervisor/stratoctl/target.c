/*
 * target - see target.h. stratoctl.
 */
#include "supervisor/stratoctl/target.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_SIZE = 4096 + 64,
    DEPTH_MAX = 256,
    MAGIC_AT = 16, /* in the head of each LMDB file */
};
static const uint32_t lmdb_magic = 0xBEEFC0DE;

static bool refuse(char *why, size_t why_size, const char *text)
{
    snprintf(why, why_size, "%s", text);
    return false;
}

/* ---- What is there ---- */

static bool is_copy(int fd)
{
    uint32_t magic = 0;
    return pread(fd, &magic, sizeof magic, MAGIC_AT) == sizeof magic && magic == lmdb_magic;
}

/* An unfinished one of a backup that was killed may be empty. */
static bool check_old(const char *path, bool may_be_empty, char *why, size_t why_size)
{
    struct stat old;
    if (lstat(path, &old) != 0)
        return true; /* then opening it says why not */
    if (!S_ISREG(old.st_mode))
        return refuse(why, why_size, "this is no file; only a file is replaced");
    if (may_be_empty && old.st_size == 0)
        return true;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return refuse(why, why_size, strerror(errno));
    bool copy = is_copy(fd);
    close(fd);
    return copy || refuse(why, why_size,
                          "this file is there and is no backup; only an older backup is replaced");
}

/* ---- Where it is ---- */

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether a directory is the other one, or (below) anywhere under it. */
static bool is_in(const char *directory, const char *other, bool below)
{
    struct stat at, of, up;
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool found = false, more = stat(other, &of) == 0 && fstat(fd, &at) == 0;
    for (int depth = 0; more && !found && depth < DEPTH_MAX; depth++) {
        found = same(&at, &of);
        int parent = below ? openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        more = parent >= 0 && fstat(parent, &up) == 0 && !same(&up, &at);
        close(fd);
        fd = parent;
        at = up;
    }
    if (fd >= 0)
        close(fd);
    return found;
}

/* The data.mdb of any Strato, also of one that does not run. */
static bool is_database(const char *path, const char *directory)
{
    char copy[PATH_SIZE], lock[PATH_SIZE + 8];
    struct stat info;
    snprintf(copy, sizeof copy, "%s", path);
    snprintf(lock, sizeof lock, "%s/lock", directory);
    return strcmp(basename(copy), "data.mdb") == 0 && lstat(lock, &info) == 0;
}

static bool check_place(const char *path, const json_t *status, const char *run_dir, char *why,
                        size_t why_size)
{
    char copy[PATH_SIZE];
    snprintf(copy, sizeof copy, "%s", path);
    const char *directory = dirname(copy);
    const char *data_dir = json_string_value(json_object_get(status, "data_dir"));
    const char *database = json_string_value(json_object_get(status, "database"));
    const struct {
        const char *path, *name;
        bool below;
    } own[] = {
        {database, "[disk] path", true}, {run_dir, "run_dir", true}, {data_dir, "data_dir", false}};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i].path && is_in(directory, own[i].path, own[i].below)) {
            snprintf(why, why_size,
                     "this is in %s (%s), where Strato keeps its own files; give it a file in "
                     "another directory",
                     own[i].name, own[i].path);
            return false;
        }
    return !is_database(path, directory) ||
           refuse(why, why_size, "this is the database of a Strato; give it another file");
}

bool target_check(const char *path, const json_t *status, const char *run_dir, char *why,
                  size_t why_size)
{
    char unfinished[PATH_SIZE];
    if (strlen(path) >= PATH_SIZE - sizeof ".unfinished")
        return refuse(why, why_size, strerror(ENAMETOOLONG));
    snprintf(unfinished, sizeof unfinished, "%s.unfinished", path);
    if (!check_place(path, status, run_dir, why, why_size) ||
        !check_old(path, false, why, why_size))
        return false;
    char reason[128];
    if (check_old(unfinished, true, reason, sizeof reason))
        return true;
    snprintf(why, why_size, "until it is complete it is called FILE.unfinished: %s", reason);
    return false;
}

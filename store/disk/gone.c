/*
 * gone - see gone.h. Runs in store-disk.
 *
 * DIAGNOSTICS  An error in the log when the file is gone, which says how its data is saved.
 */
#include "store/disk/gone.h"

#include <errno.h>
#include <sys/stat.h>

#include "proto/base/log.h"

enum { LOOK_MS = 1000 };

/* An error that says nothing about the file (no right, I/O) is not taken for its absence. */
static bool is_gone(const struct env *env)
{
    char path[ENV_PATH_MAX];
    struct stat named, held;
    env_path(env->path, "data.mdb", path);
    if (fstat(env->data_fd, &held) != 0)
        return false;
    if (stat(path, &named) != 0)
        return held.st_nlink == 0 || errno == ENOENT || errno == ENOTDIR;
    return named.st_dev != held.st_dev || named.st_ino != held.st_ino;
}

bool gone_look(struct env *env)
{
    bool gone = is_gone(env);
    if (gone && !env->gone)
        log_error("%s/data.mdb was removed, renamed or replaced while it is in use: writes are "
                  "refused from now on, reads go on. If it was renamed, name it back. Else save "
                  "what is in it before you stop anything: mkdir -p %s, stratoctl backup FILE (in "
                  "another directory), then stop stratod, put FILE there as data.mdb, and start "
                  "stratod",
                  env->path, env->path);
    else if (!gone && env->gone)
        log_warn("%s/data.mdb is back: writes are taken again", env->path);
    env->gone = gone;
    return gone;
}

void gone_tend(struct env *env, uint64_t now_ms)
{
    if (now_ms - env->looked_ms < LOOK_MS)
        return;
    env->looked_ms = now_ms;
    gone_look(env);
}

struct reply gone_reply(void)
{
    return (struct reply){
        .status = STATUS_UNAVAILABLE,
        .value = bytes_of("the database's file was removed or replaced; see the log of store-disk"),
    };
}

bool gone_concerns(const struct request *request)
{
    /* No other read has a number. */
    return op_info(request->op)->write || request->number == KV_GET_PROBE;
}

/*
 * prepare - see prepare.h. The supervisor, once, before it has children. A limit that cannot be
 * raised stays as it is.
 */
#include "supervisor/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum status prepare_programs(char *directory, size_t size, struct buffer *why)
{
    char self[CONF_TEXT_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0) {
        buffer_append_format(why, "cannot read /proc/self/exe (/proc must be mounted): %s",
                             strerror(errno));
        return STATUS_UNAVAILABLE;
    }
    self[len] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    if (snprintf(directory, size, "%s/libexec/strato", self) < (int)size)
        return STATUS_OK;
    buffer_append_text(why, "the programs' directory has too long a name");
    return STATUS_INVALID;
}

static bool raise_limit(enum __rlimit_resource kind, struct rlimit *limit_r)
{
    if (getrlimit(kind, limit_r) < 0)
        return false;
    limit_r->rlim_cur = limit_r->rlim_max;
    return setrlimit(kind, limit_r) == 0;
}

/* Descriptors are what a server needs most, and an arena is a large file; children inherit this. */
void prepare_limits(void)
{
    struct rlimit limit;
    (void)raise_limit(RLIMIT_FSIZE, &limit);
    (void)raise_limit(RLIMIT_NOFILE, &limit);
}

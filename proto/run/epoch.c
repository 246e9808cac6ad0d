/*
 * epoch - see epoch.h. stratod when it starts, every child when it starts, store-disk while it
 * runs.
 */
#include "proto/run/epoch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"

#define VARIABLE "STRATO_CLOCK"
#define MAGIC    "STRCLOK" /* with its NUL eight bytes */

/* DISK_PATH/clock, little-endian; written in one piece, and small enough to be whole or not there.
 */
struct clock_file {
    char magic[8];
    struct epoch epoch;
    uint64_t check;
};

static struct epoch current;

static uint64_t mix(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash | 1;
}

uint64_t epoch_boot(void)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    return len > 0 ? mix(text, (size_t)len) : 0;
}

void epoch_give(const struct epoch *epoch)
{
    char text[64];
    current = *epoch;
    clock_service_set(epoch->offset_ms);
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64, epoch->offset_ms, epoch->boot);
    setenv(VARIABLE, text, 1);
}

void epoch_take(void)
{
    const char *text = getenv(VARIABLE);
    struct epoch epoch = {0};
    if (!text || sscanf(text, "%" SCNu64 " %" SCNu64, &epoch.offset_ms, &epoch.boot) != 2)
        return;
    current = epoch;
    clock_service_set(epoch.offset_ms);
}

struct epoch epoch_now(void)
{
    return current;
}

static bool clock_path(const char *disk_path, char *path, size_t size)
{
    return snprintf(path, size, "%s/clock", disk_path) < (int)size;
}

bool epoch_read(const char *disk_path, struct epoch *epoch_r)
{
    char path[4096];
    struct clock_file file;
    if (!clock_path(disk_path, path, sizeof path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t len = fd < 0 ? -1 : read(fd, &file, sizeof file);
    if (fd >= 0)
        close(fd);
    if (len != sizeof file || memcmp(file.magic, MAGIC, sizeof file.magic) != 0 ||
        file.check != mix(&file, offsetof(struct clock_file, check)))
        return false;
    *epoch_r = file.epoch;
    return true;
}

void epoch_note(const char *disk_path, uint64_t now_ms)
{
    char path[4096];
    struct clock_file file = {.magic = MAGIC, .epoch = current};
    if (current.offset_ms == 0 || !clock_path(disk_path, path, sizeof path))
        return;
    file.epoch.seen_ms = now_ms;
    file.check = mix(&file, offsetof(struct clock_file, check));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    if (pwrite(fd, &file, sizeof file, 0) != sizeof file)
        (void)!ftruncate(fd, 0); /* half a time is none */
    close(fd);
}

/*
 * epoch - see epoch.h. The supervisor, when it starts. It reads what its predecessor's stores wrote
 * down, by descriptor; it maps nothing.
 */
#include "supervisor/epoch.h"

#include <inttypes.h>
#include <unistd.h>

#include "proto/arena/layout.h"
#include "proto/base/clock.h"
#include "proto/run/epoch.h"

/* By which clock the records in an arena that was kept expire. */
static bool from_arena(int fd, struct epoch *epoch_r)
{
    struct arena_header header;
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != sizeof header ||
        header.clock_check != arena_clock_check(&header))
        return false;
    *epoch_r = (struct epoch){.offset_ms = header.clock_offset_ms, .boot = header.clock_boot};
    return true;
}

static bool from_disk(const struct conf *conf, struct epoch *epoch_r)
{
    char path[2 * CONF_TEXT_MAX + 2];
    if (!conf_uses(conf, BACKEND_DISK))
        return false;
    if (*conf->disk_path == '/')
        snprintf(path, sizeof path, "%s", conf->disk_path);
    else
        snprintf(path, sizeof path, "%s/%s", conf->data_dir, conf->disk_path);
    return epoch_read(path, epoch_r);
}

/* Ms since the machine was started. */
static uint64_t up_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool goes_on(const struct epoch *epoch, uint64_t boot)
{
    return boot != 0 && epoch->boot == boot && epoch->offset_ms != 0;
}

void epoch_choose(const struct shared *shared, const struct conf *conf)
{
    struct epoch arena = {0}, disk = {0};
    uint64_t boot = epoch_boot(), up = up_ms();
    struct epoch epoch = {.boot = boot, .offset_ms = clock_wall_ms() - up};
    bool seen = from_disk(conf, &disk);
    if (from_arena(shared->arena[BACKEND_MEMORY], &arena) && goes_on(&arena, boot)) {
        epoch.offset_ms = arena.offset_ms;
    } else if (seen && goes_on(&disk, boot)) {
        epoch.offset_ms = disk.offset_ms;
    } else if (seen && disk.seen_ms > epoch.offset_ms + up) {
        log_warn("the clock of this machine is %" PRIu64 " s behind what the data directory has "
                 "seen: times to live are counted on from there",
                 (disk.seen_ms - epoch.offset_ms - up) / 1000);
        epoch.offset_ms = disk.seen_ms - up;
    }
    epoch_give(&epoch);
}

/*
 * device - see device.h. A test program; what it cannot do ends it.
 */
#include "tests/integration/powerloss/device.h"

#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, SECTOR = 512, FDS = 1024 };

const char *const device_names[DEVICE_FILES] = {"/data.mdb", "/unsynced"};
const char *device_boot_id;

struct event {
    enum { WRITE, SYNC_BEGIN, SYNC_END } kind;
    unsigned file;
    uint64_t offset;
    size_t len;
    uint8_t *data;
    size_t begin; /* SYNC_END: the event that began it */
    bool on_disk; /* WRITE: as soon as it has returned */
};

static struct event *events;
static size_t count, capacity;
static bool recording;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Which file a descriptor is of, plus 1; 0: none. */
static struct {
    uint8_t file;
    bool dsync;
} descriptors[FDS];

/* ---- Recording ---- */

static size_t record(struct event event)
{
    pthread_mutex_lock(&mutex);
    if (count == capacity) {
        capacity = capacity ? 2 * capacity : 4096;
        events = reallocarray(events, capacity, sizeof *events);
        if (!events)
            err(1, "out of memory");
    }
    events[count] = event;
    size_t at = count++;
    pthread_mutex_unlock(&mutex);
    return at;
}

static bool is_recorded(int fd)
{
    return recording && fd >= 0 && fd < FDS && descriptors[fd].file;
}

static void record_write(int fd, const struct iovec *parts, int parts_count, uint64_t offset)
{
    struct event event = {.kind = WRITE, .file = descriptors[fd].file - 1u, .offset = offset};
    for (int i = 0; i < parts_count; i++)
        event.len += parts[i].iov_len;
    event.data = malloc(event.len + 1);
    if (!event.data)
        err(1, "out of memory");
    size_t at = 0;
    for (int i = 0; i < parts_count; i++) {
        memcpy(event.data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    size_t number = record(event);
    if (descriptors[fd].dsync) { /* what came before it may still be lost; it cannot, from here */
        pthread_mutex_lock(&mutex);
        events[number].on_disk = true;
        pthread_mutex_unlock(&mutex);
        record((struct event){.kind = SYNC_END, .file = event.file, .begin = 0});
    }
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0; // NOLINT: the analyzer misses va_start
    va_end(args);
    if (device_boot_id && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = device_boot_id;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0 || fd >= FDS)
        return fd;
    descriptors[fd].file = 0;
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        size_t len = strlen(path), name = strlen(device_names[i]);
        if (len > name && strcmp(path + len - name, device_names[i]) == 0)
            descriptors[fd].file = (uint8_t)(i + 1);
    }
    descriptors[fd].dsync = flags & O_DSYNC;
    return fd;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    struct iovec part = {(void *)(uintptr_t)data, len};
    if (is_recorded(fd))
        record_write(fd, &part, 1, (uint64_t)offset);
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int parts_count)
{
    if (is_recorded(fd))
        record_write(fd, parts, parts_count, (uint64_t)lseek(fd, 0, SEEK_CUR));
    return syscall(SYS_writev, fd, parts, parts_count);
}

int fdatasync(int fd)
{
    if (!is_recorded(fd))
        return (int)syscall(SYS_fdatasync, fd);
    /* What it syncs is only recorded; a real sync would take longer, and others write meanwhile. */
    struct event event = {.kind = SYNC_BEGIN, .file = descriptors[fd].file - 1u};
    size_t begin = record(event);
    usleep(200);
    record((struct event){.kind = SYNC_END, .file = event.file, .begin = begin});
    return 0;
}

int fsync(int fd)
{
    return is_recorded(fd) ? fdatasync(fd) : (int)syscall(SYS_fsync, fd);
}

/* ---- Failing ---- */

static struct file {
    uint8_t *disk; /* what is on it for sure */
    uint64_t length, room;
    size_t *pending; /* writes that may be on it, in order */
    size_t pending_count, pending_room;
    uint64_t longest; /* with those */
} files[DEVICE_FILES];
static size_t applied; /* events that files know of */

static void grow(struct file *file, uint64_t length)
{
    if (length > file->room) {
        uint64_t room = (length + (1 << 20)) & ~(uint64_t)(PAGE - 1);
        file->disk = realloc(file->disk, room);
        if (!file->disk)
            err(1, "out of memory");
        memset(file->disk + file->room, 0, room - file->room);
        file->room = room;
    }
    if (length > file->longest)
        file->longest = length;
}

static void load(struct file *file, const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0)
        return;
    if (fstat(fd, &info) != 0)
        err(1, "%s", path);
    grow(file, (uint64_t)info.st_size);
    file->length = (uint64_t)info.st_size;
    if (read(fd, file->disk, file->length) != (ssize_t)file->length)
        err(1, "%s", path);
    close(fd);
}

void device_record(const char *directory)
{
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s%s", directory, device_names[i]);
        load(&files[i], path);
    }
    recording = true;
}

void device_stop(void)
{
    recording = false;
}

size_t device_events(void)
{
    return count;
}

uint64_t device_syncs(unsigned file, size_t event)
{
    uint64_t syncs = 0;
    for (size_t i = 0; i < event; i++)
        syncs += events[i].kind == SYNC_END && events[i].begin > 0 && events[i].file == file;
    return syncs;
}

/* All that an event makes sure of goes to the disk. */
static void settle(struct file *file, size_t begin)
{
    size_t kept = 0;
    for (size_t i = 0; i < file->pending_count; i++) {
        const struct event *write = &events[file->pending[i]];
        if (file->pending[i] < begin || write->on_disk) {
            memcpy(file->disk + write->offset, write->data, write->len);
            if (write->offset + write->len > file->length)
                file->length = write->offset + write->len;
        } else {
            file->pending[kept++] = file->pending[i];
        }
    }
    file->pending_count = kept;
}

static void apply(const struct event *event, size_t number)
{
    struct file *file = &files[event->file];
    if (event->kind == SYNC_END) {
        settle(file, event->begin);
    } else if (event->kind == WRITE) {
        if (file->pending_count == file->pending_room) {
            file->pending_room = file->pending_room * 2 + 64;
            file->pending = reallocarray(file->pending, file->pending_room, sizeof(size_t));
            if (!file->pending)
                err(1, "out of memory");
        }
        file->pending[file->pending_count++] = number;
        grow(file, event->offset + event->len);
    }
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ b * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 32;
}

/* How a failure treats the pages: each as it comes, nothing, everything, all but few, few. */
static uint64_t choose(uint64_t seed, uint64_t page, uint64_t versions)
{
    uint64_t random = mix(seed, page + 1);
    switch (seed % 5) {
    case 0:
        return 0;
    case 1:
        return versions;
    case 2:
        return random % 8 ? versions : random / 8 % (versions + 1);
    case 3:
        return random % 8 ? 0 : random / 8 % (versions + 1);
    default:
        return random / 8 % (versions + 1);
    }
}

/* Puts of the pending writes what has reached the disk into image. */
static void write_pages(const struct file *file, uint64_t seed, uint8_t *image, uint64_t *length)
{
    size_t pages = file->room / PAGE + 1;
    uint32_t *versions = calloc(pages, 2 * sizeof *versions);
    uint32_t *seen = versions ? versions + pages : NULL;
    if (!versions)
        err(1, "out of memory");
    for (size_t i = 0; i < file->pending_count; i++) {
        const struct event *write = &events[file->pending[i]];
        for (uint64_t p = write->offset / PAGE; p <= (write->offset + write->len - 1) / PAGE; p++)
            versions[p]++;
    }
    for (size_t i = 0; i < file->pending_count; i++) {
        const struct event *write = &events[file->pending[i]];
        uint64_t last_page = UINT64_MAX;
        for (uint64_t at = 0; at < write->len;) {
            uint64_t position = write->offset + at, page = position / PAGE;
            uint64_t len = SECTOR - position % SECTOR;
            if (len > write->len - at)
                len = write->len - at;
            seen[page] += page != last_page;
            last_page = page;
            uint64_t reached = choose(seed, page, versions[page]);
            bool torn = mix(seed, page) % 4 == 0 && mix(seed, position / SECTOR) % 2;
            if (seen[page] <= reached + torn) {
                memcpy(image + position, write->data + at, len);
                if (position + len > *length)
                    *length = position + len;
            }
            at += len;
        }
    }
    free(versions);
}

static void write_image(const char *path, const uint8_t *image, uint64_t length)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, image, length) != (ssize_t)length)
        err(1, "%s", path);
    close(fd);
}

void device_fail(size_t event, uint64_t seed, const char *directory)
{
    for (; applied < event; applied++)
        apply(&events[applied], applied);
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        const struct file *file = &files[i];
        char path[256];
        uint64_t length = file->length;
        uint8_t *image = malloc(file->room + 1);
        if (!image)
            err(1, "out of memory");
        memcpy(image, file->disk, file->room);
        write_pages(file, seed, image, &length);
        if (seed / 5 % 2 && file->longest > length)
            length = file->longest;
        snprintf(path, sizeof path, "%s%s", directory, device_names[i]);
        if (length > 0)
            write_image(path, image, length);
        else
            unlink(path);
        free(image);
    }
}

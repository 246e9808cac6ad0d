/*
 * place - see place.h. Workers and stores. Fails without harm when there is no memory.
 */
#include "proto/channel/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/channel/channel.h"

enum {
    PLACE_SIZE = 64 << 20, /* as large as max_value and max_set may be */
    PAGE = 4096,
    PLACES = 2 * CHANNEL_SLOTS, /* those of the completions first */
    KEPT = PAGE,                /* memory that a place keeps for its next value */
};

uint64_t channel_file_size(uint64_t limit)
{
    uint64_t rings = channel_memory_size();
    uint64_t size = rings + (uint64_t)PLACE_SIZE * PLACES;
    if (size <= limit)
        return size;
    return limit > rings ? limit / PAGE * PAGE : rings;
}

struct channel_places channel_places_open(int fd)
{
    struct stat info;
    uint64_t rings = channel_memory_size();
    if (fstat(fd, &info) != 0 || (uint64_t)info.st_size < rings)
        return (struct channel_places){.fd = -1};
    return (struct channel_places){fd, ((uint64_t)info.st_size - rings) / PLACES / PAGE * PAGE};
}

unsigned channel_place_in(uint64_t sequence)
{
    return CHANNEL_SLOTS + sequence % CHANNEL_SLOTS;
}

unsigned channel_place_out(uint64_t sequence)
{
    return sequence % CHANNEL_SLOTS;
}

static off_t start_of(const struct channel_places *places, unsigned place)
{
    return (off_t)(channel_memory_size() + place * places->size);
}

static bool write_all(int fd, struct bytes value, off_t at)
{
    while (value.len > 0) {
        ssize_t n = pwrite(fd, value.data, value.len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        value = (struct bytes){value.data + n, value.len - (size_t)n};
        at += n;
    }
    return true;
}

static void give_back(const struct channel_places *places, off_t start, uint64_t len)
{
    (void)!fallocate(places->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, (off_t)len);
}

bool channel_place_write(const struct channel_places *places, unsigned place, struct bytes value)
{
    if (write_all(places->fd, value, start_of(places, place)))
        return true;
    channel_place_free(places, place, value.len);
    return false;
}

bool channel_place_read(const struct channel_places *places, unsigned place, void *to, size_t len)
{
    off_t at = start_of(places, place);
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(places->fd, (uint8_t *)to + done, len - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

void channel_place_free(const struct channel_places *places, unsigned place, size_t len)
{
    if (len > KEPT)
        give_back(places, start_of(places, place), places->size);
}

void channel_places_clear(const struct channel_places *places)
{
    if (places->size > 0)
        give_back(places, (off_t)channel_memory_size(), places->size * CHANNEL_SLOTS);
}

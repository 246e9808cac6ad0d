/*
 * room - see room.h. Runs in store-disk. Cannot fail: what it cannot find out counts as room, and
 * then it is the commit that says that there is none.
 */
#include "store/disk/room.h"

#include <errno.h>
#include <fcntl.h>

#include "store/disk/flush.h"

enum {
    RESERVE_MIN = 256, /* pages; a delete takes about ten, and frees them two commits later */
    RESERVE_MAX = 1024,
    RESERVE_SHARE = 64, /* of the map, at most one in so many */
    STEP = 256,         /* pages allocated at once */
    PER_CHANGE = 12,    /* pages of the trees that a change may take, splits included */
    COUNT_MAX = 16384,  /* more free pages need not be counted for one transaction */
    FREE_TABLE = 0,     /* LMDB's own: transaction -> number of pages, pages */
};

void room_open(struct room *room, const struct env *env)
{
    *room = (struct room){.reserve = env->pages_max / RESERVE_SHARE};
    if (room->reserve < RESERVE_MIN)
        room->reserve = RESERVE_MIN;
    if (room->reserve > RESERVE_MAX)
        room->reserve = RESERVE_MAX;
}

/* Has blocks allocated up to a page. False when the map or the disk ends before it. */
static bool allocate(struct room *room, const struct env *env, uint64_t page)
{
    while (room->allocated < page && room->allocated < env->pages_max) {
        uint64_t step = env->pages_max - room->allocated;
        if (step > STEP)
            step = STEP;
        if (fallocate(env->data_fd, FALLOC_FL_KEEP_SIZE, (off_t)(room->allocated * env->page_size),
                      (off_t)(step * env->page_size)) == 0)
            room->allocated += step;
        else if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
            break;
        else
            room->allocated = env->pages_max; /* a file system that cannot do it */
    }
    return room->allocated >= page;
}

/* Free pages that the transaction after this one may use again. LMDB shows its own table only to
 * transactions that read. */
static uint64_t count_free(const struct env *env, MDB_txn *reader)
{
    uint64_t count = 0;
    uint64_t oldest = mdb_txn_id(reader), others = readers_oldest(env->lmdb);
    if (others < oldest)
        oldest = others;
    MDB_cursor *cursor;
    MDB_val key, value;
    if (mdb_cursor_open(reader, FREE_TABLE, &cursor) != MDB_SUCCESS)
        return 0;
    while (count < COUNT_MAX && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
        size_t id, pages;
        if (key.mv_size != sizeof id || value.mv_size < sizeof pages)
            break;
        memcpy(&id, key.mv_data, sizeof id);
        memcpy(&pages, value.mv_data, sizeof pages);
        if (id >= oldest)
            break;
        count += pages;
    }
    mdb_cursor_close(cursor);
    return count;
}

void room_begin(struct room *room, const struct env *env)
{
    MDB_envinfo info;
    mdb_env_info(env->lmdb, &info);
    room->next = (uint64_t)info.me_last_pgno + 1;
    if (room->allocated < room->next)
        room->allocated = room->next; /* what is in use has its blocks */
    room->taken = 0;
    room->counted = false;
    room->full = false;
    allocate(room, env, room->next + room->reserve);
}

bool room_take(struct room *room, struct env *env, MDB_txn *reader, size_t value_len)
{
    uint64_t pages = PER_CHANGE;
    if (value_len > env->page_size / 4)
        pages += value_len / env->page_size + 1;
    uint64_t end = room->next + room->taken + pages + room->reserve;
    if (end > room->allocated && !allocate(room, env, end)) {
        if (!room->counted) {
            readers_clear(&env->readers, env->lmdb); /* pages that a dead one keeps are free */
            room->free = count_free(env, reader);
        }
        room->counted = true;
        room->full = end > room->allocated + room->free;
        if (room->full)
            return false;
    }
    room->taken += pages;
    return true;
}

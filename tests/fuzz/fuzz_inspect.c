/*
 * fuzz_inspect - damaged arenas, channels and databases: strato-inspect says what makes no sense
 * and never crashes, reads past an end or runs for ever.
 *
 * Input: one byte of what to look at and how, then either the file itself (ALL_NEW), or changes to
 * a sound one: 2 bytes which of its words that are not zero, 1 byte which of that word's bytes, and
 * the 8 bytes to put there.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/channel/channel.h"
#include "store/arena/writer.h"
#include "store/disk/format.h"
#include "store/disk/record.h"
#include "store/inspect/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { KIND_ARENA, KIND_CHANNEL, KIND_DATABASE, KINDS };
enum { CHECK = 4, RECORD = 8, ALL = 16, ALL_NEW = 32, PRINT = 64 };
enum { CHANGE = 11, CHANGES_MAX = 64, ARENA_SIZE = 1 << 20 };

static struct image {
    int fd;
    uint8_t *base; /* mapped */
    size_t size;
    uint32_t *words; /* offsets of those that are not zero */
    size_t count;
} images[KINDS], fresh;

static void *must(void *pointer)
{
    if (!pointer || pointer == MAP_FAILED)
        err(1, "no memory");
    return pointer;
}

static struct image new_image(size_t size)
{
    struct image image = {.fd = memfd_create("fuzz", 0), .size = size};
    if (image.fd < 0 || ftruncate(image.fd, (off_t)size) != 0)
        err(1, "memfd");
    image.base = must(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, image.fd, 0));
    return image;
}

static void find_words(struct image *image)
{
    image->words = must(malloc(image->size / 8 * sizeof *image->words));
    for (size_t at = 0; at + 8 <= image->size; at += 8) {
        uint64_t word;
        memcpy(&word, image->base + at, 8);
        if (word != 0)
            image->words[image->count++] = (uint32_t)at;
    }
}

static void make_arena(struct image *image)
{
    struct arena_report report;
    char reason[100], key[16];
    uint64_t revision;
    const struct arena_origin origin = {1, 2};
    *image = new_image(ARENA_SIZE);
    struct arena_writer *writer = must(arena_writer_attach(
        image->base, image->size, ARENA_DATA, clock_wall_ms(), &report, reason, sizeof reason));
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if (arena_put(writer, (enum service)(i % SERVICE_COUNT), bytes_of(key),
                      bytes_of("\3\0abc\1\0d"), 0, origin, clock_wall_ms(), &revision) != STATUS_OK)
            errx(1, "arena_put");
    }
    arena_writer_close(&writer);
}

static void make_channel(struct image *image)
{
    *image = new_image(channel_memory_size());
    struct channel_memory *memory = (void *)image->base;
    struct channel_worker worker;
    struct channel_store store;
    channel_lay_out(memory);
    channel_worker_open(&worker, memory, -1);
    channel_store_open(&store, memory, -1);
    for (int i = 0; i < 20; i++) {
        uint64_t sequence;
        static struct channel_taken taken;
        struct channel_submission *slot = must(channel_worker_slot(&worker, &sequence));
        slot->op = (uint8_t)(1 + i % (OP_COUNT - 1));
        slot->key_len = 3;
        memcpy(slot->payload, "key", 3);
        channel_worker_commit(&worker);
        channel_worker_flush(&worker);
        if (i % 2 && channel_store_take(&store, &taken, &sequence)) {
            channel_store_slot(&store, sequence)->status = STATUS_OK;
            channel_store_keep(&store, sequence);
            channel_store_commit(&store, sequence);
        }
    }
}

static void put(MDB_txn *txn, const char *table, struct bytes key, struct bytes value)
{
    MDB_dbi dbi;
    MDB_val k = env_val(key), v = env_val(value);
    if (mdb_dbi_open(txn, table, MDB_CREATE, &dbi) != 0 ||
        (key.len > 0 && mdb_put(txn, dbi, &k, &v, 0) != 0))
        errx(1, "mdb_put");
}

static void put_records(MDB_txn *txn)
{
    static const char *const tables[] = {"cache", "counter", "flag",   "kv",
                                         "set",   "item",    "expiry", "meta"};
    static uint8_t value[10000] = {RECORD_FORMAT};
    const uint32_t format = FORMAT_FIRST;
    const struct state state = {7, 1};
    const struct set_root root = {1, 1, 5};
    char key[16];
    struct {
        struct channel_entry entry;
        struct channel_result results[2];
    } saved = {{2, 0}, {{0, 1, 2}, {CHANNEL_NO_RESULT, 0, 0}}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        put(txn, tables[i], (struct bytes){0}, (struct bytes){0});
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(txn, "kv", bytes_of(key), (struct bytes){value, i % 60 ? 40 : sizeof value});
    }
    memcpy(value + sizeof(struct record_header), &root, sizeof root);
    put(txn, "set", bytes_of("k1"),
        (struct bytes){value, sizeof(struct record_header) + sizeof root});
    put(txn, "item", (struct bytes){(const uint8_t *)"\0\0\0\0\0\0\0\1abc", 11}, (struct bytes){0});
    put(txn, "meta", bytes_of("STRATO-DISK"), (struct bytes){(const uint8_t *)&format, 4});
    put(txn, "meta", bytes_of("state"), (struct bytes){(const uint8_t *)&state, sizeof state});
    put(txn, "meta", (struct bytes){(const uint8_t *)"channel\1\0\0\0", 11},
        (struct bytes){(const uint8_t *)&saved, sizeof saved});
}

static void make_database(struct image *image)
{
    char directory[] = "/tmp/strato-fuzz-XXXXXX", path[64];
    MDB_env *env;
    MDB_txn *txn;
    if (!mkdtemp(directory) || mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 8) != 0 ||
        mdb_env_set_mapsize(env, 8 << 20) != 0 ||
        mdb_env_open(env, directory, MDB_NOSYNC, 0600) != 0 ||
        mdb_txn_begin(env, NULL, 0, &txn) != 0)
        errx(1, "no database in %s", directory);
    put_records(txn);
    if (mdb_txn_commit(txn) != 0)
        errx(1, "mdb_txn_commit");
    mdb_env_close(env);
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    *image = new_image((size_t)size);
    if (pread(fd, image->base, image->size, 0) != size)
        err(1, "%s", path);
    close(fd);
    unlink(path);
    snprintf(path, sizeof path, "%s/lock.mdb", directory);
    unlink(path);
    rmdir(directory);
}

static void make_images(void)
{
    make_arena(&images[KIND_ARENA]);
    make_channel(&images[KIND_CHANNEL]);
    make_database(&images[KIND_DATABASE]);
    fresh = new_image(ARENA_SIZE);
    for (int i = 0; i < KINDS; i++)
        find_words(&images[i]);
    if (!freopen("/dev/null", "w", stdout))
        err(1, "/dev/null");
}

static void look(const struct image *image, unsigned kind, unsigned how)
{
    struct input input = {image->fd, image->size};
    struct inspect_options options = {.check = how & CHECK, .all = how & ALL};
    struct report report;
    if (how & RECORD) {
        options.service = how & CHECK ? "set" : "kv";
        options.key = bytes_of("k1");
    }
    report_open(&report);
    if (kind == KIND_ARENA)
        inspect_arena(&input, &options, &report);
    else if (kind == KIND_CHANNEL)
        inspect_channel(&input, &options, &report);
    else
        inspect_database(&input, &options, &report);
    if (how & PRINT)
        (void)report_print(&report, how & ALL);
    report_close(&report);
}

/* Changes the image, looks, and changes it back. */
static void look_at_changed(const struct image *image, unsigned kind, unsigned how,
                            const uint8_t *data, size_t len)
{
    struct {
        uint8_t *at;
        uint64_t word;
    } old[CHANGES_MAX];
    size_t count = 0;
    for (; len >= CHANGE && count < CHANGES_MAX; data += CHANGE, len -= CHANGE, count++) {
        size_t which = (size_t)(data[0] | data[1] << 8) % image->count;
        old[count].at = image->base + image->words[which];
        memcpy(&old[count].word, old[count].at, 8);
        for (int i = 0; i < 8; i++)
            if (data[2] & 1 << i)
                old[count].at[i] = data[3 + i];
    }
    look(image, kind, how);
    while (count-- > 0)
        memcpy(old[count].at, &old[count].word, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!fresh.base)
        make_images();
    if (len == 0)
        return 0;
    unsigned how = data[0], kind = how % 4 % KINDS;
    data++;
    len--;
    if (!(how & ALL_NEW)) {
        look_at_changed(&images[kind], kind, how, data, len);
        return 0;
    }
    size_t used = len < fresh.size ? len : fresh.size;
    memcpy(fresh.base, data, used);
    struct image cut = fresh;
    if (how & RECORD) /* and it ends there */
        cut.size = used;
    look(&cut, kind, how);
    memset(fresh.base, 0, used);
    return 0;
}

/*
 * formats - see formats.h. Runs in store-disk.
 *
 * DIAGNOSTICS  A refusal names the directory, the number, the release that wrote it and what this
 * program knows; nothing was changed then.
 */
#include "store/disk/formats.h"

#include <stdio.h>

#include "proto/run/run.h"

static const char magic[] = "STRATO-DISK";
static const char all[] = "format"; /* who wrote the number of all of it */

enum { KEY_SIZE = 64 };

static struct bytes service_key(enum service service, char text[KEY_SIZE])
{
    snprintf(text, KEY_SIZE, "format.%s", service_name(service));
    return bytes_of(text);
}

/* ---- Reading ---- */

/* The entry, and what stands behind it. */
static struct format_entry read_entry(const struct env *env, MDB_txn *txn, struct bytes name,
                                      struct bytes *behind_r)
{
    MDB_val key = env_val(name), value;
    struct format_entry entry = {.number = 1, .release = "0.2.0"};
    *behind_r = (struct bytes){0};
    if (mdb_get(txn, env->tables[TABLE_META], &key, &value) != MDB_SUCCESS ||
        value.mv_size < sizeof entry)
        return entry;
    memcpy(&entry, value.mv_data, sizeof entry);
    *behind_r =
        (struct bytes){(uint8_t *)value.mv_data + sizeof entry, value.mv_size - sizeof entry};
    return entry;
}

uint32_t formats_of(const struct env *env, MDB_txn *txn, enum service service)
{
    char text[KEY_SIZE];
    struct bytes behind;
    return read_entry(env, txn, service_key(service, text), &behind).number;
}

struct bytes formats_position(const struct env *env, MDB_txn *txn, enum service service)
{
    char text[KEY_SIZE];
    struct bytes behind;
    (void)read_entry(env, txn, service_key(service, text), &behind);
    return behind;
}

/* ---- Refusing ---- */

/* The release comes from the database: only what cannot harm a terminal is shown. */
static void show_release(const struct format_entry *entry, char text[sizeof entry->release + 1])
{
    size_t len = 0;
    while (len < sizeof entry->release && entry->release[len] > ' ' && entry->release[len] <= '~')
        len++;
    memcpy(text, entry->release, len);
    text[len] = '\0';
}

_Noreturn static void refuse(const struct env *env, const char *what, uint32_t number,
                             const struct format_entry *entry, uint32_t newest)
{
    char release[sizeof entry->release + 1];
    show_release(entry, release);
    bool known = *release && number == entry->number;
    run_child_fail(RUN_EXIT_CONFIG,
                   "%s in %s has format %u, written by release %s; this program is release %s and "
                   "knows formats up to %u. Nothing was changed: use that release, or a backup",
                   what, env->path, number, known ? release : "(unknown)", STRATO_VERSION, newest);
}

static void check_services(const struct env *env, MDB_txn *txn)
{
    for (enum service service = 0; service < SERVICE_COUNT; service++) {
        char text[KEY_SIZE], what[KEY_SIZE];
        struct bytes behind;
        struct format_entry entry = read_entry(env, txn, service_key(service, text), &behind);
        uint32_t newest = service_info(service)->format;
        snprintf(what, sizeof what, "the data of %s", service_name(service));
        if (entry.number < 1 || entry.number > newest)
            refuse(env, what, entry.number, &entry, newest);
    }
}

void formats_check(const struct env *env, MDB_txn *txn)
{
    MDB_val key = env_val(bytes_of(magic)), value;
    uint32_t number;
    struct bytes behind;
    int code = mdb_get(txn, env->tables[TABLE_META], &key, &value);
    if (code != MDB_SUCCESS || value.mv_size != sizeof number)
        run_child_fail(RUN_EXIT_CONFIG, "the database in %s is not one of Strato", env->path);
    memcpy(&number, value.mv_data, sizeof number);
    struct format_entry entry = read_entry(env, txn, bytes_of(all), &behind);
    if (number < FORMAT_FIRST || number > FORMAT_NEWEST)
        refuse(env, "the database", number, &entry, FORMAT_NEWEST);
    check_services(env, txn);
}

/* ---- Writing ---- */

static enum status write_entry(struct env *env, MDB_txn *txn, struct bytes name, uint32_t number,
                               struct bytes behind)
{
    struct format_entry entry = {.number = number};
    struct buffer value = {0};
    memcpy(entry.release, STRATO_VERSION,
           sizeof STRATO_VERSION < sizeof entry.release ? sizeof STRATO_VERSION
                                                        : sizeof entry.release);
    buffer_append(&value, &entry, sizeof entry);
    buffer_append(&value, behind.data, behind.len);
    MDB_val key = env_val(name), to = {value.len, value.data};
    int code = mdb_put(txn, env->tables[TABLE_META], &key, &to, 0);
    buffer_free(&value);
    return env_status(env, code, "write");
}

/* The number of all of it. */
static enum status write_number(struct env *env, MDB_txn *txn, uint32_t number)
{
    MDB_val key = env_val(bytes_of(magic)), value = {sizeof number, &number};
    int code = mdb_put(txn, env->tables[TABLE_META], &key, &value, 0);
    enum status status = env_status(env, code, "write");
    return status == STATUS_OK ? write_entry(env, txn, bytes_of(all), number, (struct bytes){0})
                               : status;
}

enum status formats_put(struct env *env, MDB_txn *txn, enum service service, uint32_t number,
                        struct bytes position)
{
    char text[KEY_SIZE];
    enum status status = number > 1 || position.len > 0 ? formats_raise(env, txn) : STATUS_OK;
    return status == STATUS_OK ? write_entry(env, txn, service_key(service, text), number, position)
                               : status;
}

enum status formats_raise(struct env *env, MDB_txn *txn)
{
    MDB_val key = env_val(bytes_of(magic)), value;
    uint32_t number = 0;
    int code = mdb_get(txn, env->tables[TABLE_META], &key, &value);
    if (code == MDB_SUCCESS && value.mv_size == sizeof number)
        memcpy(&number, value.mv_data, sizeof number);
    return number == FORMAT_NEWEST ? STATUS_OK : write_number(env, txn, FORMAT_NEWEST);
}

enum status formats_lay_out(struct env *env, MDB_txn *txn)
{
    enum status status = write_number(env, txn, FORMAT_FIRST);
    for (enum service service = 0; service < SERVICE_COUNT && status == STATUS_OK; service++)
        status = formats_put(env, txn, service, service_info(service)->format, (struct bytes){0});
    return status;
}

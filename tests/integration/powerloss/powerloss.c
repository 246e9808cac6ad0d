/*
 * powerloss - the disk engine under power losses: powerloss SYNC POINTS [SEED], SYNC as in
 * strato.ini.
 *
 * Records what the engine writes during some hundred rounds of changes, lets the power fail at
 * POINTS moments (device.h says what the disk may have then), opens what is there and compares it
 * with what it was after each round. Exits 0 when it was always what was promised:
 *
 *     commit    the state after the last round that was answered, or after the one under way
 *     interval  the state after some round, not older than the last sync but one
 */
#include <err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/integration/powerloss/device.h"
#include "tests/unit/disk_engine.h"

enum { ROUNDS = 1500, KEYS = 120, COUNTERS = 12, SETS = 8, ITEMS = 32, CHANNELS = 4 };

/* What the database holds. */
struct model {
    uint32_t values[KEYS]; /* version, 0: none */
    int64_t counters[COUNTERS];
    uint32_t sets[SETS]; /* a bit for each item */
    uint64_t revision;
    uint64_t applied[CHANNELS];
};

static struct round {
    struct model model;
    size_t answered; /* the number of events when its first answer was given */
    uint64_t marks;  /* syncs of "unsynced" that had been made then */
} rounds[ROUNDS + 1];

static uint64_t random_state = 88172645463325252u;

static unsigned pick(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 20) % below);
}

/* ---- The model ---- */

static size_t value_len(unsigned key, uint32_t version)
{
    return version % 11 == 0 ? 20000 + key * 10 : version * 31 % 1500 + 8;
}

static struct bytes value_of(unsigned key, uint32_t version)
{
    static uint8_t value[64 * 1024];
    size_t len = value_len(key, version);
    memset(value, (int)(key * 7 + version), len);
    memcpy(value, &version, sizeof version);
    return (struct bytes){value, len};
}

static struct request request_of(enum op op, struct bytes key, struct bytes value, int64_t number)
{
    return (struct request){.op = op, .key = key, .value = value, .number = number};
}

static struct bytes name_of(char kind, unsigned number, char *text)
{
    return (struct bytes){(uint8_t *)text, (size_t)sprintf(text, "%c-%u", kind, number)};
}

/* One random change to both. */
static void change(struct disk_engine *disk, struct model *model, uint32_t version)
{
    char name[32], item[32];
    uint32_t channel = pick(CHANNELS);
    unsigned choice = pick(10), number;
    if (choice < 5) {
        number = pick(KEYS);
        model->values[number] = version;
        disk_submit(
            disk, channel,
            request_of(OP_KV_PUT, name_of('k', number, name), value_of(number, version), 0));
    } else if (choice < 6) {
        number = pick(KEYS);
        model->values[number] = 0;
        disk_submit(disk, channel,
                    request_of(OP_KV_DELETE, name_of('k', number, name), (struct bytes){0}, 0));
    } else if (choice < 8) {
        number = pick(COUNTERS);
        model->counters[number] += version;
        disk_submit(disk, channel,
                    request_of(OP_COUNTER_INCREMENT, name_of('c', number, name), (struct bytes){0},
                               version));
    } else {
        unsigned bit = pick(ITEMS);
        number = pick(SETS);
        uint32_t mask = (uint32_t)1 << bit;
        model->sets[number] =
            choice == 8 ? model->sets[number] | mask : model->sets[number] & ~mask;
        disk_submit(disk, channel,
                    request_of(choice == 8 ? OP_SET_ADD : OP_SET_REMOVE, name_of('s', number, name),
                               name_of('i', bit, item), 0));
    }
    model->applied[channel] = disk->next[channel];
}

/* ---- Recording ---- */

static struct round *current;

static void note_answer(void)
{
    if (current->answered == 0)
        current->answered = device_events();
}

static void run_rounds(struct disk_engine *disk)
{
    uint32_t version = 0;
    rounds[0].model.revision = disk->engine->committed.revision;
    disk->completing = note_answer;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        current = &rounds[i];
        current->model = rounds[i - 1].model;
        for (unsigned changes = pick(8) ? pick(6) + 1 : pick(40) + 1; changes > 0; changes--)
            change(disk, &current->model, ++version);
        disk_settle(disk);
        current->model.revision = disk->engine->committed.revision;
        if (current->model.revision == rounds[i - 1].model.revision)
            memcpy(current->model.applied, rounds[i - 1].model.applied,
                   sizeof current->model.applied);
    }
}

/* ---- Checking ---- */

static bool has_value(struct disk_engine *disk, unsigned key, uint32_t version)
{
    char name[32];
    struct reply reply =
        disk_ask(disk, request_of(OP_KV_GET, name_of('k', key, name), (struct bytes){0}, 0));
    if (version == 0)
        return reply.status == STATUS_NOT_FOUND;
    return reply.status == STATUS_OK && bytes_equal(reply.value, value_of(key, version));
}

static bool has_set(struct disk_engine *disk, unsigned set, uint32_t expected)
{
    char name[32], text[KEY_MAX + 1];
    struct reply reply =
        disk_ask(disk, request_of(OP_SET_GET, name_of('s', set, name), (struct bytes){0}, 0));
    struct bytes rest = reply.value, item;
    uint32_t found = 0;
    while (set_next(&rest, &item)) {
        snprintf(text, sizeof text, "%.*s", (int)item.len, (const char *)item.data);
        found |= (uint32_t)1 << atoi(text + 2);
    }
    return found == expected && rest.len == 0;
}

/* What is wrong with the database, compared with a model; NULL: nothing. */
static const char *compare(struct disk_engine *disk, const struct model *model)
{
    char name[32];
    for (unsigned i = 0; i < KEYS; i++)
        if (!has_value(disk, i, model->values[i]))
            return "a value";
    for (unsigned i = 0; i < COUNTERS; i++)
        if (disk_ask(disk, request_of(OP_COUNTER_GET, name_of('c', i, name), (struct bytes){0}, 0))
                .number != model->counters[i])
            return "a counter";
    for (unsigned i = 0; i < SETS; i++)
        if (!has_set(disk, i, model->sets[i]))
            return "a set";
    return NULL;
}

/* Channels that a batch did not change may not have had it noted. */
static bool applied_fits(struct disk_engine *disk, const struct model *model)
{
    for (uint32_t i = 0; i < CHANNELS; i++)
        if (disk_engine.applied(disk->engine, i) > model->applied[i])
            return false;
    return true;
}

static struct {
    unsigned least, most; /* rounds between which the state must be */
    size_t event;
} expected;

/* In a process of its own: opens, compares, changes and opens again. Exits 0 when all is well. */
static void check(struct disk_engine *disk)
{
    disk_open(disk);
    unsigned round = expected.least;
    while (round <= expected.most &&
           rounds[round].model.revision != disk->engine->committed.revision)
        round++;
    if (round > expected.most)
        errx(1, "event %zu: revision %llu is of no round from %u to %u", expected.event,
             (unsigned long long)disk->engine->committed.revision, expected.least, expected.most);
    struct model model = rounds[round].model;
    const char *wrong = compare(disk, &model);
    if (wrong || !applied_fits(disk, &model))
        errx(1, "event %zu: %s is not as after round %u", expected.event,
             wrong ? wrong : "what is applied", round);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 5; j++)
            change(disk, &model, 1000000 + (uint32_t)(i * 5 + j));
        disk_settle(disk);
    }
    disk_close(disk);
    disk_open(disk);
    if ((wrong = compare(disk, &model)))
        errx(1, "event %zu: %s is wrong after going on", expected.event, wrong);
    disk_close(disk);
}

/* Which rounds' states may be found when the power fails before an event. */
static void expect(size_t event, enum sync_mode sync)
{
    unsigned answered = 0;
    while (answered < ROUNDS && rounds[answered + 1].answered <= event)
        answered++;
    expected.event = event;
    expected.most = answered < ROUNDS ? answered + 1 : ROUNDS;
    expected.least = answered;
    if (sync == SYNC_COMMIT)
        return;
    /* The last sync but one had ended before the last one took what it has. */
    uint64_t marks = device_syncs(1, event);
    while (expected.least > 0 && rounds[expected.least].marks + 1 >= marks)
        expected.least--;
}

static void write_boot_id(const char *path, const char *id)
{
    FILE *file = fopen(path, "w");
    if (!file || fprintf(file, "%s\n", id) < 0 || fclose(file) != 0)
        err(1, "%s", path);
}

static void record(struct disk_engine *disk)
{
    disk_open(disk);
    device_record(disk->child.conf.disk_path);
    run_rounds(disk);
    device_stop();
    for (unsigned i = 1; i <= ROUNDS; i++)
        rounds[i].marks = device_syncs(1, rounds[i].answered);
}

int main(int argc, char **argv)
{
    char boot_id[128];
    if (argc < 3)
        errx(2, "usage: powerloss commit|interval POINTS [SEED]");
    if (argc > 3)
        random_state = strtoull(argv[3], NULL, 0);
    unsigned points = (unsigned)atoi(argv[2]), wrong = 0;
    struct disk_engine *disk = disk_new();
    snprintf(boot_id, sizeof boot_id, "%s/boot_id", disk->directory);
    write_boot_id(boot_id, "before");
    device_boot_id = boot_id;
    disk->child.conf.disk_sync = strcmp(argv[1], "commit") == 0 ? SYNC_COMMIT : SYNC_INTERVAL;
    disk->child.conf.disk_sync_interval_ms = 3;
    log_set_level(LOG_ERROR);
    record(disk);
    size_t events = device_events();
    write_boot_id(boot_id, "after");
    snprintf(disk->child.conf.disk_path, CONF_TEXT_MAX, "%s/failed", disk->directory);
    if (mkdir(disk->child.conf.disk_path, 0700) != 0)
        err(1, "%s", disk->child.conf.disk_path);
    for (unsigned i = 0; i < points; i++) {
        size_t event = (size_t)((double)events * i / points) + pick(3);
        expect(event, disk->child.conf.disk_sync);
        device_fail(event, random_state, disk->child.conf.disk_path);
        wrong += disk_in_child(disk, check) != 0;
    }
    printf("{\"sync\": \"%s\", \"events\": %zu, \"rounds\": %d, \"points\": %u, \"wrong\": %u, "
           "\"syncs_of_roots\": %llu}\n",
           argv[1], events, ROUNDS, points, wrong, (unsigned long long)device_syncs(1, events));
    disk->engine = NULL;
    disk_remove(&disk);
    return wrong != 0;
}

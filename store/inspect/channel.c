/*
 * channel - shows the rings between one worker and one store: positions, what waits, who sleeps.
 * strato-inspect; see inspect.h and proto/channel/channel.h.
 *
 * A ring in use is read again until nothing moved meanwhile, a bounded number of times.
 */
#include <inttypes.h>
#include <stddef.h>

#include "proto/base/clock.h"
#include "proto/channel/channel.h"
#include "store/inspect/inspect.h"

enum { SHOWN = 16, KEY_SHOWN = 64, TRIES = 100 };

struct rings {
    const struct inspect_options *options;
    struct report *report;
    const struct channel_memory *memory;
    uint64_t submitted, consumed, completed;
    bool moved; /* while it was read: then what looks odd may be right */
};

static void show_header(const struct rings *rings)
{
    const struct channel_memory *memory = rings->memory;
    json_t *to = show_object(rings->report->root, "header");
    show_number(to, "version", memory->version);
    show_number(to, "slots", memory->slots);
    show_number(to, "slot size", memory->slot_size);
    if (memcmp(memory->magic, CHANNEL_MAGIC, sizeof memory->magic) != 0)
        report_trouble(rings->report, "the header does not begin with %s", CHANNEL_MAGIC);
    else if (!channel_knows(memory->version) || memory->slots != CHANNEL_SLOTS ||
             memory->slot_size != CHANNEL_SLOT_SIZE)
        report_trouble(rings->report,
                       "this program knows version %d to %d with %d slots of %d bytes",
                       CHANNEL_VERSION_SHORT, CHANNEL_VERSION, CHANNEL_SLOTS, CHANNEL_SLOT_SIZE);
}

static bool make_sense(const struct rings *rings)
{
    return rings->consumed <= rings->completed && rings->completed <= rings->submitted &&
           rings->submitted - rings->consumed <= CHANNEL_SLOTS;
}

static void show_positions(const struct rings *rings)
{
    const struct channel_memory *memory = rings->memory;
    json_t *to = show_object(rings->report->root, "positions");
    show_number(to, "submitted", rings->submitted);
    show_number(to, "sent", memory->sent);
    show_number(to, "completed", rings->completed);
    show_number(to, "consumed", rings->consumed);
    show_number(to, "hits published", memory->hits_published);
    show_number(to, "link trouble", memory->link_trouble);
    show_flag(to, "store asleep", memory->store_asleep != 0);
    show_flag(to, "worker asleep", memory->worker_asleep != 0);
    show_flag(to, "moved while read", rings->moved);
    if (!make_sense(rings) && !rings->moved)
        report_trouble(rings->report,
                       "consumed <= completed <= submitted <= consumed + %d does not hold",
                       CHANNEL_SLOTS);
}

static const char *op_name(unsigned op)
{
    const struct op_info *info = op_info((enum op)op);
    return info ? info->name : "no operation";
}

static void copy_submission(const struct rings *rings, uint64_t sequence,
                            struct channel_taken *taken_r)
{
    channel_copy(&rings->memory->submissions[sequence % CHANNEL_SLOTS], taken_r);
}

static void show_submission(const struct rings *rings, json_t *row, uint64_t sequence)
{
    struct channel_taken taken, *slot = &taken;
    copy_submission(rings, sequence, slot);
    uint64_t now = clock_ns();
    size_t value_len = slot->flags & CHANNEL_BULK ? 0 : slot->value_len;
    size_t key_len = slot->key_len + value_len <= slot->room ? slot->key_len : 0;
    show_number(row, "sequence", sequence);
    show_text(row, "operation", "%s", op_name(slot->op));
    show_number(row, "namespace", slot->namespace);
    show_number(row, "value bytes", slot->value_len);
    show_signed(row, "number", slot->number);
    show_flag(row, "staged", slot->flags & CHANNEL_BULK);
    show_signed(row, "ms left", (int64_t)(slot->deadline_ns - now) / 1000000);
    show_bytes(row, "key", (struct bytes){slot->payload, key_len}, KEY_SHOWN);
    if (!rings->moved && (!op_info((enum op)slot->op) || key_len == 0 || key_len > KEY_MAX))
        report_trouble(rings->report, "submission %" PRIu64 " is no request", sequence);
}

static void show_waiting(const struct rings *rings)
{
    static uint16_t by_op[UINT16_MAX + 1];
    uint64_t waiting = rings->submitted - rings->completed;
    struct channel_taken taken;
    memset(by_op, 0, sizeof by_op);
    json_t *sums = show_array(rings->report->root, "waiting for the store");
    json_t *rows = show_array(rings->report->root, "submissions");
    for (uint64_t i = rings->completed; i != rings->submitted; i++) {
        copy_submission(rings, i, &taken);
        by_op[taken.op]++;
    }
    for (unsigned op = 0; op <= UINT16_MAX; op++) {
        if (by_op[op] == 0)
            continue;
        json_t *row = show_row(sums);
        show_text(row, "operation", "%s", op_name(op));
        show_number(row, "number", op);
        show_number(row, "waiting", by_op[op]);
    }
    uint64_t shown = rings->options->all || waiting < SHOWN ? waiting : SHOWN;
    for (uint64_t i = 0; i < shown; i++)
        show_submission(rings, show_row(rows), rings->completed + i);
    if (shown < waiting)
        show_number(rings->report->root, "submissions not shown", waiting - shown);
}

static void show_answers(const struct rings *rings)
{
    json_t *rows = show_array(rings->report->root, "waiting for the worker");
    uint64_t waiting = rings->completed - rings->consumed;
    uint64_t shown = rings->options->all || waiting < SHOWN ? waiting : SHOWN;
    for (uint64_t i = rings->consumed; i < rings->consumed + shown; i++) {
        const struct channel_completion *slot = &rings->memory->completions[i % CHANNEL_SLOTS];
        json_t *row = show_row(rows);
        show_number(row, "sequence", i);
        show_text(row, "status", "%s", status_info((enum status)slot->status)->name);
        show_signed(row, "number", slot->number);
        show_number(row, "revision", slot->revision);
        show_number(row, "value bytes", slot->value_len);
        show_flag(row, "to fetch", slot->flags & CHANNEL_BULK);
        if (slot->sequence != i && !rings->moved)
            report_trouble(rings->report, "completion %" PRIu64 " says that it is %" PRIu64, i,
                           slot->sequence);
    }
    if (shown < waiting)
        show_number(rings->report->root, "answers not shown", waiting - shown);
}

static void read_rings(const struct input *input, struct channel_memory *memory,
                       struct rings *rings)
{
    _Atomic uint64_t submitted = 0, completed = 0;
    rings->moved = true;
    for (int i = 0; i < TRIES && rings->moved; i++) {
        if (!input_read(input, 0, memory, sizeof *memory) ||
            !input_read(input, offsetof(struct channel_memory, submitted), &submitted,
                        sizeof submitted) ||
            !input_read(input, offsetof(struct channel_memory, completed), &completed,
                        sizeof completed))
            return;
        rings->moved = submitted != memory->submitted || completed != memory->completed;
    }
    rings->submitted = memory->submitted;
    rings->consumed = memory->consumed;
    rings->completed = memory->completed;
}

void inspect_channel(const struct input *input, const struct inspect_options *options,
                     struct report *report)
{
    static struct channel_memory memory;
    struct rings rings = {.options = options, .report = report, .memory = &memory};
    if (input->size < sizeof memory) {
        report_trouble(report, "%" PRIu64 " bytes are no channel: it has at least %zu", input->size,
                       sizeof memory);
        return;
    }
    read_rings(input, &memory, &rings);
    if (channel_is_raw(&memory)) {
        show_text(report->root, "state", "raw: no store has laid it out yet");
        return;
    }
    show_header(&rings);
    show_positions(&rings);
    if (make_sense(&rings)) {
        show_waiting(&rings);
        show_answers(&rings);
    }
}

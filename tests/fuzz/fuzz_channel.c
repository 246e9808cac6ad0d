/*
 * fuzz_channel - a store behind channels that somebody else wrote: the input damages what is in the
 * channel's memory, before the store starts and while it runs. Whatever is there, the store starts,
 * answers the other channel, and never leaves its memory.
 *
 * Input: pieces of 8 bytes: a kind, a position (4 bytes), a value (3 bytes). One byte more: the
 * arena is taken over, too.
 */
#include <string.h>

#include "proto/base/log.h"
#include "store/arena/writer.h"
#include "tests/unit/dispatch_bench.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { PIECE = 8, PIECES_MAX = 64, ROUNDS_MAX = 1200 };

static struct dispatch_bench *bench;

/* ---- An arena that stays open ---- */

/* The arena is sound here (fuzz_arena has those that are not), and to take it over costs more than
 * all else. So the next store gets it as the one before it had it, unless the input says otherwise.
 * The linker has these called in place of the real ones. */
struct arena_writer *__real_arena_writer_open(int fd, enum arena_role role, uint64_t now_ms,
                                              struct arena_report *report_r, char *reason,
                                              size_t reason_size);
struct arena_writer *__wrap_arena_writer_open(int fd, enum arena_role role, uint64_t now_ms,
                                              struct arena_report *report_r, char *reason,
                                              size_t reason_size);
void __real_arena_writer_close(struct arena_writer **writer);
void __wrap_arena_writer_close(struct arena_writer **writer);

static struct arena_writer *arena;
static bool take_over;

struct arena_writer *__wrap_arena_writer_open(int fd, enum arena_role role, uint64_t now_ms,
                                              struct arena_report *report_r, char *reason,
                                              size_t reason_size)
{
    *report_r = (struct arena_report){.found_as = ARENA_WAS_SOUND};
    if (!arena)
        arena = __real_arena_writer_open(fd, role, now_ms, report_r, reason, reason_size);
    return arena;
}

void __wrap_arena_writer_close(struct arena_writer **writer)
{
    *writer = NULL;
    if (take_over)
        __real_arena_writer_close(&arena);
}

/* ---- Inputs ---- */

static void scribble(struct channel_memory *memory, const uint8_t *piece)
{
    uint32_t at, value;
    memcpy(&at, piece + 1, sizeof at);
    memcpy(&value, piece + 4, sizeof value);
    value >>= 8;
    uint64_t heads = offsetof(struct channel_memory, counters) / 8;
    uint64_t *word = (uint64_t *)memory + at % heads;
    struct channel_submission *slot = &memory->submissions[at % 4];
    switch (piece[0] % 9) {
    case 0:
        *word = value;
        break;
    case 1:
        *word = (uint64_t)value << 40;
        break;
    case 2:
        *word += value % 1024;
        break;
    case 3:
        *word -= value % 1024;
        break;
    case 4: /* a request that may make sense */
        *slot = (struct channel_submission){.op = (uint8_t)(value % 16),
                                            .key_len = (uint16_t)(value >> 4 & 7),
                                            .value_len = value >> 8 & 0xff,
                                            .number = (int64_t)(value & 1),
                                            .expiry_ms = (uint64_t)value << 20};
        break;
    case 5: /* or not */
        memcpy((uint8_t *)slot + at / 4 % sizeof *slot, piece, PIECE / 2);
        break;
    case 8: /* with a long head, which is as good or not */
        slot->op = (uint8_t)(value % 64 == 0);
        slot->flags = (uint8_t)(CHANNEL_LONG | (value & 1));
        *(struct channel_long_head *)slot->payload =
            (struct channel_long_head){.op = value % 300, .namespace = value % 32 == 0};
        break;
    case 6:
        memory->submitted = memory->completed + value % 8;
        memory->consumed = memory->completed;
        break;
    default:
        dispatch_round(bench->dispatch);
    }
}

/* The other channel's worker is served, whatever its neighbour does. */
static void check_neighbour(struct channel_worker *worker)
{
    const struct channel_completion *completion = NULL;
    if (!bench_submit(worker, OP_COUNTER_INCREMENT, "neighbour", 1, (struct bytes){0}))
        abort();
    for (int i = 0; i < 8 && !completion; i++) {
        dispatch_round(bench->dispatch);
        completion = channel_worker_peek(worker);
    }
    if (!completion || completion->sequence != worker->consumed || completion->status != STATUS_OK)
        abort();
    channel_worker_release(worker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t pieces = len / PIECE < PIECES_MAX ? len / PIECE : PIECES_MAX;
    struct channel_worker worker;
    if (!bench) {
        log_set_level(LOG_ERROR + 1);
        bench = bench_make();
        bench_open(bench, &memory_engine);
        bench_close(bench);
    }
    take_over = len % PIECE == 1;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[1], RUN_FD_CHANNEL + 1);
    for (size_t i = 0; i < pieces / 2; i++)
        scribble(bench->memories[0], data + i * PIECE);
    check_neighbour(&worker);
    bench_close(bench);
    for (size_t i = pieces / 2; i < pieces; i++)
        if (data[i * PIECE] % 9 != 7)
            scribble(bench->memories[0], data + i * PIECE);
    bench_open(bench, &memory_engine);
    check_neighbour(&worker);
    /* All that waits comes to an end. */
    int rounds = 0;
    while (dispatch_round(bench->dispatch) && rounds < ROUNDS_MAX)
        rounds++;
    if (rounds == ROUNDS_MAX)
        abort();
    bench_close(bench);
    return 0;
}

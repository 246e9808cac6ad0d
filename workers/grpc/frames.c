/*
 * frames - see frames.h. Runs in the gRPC workers on whatever thread reads a connection; panics
 * when memory runs out.
 *
 * The work that a client causes is reckoned, not measured, so that its connection alone decides: a
 * debt grows with each frame that leads to no call, and is forgiven by time and by calls that came
 * whole. The figures are about what the C core needs, and generous where clients do such things in
 * good faith: a hedged call that is reset is paid for by the two that came whole.
 */
#include "workers/grpc/frames.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

enum kind {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION
};
enum flag { END_STREAM = 1, ACK = 1, END_HEADERS = 4, HAS_PRIORITY = 0x20 };

enum {
    DEBT_MAX_NS = 100000000,
    FORGIVEN = 10, /* a tenth of the time that passes */
    FRAME_NS = 2000,
    ANSWERED_NS = 200000, /* PING, SETTINGS: a tenth of it, but clients need few */
    CALL_NS = 50000,
    RESET_NS = 100000, /* with the call that it ends */
    BYTE_NS = 10,      /* of a message that somebody waits for; forgiven */
    WASTED_NS = 2,     /* a byte of DATA for no call */
    KEPT_NS = 1, /* a byte of an unfinished block, which gRPC copies each time something comes */

    /* What gRPC and the answer need, about, whatever comes of it: */
    FRAME_COST_NS = 800,
    ECHO_COST_NS = 20000, /* PING and SETTINGS: answered, and soon found to be too many */
    CALL_COST_NS = 15000,
    BYTES_PER_NS = 4,

    SMALL_PART = 1024, /* a frame in the middle of a block has 16 KiB; so many may have less: */
    SMALL_PARTS_MAX = 16,

    SCARCE_BLOCK = 16384, /* bytes of a block when memory is scarce */
    WAITING_MAX = 1024,   /* gRPC allows 256 streams; there is room for what it has ended itself */
    BYTES_PER_S = 1024,   /* a message may come as slowly as that */
};
#define WAIT_NS 30000000000u /* and nothing may come for so long */
#define LOOK_NS 1000000000u

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE = sizeof preface - 1 };

void rpc_frames_open(struct rpc_frames *frames, uint64_t message_max, uint64_t now_ns)
{
    *frames = (struct rpc_frames){
        .message_max = message_max, .share = UINT64_MAX, .now_ns = now_ns, .looked_ns = now_ns};
}

void rpc_frames_close(struct rpc_frames *frames)
{
    free(frames->waiting);
    frames->waiting = NULL;
    frames->count = frames->room = 0;
}

/* ---- Work that leads to nothing ---- */

static void charge(struct rpc_frames *frames, uint64_t ns)
{
    frames->debt_ns += ns;
    if (frames->debt_ns > DEBT_MAX_NS)
        frames->fault = "a client floods";
}

static void forgive(struct rpc_frames *frames, uint64_t ns)
{
    frames->debt_ns -= ns < frames->debt_ns ? ns : frames->debt_ns;
}

/* ---- Calls whose message is not there ---- */

static struct rpc_waiting *find(struct rpc_frames *frames, uint32_t stream)
{
    for (unsigned i = frames->count; i > 0; i--)
        if (frames->waiting[i - 1].stream == stream)
            return &frames->waiting[i - 1];
    return NULL;
}

static void forget(struct rpc_frames *frames, struct rpc_waiting *call)
{
    struct rpc_waiting *last = frames->waiting + --frames->count;
    frames->held -= call->bytes;
    frames->endings -= call->ending != 0;
    if (call < last)
        memmove(call, call + 1, (size_t)(last - call) * sizeof *call);
}

/* Its message is complete, or its client has ended its half. */
static void arrive(struct rpc_frames *frames, struct rpc_waiting *call)
{
    forgive(frames, CALL_NS);
    forget(frames, call);
}

static void count_bytes(struct rpc_frames *frames, struct rpc_waiting *call, uint64_t bytes)
{
    call->bytes += bytes;
    frames->held += bytes;
}

static void end_call(struct rpc_frames *frames, struct rpc_waiting *call, enum rpc_ending why)
{
    if (call->ending != 0)
        return;
    call->ending = (uint8_t)(why + 1);
    frames->endings++;
}

static bool no_memory(const struct rpc_frames *frames)
{
    return frames->held > frames->share;
}

static void enter(struct rpc_frames *frames)
{
    if (frames->count == WAITING_MAX)
        forget(frames, frames->waiting);
    if (frames->count == frames->room) {
        frames->room = frames->room ? 2 * frames->room : 2;
        frames->waiting = realloc(frames->waiting, frames->room * sizeof *frames->waiting);
        if (!frames->waiting)
            panic("out of memory: %u calls", frames->room);
    }
    struct rpc_waiting *call = &frames->waiting[frames->count++];
    *call = (struct rpc_waiting){.stream = frames->block_stream, .since_ns = frames->now_ns};
    count_bytes(frames, call,
                RPC_CALL_BYTES + frames->block.bytes +
                    (uint64_t)frames->block.fields * RPC_FIELD_BYTES);
    if (no_memory(frames))
        end_call(frames, call, RPC_ENDING_FULL);
}

static void look_for_late_calls(struct rpc_frames *frames)
{
    frames->looked_ns = frames->now_ns;
    for (unsigned i = 0; i < frames->count; i++) {
        struct rpc_waiting *call = &frames->waiting[i];
        uint64_t allowed_ns = WAIT_NS + call->bytes * (1000000000u / BYTES_PER_S);
        if (frames->now_ns - call->since_ns > allowed_ns)
            end_call(frames, call, RPC_ENDING_LATE);
    }
}

/* ---- DATA ---- */

/* Takes what is there of the five bytes before a message; returns how much. */
static size_t take_prefix(struct rpc_frames *frames, struct rpc_waiting *call, const uint8_t *data,
                          size_t len)
{
    size_t taken = sizeof call->prefix - call->prefix_len;
    taken = taken < len ? taken : len;
    memcpy(call->prefix + call->prefix_len, data, taken);
    call->prefix_len = (uint8_t)(call->prefix_len + taken);
    if (call->prefix_len < sizeof call->prefix)
        return taken;
    call->left = (uint32_t)call->prefix[1] << 24 | (uint32_t)call->prefix[2] << 16 |
                 (uint32_t)call->prefix[3] << 8 | call->prefix[4];
    if (call->left > frames->message_max)
        end_call(frames, call, RPC_ENDING_LONG);
    return taken;
}

static void take_data(struct rpc_frames *frames, const uint8_t *data, size_t len)
{
    struct rpc_waiting *call = find(frames, frames->stream);
    if (!call || call->ending) {
        charge(frames, WASTED_NS * len);
        return;
    }
    forgive(frames, BYTE_NS * len);
    count_bytes(frames, call, len);
    if (call->prefix_len < sizeof call->prefix) {
        size_t taken = take_prefix(frames, call, data, len);
        len -= taken;
    }
    call->left -= (uint32_t)(len < call->left ? len : call->left);
    if (call->ending == 0 && call->prefix_len == sizeof call->prefix && call->left == 0)
        arrive(frames, call);
    else if (no_memory(frames))
        end_call(frames, call, RPC_ENDING_FULL);
}

/* ---- Header blocks ---- */

static void take_block(struct rpc_frames *frames, const uint8_t *data, size_t len)
{
    size_t passed = frames->priority < len ? frames->priority : len;
    frames->priority = (uint8_t)(frames->priority - passed);
    if (!rpc_block_take(&frames->block, data + passed, len - passed) ||
        (frames->share < UINT64_MAX && frames->block.bytes > SCARCE_BLOCK))
        frames->fault = "a client sends a header block that is too large";
}

static void end_block(struct rpc_frames *frames)
{
    struct rpc_waiting *call = find(frames, frames->block_stream);
    frames->in_block = false;
    if (frames->block_stream > frames->last_stream) {
        frames->last_stream = frames->block_stream;
        if (!frames->block_ends)
            enter(frames);
    } else if (!call) {
        charge(frames, CALL_NS);
    } else if (frames->block_ends) {
        arrive(frames, call);
    }
}

/* ---- Frames ---- */

static void begin_block(struct rpc_frames *frames)
{
    charge(frames, FRAME_NS);
    frames->in_block = true;
    frames->small_parts = 0;
    frames->block_ends = frames->flags & END_STREAM;
    frames->block_stream = frames->stream;
    frames->priority = frames->flags & HAS_PRIORITY ? 5 : 0;
    rpc_block_begin(&frames->block);
}

static uint64_t frame_cost(const struct rpc_frames *frames)
{
    if (frames->kind == HEADERS || frames->kind == RST_STREAM)
        return CALL_COST_NS;
    if ((frames->kind == PING || frames->kind == SETTINGS) && !(frames->flags & ACK))
        return ECHO_COST_NS;
    return FRAME_COST_NS;
}

static void begin_frame(struct rpc_frames *frames, const uint8_t *head)
{
    frames->head_len = 0;
    frames->left = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    frames->kind = head[3];
    frames->flags = head[4];
    frames->stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                     (uint32_t)head[7] << 8 | head[8];
    frames->cost_ns += frame_cost(frames) + frames->left / BYTES_PER_NS;
    bool goes_on = frames->kind == CONTINUATION && frames->stream == frames->block_stream;
    frames->blind = frames->in_block ? !goes_on : frames->kind == CONTINUATION;
    if (frames->kind == HEADERS)
        begin_block(frames);
    if (frames->in_block && frames->left < SMALL_PART && !(frames->flags & END_HEADERS) &&
        ++frames->small_parts > SMALL_PARTS_MAX)
        frames->fault = "a client sends a header block in too many pieces";
    if (frames->kind == HEADERS)
        return;
    if (frames->kind == SETTINGS || frames->kind == PING)
        charge(frames, frames->flags & ACK ? FRAME_NS : ANSWERED_NS);
    else if (frames->kind == CONTINUATION)
        charge(frames, FRAME_NS + (uint64_t)frames->block.bytes * KEPT_NS);
    else
        charge(frames, FRAME_NS);
}

static void end_frame(struct rpc_frames *frames)
{
    struct rpc_waiting *call;
    if (frames->in_block) {
        if (frames->flags & END_HEADERS)
            end_block(frames);
    } else if (frames->kind == RST_STREAM) {
        charge(frames, RESET_NS);
        if ((call = find(frames, frames->stream)))
            forget(frames, call);
    } else if (frames->kind == DATA && frames->flags != 0) {
        if ((call = find(frames, frames->stream)))
            arrive(frames, call); /* gRPC resets it when the flag is another one */
    }
}

static size_t take_head(struct rpc_frames *frames, const uint8_t *data, size_t len)
{
    size_t taken = (size_t)RPC_FRAME_HEAD - frames->head_len;
    const uint8_t *head = data;
    taken = taken < len ? taken : len;
    if (taken < RPC_FRAME_HEAD) {
        memcpy(frames->head + frames->head_len, data, taken);
        frames->head_len = (uint8_t)(frames->head_len + taken);
        if (frames->head_len < RPC_FRAME_HEAD)
            return taken;
        head = frames->head;
    }
    begin_frame(frames, head);
    if (frames->left == 0)
        end_frame(frames);
    return taken;
}

static size_t take_payload(struct rpc_frames *frames, const uint8_t *data, size_t len)
{
    size_t taken = frames->left < len ? frames->left : len;
    if (frames->in_block)
        take_block(frames, data, taken);
    else if (frames->kind == DATA)
        take_data(frames, data, taken);
    frames->left -= (uint32_t)taken;
    if (frames->left == 0)
        end_frame(frames);
    return taken;
}

static size_t take_preface(struct rpc_frames *frames, const uint8_t *data, size_t len)
{
    size_t taken = PREFACE - frames->preface_len;
    taken = taken < len ? taken : len;
    frames->blind = memcmp(data, preface + frames->preface_len, taken) != 0;
    frames->preface_len = (uint8_t)(frames->preface_len + taken);
    return taken;
}

void rpc_frames_take(struct rpc_frames *frames, const uint8_t *data, size_t len, uint64_t now_ns)
{
    forgive(frames, (now_ns - frames->now_ns) / FORGIVEN);
    frames->now_ns = now_ns;
    if (frames->in_block)
        charge(frames, (uint64_t)frames->block.bytes * KEPT_NS);
    while (len > 0 && !frames->blind && !frames->fault) {
        size_t taken = frames->preface_len < PREFACE ? take_preface(frames, data, len)
                       : frames->left > 0            ? take_payload(frames, data, len)
                                                     : take_head(frames, data, len);
        data += taken;
        len -= taken;
    }
    if (now_ns - frames->looked_ns > LOOK_NS)
        look_for_late_calls(frames);
}

/* ---- Frames of ours ---- */

size_t rpc_frames_rest(const struct rpc_frames *frames)
{
    if (frames->preface_len < PREFACE)
        return PREFACE - frames->preface_len;
    if (frames->left > 0)
        return frames->left;
    return frames->head_len > 0 || frames->in_block ? (size_t)RPC_FRAME_HEAD - frames->head_len : 0;
}

size_t rpc_frames_end(struct rpc_frames *frames, uint8_t *out, size_t room)
{
    size_t len = 0;
    for (unsigned i = 0; i < frames->count && room - len >= RPC_FRAME_HEAD;) {
        struct rpc_waiting *call = &frames->waiting[i];
        if (call->ending == 0) {
            i++;
            continue;
        }
        const uint8_t frame[RPC_FRAME_HEAD] = {0,
                                               0,
                                               0,
                                               DATA,
                                               END_STREAM,
                                               (uint8_t)(call->stream >> 24),
                                               (uint8_t)(call->stream >> 16),
                                               (uint8_t)(call->stream >> 8),
                                               (uint8_t)call->stream};
        memcpy(out + len, frame, sizeof frame);
        len += sizeof frame;
        frames->ended[call->ending - 1]++;
        forget(frames, call);
    }
    return len;
}

/*
 * Fuzzes the look at a client's frames: pieces of any length lead to the same, and what is counted
 * is what is there. A test program; fails by a sanitizer or by abort.
 */
#include <stdlib.h>
#include <string.h>

#include "workers/grpc/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { MESSAGE_MAX = 1000 };

static void check(const struct rpc_frames *frames)
{
    uint64_t held = 0;
    unsigned endings = 0;
    for (unsigned i = 0; i < frames->count; i++) {
        held += frames->waiting[i].bytes;
        endings += frames->waiting[i].ending != 0;
    }
    if (held != frames->held || endings != frames->endings || frames->count > 1024)
        abort();
}

/* The first byte is the length of the pieces, the second the share. */
static void run(struct rpc_frames *frames, const uint8_t *data, size_t len, size_t piece)
{
    uint64_t now_ns = 1;
    rpc_frames_open(frames, MESSAGE_MAX, now_ns);
    frames->share = data[1] & 1 ? (uint64_t)data[1] * 1000 : UINT64_MAX;
    for (size_t at = 2; at < len && !frames->fault; at += piece) {
        size_t taken = len - at < piece ? len - at : piece;
        rpc_frames_take(frames, data + at, taken, now_ns);
        frames->debt_ns = 0; /* more pieces are more work */
        check(frames);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rpc_frames whole, parts;
    uint8_t out[64 * RPC_FRAME_HEAD];
    if (len < 2)
        return 0;
    run(&whole, data, len, len);
    run(&parts, data, len, 1 + data[0] % 40);
    bool same = whole.blind == parts.blind &&
                (whole.blind || rpc_frames_rest(&whole) == rpc_frames_rest(&parts)) &&
                /* what comes after a call was ended is not counted */
                (whole.endings + parts.endings > 0 || whole.held == parts.held);
    if (!whole.fault && !parts.fault && !same)
        abort();
    while (whole.endings > 0) {
        unsigned before = whole.count;
        if (rpc_frames_end(&whole, out, sizeof out) != (before - whole.count) * RPC_FRAME_HEAD)
            abort();
        check(&whole);
    }
    rpc_frames_close(&whole);
    rpc_frames_close(&parts);
    return 0;
}

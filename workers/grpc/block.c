/*
 * block - see block.h. Runs in the gRPC workers on whatever thread reads a connection; cannot fail.
 */
#include "workers/grpc/block.h"

enum state { FIELD, INDEX, LENGTH, LONG_LENGTH, STRING };

void rpc_block_begin(struct rpc_block *block)
{
    *block = (struct rpc_block){.state = FIELD};
}

/* After a name or a string: the next string, or the next field. */
static void go_on(struct rpc_block *block)
{
    block->state = block->strings > 0 ? LENGTH : FIELD;
}

/* The first byte of a field: what follows, by the patterns of RFC 7541, section 6. */
static void begin_field(struct rpc_block *block, uint8_t byte)
{
    uint8_t mask = byte & 0x80 ? 0x7f : byte & 0x40 ? 0x3f : byte & 0x20 ? 0x1f : 0x0f;
    bool literal = !(byte & 0x80) && (byte & 0xe0) != 0x20;
    block->fields++;
    block->strings = !literal ? 0 : byte & mask ? 1 : 2;
    if ((byte & mask) == mask)
        block->state = INDEX;
    else
        go_on(block);
}

static void begin_string(struct rpc_block *block)
{
    block->strings--;
    block->state = STRING;
    if (block->left == 0)
        go_on(block);
}

static void take_length(struct rpc_block *block, uint8_t byte)
{
    block->left = byte & 0x7f;
    block->shift = 0;
    if (block->left == 0x7f)
        block->state = LONG_LENGTH;
    else
        begin_string(block);
}

/* False when the string is too long, whatever follows. */
static bool take_long_length(struct rpc_block *block, uint8_t byte)
{
    uint64_t length = block->left;
    if (block->shift < 32)
        length += (uint64_t)(byte & 0x7f) << block->shift;
    else if (byte & 0x7f)
        return false;
    if (length > RPC_BLOCK_BYTES)
        return false;
    block->left = (uint32_t)length;
    block->shift = (uint8_t)(block->shift < 32 ? block->shift + 7 : 32);
    if (!(byte & 0x80))
        begin_string(block);
    return true;
}

/* Passes over as much of a string as is there. */
static size_t skip(struct rpc_block *block, size_t len)
{
    size_t taken = block->left < len ? block->left : len;
    block->left -= (uint32_t)taken;
    if (block->left == 0)
        go_on(block);
    return taken;
}

/* Passes over whole fields that are named by a number below 127, as most are. */
static size_t take_indexed(struct rpc_block *block, const uint8_t *data, size_t len)
{
    size_t taken = 0;
    while (taken < len && data[taken] >= 0x80 && data[taken] != 0xff)
        taken++;
    block->fields += (uint32_t)taken;
    return taken;
}

bool rpc_block_take(struct rpc_block *block, const uint8_t *data, size_t len)
{
    if (len > RPC_BLOCK_BYTES - block->bytes)
        return false;
    block->bytes += (uint32_t)len;
    for (size_t i = 0; i < len;) {
        if (block->state == FIELD)
            i += take_indexed(block, data + i, len - i);
        if (i == len)
            break;
        if (block->state == STRING) {
            i += skip(block, len - i);
            continue;
        }
        uint8_t byte = data[i++];
        if (block->state == FIELD)
            begin_field(block, byte);
        else if (block->state == INDEX && !(byte & 0x80))
            go_on(block);
        else if (block->state == LENGTH)
            take_length(block, byte);
        else if (block->state == LONG_LENGTH && !take_long_length(block, byte))
            return false;
    }
    return block->fields <= RPC_BLOCK_FIELDS;
}

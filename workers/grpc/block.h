/*
 * block - a look at a header block (HPACK) as it arrives: how many fields it has and how long their
 * strings say they are. Nothing is decoded. Pure.
 */
#ifndef STRATO_WORKERS_GRPC_BLOCK_H
#define STRATO_WORKERS_GRPC_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_block {
    uint32_t bytes;  /* of the block so far */
    uint32_t fields; /* begun so far, changes of the table's size included */
    uint8_t state;   /* what the next byte is */
    uint8_t shift;   /* of a number's next seven bits */
    uint8_t strings; /* of the field, still to come */
    uint32_t left;   /* bytes of the string still to come */
};

enum {
    RPC_BLOCK_BYTES =
        1 << 20, /* a longer block is refused; so is a string that says it is longer */
    RPC_BLOCK_FIELDS = 4096,
};

void rpc_block_begin(struct rpc_block *block);
/* The next bytes, in pieces of any length. False: the block is, or says it is, larger than allowed;
 * it must not be gone on with. */
bool rpc_block_take(struct rpc_block *block, const uint8_t *data, size_t len);

#endif

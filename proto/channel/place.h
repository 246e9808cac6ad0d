/*
 * place - where a value lies that is too long for its slot: behind the rings, in the channel's
 * file, where each slot of either ring has a place of its own. So it outlives worker and store as
 * the rings do, and nothing has to be found or kept account of.
 *
 * What the slot names (CHANNEL_PLACED) was written before it. The place of a submission is the
 * worker's again once the completion came; that of a completion is the worker's until it has read
 * it, and its slot is passed over until then. The file is sparse, and nothing of it is mapped
 * beyond the rings: what is not used costs nothing, and memory that the kernel cannot give is an
 * error and no signal.
 *
 * A channel that stratod 0.2.0 made has no places.
 */
#ifndef STRATO_PROTO_CHANNEL_PLACE_H
#define STRATO_PROTO_CHANNEL_PLACE_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

struct channel_places {
    int fd;        /* the channel's; borrowed */
    uint64_t size; /* of each; 0: there are none */
};

/* Bytes that the file of a channel has, of at most limit. */
uint64_t channel_file_size(uint64_t limit);

struct channel_places channel_places_open(int fd);

/* The number of a submission's place, and of its completion's. */
unsigned channel_place_in(uint64_t sequence);
unsigned channel_place_out(uint64_t sequence);

/* False when there is no memory for it. value: not longer than a place. */
bool channel_place_write(const struct channel_places *places, unsigned place,
                         struct bytes value) MUST_CHECK;
/* Reads the first len bytes. False when it cannot. */
bool channel_place_read(const struct channel_places *places, unsigned place, void *to,
                        size_t len) MUST_CHECK;
/* Its len bytes are read, or nobody wants them. */
void channel_place_free(const struct channel_places *places, unsigned place, size_t len);
/* All completions' places. */
void channel_places_clear(const struct channel_places *places);

#endif

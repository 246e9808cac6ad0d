/*
 * channels - what each channel has had applied, written in the transaction that applied it.
 *
 *     meta: "channel" + number (4 bytes) -> struct channel_entry
 *
 * The answers are kept in the channel. Release 0.2.0 did not do so, and wrote the results of the
 * channel's last batch behind the entry: all that a successor of such a store may have to give.
 */
#ifndef STRATO_STORE_DISK_CHANNELS_H
#define STRATO_STORE_DISK_CHANNELS_H

#include "store/disk/batch.h"
#include "store/disk/record.h"

struct channels;

/* Reads what was written for channels below count. What makes no sense is as if it were not there.
 */
struct channels *channels_open(const struct work *work, unsigned count);
void channels_close(struct channels **channels);

/* Submissions of the channel up to and including the last that was applied. As read. */
uint64_t channels_applied(const struct channels *channels, uint32_t channel);
/* Forgets a channel; false when nothing is known of it. The next commit has it written down. */
bool channels_forget(struct channels *channels, uint32_t channel);
/* The first submission of which a store of 0.2.0 wrote a result down. */
uint64_t channels_first(const struct channels *channels, uint32_t channel);
/* What it wrote of one from there to channels_applied(), without its value. False when nothing was
 * done for it (it was refused before it came to the engine). */
bool channels_result(const struct channels *channels, uint32_t channel, uint64_t sequence,
                     struct reply *reply_r);

/* Writes that entries first..first+count-1 of a batch are applied. STATUS_OK, STATUS_FULL or
 * STATUS_DAMAGED. */
enum status channels_save(struct channels *channels, const struct work *work,
                          const struct batch *batch, size_t first, size_t count) MUST_CHECK;
/* What was saved is committed. */
void channels_saved(struct channels *channels);

#endif

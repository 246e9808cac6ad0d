/*
 * answer - see answer.h. Runs in a store.
 */
#include "store/answer.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/log.h"

void answer_keep(const struct answer *answer, struct channel_store *end, struct bulk *bulk)
{
    const struct reply *reply = answer->reply;
    struct channel_completion *slot = channel_store_slot(end, answer->sequence);
    bool large = reply->value.len > sizeof slot->payload;
    if (log_level() == LOG_DEBUG)
        log_debug("request %" PRIu32 ".%" PRIu64 ": %s", answer->channel, answer->sequence,
                  status_info(reply->status)->name);
    slot->revision = reply->revision;
    slot->number = reply->number;
    slot->value_len = (uint32_t)reply->value.len;
    slot->status = (uint16_t)reply->status;
    slot->flags = (uint16_t)(answer->flags | (large ? CHANNEL_BULK : 0));
    if (large)
        bulk_keep(bulk, answer->channel, answer->sequence, reply->value);
    else if (reply->value.len > 0)
        memcpy(slot->payload, reply->value.data, reply->value.len);
    channel_store_keep(end, answer->sequence);
}

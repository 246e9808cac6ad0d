/*
 * answer - see answer.h. Runs in a store.
 */
#include "store/answer.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/log.h"

/* Puts a value where it is found by what the completion says. */
static bool put_value(const struct answer *answer, struct channel_store *end, struct bulk *bulk,
                      struct channel_completion *slot)
{
    struct bytes value = answer->reply->value;
    if (value.len <= sizeof slot->payload) {
        if (value.len > 0)
            memcpy(slot->payload, value.data, value.len);
        return true;
    }
    slot->flags |= CHANNEL_BULK;
    if (value.len > end->places.size) {
        bulk_keep(bulk, answer->channel, answer->sequence, value);
        return true;
    }
    slot->flags |= CHANNEL_PLACED;
    return channel_place_write(&end->places, channel_place_out(answer->sequence), value);
}

static bool keep(const struct answer *answer, struct channel_store *end, struct bulk *bulk)
{
    const struct reply *reply = answer->reply;
    struct channel_completion *slot = channel_store_slot(end, answer->sequence);
    if (log_level() == LOG_DEBUG)
        log_debug("request %" PRIu32 ".%" PRIu64 ": %s", answer->channel, answer->sequence,
                  status_info(reply->status)->name);
    if (channel_store_kept(end, answer->sequence) && slot->flags & CHANNEL_PLACED)
        channel_place_free(&end->places, channel_place_out(answer->sequence),
                           slot->value_len); /* another comes */
    slot->revision = reply->revision;
    slot->number = reply->number;
    slot->value_len = (uint32_t)reply->value.len;
    slot->status = (uint16_t)reply->status;
    slot->flags = answer->flags;
    if (!put_value(answer, end, bulk, slot))
        return false;
    channel_store_keep(end, answer->sequence);
    return true;
}

bool answer_keep(const struct answer *answer, struct channel_store *end, struct bulk *bulk)
{
    if (keep(answer, end, bulk))
        return true;
    const struct reply refusal = {
        .status = STATUS_UNAVAILABLE,
        .value = bytes_of("there is no memory for so long an answer; nothing was changed, try "
                          "again"),
    };
    struct answer refused = *answer;
    refused.reply = &refusal;
    (void)keep(&refused, end, bulk);
    return false;
}

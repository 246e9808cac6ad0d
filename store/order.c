/*
 * order - see order.h. Runs in a store's event loop. Fails by panic when memory runs out or an
 * engine answers twice.
 */
#include "store/order.h"

#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/channel/channel.h"

struct early {
    bool held;
    struct reply reply; /* its value is owned */
};

struct order {
    unsigned channels;
    uint64_t bytes; /* of all values held; always <= ORDER_BYTES_MAX */
    struct early taken;
    struct waiting {
        unsigned count;
        struct early *slots; /* CHANNEL_SLOTS, by sequence; NULL until one had to wait */
    } channel[];
};

struct order *order_open(unsigned channels)
{
    struct order *order = calloc(1, sizeof *order + channels * sizeof order->channel[0]);
    if (!order)
        panic("out of memory");
    order->channels = channels;
    return order;
}

void order_close(struct order **order)
{
    for (unsigned i = 0; i < (*order)->channels; i++) {
        struct early *slots = (*order)->channel[i].slots;
        for (unsigned slot = 0; slots && slot < CHANNEL_SLOTS; slot++)
            free((void *)slots[slot].reply.value.data);
        free(slots);
    }
    free((void *)(*order)->taken.reply.value.data);
    free(*order);
    *order = NULL;
}

static struct early *slot_of(struct waiting *waiting, uint64_t sequence)
{
    if (!waiting->slots)
        waiting->slots = calloc(CHANNEL_SLOTS, sizeof *waiting->slots);
    if (!waiting->slots)
        panic("out of memory");
    return &waiting->slots[sequence % CHANNEL_SLOTS];
}

static void keep_value(struct order *order, struct reply *reply)
{
    struct bytes value = reply->value;
    reply->value = (struct bytes){0};
    if (value.len == 0)
        return;
    if (value.len > ORDER_BYTES_MAX - order->bytes) {
        *reply = (struct reply){.status = STATUS_RESTAGE};
        return;
    }
    uint8_t *copy = malloc(value.len);
    if (!copy)
        panic("out of memory: an answer of %zu bytes", value.len);
    memcpy(copy, value.data, value.len);
    reply->value = (struct bytes){copy, value.len};
    order->bytes += value.len;
}

void order_hold(struct order *order, unsigned channel, uint64_t sequence, const struct reply *reply)
{
    struct waiting *waiting = &order->channel[channel];
    struct early *slot = slot_of(waiting, sequence);
    if (slot->held)
        panic("channel %u: submission %llu is answered twice", channel,
              (unsigned long long)sequence);
    *slot = (struct early){.held = true, .reply = *reply};
    keep_value(order, &slot->reply);
    waiting->count++;
}

const struct reply *order_take(struct order *order, unsigned channel, uint64_t sequence)
{
    struct waiting *waiting = &order->channel[channel];
    free((void *)order->taken.reply.value.data);
    order->taken = (struct early){0};
    if (waiting->count == 0)
        return NULL;
    struct early *slot = slot_of(waiting, sequence);
    if (!slot->held)
        return NULL;
    order->taken = *slot;
    *slot = (struct early){0};
    waiting->count--;
    order->bytes -= order->taken.reply.value.len;
    return &order->taken.reply;
}

/*
 * call - see call.h. Runs in store-redis; panics when memory runs out.
 */
#include "store/redis/call.h"

#include <stdlib.h>

#include "proto/base/log.h"
#include "store/redis/command.h"

static struct bytes put(uint8_t **at, const void *data, size_t len)
{
    struct bytes copy = {*at, len};
    if (len > 0)
        memcpy(*at, data, len);
    *at += len;
    return copy;
}

struct redis_call *redis_call_new(const struct engine_call *from, const char *prefix)
{
    const struct request *request = &from->request;
    char mark[REDIS_MARK_MAX];
    size_t prefix_len = strlen(prefix);
    size_t mark_len = redis_mark(request->namespace, request->key, mark);
    struct redis_call *call =
        malloc(sizeof *call + prefix_len + mark_len + request->key.len + request->value.len);
    if (!call)
        panic("out of memory: a request of %zu bytes", request->value.len);
    *call = (struct redis_call){
        .channel = from->channel,
        .sequence = from->sequence,
        .deadline_ns = from->deadline_ns ? from->deadline_ns : UINT64_MAX,
        .request = *request,
    };
    uint8_t *at = call->bytes;
    put(&at, prefix, prefix_len);
    put(&at, mark, mark_len);
    call->request.key = put(&at, request->key.data, request->key.len);
    call->request.value = put(&at, request->value.data, request->value.len);
    call->key = (struct bytes){call->bytes, prefix_len + mark_len + request->key.len};
    return call;
}

void redis_queue_add(struct redis_queue *queue, struct redis_call *call)
{
    call->next = NULL;
    if (queue->last)
        queue->last->next = call;
    else
        queue->first = call;
    queue->last = call;
}

struct redis_call *redis_queue_take(struct redis_queue *queue)
{
    struct redis_call *call = queue->first;
    if (!call)
        return NULL;
    queue->first = call->next;
    if (!queue->first)
        queue->last = NULL;
    return call;
}

void redis_open_add(struct redis_open *open, struct redis_call *call)
{
    call->older = open->newest;
    call->newer = NULL;
    if (open->newest)
        open->newest->newer = call;
    else
        open->oldest = call;
    open->newest = call;
    open->count++;
}

void redis_open_remove(struct redis_open *open, struct redis_call *call)
{
    if (call->older)
        call->older->newer = call->newer;
    else
        open->oldest = call->newer;
    if (call->newer)
        call->newer->older = call->older;
    else
        open->newest = call->older;
    open->count--;
}

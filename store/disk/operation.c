/*
 * operation - see operation.h. Runs in store-disk.
 */
#include "store/disk/operation.h"

static enum service service_of(const struct request *request)
{
    return op_info(request->op)->service;
}

/* ---- Reading ---- */

/* A counter is eight bytes, a flag one; a missing one is 0. */
void operation_read(const struct request *request, const struct record *record,
                    struct reply *reply_r)
{
    const struct service_info *info = service_info(service_of(request));
    *reply_r = (struct reply){.status = record ? STATUS_OK : info->absent};
    if (!record)
        return;
    reply_r->revision = record->revision;
    if (info->holds == OP_HOLDS_NUMBER || info->holds == OP_HOLDS_FLAG)
        memcpy(&reply_r->number, record->value.data,
               record->value.len < sizeof reply_r->number ? record->value.len
                                                          : sizeof reply_r->number);
    else
        reply_r->value = record->value;
}

static enum status get(struct work *work, const struct request *request, struct buffer *scratch,
                       struct reply *reply)
{
    struct record record;
    (void)scratch;
    enum status status = record_get(work, service_of(request), request->key, &record);
    operation_read(request, status == STATUS_OK ? &record : NULL, reply);
    if (status == STATUS_DAMAGED)
        reply->status = STATUS_DAMAGED;
    return STATUS_OK;
}

/* ---- Values: cache and kv ---- */

static enum status put_value(struct work *work, const struct request *request,
                             struct buffer *scratch, struct reply *reply)
{
    (void)scratch;
    return record_put(work, service_of(request), request->key, request->value, request->expiry_ms,
                      &reply->revision);
}

static enum status delete_value(struct work *work, const struct request *request,
                                struct buffer *scratch, struct reply *reply)
{
    (void)scratch;
    enum status status = record_delete(work, service_of(request), request->key);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    reply->status = status;
    return STATUS_OK;
}

/* ---- Numbers: counters and flags ---- */

static enum status increment(struct work *work, const struct request *request,
                             struct buffer *scratch, struct reply *reply)
{
    int64_t sum;
    (void)!get(work, request, scratch, reply);
    if (reply->status != STATUS_OK)
        return STATUS_OK;
    if (__builtin_add_overflow(reply->number, request->number, &sum)) {
        reply->status = STATUS_OUT_OF_RANGE;
        return STATUS_OK;
    }
    reply->number = sum;
    return record_put(work, SERVICE_COUNTER, request->key,
                      (struct bytes){(uint8_t *)&sum, sizeof sum}, 0, &reply->revision);
}

static enum status set_flag(struct work *work, const struct request *request,
                            struct buffer *scratch, struct reply *reply)
{
    const uint8_t flag = request->number != 0;
    (void)scratch;
    reply->number = flag;
    return record_put(work, SERVICE_FLAG, request->key, (struct bytes){&flag, 1}, 0,
                      &reply->revision);
}

/* ---- Sets ---- */

/* The root of a set; all zero when there is none. STATUS_OK, or STATUS_DAMAGED. */
static enum status get_root(const struct work *work, struct bytes key, struct set_root *root_r,
                            uint64_t *revision_r)
{
    struct record record;
    *root_r = (struct set_root){0};
    enum status status = record_get(work, SERVICE_SET, key, &record);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    memcpy(root_r, record.value.data, sizeof *root_r);
    *revision_r = record.revision;
    return STATUS_OK;
}

/* Fills the answer in. STATUS_OK, or STATUS_DAMAGED. */
static enum status answer_items(const struct work *work, const struct set_root *root,
                                struct buffer *scratch, struct reply *reply)
{
    enum status status = STATUS_OK;
    scratch->len = 0;
    if (root->items > 0)
        status = record_items(work, root, scratch);
    if (status == STATUS_OK)
        reply->value = buffer_bytes(scratch);
    return status;
}

static enum status get_set(struct work *work, const struct request *request, struct buffer *scratch,
                           struct reply *reply)
{
    struct set_root root;
    reply->status = get_root(work, request->key, &root, &reply->revision);
    if (reply->status == STATUS_OK)
        reply->status = answer_items(work, &root, scratch, reply);
    if (reply->status != STATUS_OK)
        reply->revision = 0;
    return STATUS_OK;
}

static enum status put_root(struct work *work, struct bytes key, const struct set_root *root,
                            uint64_t *revision_r)
{
    return record_put(work, SERVICE_SET, key, (struct bytes){(const uint8_t *)root, sizeof *root},
                      0, revision_r);
}

/* Adds the item if it is new. STATUS_OK; STATUS_TOO_LARGE and nothing has changed; else the
 * transaction is lost. */
static enum status add_to(struct work *work, const struct request *request, struct set_root *root,
                          uint64_t *revision_r)
{
    uint64_t len = 2 + request->value.len;
    if (root->packed + len > work->env->max_set && !record_has_item(work, root->id, request->value))
        return STATUS_TOO_LARGE;
    if (root->id == 0)
        root->id = ++work->state->set_id;
    enum status status = record_add_item(work, root->id, request->value);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    root->items++;
    root->packed += len;
    return put_root(work, request->key, root, revision_r);
}

/* Removes the item if it is there; a set without items goes. */
static enum status remove_from(struct work *work, const struct request *request,
                               struct set_root *root, uint64_t *revision_r)
{
    uint64_t len = 2 + request->value.len;
    enum status status =
        root->id ? record_remove_item(work, root->id, request->value) : STATUS_NOT_FOUND;
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    root->items--;
    root->packed = root->packed > len ? root->packed - len : 0;
    if (root->items > 0)
        return put_root(work, request->key, root, revision_r);
    *revision_r = 0;
    status = record_no_items(work, root->id);
    if (status != STATUS_OK)
        return status;
    status = record_delete(work, SERVICE_SET, request->key);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* What a change of a set has in common. A set whose items are not those of its root is not changed:
 * its transaction is given up and it alone is answered so. */
static enum status change_set(struct work *work, const struct request *request,
                              struct buffer *scratch, struct reply *reply,
                              enum status (*change)(struct work *work,
                                                    const struct request *request,
                                                    struct set_root *root, uint64_t *revision_r))
{
    struct set_root root;
    reply->status = get_root(work, request->key, &root, &reply->revision);
    if (reply->status != STATUS_OK)
        return STATUS_OK;
    enum status status = change(work, request, &root, &reply->revision);
    if (status == STATUS_TOO_LARGE) {
        *reply = (struct reply){.status = status};
        return STATUS_OK;
    }
    return status == STATUS_OK ? answer_items(work, &root, scratch, reply) : status;
}

static enum status add_item(struct work *work, const struct request *request,
                            struct buffer *scratch, struct reply *reply)
{
    return change_set(work, request, scratch, reply, add_to);
}

static enum status remove_item(struct work *work, const struct request *request,
                               struct buffer *scratch, struct reply *reply)
{
    return change_set(work, request, scratch, reply, remove_from);
}

/* ---- The table ---- */

static enum status (*const operations[OP_COUNT])(struct work *work, const struct request *request,
                                                 struct buffer *scratch, struct reply *reply) = {
    [OP_CACHE_GET] = get,
    [OP_CACHE_SET] = put_value,
    [OP_COUNTER_GET] = get,
    [OP_COUNTER_INCREMENT] = increment,
    [OP_FLAG_GET] = get,
    [OP_FLAG_SET] = set_flag,
    [OP_KV_GET] = get,
    [OP_KV_PUT] = put_value,
    [OP_KV_DELETE] = delete_value,
    [OP_SET_GET] = get_set,
    [OP_SET_ADD] = add_item,
    [OP_SET_REMOVE] = remove_item,
};

enum status operation_carry_out(struct work *work, const struct request *request,
                                struct buffer *scratch, struct reply *reply_r)
{
    *reply_r = (struct reply){0};
    return operations[request->op](work, request, scratch, reply_r);
}

bool operation_enlarges(const struct work *work, const struct request *request)
{
    struct record old;
    enum service service = service_of(request);
    enum op_holds holds = service_info(service)->holds;
    if (holds == OP_HOLDS_ITEMS || record_get(work, service, request->key, &old) != STATUS_OK)
        return true;
    return holds == OP_HOLDS_VALUE && request->value.len > old.value.len;
}

enum status operation_result(const struct request *request, const struct reply *reply,
                             int64_t *number_r, struct bytes *value_r)
{
    *number_r = reply->number; /* little-endian, so a flag's byte comes first */
    switch (service_info(service_of(request))->holds) {
    case OP_HOLDS_NUMBER:
        *value_r = (struct bytes){(const uint8_t *)number_r, sizeof *number_r};
        return STATUS_OK;
    case OP_HOLDS_FLAG:
        *value_r = (struct bytes){(const uint8_t *)number_r, 1};
        return STATUS_OK;
    case OP_HOLDS_ITEMS:
        *value_r = reply->value;
        return reply->value.len > 0 ? STATUS_OK : STATUS_NOT_FOUND;
    case OP_HOLDS_VALUE:
        *value_r = request->value;
        break;
    }
    return op_info(request->op)->kind == OP_GROWS ? STATUS_OK : STATUS_NOT_FOUND;
}

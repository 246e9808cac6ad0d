/*
 * check - what holds for a request whatever its protocol, and the words for what went wrong. Pure.
 */
#include <stdio.h>

#include "workers/core/internal.h"

enum { TTL_DEFAULT_S = 5 };

const char core_ttl_error[] =
    "ttl must be a whole number of seconds from 0 (which means 5) to 2147483647";

enum status core_expiry(int64_t ttl_s, uint64_t now_ms, uint64_t *expiry_ms_r)
{
    if (ttl_s < 0 || ttl_s > INT32_MAX)
        return STATUS_INVALID;
    *expiry_ms_r = now_ms + (uint64_t)(ttl_s == 0 ? TTL_DEFAULT_S : ttl_s) * 1000;
    return STATUS_OK;
}

/* Keys and set items have the same limits. */
static enum status check_name(struct bytes name, const char *what, const char *missing, char *error,
                              size_t size)
{
    if (name.len >= 1 && name.len <= KEY_MAX)
        return STATUS_OK;
    if (name.len == 0)
        snprintf(error, size, "%s", missing);
    else
        snprintf(error, size, "the %s is %zu bytes long; 1 to %d are allowed", what, name.len,
                 KEY_MAX);
    return STATUS_INVALID;
}

static enum status check_value(struct bytes value, uint64_t max_value, char *error, size_t size)
{
    if (value.len <= max_value)
        return STATUS_OK;
    snprintf(error, size, "the value is %zu bytes long; at most %llu (max_value) are allowed",
             value.len, (unsigned long long)max_value);
    return STATUS_TOO_LARGE;
}

enum status core_check(const struct request *request, uint64_t max_value, char *error, size_t size)
{
    enum status status = check_name(request->key, "key", "no resource key provided", error, size);
    if (status != STATUS_OK)
        return status;
    switch (op_info(request->op)->takes) {
    case OP_TAKES_CACHED:
        if (request->value.len == 0) {
            snprintf(error, size, "no value provided; a cached value has at least one byte");
            return STATUS_INVALID;
        }
        return check_value(request->value, max_value, error, size);
    case OP_TAKES_VALUE:
        return check_value(request->value, max_value, error, size);
    case OP_TAKES_ITEM:
        return check_name(request->value, "item", "no item provided; 1 to 480 bytes are allowed",
                          error, size);
    case OP_TAKES_MESSAGE:
        if (request->value.len <= max_value + MESSAGE_SPARE)
            return STATUS_OK;
        snprintf(error, size,
                 "the request is %zu bytes long; at most %llu (max_value and %d more) are allowed",
                 request->value.len, (unsigned long long)max_value + MESSAGE_SPARE, MESSAGE_SPARE);
        return STATUS_TOO_LARGE;
    case OP_TAKES_NOTHING:
    case OP_TAKES_NUMBER:
    case OP_TAKES_FLAG:
        break;
    }
    return STATUS_OK;
}

/* How large a set may be is said with the figure, as for a value. */
static const char *set_too_large(struct core *core)
{
    snprintf(core->error, sizeof core->error,
             "the set would be too large: all items of a set, with 2 bytes more for each, have at "
             "most %llu bytes (max_set); nothing was changed",
             (unsigned long long)core->child->conf.max_set);
    return core->error;
}

/* What a store said itself. */
static const char *in_its_words(struct core *core, struct bytes text)
{
    size_t len = text.len < sizeof core->error ? text.len : sizeof core->error - 1;
    for (size_t i = 0; i < len; i++)
        core->error[i] = text.data[i] >= ' ' && text.data[i] <= '~' ? (char)text.data[i] : '?';
    core->error[len] = '\0';
    return core->error;
}

const char *core_error_text(const struct core_store *store, const struct reply *reply, enum op op)
{
    enum status status = reply->status;
    static const char *const away[BACKEND_COUNT] = {
        [BACKEND_MEMORY] = "the memory backend is away; nothing was changed, try again",
        [BACKEND_DISK] = "the disk backend is away; nothing was changed, try again",
        [BACKEND_REDIS] =
            ("the redis backend is away; try again: an increment was not made, and any "
             "other change can be made twice without harm"),
    };
    if (status != STATUS_OK && reply->value.len > 0)
        return in_its_words(store->core, reply->value);
    if (status == STATUS_UNAVAILABLE)
        return away[store->backend];
    if (status == STATUS_TOO_LARGE && op_info(op)->takes == OP_TAKES_ITEM)
        return set_too_large(store->core);
    if (status == STATUS_DEADLINE && op_info(op)->write)
        return "the request did not finish in time; the change may still have been made";
    return status_info(status)->text;
}

const char *core_given_up_text(enum status status)
{
    if (status == STATUS_UNKNOWN)
        return "the request is given up: each time it was tried the store process ended; the "
               "change "
               "may have been made";
    return "the request is given up: each time it was tried the store process ended; nothing was "
           "changed";
}

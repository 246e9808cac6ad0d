/*
 * fault - see fault.h. Runs in store-redis. A text from Redis is a peer's word: what does not fit
 * is FAULT_OTHER.
 */
#include "store/redis/fault.h"

#include <stdio.h>

#include "proto/base/text.h"
#include "store/redis/slot.h"

static const struct row {
    enum redis_fault fault;
    const char *text;
} begins[] = {
    {FAULT_MOVED, "MOVED "},
    {FAULT_ASK, "ASK "},
    {FAULT_WAIT, "TRYAGAIN "},
    {FAULT_WAIT, "CLUSTERDOWN "},
    {FAULT_WAIT, "BUSY "},
    {FAULT_ELSEWHERE, "LOADING "},
    {FAULT_ELSEWHERE, "MASTERDOWN "},
    {FAULT_FULL, "OOM "},
    {FAULT_READ_ONLY, "READONLY "},
    {FAULT_SUSPENDED, "MISCONF "},
    {FAULT_SUSPENDED, "NOREPLICAS "},
    {FAULT_LOGIN, "NOAUTH "},
    {FAULT_LOGIN, "WRONGPASS "},
    {FAULT_ACCESS, "NOPERM "},
    {FAULT_ACCESS, "DENIED "},
    {FAULT_ACCESS, "ERR unknown command"},
    {FAULT_ACCESS, "ERR DB index is out of range"},
    {FAULT_ACCESS, "ERR max number of clients"},
    /* Within a script: Redis 7, 7.2, and before 7. */
    {FAULT_ACCESS, "ERR The user executing the script can't "},
    {FAULT_ACCESS, "ERR ACL failure in script"},
    {FAULT_ACCESS, "The user executing the script can't "},
    {FAULT_ACCESS, "ERR Unknown Redis command called from "},
    {FAULT_ACCESS, "Unknown Redis command called from "},
    {FAULT_WRONG_TYPE, "WRONGTYPE "},
    {FAULT_WRONG_TYPE, "ERR value is not an integer"},
    {FAULT_RANGE, "ERR increment or decrement would overflow"},
    {FAULT_TOO_LARGE, "TOOLARGE "},
};

static const enum status statuses[FAULT_COUNT] = {
    [FAULT_OTHER] = STATUS_INTERNAL,        [FAULT_MOVED] = STATUS_UNAVAILABLE,
    [FAULT_ASK] = STATUS_UNAVAILABLE,       [FAULT_WAIT] = STATUS_UNAVAILABLE,
    [FAULT_ELSEWHERE] = STATUS_UNAVAILABLE, [FAULT_FULL] = STATUS_FULL,
    [FAULT_READ_ONLY] = STATUS_UNAVAILABLE, [FAULT_SUSPENDED] = STATUS_UNAVAILABLE,
    [FAULT_LOGIN] = STATUS_REFUSED,         [FAULT_ACCESS] = STATUS_REFUSED,
    [FAULT_WRONG_TYPE] = STATUS_WRONG_TYPE, [FAULT_RANGE] = STATUS_OUT_OF_RANGE,
    [FAULT_TOO_LARGE] = STATUS_TOO_LARGE,
};

static const struct row *row_of(struct bytes text)
{
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        size_t len = strlen(begins[i].text);
        if (text.len >= len && memcmp(text.data, begins[i].text, len) == 0)
            return &begins[i];
    }
    return NULL;
}

/* Before Redis 7: "ERR Error running script (call to f_...): @user_script:1: WRONGTYPE ...", and
 * for what Redis does not even begin "...: @user_script:1: @user_script: 1: -OOM ...". */
static struct bytes within_script(struct bytes text)
{
    static const char script[] = "ERR Error running script", line[] = "@user_script:";
    if (text.len < sizeof script || memcmp(text.data, script, sizeof script - 1) != 0)
        return text;
    const uint8_t *end = text.data + text.len, *at;
    while ((at = memmem(text.data, text.len, line, sizeof line - 1))) {
        at += sizeof line - 1;
        while (at < end && *at && strchr("0123456789: -", *at))
            at++;
        text = (struct bytes){at, (size_t)(end - at)};
    }
    return text;
}

enum redis_fault redis_fault_of(struct bytes text)
{
    const struct row *row = row_of(within_script(text));
    return row ? row->fault : FAULT_OTHER;
}

enum status redis_fault_status(enum redis_fault fault)
{
    return statuses[fault];
}

const char *redis_fault_text(struct bytes text, char *out, size_t size)
{
    static const char words[] = ", with args";
    const uint8_t *end = memmem(text.data, text.len, words, sizeof words - 1);
    size_t len = end ? (size_t)(end - text.data) : text.len;
    if (len > size - 1)
        len = size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = text.data[i] >= ' ' && text.data[i] <= '~' ? (char)text.data[i] : '?';
    out[len] = '\0';
    return out;
}

bool redis_host_valid(struct bytes host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!((host.data[i] | 0x20) >= 'a' && (host.data[i] | 0x20) <= 'z') &&
            !(host.data[i] >= '0' && host.data[i] <= ':') && !strchr(".-_%", host.data[i]))
            return false;
    return host.len < REDIS_HOST_MAX && !memchr(host.data, '\0', host.len);
}

bool redis_fault_target(struct bytes text, struct redis_target *target_r)
{
    char copy[REDIS_HOST_MAX + 32];
    const char *end;
    uint64_t slot, port;
    if (text.len >= sizeof copy || memchr(text.data, '\0', text.len))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    const char *number = strchr(copy, ' ');
    char *host = number ? strchr(number + 1, ' ') : NULL;
    char *colon = host ? strrchr(++host, ':') : NULL;
    if (!colon || colon - host >= REDIS_HOST_MAX)
        return false;
    if (!text_digits(number + 1, &slot, &end) || end != host - 1 || slot >= REDIS_SLOTS ||
        !text_number(colon + 1, 1, UINT16_MAX, &port))
        return false;
    *colon = '\0';
    if (!redis_host_valid(bytes_of(host)))
        return false;
    *target_r = (struct redis_target){.slot = (unsigned)slot, .port = (uint16_t)port};
    snprintf(target_r->host, sizeof target_r->host, "%.*s", REDIS_HOST_MAX - 1, host);
    return true;
}

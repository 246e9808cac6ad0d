/*
 * status - the one set of outcomes that processes exchange, and the one table that maps them to
 * HTTP and gRPC.
 *
 * The numbers travel through channels, so a value is never reused; new ones go before
 * STATUS_COUNT.
 */
#ifndef STRATO_PROTO_BASE_STATUS_H
#define STRATO_PROTO_BASE_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_INVALID = 1,      /* the request breaks a rule that its error text names */
    STATUS_NOT_FOUND = 2,    /* no such key, or it has expired */
    STATUS_OUT_OF_RANGE = 3, /* a counter's sum would leave int64; nothing was changed */
    STATUS_TOO_LARGE = 4, /* the value is larger than max_value, or the set would be than max_set */
    STATUS_FULL = 5,      /* no room; nothing was changed; reads and deletes go on */
    STATUS_UNAVAILABLE = 6, /* the backend is away; nothing was changed (or, on redis, nothing that
                             * would differ if it is done again); try again */
    STATUS_DEADLINE = 7,    /* request_timeout or the client's deadline passed first */
    STATUS_UNKNOWN = 8,     /* sent to the backend, outcome unknown: it may have been applied */
    STATUS_WRONG_TYPE = 9,  /* the backend holds something of another type under this key */
    STATUS_INTERNAL = 10,   /* a bug of ours; logged where it was noticed */
    STATUS_RESTAGE = 11,    /* store to worker only: the staged payload is gone, stage it again */
    STATUS_RETRY = 12,      /* reader only: a write is in the way, ask the store */
    STATUS_REFUSED = 13,    /* the backend does not do this for us until somebody changes a setting;
                             * nothing was changed; the reply's value says what it said */
    STATUS_DAMAGED = 14, /* what is stored under this key makes no sense; it is not touched until it
                          * is overwritten or deleted */
    STATUS_UNSUPPORTED = 15, /* this backend cannot do it; the reply's value says which can */
    STATUS_COUNT
};

struct status_info {
    const char *name; /* "not_found": label in logs and metrics */
    int http;         /* the HTTP status code */
    int grpc;         /* the number of the grpc_status_code */
    const char *text; /* what to say when nothing more exact is known */
};

/* The row of a status; any number outside the enum gets STATUS_INTERNAL's. Never NULL. */
const struct status_info *status_info(enum status status);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif

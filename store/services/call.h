/*
 * call - one request as a service's function gets it, and the functions by operation.
 */
#ifndef STRATO_STORE_SERVICES_CALL_H
#define STRATO_STORE_SERVICES_CALL_H

#include "proto/api/message.h"
#include "store/tx.h"

/* What bounds the operations, from strato.ini. */
struct call_limits {
    uint64_t max_set, max_value;
};

struct call {
    struct tx *tx;
    const struct request *request;
    const struct call_limits *limits;
    struct buffer *scratch; /* the service's, to make a value in; the reply may borrow it */
    uint8_t record[32];     /* likewise, to make a small record in that is put */
    struct api_pool *pool;  /* for messages; reset for each call */
    /* Of an operation that takes a message: that message, and the one that answers it, which begins
     * empty and may borrow what the call has. In place of request->value and reply->value. */
    const void *message;
    void *answer;
    struct bytes why; /* what call_refuse() says */
};

/* The key of a request in its service's own space. */
static inline struct tx_key request_key(const struct request *request)
{
    return (struct tx_key){.service = op_info(request->op)->service,
                           .namespace = request->namespace,
                           .name = request->key};
}
static inline struct tx_key call_key(const struct call *call)
{
    return request_key(call->request);
}

/* Answers with the value under the request's key, if there is one. */
enum status call_answer_value(struct call *call, struct reply *reply) MUST_CHECK;

/* A status but STATUS_OK, with a text that says what is wrong and what is allowed, in printable
 * ASCII. Returns it. */
enum status call_refuse(struct call *call, enum status status, const char *format, ...) MUST_CHECK
    __attribute__((format(printf, 3, 4)));

/*
 * Carries a request out. STATUS_OK: *reply_r is its answer, whose value is valid until the next
 * change of the store or the next call. Else it has no effect, and *reply_r has just this status,
 * with the text of call_refuse() if there is one.
 */
enum status call_carry_out(struct call *call, struct reply *reply_r) MUST_CHECK;

#ifdef STRATO_FAILPOINTS
/* For tests: gives an operation another meaning in this process. Not in a release. */
void call_means(enum op op, enum status (*means)(struct call *call, struct reply *reply));
#endif

/* One function for each row of operations.def, named by its symbol. Each gets a zeroed reply. */
#define OPERATION(number, service, symbol, means, name, kind, repeat, takes)                       \
    enum status means(struct call *call, struct reply *reply);
#include "proto/api/operations.def"

#endif

/*
 * operation - what each operation of the contract does to the tables. No arena, no answering, no
 * committing: one request in one transaction.
 */
#ifndef STRATO_STORE_DISK_OPERATION_H
#define STRATO_STORE_DISK_OPERATION_H

#include "store/disk/record.h"

/*
 * Carries a request out. reply_r->value lies in the database or in scratch; it is valid until the
 * next change in the transaction or the next use of scratch. STATUS_OK: reply_r is the answer,
 * whatever its own status. STATUS_FULL: no room; STATUS_DAMAGED: it cannot be changed; then the
 * transaction must be aborted.
 */
enum status operation_carry_out(struct work *work, const struct request *request,
                                struct buffer *scratch, struct reply *reply_r) MUST_CHECK;

/* What reading a key of the request's answers, for any service but sets, when this is its record;
 * NULL: there is none. The value is the record's. */
void operation_read(const struct request *request, const struct record *record,
                    struct reply *reply_r);

/*
 * What the record of the request's key is now that it was changed, given its reply: STATUS_OK and
 * the value that the arena shall have, or STATUS_NOT_FOUND: there is none. number_r is where a
 * number's bytes are kept.
 */
enum status operation_result(const struct request *request, const struct reply *reply,
                             int64_t *number_r, struct bytes *value_r) MUST_CHECK;

/* For one of the kind OP_GROWS: whether it does, with what is stored now. */
bool operation_enlarges(const struct work *work, const struct request *request);

#endif

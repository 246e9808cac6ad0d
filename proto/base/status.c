/*
 * status - the table behind status.h. Any process; cannot fail.
 */
#include "proto/base/status.h"

/* gRPC's numbers: 3 INVALID_ARGUMENT, 4 DEADLINE_EXCEEDED, 5 NOT_FOUND, 8 RESOURCE_EXHAUSTED,
 * 9 FAILED_PRECONDITION, 11 OUT_OF_RANGE, 12 UNIMPLEMENTED, 13 INTERNAL, 14 UNAVAILABLE, 15
 * DATA_LOSS, 2 UNKNOWN. */
static const struct status_info table[STATUS_COUNT] = {
    [STATUS_OK] = {"ok", 200, 0, "ok"},
    [STATUS_INVALID] = {"invalid", 400, 3, "bad request"},
    [STATUS_NOT_FOUND] = {"not_found", 404, 5, "no such key"},
    [STATUS_OUT_OF_RANGE] = {"out_of_range", 409, 11,
                             "the sum would not fit a signed 64-bit counter; it is unchanged"},
    [STATUS_TOO_LARGE] = {"too_large", 413, 3, "the value is larger than max_value allows"},
    [STATUS_FULL] = {"full", 507, 8,
                     "the store is full; reads and deletes go on, nothing was changed"},
    [STATUS_UNAVAILABLE] = {"unavailable", 503, 14, "the backend is away; try again"},
    [STATUS_DEADLINE] = {"deadline", 504, 4, "the request did not finish in time"},
    [STATUS_UNKNOWN] = {"unknown", 500, 2,
                        "the backend went away before it answered; the change may have been made"},
    [STATUS_WRONG_TYPE] = {"wrong_type", 409, 9, "the backend holds another type under this key"},
    [STATUS_INTERNAL] = {"internal", 500, 13, "internal error"},
    [STATUS_RESTAGE] = {"restage", 500, 13, "the staged payload was lost"},
    [STATUS_RETRY] = {"retry", 503, 14, "busy; try again"},
    [STATUS_REFUSED] = {"refused", 502, 9,
                        "the backend refuses this; its settings must be changed"},
    [STATUS_DAMAGED] =
        {"damaged", 500, 15,
         "what is stored under this key is damaged (the store's log says more); other "
         "keys are not concerned, and this one can be put anew or deleted"},
    [STATUS_UNSUPPORTED] = {"unsupported", 501, 12, "this backend cannot do it"},
};

const struct status_info *status_info(enum status status)
{
    unsigned row = (unsigned)status;
    return &table[row < STATUS_COUNT ? row : STATUS_INTERNAL];
}

/*
 * step - from one storage format of a service's records to the next.
 *
 * The number of the newest is in the service's row of operations.def. Who raises it adds a step
 * here, and stores bring what they hold to it when they open it. Where records of both formats may
 * stand side by side, no step is needed.
 */
#ifndef STRATO_STORE_SERVICES_STEP_H
#define STRATO_STORE_SERVICES_STEP_H

#include "store/tx.h"

struct step {
    enum service service;
    uint32_t from; /* the format that it begins with; its outcome is of format from + 1 */
    /* Puts one record again as the next format has it, or leaves it. Carried out once for each. */
    enum status (*take)(struct tx *tx, struct tx_key key, const struct tx_item *item);
};

extern const struct step service_steps[]; /* ends with one whose take is NULL */

#endif

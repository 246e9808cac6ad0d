/*
 * steps - brings what a database holds to the storage formats of this program, when it is opened.
 */
#ifndef STRATO_STORE_DISK_STEPS_H
#define STRATO_STORE_DISK_STEPS_H

#include "store/disk/engine.h"
#include "store/services/step.h"

/*
 * Brings every service to its format in newest by the steps in a list that ends with a take of
 * NULL. Some records at a time, in transactions that note how far they came: killed at any instant,
 * the next start goes on from there. Ends the process through run_child_fail() when there is no
 * room; then nothing is lost.
 */
void steps_take(struct engine *engine, const uint32_t newest[SERVICE_COUNT],
                const struct step *steps);

#endif

/*
 * step - see step.h. Every service still has its first format.
 */
#include "store/services/step.h"

const struct step service_steps[] = {{0}};

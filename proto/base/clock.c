/*
 * clock - the service clock's beginning, see clock.h. Any process; cannot fail.
 */
#include "proto/base/clock.h"

struct clock_service clock_service = {CLOCK_REALTIME, 0};

void clock_service_set(uint64_t offset_ms)
{
    clock_service = (struct clock_service){CLOCK_BOOTTIME, offset_ms};
}

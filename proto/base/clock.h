/*
 * clock - the two clocks. Records expire by the wall clock (it survives a restart of the machine);
 * deadlines and intervals use the monotonic one, which all processes of a host share.
 */
#ifndef STRATO_PROTO_BASE_CLOCK_H
#define STRATO_PROTO_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds since the epoch. */
static inline uint64_t clock_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Nanoseconds of the monotonic clock. */
static inline uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Milliseconds of the monotonic clock. */
static inline uint64_t clock_ms(void)
{
    return clock_ns() / 1000000;
}

#endif

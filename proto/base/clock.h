/*
 * clock - the three clocks. Deadlines and intervals use the monotonic one, which all processes of a
 * host share. Records expire by the service clock: ms since the epoch as the wall clock had it when
 * the service began to count, and from then on the time that the machine has been up, asleep or
 * not. Nobody sets it, so that no time to live grows or shrinks; proto/run/epoch.h says how it goes
 * on from one stratod to the next. The wall clock is for people: log lines, the Date header.
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

/* Offset 0 of the wall clock until clock_service_set(): what a process has before it is told. */
extern struct clock_service {
    clockid_t id;
    uint64_t offset_ms;
} clock_service;
/* The service clock is CLOCK_BOOTTIME and so many ms from now on. Before any thread is started. */
void clock_service_set(uint64_t offset_ms);

/* Milliseconds of the service clock. */
static inline uint64_t clock_service_ms(void)
{
    struct timespec t;
    clock_gettime(clock_service.id, &t);
    return clock_service.offset_ms + (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
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

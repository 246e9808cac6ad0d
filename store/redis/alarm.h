/*
 * alarm - wakes the engine at a moment. A timer that rings too early does no harm, so it is seldom
 * set.
 */
#ifndef STRATO_STORE_REDIS_ALARM_H
#define STRATO_STORE_REDIS_ALARM_H

#include <stdbool.h>
#include <stdint.h>

struct redis_alarm {
    int fd;
    uint64_t at_ns; /* when it rings; 0: it does not */
};

/* Shows in epoll with a NULL pointer as its data. False with errno. */
bool redis_alarm_open(struct redis_alarm *alarm, int epoll_fd);
void redis_alarm_close(struct redis_alarm *alarm);
/* Rings at this moment of the monotonic clock or before; UINT64_MAX: no such moment. */
void redis_alarm_set(struct redis_alarm *alarm, uint64_t at_ns);
/* After epoll reported it. */
void redis_alarm_rang(struct redis_alarm *alarm);

#endif

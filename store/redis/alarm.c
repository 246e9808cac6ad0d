/*
 * alarm - see alarm.h. Runs in store-redis. Opening fails without descriptors; a timer that cannot
 * be set is a panic.
 */
#include "store/redis/alarm.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "proto/base/log.h"

bool redis_alarm_open(struct redis_alarm *alarm, int epoll_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    alarm->at_ns = 0;
    alarm->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return alarm->fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, alarm->fd, &event) == 0;
}

void redis_alarm_close(struct redis_alarm *alarm)
{
    close(alarm->fd);
}

void redis_alarm_set(struct redis_alarm *alarm, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX || (alarm->at_ns != 0 && alarm->at_ns <= at_ns))
        return;
    const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000),
                                                 .tv_nsec = (long)(at_ns % 1000000000)}};
    if (timerfd_settime(alarm->fd, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        panic("timerfd_settime: %s", strerror(errno));
    alarm->at_ns = at_ns;
}

void redis_alarm_rang(struct redis_alarm *alarm)
{
    uint64_t rings;
    if (read(alarm->fd, &rings, sizeof rings) > 0)
        alarm->at_ns = 0;
}

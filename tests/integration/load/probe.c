/*
 * probe - how long a reader waits: probe PORT TARGET SECONDS.
 *
 * Asks for one target a thousand times a second over one connection, for SECONDS or until SIGTERM,
 * and prints percentiles of the latency as one line of JSON.
 */
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/integration/load/wire.h"

enum { SAMPLES_MAX = 4000000, PERIOD_NS = 1000000 };

static atomic_bool stop;
static uint32_t samples[SAMPLES_MAX]; /* microseconds */

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: probe PORT TARGET SECONDS");
    struct wire wire = {.port = atoi(argv[1]), .fd = -1};
    uint64_t end = now_ns() + (uint64_t)(strtod(argv[3], NULL) * 1e9);
    unsigned failures = 0;
    size_t count = 0;
    signal(SIGTERM, on_signal);
    if (!wire_open(&wire))
        errx(1, "cannot connect to port %s", argv[1]);
    while (!atomic_load(&stop) && count < SAMPLES_MAX && now_ns() < end) {
        struct wire_answer answer;
        uint64_t start = now_ns();
        bool answered = wire_ask(&wire, "GET", argv[2], "", NULL, 0, &answer);
        uint64_t took = now_ns() - start;
        if (!answered)
            wire_open(&wire);
        failures += !answered || answer.status != 200;
        samples[count++] = (uint32_t)(took / 1000);
        if (took < PERIOD_NS)
            nanosleep(&(struct timespec){.tv_nsec = (long)(PERIOD_NS - took)}, NULL);
    }
    if (count == 0)
        errx(1, "no time to ask anything");
    qsort(samples, count, sizeof samples[0], compare);
    printf("{\"count\": %zu, \"failures\": %u, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32
           ", \"p999_us\": %" PRIu32 ", \"max_us\": %" PRIu32 "}\n",
           count, failures, samples[count / 2], samples[count * 99 / 100],
           samples[count * 999 / 1000], samples[count - 1]);
    wire_free(&wire);
    return 0;
}

/*
 * run - counts and names that the supervisor, the workers and the stores must agree on.
 */
#include "proto/run/run.h"

#include <stdlib.h>

uint64_t run_start_ms(void)
{
#ifdef STRATO_FAILPOINTS
    const char *text = getenv("STRATO_START_MS");
    if (text)
        return strtoul(text, NULL, 10);
#endif
    return RUN_START_MS;
}

bool run_has_arena(enum backend backend)
{
    static const bool has_arena[BACKEND_COUNT] = {
        [BACKEND_MEMORY] = true, /* the arena is the data */
        [BACKEND_DISK] = true,   /* a cache in front of the database */
        [BACKEND_REDIS] = false, /* others write there too: Redis is asked each time */
    };
    return has_arena[backend];
}

unsigned run_worker_number(enum protocol protocol, unsigned number)
{
    return protocols[protocol].first + protocols[protocol].step * number;
}

unsigned run_channel_count(const struct conf *conf)
{
    unsigned workers = 0;
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        unsigned own = protocol_workers(conf, i);
        unsigned end = own > 0 ? run_worker_number(i, own - 1) + 1 : 0;
        workers = end > workers ? end : workers;
    }
    return RUN_LANES * workers;
}

/* Whose number it is. */
static bool find_worker(unsigned worker, enum protocol *protocol_r, unsigned *number_r)
{
    for (enum protocol i = 0; i < PROTOCOL_COUNT; i++) {
        *number_r = (worker - protocols[i].first) / protocols[i].step;
        *protocol_r = i;
        if (worker >= protocols[i].first && *number_r < CONF_WORKERS_MAX &&
            run_worker_number(i, *number_r) == worker)
            return true;
    }
    return false;
}

void run_name_worker(unsigned worker, char *name)
{
    enum protocol protocol;
    unsigned number;
    if (find_worker(worker, &protocol, &number))
        snprintf(name, RUN_NAME_MAX, "%s-%u", protocol_name(protocol), number);
    else
        snprintf(name, RUN_NAME_MAX, "worker-%u", worker);
}

void run_name_store(enum backend backend, char *name)
{
    snprintf(name, RUN_NAME_MAX, "store-%s", backend_name(backend));
}

bool run_worker_name(const struct conf *conf, unsigned worker, char *name)
{
    enum protocol protocol;
    unsigned number;
    run_name_worker(worker, name);
    return find_worker(worker, &protocol, &number) && number < protocol_workers(conf, protocol);
}

void run_link_url(const struct conf *conf, enum backend backend, char *url)
{
    snprintf(url, RUN_URL_MAX, "ipc://%s/store-%s.link", conf->run_dir, backend_name(backend));
}

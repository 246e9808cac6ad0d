/*
 * run - counts and names that the supervisor, the workers and the stores must agree on.
 */
#include "proto/run/run.h"

#include <stdlib.h>

static unsigned count(const struct conf_protocol *protocol)
{
    return protocol->enabled ? protocol->workers : 0;
}

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

unsigned run_worker_number(bool grpc, unsigned number)
{
    return 2 * number + grpc;
}

unsigned run_channel_count(const struct conf *conf)
{
    unsigned http = count(&conf->http), grpc = count(&conf->grpc);
    unsigned workers = http > grpc ? run_worker_number(false, http - 1) + 1 : 2 * grpc;
    return RUN_LANES * workers;
}

void run_name_worker(unsigned worker, char *name)
{
    snprintf(name, RUN_NAME_MAX, "%s-%u", worker % 2 ? "grpc" : "http", worker / 2);
}

void run_name_store(enum backend backend, char *name)
{
    snprintf(name, RUN_NAME_MAX, "store-%s", backend_name(backend));
}

bool run_worker_name(const struct conf *conf, unsigned worker, char *name)
{
    run_name_worker(worker, name);
    return worker / 2 < count(worker % 2 ? &conf->grpc : &conf->http);
}

void run_link_url(const struct conf *conf, enum backend backend, char *url)
{
    snprintf(url, RUN_URL_MAX, "ipc://%s/store-%s.link", conf->run_dir, backend_name(backend));
}

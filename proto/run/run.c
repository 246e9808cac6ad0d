/*
 * run - counts and names that the supervisor, the workers and the stores must agree on. Pure.
 */
#include "proto/run/run.h"

static unsigned count(const struct conf_protocol *protocol)
{
    return protocol->enabled ? protocol->workers : 0;
}

unsigned run_channel_count(const struct conf *conf)
{
    return RUN_LANES * (count(&conf->http) + count(&conf->grpc));
}

unsigned run_worker_base(const struct conf *conf, bool grpc)
{
    return grpc ? count(&conf->http) : 0;
}

void run_worker_name(const struct conf *conf, unsigned worker, char *name)
{
    unsigned grpc_base = run_worker_base(conf, true);
    if (worker < grpc_base)
        snprintf(name, RUN_NAME_MAX, "http-%u", worker);
    else
        snprintf(name, RUN_NAME_MAX, "grpc-%u", worker - grpc_base);
}

void run_link_url(const struct conf *conf, enum backend backend, char *url)
{
    snprintf(url, RUN_URL_MAX, "ipc://%s/store-%s.link", conf->run_dir, backend_name(backend));
}

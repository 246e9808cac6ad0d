/* Names, numbers and addresses that supervisor and children must agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/run/run.h"

static struct conf make(bool http, unsigned http_workers, bool grpc, unsigned grpc_workers)
{
    struct conf conf;
    conf_defaults(&conf, false);
    conf.http.enabled = http;
    conf.http.workers = http_workers;
    conf.grpc.enabled = grpc;
    conf.grpc.workers = grpc_workers;
    return conf;
}

static void counts(void **state)
{
    (void)state;
    struct conf both = make(true, 3, true, 2), http = make(true, 3, false, 2),
                grpc = make(false, 3, true, 2), most = make(true, 32, true, 32);
    /* http-0 grpc-0 http-1 grpc-1 http-2; http-0 - http-1 - http-2; - grpc-0 - grpc-1 */
    assert_int_equal(run_channel_count(&both), 10);
    assert_int_equal(run_channel_count(&http), 10);
    assert_int_equal(run_channel_count(&grpc), 8);
    assert_int_equal(run_channel_count(&most), 128);
    assert_int_equal(run_worker_number(PROTOCOL_HTTP, 31), 62);
    assert_int_equal(run_worker_number(PROTOCOL_GRPC, 31), 63);
}

static void names(void **state)
{
    (void)state;
    struct conf conf = make(true, 2, true, 1);
    static const char *const wanted[] = {"http-0", "grpc-0", "http-1", "grpc-1"};
    char name[RUN_NAME_MAX];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(run_worker_name(&conf, i, name), i != 3);
        assert_string_equal(name, wanted[i]);
    }
    conf.http.enabled = false;
    assert_false(run_worker_name(&conf, 0, name));
    assert_true(run_worker_name(&conf, 1, name));
}

static void urls(void **state)
{
    (void)state;
    struct conf conf = make(true, 1, false, 1);
    char url[RUN_URL_MAX];
    run_link_url(&conf, BACKEND_MEMORY, url);
    assert_string_equal(url, "ipc:///run/strato/store-memory.link");
    run_link_url(&conf, BACKEND_REDIS, url);
    assert_string_equal(url, "ipc:///run/strato/store-redis.link");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts), cmocka_unit_test(names),
                                       cmocka_unit_test(urls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

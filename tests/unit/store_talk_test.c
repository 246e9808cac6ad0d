/* talk: what it answers to well- and ill-behaved workers, asked message by message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "proto/arena/layout.h"
#include "tests/unit/link_pair.h"

enum { LONG_MS = 15000 }; /* for what takes far less */

static struct pair pair;
static struct link_client *client;
static uint64_t now_ms; /* of the store */

/* Asks and returns the answer, which the next ask() frees. */
static const Strato__Control__Reply *ask(Strato__Control__Request *request)
{
    static Strato__Control__Reply *reply;
    static uint32_t last_id;
    uint64_t until = clock_ms() + LONG_MS;
    bool sent = false;
    strato__control__reply__free_unpacked(reply, NULL);
    reply = NULL;
    request->id = ++last_id;
    while (!reply && clock_ms() < until) {
        struct pollfd fd = {.fd = talk_fd(pair.talk), .events = POLLIN};
        sent = sent || link_client_send(client, request);
        poll(&fd, 1, 1);
        talk_poll(pair.talk, now_ms++);
        reply = link_client_receive(client);
    }
    assert_non_null(reply);
    if (reply)
        assert_int_equal(reply->id, request->id);
    return reply;
}

static const Strato__Control__Reply *say_hello(Strato__Control__Hello hello)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    request.body_case = STRATO__CONTROL__REQUEST__BODY_HELLO;
    request.hello = &hello;
    return ask(&request);
}

static Strato__Control__Hello good_hello(void)
{
    static char name[] = "grpc-0", release[] = "9.9";
    Strato__Control__Hello hello = STRATO__CONTROL__HELLO__INIT;
    hello.link_version = LINK_VERSION;
    hello.channel_version = CHANNEL_VERSION;
    hello.arena_version = ARENA_VERSION;
    hello.name = name;
    hello.channel = 3;
    hello.release = release;
    hello.incarnation = 77;
    return hello;
}

static const Strato__Control__Reply *stage(uint64_t id, uint64_t total, uint64_t offset,
                                           const char *piece)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Stage body = STRATO__CONTROL__STAGE__INIT;
    body.bulk_id = id;
    body.total = total;
    body.offset = offset;
    body.data.data = (uint8_t *)(uintptr_t)piece;
    body.data.len = strlen(piece);
    request.body_case = STRATO__CONTROL__REQUEST__BODY_STAGE;
    request.stage = &body;
    return ask(&request);
}

static const Strato__Control__Reply *fetch(uint64_t sequence, uint64_t offset)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Fetch body = STRATO__CONTROL__FETCH__INIT;
    body.sequence = sequence;
    body.offset = offset;
    request.body_case = STRATO__CONTROL__REQUEST__BODY_FETCH;
    request.fetch = &body;
    return ask(&request);
}

static void reconnect(void)
{
    char reason[200];
    link_client_close(&client);
    client = link_client_open(pair.url, reason, sizeof reason);
    assert_non_null(client);
}

static void test_hello(void **state)
{
    (void)state;
    const Strato__Control__Reply *reply = say_hello(good_hello());
    assert_int_equal(reply->status, STATUS_OK);
    assert_int_equal(reply->body_case, STRATO__CONTROL__REPLY__BODY_HELLO);
    assert_string_equal(reply->hello->name, "store-memory");
    assert_string_equal(reply->hello->release, STRATO_VERSION);
    assert_true(link_client_answered(client));
}

static void refused(Strato__Control__Hello hello, const char *why)
{
    const Strato__Control__Reply *reply = say_hello(hello);
    assert_int_equal(reply->status, STATUS_INVALID);
    assert_non_null(strstr(reply->error, why));
    assert_int_equal(stage(1, 1, 0, "x")->status, STATUS_UNAVAILABLE);
    assert_int_equal(bulk_bytes(pair.bulk), 0);
}

static void refused_again(Strato__Control__Hello hello, const char *why)
{
    const Strato__Control__Reply *reply = say_hello(hello);
    assert_int_equal(reply->status, STATUS_INVALID);
    assert_non_null(strstr(reply->error, why));
    assert_int_equal(stage(1, 1, 0, "x")->status, STATUS_UNAVAILABLE);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    static char other[] = "http-0", longer[] = "grpc-0-and-very-much-more-than-that-%s%n";
    Strato__Control__Hello hello = good_hello();
    (void)state;
    hello.link_version++;
    refused(hello, "link version 2, but store-memory has 1");
    hello = good_hello();
    hello.channel_version = 0;
    refused(hello, "channel version 0");
    hello = good_hello();
    hello.arena_version = UINT32_MAX;
    refused(hello, "arena version 4294967295");
    hello = good_hello();
    hello.channel = PAIR_CHANNELS;
    refused(hello, "channel 4, but store-memory has 4");
    hello.channel = UINT32_MAX;
    refused(hello, "channel 4294967295");
    hello = good_hello();
    hello.name = other;
    refused(hello, "channel 3 is for grpc-0, not for http-0");
    hello.name = longer;
    refused(hello, "channel 3 is for grpc-0, not for grpc-0-and");
}

/* Only who has the channel's memory knows its secret. */
static void test_the_secret(void **state)
{
    uint8_t secret[CHANNEL_SECRET];
    Strato__Control__Hello hello = good_hello();
    (void)state;
    memcpy(secret, pair.memories[3]->secret, sizeof secret);
    hello.secret.data = secret;
    for (size_t i = 0; i < sizeof secret; i++) {
        secret[i] ^= 1;
        hello.secret.len = sizeof secret;
        refused(hello, "channel 3: this is not who was given it");
        secret[i] ^= 1;
        hello.secret.len = i ? i : 1;
        refused(hello, "channel 3: this is not who was given it");
    }
    hello.secret.data = pair.memories[2]->secret;
    hello.secret.len = sizeof secret;
    refused(hello, "channel 3: this is not who was given it");
    hello.secret.data = secret;
    assert_int_equal(say_hello(hello)->status, STATUS_OK);
    assert_int_equal(stage(5, 1, 0, "x")->status, STATUS_OK);
    /* Now that a worker of today was there, one without is none. */
    reconnect();
    refused_again(good_hello(), "channel 3: this is not who was given it");
}

static void test_hello_comes_first(void **state)
{
    (void)state;
    const Strato__Control__Reply *reply = stage(1, 1, 0, "x");
    assert_int_equal(reply->status, STATUS_UNAVAILABLE);
    assert_string_equal(reply->error, "say hello first");
    assert_int_equal(fetch(0, 0)->status, STATUS_UNAVAILABLE);
    say_hello(good_hello());
    assert_int_equal(stage(1, 1, 0, "x")->status, STATUS_OK);
    reconnect();
    assert_int_equal(stage(1, 1, 0, "x")->status, STATUS_UNAVAILABLE);
}

static void test_empty_and_unknown_requests(void **state)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    (void)state;
    assert_int_equal(ask(&request)->status, STATUS_UNAVAILABLE);
    say_hello(good_hello());
    assert_int_equal(ask(&request)->status, STATUS_INVALID);
}

static void test_the_same_worker_reconnecting_keeps_its_bulk(void **state)
{
    struct bytes value;
    (void)state;
    say_hello(good_hello());
    assert_int_equal(stage(5, 4, 0, "abcd")->status, STATUS_OK);
    reconnect();
    assert_int_equal(say_hello(good_hello())->status, STATUS_OK);
    assert_true(bulk_staged(pair.bulk, 3, 5, &value));
    reconnect();
    Strato__Control__Hello hello = good_hello();
    hello.incarnation++;
    assert_int_equal(say_hello(hello)->status, STATUS_OK);
    assert_false(bulk_staged(pair.bulk, 3, 5, &value));
}

static void test_a_taken_over_channel_is_lost_to_the_first(void **state)
{
    char reason[200];
    (void)state;
    say_hello(good_hello());
    struct link_client *first = client;
    client = link_client_open(pair.url, reason, sizeof reason);
    say_hello(good_hello());
    assert_int_equal(stage(5, 1, 0, "x")->status, STATUS_OK);
    struct link_client *second = client;
    client = first;
    assert_int_equal(stage(6, 1, 0, "x")->status, STATUS_UNAVAILABLE);
    link_client_close(&second);
}

static void test_absent_workers_leave_nothing(void **state)
{
    (void)state;
    say_hello(good_hello());
    assert_int_equal(stage(5, 4, 0, "abcd")->status, STATUS_OK);
    link_client_close(&client);
    uint64_t until = clock_ms() + LONG_MS, since = now_ms;
    while (bulk_bytes(pair.bulk) > 0 && clock_ms() < until) {
        now_ms += 50;
        talk_poll(pair.talk, now_ms);
        usleep(1000);
    }
    assert_int_equal(bulk_bytes(pair.bulk), 0);
    assert_true(now_ms - since >= 10000);
}

static void test_fetch_bounds(void **state)
{
    (void)state;
    say_hello(good_hello());
    bulk_keep(pair.bulk, 3, 8, bytes_of("answer"));
    const Strato__Control__Reply *reply = fetch(8, 2);
    assert_int_equal(reply->status, STATUS_OK);
    assert_int_equal(reply->chunk->total, 6);
    assert_int_equal(reply->chunk->offset, 2);
    assert_int_equal(reply->chunk->data.len, 4);
    assert_memory_equal(reply->chunk->data.data, "swer", 4);
    assert_int_equal(fetch(8, 6)->chunk->data.len, 0);
    assert_int_equal(fetch(8, 7)->status, STATUS_INVALID);
    assert_int_equal(fetch(8, UINT64_MAX)->status, STATUS_INVALID);
    assert_int_equal(fetch(7, 0)->status, STATUS_NOT_FOUND);
    bulk_keep(pair.bulk, 0, 9, bytes_of("another's"));
    assert_int_equal(fetch(9, 0)->status, STATUS_NOT_FOUND);
}

static void test_drop_of_staged_leaves_answers(void **state)
{
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Drop drop = STRATO__CONTROL__DROP__INIT;
    struct bytes value;
    (void)state;
    say_hello(good_hello());
    bulk_keep(pair.bulk, 3, 0, bytes_of("answer"));
    stage(5, 4, 0, "abcd");
    request.body_case = STRATO__CONTROL__REQUEST__BODY_DROP;
    request.drop = &drop;
    drop.bulk_id = 5;
    assert_int_equal(ask(&request)->status, STATUS_OK);
    assert_false(bulk_staged(pair.bulk, 3, 5, &value));
    assert_true(bulk_kept(pair.bulk, 3, 0, &value));
    drop.bulk_id = 0;
    drop.fetched = true;
    assert_int_equal(ask(&request)->status, STATUS_OK);
    assert_false(bulk_kept(pair.bulk, 3, 0, &value));
}

static ino_t public_socket(void)
{
    struct stat info;
    assert_int_equal(stat(pair.url + strlen("ipc://"), &info), 0);
    return info.st_ino;
}

/* Whether the listener is made anew in the next so many ms while the worker complains. */
static bool renewed(bool complain, uint64_t ms)
{
    ino_t before = public_socket();
    for (uint64_t until = now_ms + ms; now_ms < until; now_ms += 50) {
        if (complain)
            atomic_fetch_add(&pair.memories[0]->link_trouble, 1);
        talk_poll(pair.talk, now_ms);
    }
    return public_socket() != before;
}

static void test_trouble_makes_a_new_listener(void **state)
{
    (void)state;
    say_hello(good_hello());
    assert_false(renewed(false, 1000));
    assert_true(renewed(true, 100));
    /* What stands is not touched, and the new listener listens. */
    assert_int_equal(stage(5, 1, 0, "x")->status, STATUS_OK);
    reconnect();
    assert_int_equal(say_hello(good_hello())->status, STATUS_OK);
}

static void test_endless_trouble_is_heard_less_and_less(void **state)
{
    unsigned count = 0;
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        count += renewed(true, 500); /* 100 s in all */
    assert_in_range(count, 8, 20);
    assert_int_equal(say_hello(good_hello())->status, STATUS_OK);
}

static int set_up(void **state)
{
    (void)state;
    char reason[200];
    now_ms = 100000;
    pair_open(&pair);
    client = link_client_open(pair.url, reason, sizeof reason);
    return client ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    link_client_close(&client);
    pair_close(&pair);
    return 0;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_hello),
        CASE(test_the_secret),
        CASE(test_what_does_not_fit_is_refused),
        CASE(test_hello_comes_first),
        CASE(test_empty_and_unknown_requests),
        CASE(test_the_same_worker_reconnecting_keeps_its_bulk),
        CASE(test_a_taken_over_channel_is_lost_to_the_first),
        CASE(test_absent_workers_leave_nothing),
        CASE(test_fetch_bounds),
        CASE(test_drop_of_staged_leaves_answers),
        CASE(test_trouble_makes_a_new_listener),
        CASE(test_endless_trouble_is_heard_less_and_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

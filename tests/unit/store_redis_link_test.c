/* One connection to a Redis that the test plays itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "store/redis/link.h"

#define MS 1000000ull

enum { TIMEOUT_MS = 200, DATABASE = 3 };

struct fixture {
    int listener, epoll_fd;
    int server; /* the accepted connection; -1: none */
    uint16_t port;
    uint64_t ahead_ns; /* how far the link's clock is ahead */
    struct conf_url url;
    struct redis_link_figures figures;
    struct redis_link *link;
};

/* A command and what came of it. */
struct item {
    struct redis_item item;
    int done; /* how often */
    bool sent;
    long long number; /* answered; -1: an error; -2: none */
};

static void note(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                 bool sent)
{
    struct item *noted = (struct item *)item;
    (void)link;
    noted->done++;
    noted->sent = sent;
    noted->number = !answer ? -2 : answer->type == REDIS_REPLY_ERROR ? -1 : answer->integer;
}

static uint64_t now(const struct fixture *f)
{
    return clock_ns() + f->ahead_ns;
}

static void turn(struct fixture *f)
{
    struct epoll_event event;
    if (epoll_wait(f->epoll_fd, &event, 1, 1) == 1)
        redis_link_event(event.data.ptr, event.events, now(f));
    redis_link_tend(f->link, now(f));
    redis_link_flush(f->link);
}

/* What the link sent so far is in text when it has at least len bytes. */
static void expect(struct fixture *f, const char *text)
{
    char got[4096];
    size_t have = 0, len = strlen(text);
    for (int i = 0; i < 2000 && have < len; i++) {
        turn(f);
        ssize_t n = recv(f->server, got + have, sizeof got - have, MSG_DONTWAIT);
        have += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(have, len);
    assert_memory_equal(got, text, len);
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->server, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void hang_up(struct fixture *f)
{
    close(f->server);
    f->server = -1;
}

static void accept_it(struct fixture *f)
{
    struct pollfd one = {.fd = f->listener, .events = POLLIN};
    for (int i = 0; i < 2000 && poll(&one, 1, 0) == 0; i++)
        turn(f);
    f->server = accept(f->listener, NULL, NULL);
    assert_true(f->server >= 0);
}

#define NAME   "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$6\r\nstrato\r\n"
#define SELECT "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
#define PING   "*1\r\n$4\r\nPING\r\n"
#define GET    "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"

static void bring_up(struct fixture *f)
{
    accept_it(f);
    expect(f, NAME SELECT PING);
    say(f, "+OK\r\n+OK\r\n+PONG\r\n");
    for (int i = 0; i < 2000 && !redis_link_ready(f->link); i++)
        turn(f);
    assert_true(redis_link_ready(f->link));
}

static void append(struct fixture *f, struct item *item)
{
    static const struct redis_command get = {.count = 2, .words = {"GET", "a"}, .lens = {3, 1}};
    *item = (struct item){.item = {.done = note, .asking = item->item.asking}};
    redis_link_append(f->link, &item->item, &get, now(f));
}

static void wait_done(struct fixture *f, const struct item *item)
{
    for (int i = 0; i < 2000 && !item->done; i++)
        turn(f);
    assert_int_equal(item->done, 1);
}

static int setup(void **state)
{
    static struct fixture f;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    log_set_level(LOG_ERROR);
    f = (struct fixture){.server = -1, .epoll_fd = epoll_create1(0)};
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f.listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(f.listener, 8), 0);
    assert_int_equal(getsockname(f.listener, (struct sockaddr *)&address, &len), 0);
    f.port = ntohs(address.sin_port);
    const struct redis_link_options options = {.epoll_fd = f.epoll_fd,
                                               .url = &f.url,
                                               .host = "127.0.0.1",
                                               .port = f.port,
                                               .database = DATABASE,
                                               .timeout_ns = TIMEOUT_MS * MS,
                                               .string_max = 1 << 20,
                                               .answer_max = 1 << 20,
                                               .figures = &f.figures};
    f.link = redis_link_open(&options);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    redis_link_close(&f->link);
    assert_int_equal(f->figures.in_flight, 0);
    close(f->listener);
    close(f->epoll_fd);
    if (f->server >= 0)
        close(f->server);
    return 0;
}

static void answers_come_in_order_and_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct item items[3] = {0};
    bring_up(f);
    for (int i = 0; i < 3; i++)
        append(f, &items[i]);
    assert_int_equal(f->figures.in_flight, 3);
    expect(f, GET GET GET);
    static const char text[] = ":11\r\n-ERR no\r\n:33\r\n";
    for (const char *p = text; *p; p++) {
        assert_int_equal(send(f->server, p, 1, 0), 1);
        turn(f);
    }
    wait_done(f, &items[2]);
    assert_int_equal(items[0].number, 11);
    assert_int_equal(items[1].number, -1);
    assert_int_equal(items[2].number, 33);
    assert_true(redis_link_idle(f->link));
}

static void a_password_comes_first(void **state)
{
    struct fixture *f = *state;
    strcpy(f->url.user, "me");
    strcpy(f->url.password, "secret");
    accept_it(f);
    expect(f, "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n" NAME SELECT PING);
    say(f, "-WRONGPASS no\r\n");
    hang_up(f);
    for (int i = 0; i < 2000 && !redis_link_hopeless(f->link); i++) {
        turn(f);
        f->ahead_ns += MS;
    }
    assert_true(redis_link_hopeless(f->link));
    assert_false(redis_link_ready(f->link));
}

static void knows_what_was_sent_when_it_is_cut(void **state)
{
    struct fixture *f = *state;
    struct item sent = {0}, kept = {0};
    bring_up(f);
    append(f, &sent);
    expect(f, GET);
    append(f, &kept); /* and not flushed */
    hang_up(f);
    struct epoll_event event;
    assert_int_equal(epoll_wait(f->epoll_fd, &event, 1, 2000), 1);
    redis_link_event(event.data.ptr, event.events, now(f));
    assert_int_equal(sent.done, 1);
    assert_int_equal(sent.number, -2);
    assert_true(sent.sent);
    assert_int_equal(kept.done, 1);
    assert_false(kept.sent);
    assert_int_equal(f->figures.losses, 1);
    assert_false(redis_link_hopeless(f->link)); /* it may come back at once, and does */
    bring_up(f);
    assert_int_equal(f->figures.connects, 2);
}

static void a_command_that_was_written_in_part_was_not_sent(void **state)
{
    struct fixture *f = *state;
    enum { LARGE = 64 << 20 }; /* more than the socket takes */
    static char value[LARGE];
    const struct redis_command set = {
        .count = 3, .words = {"SET", "a", value}, .lens = {3, 1, sizeof value}};
    struct item small = {0}, large = {.item = {.done = note}};
    bring_up(f);
    append(f, &small);
    redis_link_append(f->link, &large.item, &set, now(f));
    redis_link_flush(f->link);
    hang_up(f);
    wait_done(f, &large);
    assert_int_equal(small.done, 1);
    assert_true(small.sent);
    assert_false(large.sent);
}

static void asking_has_an_answer_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct item asking = {.item = {.asking = true}}, next = {0};
    bring_up(f);
    append(f, &asking);
    append(f, &next);
    expect(f, "*1\r\n$6\r\nASKING\r\n" GET GET);
    say(f, "+OK\r\n:1\r\n:2\r\n");
    wait_done(f, &next);
    assert_int_equal(asking.number, 1);
    assert_int_equal(next.number, 2);
}

static void a_slow_server_keeps_its_connection(void **state)
{
    struct fixture *f = *state;
    struct item item = {0};
    bring_up(f);
    append(f, &item);
    expect(f, GET);
    f->ahead_ns = (TIMEOUT_MS + 10) * MS;
    turn(f);
    assert_true(redis_link_stalled(f->link) && redis_link_hopeless(f->link));
    assert_false(redis_link_ready(f->link));
    assert_int_equal(item.done, 0);
    say(f, ":5\r\n");
    wait_done(f, &item);
    assert_int_equal(item.number, 5);
    assert_true(redis_link_ready(f->link));
    assert_int_equal(f->figures.losses, 0);
}

static void a_server_that_never_answers_is_given_up_in_the_end(void **state)
{
    struct fixture *f = *state;
    struct item item = {0};
    bring_up(f);
    append(f, &item);
    expect(f, GET);
    f->ahead_ns = 100000 * MS;
    turn(f);
    assert_int_equal(item.done, 1);
    assert_true(item.sent);
    assert_int_equal(item.number, -2);
    hang_up(f);
    bring_up(f);
}

static void what_makes_no_sense_ends_the_connection(void **state)
{
    static const char *const texts[] = {"hello\r\n", ":1\r\n", "-ERR max number of clients\r\n"};
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        bring_up(f);
        say(f, texts[i]);
        for (int tries = 0; tries < 2000 && redis_link_ready(f->link); tries++)
            turn(f);
        assert_false(redis_link_ready(f->link));
        hang_up(f);
    }
    assert_int_equal(f->figures.losses, 3);
}

static void a_greeting_takes_no_longer_than_the_timeout(void **state)
{
    struct fixture *f = *state;
    accept_it(f);
    expect(f, NAME SELECT PING);
    f->ahead_ns += (TIMEOUT_MS + 10) * MS;
    turn(f);
    hang_up(f);
    f->ahead_ns += 1000 * MS;
    bring_up(f); /* again, and it works */
}

static void waits_longer_and_longer(void **state)
{
    (void)state;
    for (unsigned failures = 1; failures < 100; failures++) {
        uint64_t most = failures < 8 ? (10 * MS) << (failures - 1) : 800 * MS;
        most = most > 800 * MS ? 800 * MS : most;
        for (uint32_t random = 0; random < 5000; random += 7) {
            uint64_t wait = redis_backoff_ns(failures, random);
            assert_in_range(wait, most / 2, most);
        }
    }
    assert_int_equal(redis_backoff_ns(1, 0), 10 * MS);
    assert_int_equal(redis_backoff_ns(UINT32_MAX, 0), 800 * MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_come_in_order_and_in_pieces),
        TEST(a_password_comes_first),
        TEST(knows_what_was_sent_when_it_is_cut),
        TEST(a_command_that_was_written_in_part_was_not_sent),
        TEST(asking_has_an_answer_of_its_own),
        TEST(a_slow_server_keeps_its_connection),
        TEST(a_server_that_never_answers_is_given_up_in_the_end),
        TEST(what_makes_no_sense_ends_the_connection),
        TEST(a_greeting_takes_no_longer_than_the_timeout),
        cmocka_unit_test(waits_longer_and_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

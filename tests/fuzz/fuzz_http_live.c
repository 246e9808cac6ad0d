/*
 * Fuzzes live connections: real sockets, the real event loop, a store in the test's hands. The
 * input is what a client sends, with actions between (a 0xfe and a byte): the store answers, the
 * client reads, a time limit passes, the worker drains. Whatever comes, no memory is lost, nothing
 * stays open, and each byte that the client got is part of an answer. A test program; fails by a
 * sanitizer or by abort.
 */
#include <fcntl.h>
#include <sys/socket.h>

#include "tests/unit/core_bench.h"
#include "workers/http/hold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    ACTION = 0xfe,
    CLIENTS = 3,
    LARGE = HTTP_LONG + 464,
    BUDGET = 140000, /* bytes: two large values fit, not three; and not one as JSON */
    ROUNDS_MAX = 2000,
};

enum action {
    DO_ROUND,
    DO_ANSWER,
    DO_ANSWER_LARGE,
    DO_FAIL,
    DO_READ,
    DO_READ_LITTLE,
    DO_OTHER_CLIENT,
    DO_HALF_CLOSE,
    DO_CLOSE,
    DO_EXPIRE,
    DO_EXPIRE_CALLS,
    DO_AGE,
    DO_DRAIN,
    ACTIONS,
};

static struct world {
    struct bench *bench;
    struct http_server server;
    int client[CLIENTS];
    unsigned at; /* the client that acts */
    bool begun[CLIENTS];
} world;

static char large[LARGE]; /* as JSON 2.25 times as long */

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void round_of(struct world *w)
{
    http_server_round(&w->server, 0);
}

static void open_client(struct world *w, unsigned i)
{
    int pair[2], small = 4096;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    w->client[i] = pair[0];
    w->begun[i] = false;
    http_connection_open(&w->server, pair[1], true, false);
}

/* What a client reads begins with an answer. */
static bool read_some(struct world *w, unsigned i, size_t most)
{
    static char data[65536];
    if (w->client[i] < 0)
        return false;
    ssize_t n = recv(w->client[i], data, most < sizeof data ? most : sizeof data, 0);
    if (n <= 0)
        return false;
    if (!w->begun[i] && n >= 9)
        require(memcmp(data, "HTTP/1.1 ", 9) == 0);
    w->begun[i] = true;
    return true;
}

static void write_some(struct world *w, const uint8_t *data, size_t len)
{
    while (len > 0 && w->client[w->at] >= 0) {
        ssize_t n = send(w->client[w->at], data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* it takes no more: the client loses the rest */
        data += n;
        len -= (size_t)n;
        round_of(w);
    }
}

/* The store takes what is there and answers it. */
static void answer_all(struct world *w, enum status status, bool is_large)
{
    static const char items[] = "\1\0a\3\0\"b\xff";
    struct channel_taken submission;
    uint64_t sequence;
    core_flush(&w->bench->core);
    while (channel_store_take(&w->bench->end, &submission, &sequence)) {
        struct channel_completion *slot =
            channel_store_slot(&w->bench->end, w->bench->end.completed);
        bool set = op_info(submission.op)->service == SERVICE_SET;
        slot->status = (uint16_t)status;
        slot->number = submission.number;
        slot->revision = 1;
        slot->flags = is_large ? CHANNEL_BULK : 0;
        slot->value_len =
            is_large ? LARGE : (uint32_t)(set ? sizeof items - 1 : submission.key_len);
        if (!is_large)
            memcpy(slot->payload, set ? items : (const char *)submission.payload, slot->value_len);
        channel_store_keep(&w->bench->end, w->bench->end.completed);
        channel_store_commit(&w->bench->end, w->bench->end.completed);
    }
    channel_store_flush(&w->bench->end);
    round_of(w);
}

static void end_jobs(struct world *w, enum status status)
{
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        if (!jobs[i].used)
            continue;
        bool good = status == STATUS_OK;
        struct bytes value = {(const uint8_t *)large, good ? LARGE : 0};
        jobs[i].used = false;
        jobs[i].done(jobs[i].context, good ? STATUS_OK : STATUS_UNAVAILABLE, value);
    }
    round_of(w);
}

/* As the server does it when their time is up; those that stay move behind the last. */
static void expire_all(struct http_queue *list)
{
    for (unsigned i = 0; i < CLIENTS && !TAILQ_EMPTY(list); i++)
        http_connection_timeout(TAILQ_FIRST(list));
}

static void act(struct world *w, enum action action)
{
    struct http_connection *c;
    switch (action) {
    case DO_ANSWER:
        answer_all(w, STATUS_OK, false);
        end_jobs(w, STATUS_OK);
        break;
    case DO_ANSWER_LARGE:
        answer_all(w, STATUS_OK, true);
        end_jobs(w, STATUS_OK);
        break;
    case DO_FAIL:
        answer_all(w, STATUS_RESTAGE, false);
        end_jobs(w, STATUS_UNAVAILABLE);
        break;
    case DO_READ:
        while (read_some(w, w->at, SIZE_MAX))
            round_of(w);
        break;
    case DO_READ_LITTLE:
        read_some(w, w->at, 10);
        break;
    case DO_OTHER_CLIENT:
        w->at = (w->at + 1) % CLIENTS;
        break;
    case DO_HALF_CLOSE:
        if (w->client[w->at] >= 0)
            shutdown(w->client[w->at], SHUT_WR);
        break;
    case DO_CLOSE:
        if (w->client[w->at] >= 0)
            close(w->client[w->at]);
        w->client[w->at] = -1;
        break;
    case DO_EXPIRE:
        expire_all(&w->server.active);
        break;
    case DO_EXPIRE_CALLS:
        core_poll(&w->bench->core, clock_ns() + UINT64_C(60000000000));
        break;
    case DO_AGE:
        TAILQ_FOREACH(c, &w->server.holders, holder)
        {
            c->held_ms = 0;
        }
        break;
    case DO_DRAIN:
        w->server.draining = true;
        w->server.drain_end_ms = UINT64_MAX;
        break;
    default:
        break;
    }
    round_of(w);
}

/* The core is the same for all inputs: each leaves it as it was. */
static struct bench *make_bench(void)
{
    void *state;
    open_bench(&state);
    return state;
}

static void open_world(struct world *w)
{
    if (!w->bench) {
        for (unsigned i = 0; i < LARGE; i++)
            large[i] = i % 4 ? 'a' : '\1';
        log_set_level(LOG_ERROR);
        w->bench = make_bench();
    }
    w->bench->child.conf.max_value = 200000;
    w->bench->child.conf.http.idle_timeout_ms = 60000;
    w->bench->child.conf.http.max_connections = 100;
    w->bench->core.budget.limit = BUDGET;
    snprintf(w->bench->child.conf.http_origins, CONF_TEXT_MAX, "http://a.example");
    http_server_init(&w->server, &w->bench->child, &w->bench->core);
    w->at = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        open_client(w, i);
}

/* All leave; what the store still has comes back. Nothing may be left. */
static void close_world(struct world *w)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (w->client[i] >= 0)
            close(w->client[i]);
    for (unsigned i = 0; i < ROUNDS_MAX && w->server.connections > 0; i++) {
        answer_all(w, STATUS_OK, false);
        end_jobs(w, STATUS_OK);
        expire_all(&w->server.lingering);
    }
    require(w->server.connections == 0 && w->server.later == 0);
    require(TAILQ_EMPTY(&w->server.turns) && TAILQ_EMPTY(&w->server.holders));
    answer_all(w, STATUS_OK, false);
    end_jobs(w, STATUS_OK);
    http_server_close(&w->server);
    require(w->bench->core.budget.used == 0 && core_open_calls(&w->bench->core) == 0);
    require(w->bench->store.staged == 0 && w->bench->store.submitted == 0 && open_jobs() == 0);
    require(TAILQ_EMPTY(&w->bench->store.for_slot) && TAILQ_EMPTY(&w->bench->store.for_stage));
    require(TAILQ_EMPTY(&w->bench->store.for_fetch));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world *w = &world;
    open_world(w);
    while (len > 0) {
        const uint8_t *mark = memchr(data, ACTION, len);
        size_t text = mark ? (size_t)(mark - data) : len;
        write_some(w, data, text);
        round_of(w);
        if (!mark || len - text < 2)
            break;
        act(w, mark[1] % ACTIONS);
        data += text + 2;
        len -= text + 2;
    }
    close_world(w);
    return 0;
}

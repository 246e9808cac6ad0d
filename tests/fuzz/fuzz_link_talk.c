/*
 * fuzz_link_talk - a store's side of the link hears anything from anybody: its memory stays
 * bounded, and what it answers fits a message. Stands in for nng.
 *
 * Input: messages of connection and flags (1 byte), length (2), bytes. A flag has the secret put
 * into a hello, or else nobody would get past it; another one lets time pass.
 */
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/link/link.h"
#include "store/talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { CHANNELS = 4, MAX_VALUE = 4096 };
enum { FLAG_PIPE = 7, FLAG_SECRET = 8, FLAG_TIME = 16, FLAG_GONE = 32 };

static struct channel_memory *memories[CHANNELS];
static struct bytes input;
static uint64_t now_ms;
static unsigned gone; /* connections that have ended, one bit each */

/* ---- The link's stand-in ---- */

struct link_server {
    int nothing;
};

struct link_server *link_server_open(const char *url, char *reason, size_t reason_size)
{
    (void)url, (void)reason, (void)reason_size;
    return calloc(1, sizeof(struct link_server));
}

void link_server_close(struct link_server **server)
{
    free(*server);
    *server = NULL;
}

int link_server_fd(const struct link_server *server)
{
    (void)server;
    return -1;
}

static void put_secret_in(Strato__Control__Request *request)
{
    Strato__Control__Hello *hello = request->hello;
    if (request->body_case != STRATO__CONTROL__REQUEST__BODY_HELLO || hello->channel >= CHANNELS ||
        hello->secret.len > 0)
        return;
    hello->secret.data = malloc(CHANNEL_SECRET);
    hello->secret.len = CHANNEL_SECRET;
    memcpy(hello->secret.data, memories[hello->channel]->secret, CHANNEL_SECRET);
}

Strato__Control__Request *link_server_receive(struct link_server *server, struct link_peer *peer_r)
{
    (void)server;
    while (input.len >= 3) {
        uint8_t flags = input.data[0];
        size_t len = (size_t)input.data[1] | (size_t)input.data[2] << 8;
        input = (struct bytes){input.data + 3, input.len - 3};
        if (len > input.len)
            len = input.len;
        Strato__Control__Request *request = strato__control__request__unpack(NULL, len, input.data);
        input = (struct bytes){input.data + len, input.len - len};
        *peer_r = (struct link_peer){.pipe = 1 + (flags & FLAG_PIPE)};
        gone &= ~(1u << peer_r->pipe);
        if (flags & FLAG_GONE)
            gone |= 1u << (1 + (flags & FLAG_PIPE));
        if (flags & FLAG_TIME)
            now_ms += 6000;
        if (request && flags & FLAG_SECRET)
            put_secret_in(request);
        if (request)
            return request;
    }
    return NULL;
}

void link_server_reply(struct link_server *server, const struct link_peer *peer,
                       const Strato__Control__Reply *reply)
{
    static uint8_t packed[LINK_MESSAGE_MAX];
    (void)server, (void)peer;
    if (strato__control__reply__get_packed_size(reply) + sizeof peer->header > sizeof packed)
        abort();
    strato__control__reply__pack(reply, packed);
}

bool link_server_stranger(const struct link_server *server, uint32_t pipe)
{
    (void)server;
    return pipe == 1;
}

uint64_t link_server_turned_away(const struct link_server *server)
{
    (void)server;
    return 0;
}

bool link_server_connected(const struct link_server *server, uint32_t pipe)
{
    (void)server;
    return !(gone & 1u << pipe);
}

void link_server_look(struct link_server *server, uint64_t now)
{
    (void)server, (void)now;
}

bool link_server_renew(struct link_server *server, uint64_t now)
{
    (void)server, (void)now;
    return true;
}

/* ---- The store's stand-in ---- */

static enum status snapshot(void *context, const char *name, struct engine_snapshot *result_r)
{
    (void)context, (void)name;
    *result_r = (struct engine_snapshot){.done = true, .path = "/x", .bytes = 1};
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct conf conf;
    char reason[100];
    log_set_level(LOG_ERROR + 1);
    for (unsigned i = 0; i < CHANNELS; i++)
        if (!memories[i])
            memories[i] = calloc(1, channel_memory_size());
    conf.http.enabled = conf.grpc.enabled = true;
    conf.http.workers = conf.grpc.workers = 1;
    input = (struct bytes){data, len};
    gone = 0;
    struct bulk *bulk = bulk_open(CHANNELS, MAX_VALUE, MAX_VALUE);
    const struct talk_options options = {.url = "ipc://x",
                                         .name = "store-memory",
                                         .backend = BACKEND_MEMORY,
                                         .conf = &conf,
                                         .bulk = bulk,
                                         .channels = CHANNELS,
                                         .memories = memories,
                                         .snapshot = snapshot};
    struct talk *talk = talk_open(&options, reason, sizeof reason);
    bulk_keep(bulk, 0, 0, (struct bytes){data, len});
    while (input.len >= 3) {
        talk_poll(talk, now_ms += 60);
        if (bulk_bytes(bulk) > 2ull * CHANNELS * BULK_PER_CHANNEL * MAX_VALUE + len)
            abort();
    }
    talk_close(&talk);
    bulk_close(&bulk);
    return 0;
}

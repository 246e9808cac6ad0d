/*
 * talk - see talk.h. Runs in a store's event loop.
 *
 * Nothing that a worker says is believed before it is checked, and what it asks for too often or
 * too much of costs only itself. A refusal names its reason. What fails is answered, or dropped and
 * asked for again by the worker.
 */
#include "store/talk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/arena/layout.h"
#include "proto/base/log.h"
#include "proto/link/link.h"
#include "proto/run/run.h"

enum {
    REQUESTS_MAX = 32,      /* answered in one round */
    LOOK_MS = 50,           /* how often the channels are looked at */
    ABSENCE_MS = 10000,     /* without its worker, a channel's bulk goes */
    TROUBLE_MAX_MS = 12800, /* least time between two renewals for one channel, at its longest */
    REFUSALS_MS = 1000,     /* between two log lines about refusals */
    STRANGERS_MS = 10,      /* a turn, in which of their requests so many are answered: */
    STRANGERS_MAX = 16,
};

struct talk_channel {
    uint32_t pipe; /* 0: nobody has said hello, or its connection is gone */
    uint64_t incarnation;
    uint64_t gone_ms;      /* when the connection was found gone; 0: it is there, or long gone */
    uint32_t trouble_seen; /* of channel_memory.link_trouble */
    uint64_t trouble_ms;   /* when its trouble last made us act */
    uint64_t trouble_wait_ms;
    uint8_t secret[CHANNEL_SECRET]; /* as it was when we began; zero: nobody is let in */
};

struct talk {
    struct talk_options options;
    struct link_server *server;
    struct talk_channel *channels;
    uint64_t looked_ms;
    uint64_t refused_ms;
    uint64_t strangers_ms;    /* the turn that strangers are counted in */
    unsigned strangers_heard; /* in it */
    uint64_t strangers_unheard;
    uint64_t now_ms;
};

struct talk *talk_open(const struct talk_options *options, char *reason, size_t reason_size)
{
    struct talk *talk = calloc(1, sizeof *talk);
    struct talk_channel *channels = calloc(options->channels + 1, sizeof *channels);
    if (!talk || !channels)
        panic("out of memory");
    talk->options = *options;
    talk->options.url = NULL;
    talk->channels = channels;
    for (unsigned i = 0; i < options->channels; i++) {
        struct channel_memory *memory = options->memories[i];
        channels[i].trouble_seen = atomic_load(&memory->link_trouble);
        channel_make_secret(memory);
        memcpy(channels[i].secret, memory->secret, sizeof channels[i].secret);
    }
    talk->server = link_server_open(options->url, reason, reason_size);
    if (!talk->server)
        talk_close(&talk);
    return talk;
}

void talk_close(struct talk **talk)
{
    if (!*talk)
        return;
    link_server_close(&(*talk)->server);
    free((*talk)->channels);
    free(*talk);
    *talk = NULL;
}

int talk_fd(const struct talk *talk)
{
    return link_server_fd(talk->server);
}

/* ---- Hello ---- */

/* Whether who says hello was given the channel's memory. */
static bool has_secret(const struct talk *talk, const Strato__Control__Hello *hello)
{
    static const uint8_t none[CHANNEL_SECRET];
    const struct talk_channel *channel = &talk->channels[hello->channel];
    uint8_t differ = 0;
    if (hello->secret.len == 0)
        return talk->options.memories[hello->channel]->unproven != 0;
    if (hello->secret.len != sizeof channel->secret ||
        memcmp(channel->secret, none, sizeof none) == 0)
        return false;
    for (size_t i = 0; i < sizeof channel->secret; i++)
        differ |= channel->secret[i] ^ hello->secret.data[i];
    return differ == 0;
}

/* Whether the hello fits; else why not. */
static bool acceptable(const struct talk *talk, const Strato__Control__Hello *hello, char *why,
                       size_t why_size)
{
    static const char mismatch[] = "%s version %u, but %s has %u: restart the whole service";
    const char *me = talk->options.name;
    char name[RUN_NAME_MAX];
    if (hello->link_version != LINK_VERSION) {
        snprintf(why, why_size, mismatch, "link", hello->link_version, me, LINK_VERSION);
    } else if (!channel_knows(hello->channel_version)) {
        snprintf(why, why_size, mismatch, "channel", hello->channel_version, me, CHANNEL_VERSION);
    } else if (hello->arena_version < ARENA_VERSION_FIRST || hello->arena_version > ARENA_VERSION) {
        snprintf(why, why_size, mismatch, "arena", hello->arena_version, me, ARENA_VERSION);
    } else if (hello->channel >= talk->options.channels) {
        snprintf(why, why_size, "channel %u, but %s has %u", hello->channel, me,
                 talk->options.channels);
    } else {
        bool wanted = run_worker_name(talk->options.conf, hello->channel / RUN_LANES, name);
        bool named = wanted && strcmp(hello->name, name) == 0;
        if (named && has_secret(talk, hello))
            return true;
        if (named)
            snprintf(why, why_size, "channel %u: this is not who was given it", hello->channel);
        else
            snprintf(why, why_size, "channel %u is for %s, not for %.*s", hello->channel, name,
                     RUN_NAME_MAX, hello->name);
    }
    return false;
}

static void answer_hello(struct talk *talk, const Strato__Control__Hello *hello,
                         const struct link_peer *peer, Strato__Control__Reply *reply)
{
    static char why[200]; /* the reply borrows it until it is sent */
    if (!acceptable(talk, hello, why, sizeof why)) {
        if (talk->now_ms - talk->refused_ms >= REFUSALS_MS)
            log_warn("refused a worker's hello: %s", why);
        talk->refused_ms = talk->now_ms;
        reply->status = STATUS_INVALID;
        reply->error = why;
        return;
    }
    struct talk_channel *channel = &talk->channels[hello->channel];
    if (hello->secret.len > 0)
        talk->options.memories[hello->channel]->unproven = 0;
    bool first = channel->incarnation == 0; /* since we started; we may have answers for it */
    if (!first && channel->incarnation != hello->incarnation)
        bulk_forget(talk->options.bulk, hello->channel);
    if (channel->incarnation != hello->incarnation)
        log_info("%s is here (channel %u, release %.40s)", hello->name, hello->channel,
                 hello->release);
    channel->incarnation = hello->incarnation;
    channel->pipe = peer->pipe;
    channel->gone_ms = 0;
    channel->trouble_wait_ms = 0;
}

/* ---- What a worker asks for ---- */

static void answer_stage(struct talk *talk, unsigned channel, const Strato__Control__Stage *stage,
                         Strato__Control__Reply *reply, Strato__Control__Chunk *chunk)
{
    struct bytes piece = {stage->data.data, stage->data.len};
    reply->status = bulk_stage(talk->options.bulk, channel, stage->bulk_id, stage->total,
                               stage->offset, piece, &chunk->offset);
    chunk->total = stage->total;
    reply->body_case = STRATO__CONTROL__REPLY__BODY_CHUNK;
    reply->chunk = chunk;
}

static void answer_fetch(struct talk *talk, unsigned channel, const Strato__Control__Fetch *fetch,
                         Strato__Control__Reply *reply, Strato__Control__Chunk *chunk)
{
    struct bytes value;
    if (!bulk_kept(talk->options.bulk, channel, fetch->sequence, &value)) {
        reply->status = STATUS_NOT_FOUND;
        return;
    }
    if (fetch->offset > value.len) {
        reply->status = STATUS_INVALID;
        return;
    }
    size_t len = value.len - (size_t)fetch->offset;
    chunk->total = value.len;
    chunk->offset = fetch->offset;
    chunk->data.data = (uint8_t *)(uintptr_t)value.data + fetch->offset;
    chunk->data.len = len < LINK_CHUNK ? len : LINK_CHUNK;
    reply->body_case = STRATO__CONTROL__REPLY__BODY_CHUNK;
    reply->chunk = chunk;
}

static void answer_drop(struct talk *talk, unsigned channel, const Strato__Control__Drop *drop)
{
    if (drop->bulk_id != 0)
        bulk_drop_staged(talk->options.bulk, channel, drop->bulk_id);
    if (drop->fetched)
        bulk_drop_kept(talk->options.bulk, channel, drop->sequence);
}

static void answer_snapshot(struct talk *talk, const Strato__Control__Snapshot *snapshot,
                            Strato__Control__Reply *reply, Strato__Control__SnapshotReply *body)
{
    struct engine_snapshot result = {0};
    reply->status = talk->options.snapshot(talk->options.context, snapshot->name, &result);
    if (reply->status != STATUS_OK) {
        reply->error = (char *)(uintptr_t)result.error;
        return;
    }
    body->done = result.done;
    body->path = (char *)(uintptr_t)result.path;
    body->bytes = result.bytes;
    reply->body_case = STRATO__CONTROL__REPLY__BODY_SNAPSHOT;
    reply->snapshot = body;
}

/* The channel that a connection is bound to; false when it has not said hello. */
static bool channel_of(const struct talk *talk, uint32_t pipe, unsigned *channel_r)
{
    for (unsigned i = 0; i < talk->options.channels; i++) {
        if (talk->channels[i].pipe == pipe) {
            *channel_r = i;
            return true;
        }
    }
    return false;
}

static void answer(struct talk *talk, const Strato__Control__Request *request,
                   const struct link_peer *peer)
{
    Strato__Control__Reply reply = STRATO__CONTROL__REPLY__INIT;
    Strato__Control__HelloReply hello = STRATO__CONTROL__HELLO_REPLY__INIT;
    Strato__Control__Chunk chunk = STRATO__CONTROL__CHUNK__INIT;
    Strato__Control__SnapshotReply snapshot = STRATO__CONTROL__SNAPSHOT_REPLY__INIT;
    static char say_hello[] = "say hello first";
    static char release[] = STRATO_VERSION;
    unsigned channel;

    reply.id = request->id;
    reply.status = STATUS_OK;
    if (request->body_case == STRATO__CONTROL__REQUEST__BODY_HELLO) {
        answer_hello(talk, request->hello, peer, &reply);
        hello.name = (char *)(uintptr_t)talk->options.name;
        hello.release = release;
        reply.body_case = STRATO__CONTROL__REPLY__BODY_HELLO;
        reply.hello = &hello;
    } else if (request->body_case == STRATO__CONTROL__REQUEST__BODY_SNAPSHOT) {
        answer_snapshot(talk, request->snapshot, &reply, &snapshot); /* stratoctl, on no channel */
    } else if (!channel_of(talk, peer->pipe, &channel)) {
        reply.status = STATUS_UNAVAILABLE;
        reply.error = say_hello;
    } else if (request->body_case == STRATO__CONTROL__REQUEST__BODY_STAGE) {
        answer_stage(talk, channel, request->stage, &reply, &chunk);
    } else if (request->body_case == STRATO__CONTROL__REQUEST__BODY_FETCH) {
        answer_fetch(talk, channel, request->fetch, &reply, &chunk);
    } else if (request->body_case == STRATO__CONTROL__REQUEST__BODY_DROP) {
        answer_drop(talk, channel, request->drop);
    } else {
        reply.status = STATUS_INVALID;
    }
    link_server_reply(talk->server, peer, &reply);
}

/* ---- Looking after the connections ---- */

/* Frees what a worker left that does not come back. */
static void look_for_absence(struct talk *talk, unsigned i)
{
    struct talk_channel *channel = &talk->channels[i];
    if (channel->pipe != 0 && !link_server_connected(talk->server, channel->pipe)) {
        channel->pipe = 0;
        channel->gone_ms = talk->now_ms;
    }
    if (channel->gone_ms != 0 && talk->now_ms - channel->gone_ms >= ABSENCE_MS) {
        channel->gone_ms = 0;
        bulk_forget(talk->options.bulk, i);
    }
}

/* A worker that cannot reach us says so in its channel. One for which a new listener is no help
 * (or that only says so) is heard less and less often, until it says hello. */
static void look_for_trouble(struct talk *talk, unsigned i)
{
    struct talk_channel *channel = &talk->channels[i];
    uint32_t trouble =
        atomic_load_explicit(&talk->options.memories[i]->link_trouble, memory_order_relaxed);
    if (trouble == channel->trouble_seen ||
        talk->now_ms - channel->trouble_ms < channel->trouble_wait_ms)
        return;
    if (!link_server_renew(talk->server, talk->now_ms))
        return;
    channel->trouble_seen = trouble;
    channel->trouble_ms = talk->now_ms;
    channel->trouble_wait_ms =
        channel->trouble_wait_ms ? channel->trouble_wait_ms * 2 : LINK_PATIENCE_MS;
    if (channel->trouble_wait_ms > TROUBLE_MAX_MS)
        channel->trouble_wait_ms = TROUBLE_MAX_MS;
}

/* Whether a request is dropped unanswered: a stranger's, of which there were enough just now. Who
 * asks for a backup asks again. */
static bool is_too_much(struct talk *talk, const struct link_peer *peer)
{
    if (!link_server_stranger(talk->server, peer->pipe))
        return false;
    if (talk->now_ms - talk->strangers_ms >= STRANGERS_MS) {
        talk->strangers_ms = talk->now_ms;
        talk->strangers_heard = 0;
    }
    if (talk->strangers_heard++ < STRANGERS_MAX)
        return false;
    talk->strangers_unheard++;
    return true;
}

void talk_poll(struct talk *talk, uint64_t now_ms)
{
    talk->now_ms = now_ms;
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        struct link_peer peer;
        Strato__Control__Request *request = link_server_receive(talk->server, &peer);
        if (!request)
            break;
        if (!is_too_much(talk, &peer))
            answer(talk, request, &peer);
        strato__control__request__free_unpacked(request, NULL);
    }
    if (now_ms - talk->looked_ms < LOOK_MS)
        return;
    talk->looked_ms = now_ms;
    link_server_look(talk->server, now_ms);
    for (unsigned i = 0; i < talk->options.channels; i++) {
        look_for_absence(talk, i);
        look_for_trouble(talk, i);
    }
}

void talk_figures(const struct talk *talk, struct figures_page *page)
{
    figures_set(page, FIGURE_TURNED_AWAY, link_server_turned_away(talk->server));
    figures_set(page, FIGURE_UNHEARD, talk->strangers_unheard);
}

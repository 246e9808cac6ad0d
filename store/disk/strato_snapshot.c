/*
 * strato_snapshot - has a running store-disk copy its database:   strato-snapshot RUN_DIR NAME
 *
 * Prints the directory of the copy when it is complete. Exit code 0; 1: there is no copy, and why;
 * 2: the command line is wrong. A store that is restarted meanwhile is asked again.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/link/link.h"
#include "proto/run/run.h"

enum {
    ASK_MS = 100,       /* between two questions */
    PATIENCE_MS = 10000 /* without any answer */
};

/* Asks once. NULL when there is no answer by then. */
static Strato__Control__Reply *ask(struct link_client *client, char *name, uint64_t until_ms)
{
    static uint32_t id;
    Strato__Control__Request request = STRATO__CONTROL__REQUEST__INIT;
    Strato__Control__Snapshot snapshot = STRATO__CONTROL__SNAPSHOT__INIT;
    Strato__Control__Reply *reply = NULL;
    uint64_t sent_on = 0; /* the connection that it went out on; the first is 1 */
    snapshot.name = name;
    request.id = ++id;
    request.body_case = STRATO__CONTROL__REQUEST__BODY_SNAPSHOT;
    request.snapshot = &snapshot;
    for (uint64_t now = clock_ms(); !reply && now < until_ms; now = clock_ms()) {
        struct pollfd fd = {.fd = link_client_fd(client), .events = POLLIN};
        uint64_t epoch = link_client_epoch(client);
        if (sent_on != epoch && link_client_send(client, &request))
            sent_on = epoch;
        poll(&fd, 1, 20);
        link_client_tick(client, clock_ms());
        reply = link_client_receive(client);
        if (reply && reply->id != request.id) {
            strato__control__reply__free_unpacked(reply, NULL);
            reply = NULL;
        }
    }
    return reply;
}

/* Whether to ask again; else *code_r is how to exit. */
static bool go_on(const Strato__Control__Reply *reply, int *code_r)
{
    *code_r = 1;
    if (!reply)
        fprintf(stderr, "strato-snapshot: store-disk does not answer\n");
    else if (reply->status != STATUS_OK)
        fprintf(stderr, "strato-snapshot: %s\n",
                *reply->error ? reply->error : status_info(reply->status)->text);
    else if (reply->body_case != STRATO__CONTROL__REPLY__BODY_SNAPSHOT)
        fprintf(stderr, "strato-snapshot: store-disk is of another version\n");
    else if (!reply->snapshot->done)
        return true;
    else
        *code_r = printf("%s\n", reply->snapshot->path) > 0 ? 0 : 1;
    return false;
}

int main(int argc, char **argv)
{
    static struct conf conf;
    char url[RUN_URL_MAX], reason[256];
    int code;
    bool more = true;
    if (argc != 3) {
        fprintf(stderr, "usage: strato-snapshot RUN_DIR NAME\n");
        return 2;
    }
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", argv[1]);
    run_link_url(&conf, BACKEND_DISK, url);
    struct link_client *client = link_client_open(url, reason, sizeof reason);
    if (!client) {
        fprintf(stderr, "strato-snapshot: %s\n", reason);
        return 1;
    }
    while (more) {
        Strato__Control__Reply *reply = ask(client, argv[2], clock_ms() + PATIENCE_MS);
        more = go_on(reply, &code);
        if (reply)
            strato__control__reply__free_unpacked(reply, NULL);
        if (more)
            poll(NULL, 0, ASK_MS);
    }
    link_client_close(&client);
    return code;
}

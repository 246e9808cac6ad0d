/*
 * protocol - see protocol.h. Any process; it only holds and finds rows.
 */
#include "proto/conf/protocol.h"

#include <string.h>

const struct protocol_info protocols[PROTOCOL_COUNT] = {
    [PROTOCOL_HTTP] = {"http", "HTTP", "strato-http-worker", offsetof(struct conf, http),
                       CONF_ROLL_HTTP, 0, 2, true},
    [PROTOCOL_GRPC] = {"grpc", "gRPC", "strato-grpc-worker", offsetof(struct conf, grpc),
                       CONF_ROLL_GRPC, 1, 2, false},
};

enum protocol protocol_find(const char *name)
{
    enum protocol protocol = 0;
    while (protocol < PROTOCOL_COUNT && strcmp(protocols[protocol].name, name) != 0)
        protocol++;
    return protocol;
}

/*
 * Fuzzes the gRPC methods: the first byte chooses one, the rest is its message. What is decoded
 * must keep the rules, and what is encoded must be read back the same by protobuf-c. A test
 * program; fails by a sanitizer or by abort.
 */
#include <stdlib.h>

#include "proto/api/strato.pb-c.h"
#include "proto/base/set.h"
#include "workers/grpc/methods.h"
#include "workers/grpc/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void decode(const struct rpc_method *method, struct bytes message)
{
    struct api_pool pool;
    struct request request = {.op = method->op};
    struct rpc_input input = {.message = message, .pool = &pool, .now_ms = 1000};
    api_pool_open(&pool);
    bool passed_on = op_info(method->op)->takes == OP_TAKES_MESSAGE;
    if (method->decode(&input, &request) && passed_on) {
        require(bytes_equal(request.value, message));
    } else if (!input.error) {
        require(request.op == method->op && rpc_utf8(request.key));
        require(method->op == OP_KV_PUT || rpc_utf8(request.value));
        require(method->op != OP_FLAG_SET || (request.number & ~1) == 0);
        require(request.key.len + request.value.len <= message.len);
    } else {
        require(input.error && rpc_utf8(bytes_of(input.error)));
    }
    api_pool_reset(&pool);
}

static bool same(ProtobufCBinaryData a, struct bytes b)
{
    return bytes_equal((struct bytes){a.data, a.len}, b);
}

static void read_items(struct bytes packed, struct bytes message)
{
    Proto__SetResponse *response = proto__set_response__unpack(NULL, message.len, message.data);
    struct bytes item;
    size_t count = 0;
    require(response);
    for (; set_next(&packed, &item); count++)
        require(count < response->n_items && same(response->items[count], item));
    require(count == response->n_items);
    proto__set_response__free_unpacked(response, NULL);
}

static void read_value(struct bytes value, struct bytes message)
{
    Proto__GetResponse *response = proto__get_response__unpack(NULL, message.len, message.data);
    require(response && response->value && same(response->value->content, value));
    proto__get_response__free_unpacked(response, NULL);
}

static void encode(const struct rpc_method *method, struct bytes value)
{
    struct buffer out = {0};
    struct reply reply = {.value = value};
    memcpy(&reply.number, value.data, value.len < 8 ? value.len : 8);
    if (method->encode(&reply, &out)) {
        require(op_info(method->op)->takes != OP_TAKES_MESSAGE ||
                bytes_equal(buffer_bytes(&out), value));
        if (op_info(method->op)->service == SERVICE_SET)
            read_items(value, buffer_bytes(&out));
        if (method->op == OP_KV_GET)
            read_value(value, buffer_bytes(&out));
        require(method->op != OP_CACHE_GET || rpc_utf8(value));
    } else {
        require(out.len == 0);
    }
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    const struct rpc_method *method = &rpc_methods[data[0] % RPC_METHODS];
    struct bytes rest = {data + 1, len - 1};
    decode(method, rest);
    encode(method, rest);
    return 0;
}

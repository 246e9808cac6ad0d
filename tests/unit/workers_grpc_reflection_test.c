/*
 * Tests of workers/grpc/reflection.c: what is found by which name, and what is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/api/grpc/reflection/v1/reflection.pb-c.h"
#include "workers/grpc/reflection.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

static ProtobufCBinaryData text(const char *value)
{
    return (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
}

/* Must be freed. NULL when the request is refused. */
static response_message *ask(const request_message *request)
{
    struct buffer message = {0}, answer = {0};
    buffer_reserve(&message, protobuf_c_message_get_packed_size(&request->base));
    message.len = protobuf_c_message_pack(&request->base, message.data);
    response_message *response = NULL;
    if (rpc_reflection_answer(buffer_bytes(&message), &answer)) {
        response =
            grpc__reflection__v1__server_reflection_response__unpack(NULL, answer.len, answer.data);
        assert_non_null(response);
    }
    buffer_free(&message);
    buffer_free(&answer);
    return response;
}

static bool found(bool symbol, const char *name)
{
    request_message request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.message_request_case =
        symbol
            ? GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL
            : GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME;
    request.file_containing_symbol = text(name);
    response_message *response = ask(&request);
    assert_non_null(response);
    bool good =
        response->message_response_case ==
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    if (good)
        assert_int_equal(response->file_descriptor_response->n_file_descriptor_proto, 1);
    else
        assert_int_equal(response->error_response->error_code, GRPC_STATUS_NOT_FOUND);
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
    return good;
}

static void symbols(void **state)
{
    (void)state;
    static const char *const there[] = {
        "proto.KV",
        "proto.KV.KVGet",
        "strato.v1.Store",
        "proto.Location",
        "proto.Location.key",
        "proto.Empty",
        "grpc.health.v1.Health",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    };
    static const char *const missing[] = {
        "",
        ".",
        "proto",
        "proto.",
        "proto.K",
        "proto.KVGet",
        "KV",
        "proto.KVs",
        "proto..KV",
        "grpc.health",
        "grpc.health.v1",
        "grpc.reflection.v2.ServerReflection",
        "protoxKV",
    };
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        assert_true(found(true, there[i]));
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        assert_false(found(true, missing[i]));
}

static void files(void **state)
{
    (void)state;
    assert_true(found(false, "strato.proto"));
    assert_true(found(false, "strato/v1/store.proto"));
    assert_true(found(false, "grpc/health/v1/health.proto"));
    assert_true(found(false, "grpc/reflection/v1/reflection.proto"));
    assert_true(found(false, "grpc/reflection/v1alpha/reflection.proto"));
    assert_false(found(false, "strato"));
    assert_false(found(false, ""));
}

static void services(void **state)
{
    (void)state;
    request_message request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.host = text("somewhere");
    response_message *response = ask(&request);
    assert_non_null(response);
    assert_int_equal(response->list_services_response->n_service, 9);
    ProtobufCBinaryData first = response->list_services_response->service[0]->name;
    assert_int_equal(first.len, strlen("proto.Cache"));
    assert_memory_equal(first.data, "proto.Cache", first.len);
    assert_int_equal(response->valid_host.len, strlen("somewhere"));
    assert_int_equal(response->original_request->message_request_case,
                     request.message_request_case);
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

static void refused(void **state)
{
    (void)state;
    request_message request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.host = text("\xff");
    assert_null(ask(&request));
    request.host = text("");
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.list_services = text("\xc3");
    assert_null(ask(&request));
    struct buffer answer = {0};
    assert_false(rpc_reflection_answer((struct bytes){(const uint8_t *)"\xff", 1}, &answer));
    buffer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbols),
        cmocka_unit_test(files),
        cmocka_unit_test(services),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

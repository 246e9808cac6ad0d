/*
 * Fuzzes the requests of server reflection: an answer must be a message that repeats its request. A
 * test program; fails by a sanitizer or by abort.
 */
#include <stdlib.h>

#include "proto/api/grpc/reflection/v1/reflection.pb-c.h"
#include "workers/grpc/reflection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buffer out = {0};
    if (rpc_reflection_answer((struct bytes){data, len}, &out)) {
        Grpc__Reflection__V1__ServerReflectionResponse *response =
            grpc__reflection__v1__server_reflection_response__unpack(NULL, out.len, out.data);
        if (!response || !response->original_request || response->message_response_case == 0)
            abort();
        grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
    } else if (out.len != 0) {
        abort();
    }
    buffer_free(&out);
    return 0;
}

/*
 * reflection - see reflection.h. Runs in the gRPC workers. Everything it says comes from the
 * descriptors that were made of our .proto files (proto/api/descriptors.h); panics when those are
 * not what protoc makes.
 */
#include "workers/grpc/reflection.h"

#include "proto/api/descriptors.h"
#include "proto/api/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/api/pool.h"
#include "workers/grpc/names.pb-c.h"
#include "workers/grpc/stream.h"
#include "workers/grpc/utf8.h"

enum { FILES_MAX = 16, SERVICES_MAX = 32 };

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

/* The descriptors, unpacked once. */
static const Strato__Names__FileSet *set;
static const Strato__Names__File *files[FILES_MAX];

static void open_descriptors(void)
{
    if (set)
        return;
    set = strato__names__file_set__unpack(NULL, api_descriptors_size, api_descriptors);
    if (!set || set->n_file > FILES_MAX)
        panic("the descriptors are damaged");
    for (size_t i = 0; i < set->n_file; i++) {
        files[i] = strato__names__file__unpack(NULL, set->file[i].len, set->file[i].data);
        if (!files[i])
            panic("descriptor %zu is damaged", i);
    }
}

static struct bytes view(ProtobufCBinaryData field)
{
    return (struct bytes){field.data, field.len};
}

/* ---- Looking up ---- */

static bool has(Strato__Names__Named **rows, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(view(rows[i]->name), name))
            return true;
    return false;
}

/* Whether a file defines a symbol, "proto.KV" or what is inside of it: "proto.KV.KVGet". */
static bool defines(const Strato__Names__File *file, struct bytes symbol)
{
    size_t skip = file->package.len;
    if (symbol.len < skip + 2 || memcmp(symbol.data, file->package.data, skip) != 0 ||
        symbol.data[skip] != '.')
        return false;
    struct bytes name = {symbol.data + skip + 1, symbol.len - skip - 1};
    const uint8_t *dot = memchr(name.data, '.', name.len);
    if (dot)
        name.len = (size_t)(dot - name.data);
    return has(file->message_type, file->n_message_type, name) ||
           has(file->enum_type, file->n_enum_type, name) ||
           has(file->service, file->n_service, name);
}

/* Index of the file; set->n_file when there is none. */
static size_t find(struct bytes name, bool symbol)
{
    size_t i = 0;
    while (i < set->n_file &&
           !(symbol ? defines(files[i], name) : bytes_equal(view(files[i]->name), name)))
        i++;
    return i;
}

/* ---- Answering ---- */

/* What the response points to ends with the caller. */
static void pack(response_message *response, struct buffer *out)
{
    buffer_reserve(out, protobuf_c_message_get_packed_size(&response->base));
    out->len += protobuf_c_message_pack(&response->base, out->data + out->len);
    response->error_response = NULL;
}

static void answer_error(response_message *response, int code, const char *text, struct buffer *out)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = code;
    error.error_message = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &error;
    pack(response, out);
}

static void answer_file(response_message *response, size_t index, struct buffer *out)
{
    Grpc__Reflection__V1__FileDescriptorResponse file =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    if (index == set->n_file) {
        answer_error(response, GRPC_STATUS_NOT_FOUND, "no such file or symbol here", out);
        return;
    }
    file.n_file_descriptor_proto = 1;
    file.file_descriptor_proto = &set->file[index];
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &file;
    pack(response, out);
}

/* No message here can be extended. */
static void answer_extensions(response_message *response, ProtobufCBinaryData type,
                              struct buffer *out)
{
    Grpc__Reflection__V1__ExtensionNumberResponse numbers =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    if (find(view(type), true) == set->n_file) {
        answer_error(response, GRPC_STATUS_NOT_FOUND, "no such type here", out);
        return;
    }
    numbers.base_type_name = type;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    response->all_extension_numbers_response = &numbers;
    pack(response, out);
}

/* "PACKAGE.NAME" of every service; the names are kept in text. */
static void answer_services(response_message *response, struct buffer *out)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse rows[SERVICES_MAX], *pointers[SERVICES_MAX];
    char names[SERVICES_MAX][80];
    for (size_t i = 0; i < set->n_file; i++) {
        for (size_t k = 0; k < files[i]->n_service && list.n_service < SERVICES_MAX; k++) {
            struct bytes package = view(files[i]->package), name = view(files[i]->service[k]->name);
            char *text = names[list.n_service];
            int len = snprintf(text, sizeof names[0], "%.*s.%.*s", (int)package.len,
                               (const char *)package.data, (int)name.len, (const char *)name.data);
            rows[list.n_service] =
                (Grpc__Reflection__V1__ServiceResponse)GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
            rows[list.n_service].name = (ProtobufCBinaryData){(size_t)len, (uint8_t *)text};
            pointers[list.n_service] = &rows[list.n_service];
            list.n_service++;
        }
    }
    list.service = pointers;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &list;
    pack(response, out);
}

static void answer(const request_message *request, response_message *response, struct buffer *out)
{
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(response, find(view(request->file_by_filename), false), out);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(response, find(view(request->file_containing_symbol), true), out);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_error(response, GRPC_STATUS_NOT_FOUND, "there are no extensions here", out);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_extensions(response, request->all_extension_numbers_of_type, out);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(response, out);
        break;
    default:
        answer_error(response, GRPC_STATUS_UNIMPLEMENTED, "no such kind of request", out);
        break;
    }
}

/* The response repeats the request, and in strings only UTF-8 may stand. */
static bool utf8(const request_message *request)
{
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
        return rpc_utf8(view(request->host));
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        return rpc_utf8(view(request->host)) &&
               rpc_utf8(view(request->file_containing_extension->containing_type));
    default: /* the others are strings, and share their place */
        return rpc_utf8(view(request->host)) && rpc_utf8(view(request->list_services));
    }
}

/* The response repeats what was understood, and nothing else. */
static void forget_unknown_fields(request_message *request)
{
    request->base.n_unknown_fields = 0;
    if (request->message_request_case ==
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION)
        request->file_containing_extension->base.n_unknown_fields = 0;
}

bool rpc_reflection_answer(struct bytes request, struct buffer *response)
{
    struct api_pool pool;
    response_message message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    open_descriptors();
    api_pool_open(&pool);
    request_message *parsed = grpc__reflection__v1__server_reflection_request__unpack(
        &pool.allocator, request.len, request.data);
    bool good = parsed && utf8(parsed);
    if (good) {
        forget_unknown_fields(parsed);
        message.valid_host = parsed->host;
        message.original_request = parsed;
        answer(parsed, &message, response);
    }
    api_pool_reset(&pool);
    return good;
}

/* ---- The streams ---- */

static void received(struct rpc_stream *stream, const struct bytes *message)
{
    struct buffer *scratch = &stream->server->scratch;
    scratch->len = 0;
    if (!message)
        rpc_stream_end(stream, GRPC_STATUS_OK, "");
    else if (!rpc_reflection_answer(*message, scratch))
        rpc_stream_end(stream, GRPC_STATUS_INVALID_ARGUMENT,
                       "the request does not parse as a ServerReflectionRequest");
    else
        rpc_stream_send(stream, buffer_bytes(scratch));
}

static const struct rpc_stream_kind kinds[] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", received, rpc_stream_receive},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", received,
     rpc_stream_receive},
};
enum { KINDS = sizeof kinds / sizeof *kinds };
static void *handles[KINDS];

void rpc_reflection_register(struct rpc_server *server)
{
    open_descriptors();
    for (size_t i = 0; i < KINDS; i++)
        handles[i] = rpc_stream_register(server, &kinds[i]);
}

void rpc_reflection_post(struct rpc_server *server)
{
    for (size_t i = 0; i < KINDS; i++)
        rpc_stream_post(server, &kinds[i], handles[i]);
}

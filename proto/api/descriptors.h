/*
 * descriptors - the public .proto files as protoc describes them: one google.protobuf.
 * FileDescriptorSet, made when building. For the gRPC workers' reflection.
 */
#ifndef STRATO_PROTO_API_DESCRIPTORS_H
#define STRATO_PROTO_API_DESCRIPTORS_H

extern const unsigned char api_descriptors[];
extern const unsigned long api_descriptors_size;

#endif

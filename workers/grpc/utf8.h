/*
 * utf8 - whether bytes are UTF-8, as protobuf demands of every string: no overlong forms, no
 * surrogates, nothing above U+10FFFF. NUL is a character like any other. Pure.
 */
#ifndef STRATO_WORKERS_GRPC_UTF8_H
#define STRATO_WORKERS_GRPC_UTF8_H

#include "proto/base/bytes.h"

bool rpc_utf8(struct bytes text);

#endif

"""The operations over gRPC, with Debian's python3-grpcio."""

import re

import grpc
from google.protobuf.descriptor import FieldDescriptor

from operations import (DEADLINE, FULL, INVALID, NOT_FOUND, OUT_OF_RANGE, TOO_LARGE, UNAVAILABLE,
                        UNEXPECTED, UNSUPPORTED, Operations, Refused)
from rows import method_of
from rpc import METHODS, Rpc, messages

CODES = {grpc.StatusCode.INVALID_ARGUMENT: INVALID, grpc.StatusCode.NOT_FOUND: NOT_FOUND,
         grpc.StatusCode.OUT_OF_RANGE: OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED: FULL,
         grpc.StatusCode.UNIMPLEMENTED: UNSUPPORTED,
         grpc.StatusCode.UNAVAILABLE: UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED: DEADLINE}


class GrpcOperations(Operations):
    binary_keys = False  # they travel as protobuf strings

    def __init__(self, strato):
        self.rpc = Rpc(strato.grpc)
        self.calls = 0

    def close(self):
        self.rpc.close()

    def ask(self, path, **fields):
        kinds = METHODS[path][0].DESCRIPTOR.fields_by_name
        for name, value in fields.items():
            if isinstance(value, bytes) and kinds[name].type != FieldDescriptor.TYPE_BYTES:
                fields[name] = value.decode()
        try:
            return self.rpc.ask(path, **fields)
        except grpc.RpcError as error:
            code = CODES.get(error.code(), UNEXPECTED)
            if code == INVALID and re.search("max_(value|set)", error.details()):
                code = TOO_LARGE
            raise Refused(code, error.details()) from None

    def either(self, first, second, **fields):
        """Both spellings of a method, in turn."""
        self.calls += 1
        return self.ask(first if self.calls % 2 else second, **fields)

    def do(self, operation, key, **fields):
        answer = self.ask(method_of(operation), key=key, **fields)
        return {field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields}

    def cache_get(self, key):
        return self.ask("/proto.Cache/CacheGet", key=key).value.encode()

    def cache_set(self, key, value, ttl=None):
        self.ask("/proto.Cache/CacheSet", key=key,
                 item=messages.CacheItem(value=value.decode(), ttl=ttl or 0))

    def counter_get(self, key):
        return self.either("/proto.Counter/GetCounter", "/proto.Counter/CounterGet", key=key).value

    def counter_increment(self, key, amount):
        return self.either("/proto.Counter/IncrementCounter", "/proto.Counter/CounterIncrement",
                           key=key, amount=amount).value

    def flag_get(self, key):
        return self.ask("/proto.Flag/FlagGet", key=key).value

    def flag_set(self, key, value):
        self.ask("/proto.Flag/FlagSet", key=key, value=value)

    def kv_get(self, key):
        return self.ask("/proto.KV/KVGet", key=key).value.content

    def kv_put(self, key, value):
        self.ask("/proto.KV/KVPut", location=messages.Location(key=key.decode()),
                 value=messages.Value(content=value))

    def kv_delete(self, key):
        self.ask("/proto.KV/KVDelete", key=key)

    def set_get(self, key):
        return self.items(self.ask("/proto.Set/SetGet", set=key))

    def set_add(self, key, item):
        return self.items(self.ask("/proto.Set/SetAdd", set=key, item=item))

    def set_remove(self, key, item):
        return self.items(self.ask("/proto.Set/SetRemove", set=key, item=item))

    @staticmethod
    def items(response):
        return [item.encode() for item in response.items]

"""gRPC clients for the tests, with the messages that protoc makes of the public .proto files."""

import atexit
import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import grpc

PROTO = os.path.join(os.path.dirname(__file__), "..", "..", "proto", "api")


def _load():
    """Makes the Python modules in a temporary directory and imports them."""
    directory = tempfile.mkdtemp(prefix="strato-proto-")
    atexit.register(shutil.rmtree, directory, True)
    # The standard's files lie below grpc/, which is the name of the library's own package.
    names = {"strato": "strato.proto", "v1": "strato/v1/store.proto",
             "health": "grpc/health/v1/health.proto",
             "reflection": "grpc/reflection/v1/reflection.proto"}
    subprocess.run(["protoc", "-I", PROTO, f"--python_out={directory}", *names.values()],
                   check=True)
    modules = []
    for name, path in names.items():
        made = os.path.join(directory, path.replace(".proto", "_pb2.py"))
        spec = importlib.util.spec_from_file_location(f"strato_tests_{name}_pb2", made)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


messages, v1, health, reflection = _load()


def _methods():
    """path: (request, response), of every method that the public .proto files declare."""
    return {f"/{service.full_name}/{method.name}":
            tuple(getattr(module, message.name)
                  for message in (method.input_type, method.output_type))
            for module in (messages, v1)
            for service in module.DESCRIPTOR.services_by_name.values()
            for method in service.methods}


METHODS = _methods()
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo"


def serialize(message):
    return message if isinstance(message, bytes) else message.SerializeToString()


class Rpc:
    """A connection of its own; a request may be bytes, which are sent as they are."""

    def __init__(self, address, **options):
        settings = {"grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": -1,
                    "grpc.max_send_message_length": -1,
                    "grpc.initial_reconnect_backoff_ms": 50,
                    "grpc.max_reconnect_backoff_ms": 200, **options}
        target = address if isinstance(address, str) else "%s:%d" % address
        self.channel = grpc.insecure_channel(target, options=list(settings.items()))
        self.methods = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.channel.close()

    def method(self, path):
        if path not in self.methods:
            response = METHODS[path][1].FromString if path in METHODS else None
            self.methods[path] = self.channel.unary_unary(path, serialize, response)
        return self.methods[path]

    def call(self, path, request, timeout=20, **options):
        """Answers or raises grpc.RpcError."""
        return self.method(path)(request, timeout=timeout, **options)

    def ask(self, path, timeout=20, **fields):
        """Like call(), with the request made of its fields."""
        return self.call(path, METHODS[path][0](**fields), timeout)

    def status(self, path, request, timeout=20, **options):
        """(status code, details) of a call."""
        try:
            self.call(path, request, timeout, **options)
            return grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            return error.code(), error.details()

    def check(self, service="", timeout=20):
        check = self.channel.unary_unary(HEALTH + "Check", serialize,
                                         health.HealthCheckResponse.FromString)
        return check(health.HealthCheckRequest(service=service), timeout=timeout).status

    def watch(self, service="", timeout=60):
        """An iterator over the states, which can be cancelled."""
        watch = self.channel.unary_stream(HEALTH + "Watch", serialize,
                                          health.HealthCheckResponse.FromString)
        return watch(health.HealthCheckRequest(service=service), timeout=timeout)

    def reflect(self, *requests, version="v1", timeout=20):
        """The responses to a stream of requests."""
        stream = self.channel.stream_stream(REFLECTION % version, serialize,
                                            reflection.ServerReflectionResponse.FromString)
        return list(stream(iter(requests), timeout=timeout))

    # ---- Shorthands that most tests need ----

    def kv_put(self, key, value, **options):
        request = messages.PutRequest(location=messages.Location(key=key),
                                      value=messages.Value(content=value))
        self.call("/proto.KV/KVPut", request, **options)

    def kv_get(self, key, **options):
        return self.call("/proto.KV/KVGet", messages.Location(key=key), **options).value.content

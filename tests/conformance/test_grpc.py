"""What gRPC adds to the operations: names, status codes and texts, limits, health, reflection, and
what was written over the one protocol read over the other."""

import random
import signal
import subprocess
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from client import Client, escape
from rpc import METHODS, PROTO, Rpc, health, messages, reflection
from strato import PATIENCE, until

Code = grpc.StatusCode
MAX_VALUE = 1 << 20


@pytest.fixture(scope="module")
def rpc(strato):
    with Rpc(strato.grpc) as connection:
        yield connection


def name_of(key):
    return {path: ("set" if path.startswith("/proto.Set/") else "key") for path in METHODS}[key]


def sample(path, key="k"):
    """A good request of a method."""
    if path == "/proto.KV/KVPut":
        return messages.PutRequest(location=messages.Location(key=key),
                                   value=messages.Value(content=b"v"))
    kind = METHODS[path][0].DESCRIPTOR.fields_by_name[name_of(path)].type
    request = METHODS[path][0](**{
        name_of(path): key.encode() if kind == FieldDescriptor.TYPE_BYTES else key})
    if path == "/proto.Cache/CacheSet":
        request.item.CopyFrom(messages.CacheItem(value="v", ttl=60))
    elif hasattr(request, "item"):
        request.item = "item"
    elif hasattr(request, "amount"):
        request.amount = 300
    elif path == "/proto.Flag/FlagSet":
        request.value = True
    return request


# ---- Answers ----

def test_no_key(rpc):
    for path, (request, _) in METHODS.items():
        assert rpc.status(path, request()) == (Code.INVALID_ARGUMENT, "no resource key provided")
        assert rpc.status(path, b"") == (Code.INVALID_ARGUMENT, "no resource key provided")


def test_no_value(rpc, key):
    key = key.decode()
    location = messages.Location(key=key)
    assert rpc.status("/proto.KV/KVPut", messages.PutRequest(location=location)) == (
        Code.INVALID_ARGUMENT, "no value provided")
    assert rpc.status("/proto.KV/KVPut", messages.PutRequest(value=messages.Value())) == (
        Code.INVALID_ARGUMENT, "no resource key provided")
    assert rpc.status("/proto.Cache/CacheSet", messages.CacheSetRequest(key=key)) == (
        Code.INVALID_ARGUMENT, "no value provided")
    code, text = rpc.status("/proto.Cache/CacheSet", messages.CacheSetRequest(
        key=key, item=messages.CacheItem(ttl=5)))
    assert code == Code.INVALID_ARGUMENT and text.startswith("no value provided")
    code, text = rpc.status("/proto.Set/SetAdd", messages.ModifySetRequest(set=key))
    assert code == Code.INVALID_ARGUMENT and text.startswith("no item provided")
    rpc.call("/proto.KV/KVPut", messages.PutRequest(location=location, value=messages.Value()))
    assert rpc.kv_get(key) == b""


def test_not_found_names_the_key(rpc, key):
    for name in (key.decode(), "ключ 🔑", "a\0b", "%", "k" * 480, "é" * 240):
        name += "" if len(name) > 200 else key.decode()
        for path in ("/proto.KV/KVGet", "/proto.KV/KVDelete", "/proto.Cache/CacheGet"):
            code, text = rpc.status(path, METHODS[path][0](key=name))
            assert (code, text) == (Code.NOT_FOUND, f"no value found for {name}")


def test_refusals_say_what_is_allowed(rpc, key):
    key = key.decode()
    code, text = rpc.status("/proto.KV/KVGet", messages.Location(key="k" * 481))
    assert (code, text) == (Code.INVALID_ARGUMENT,
                            "the key is 481 bytes long; 1 to 480 are allowed")
    code, text = rpc.status("/proto.Cache/CacheSet", messages.CacheSetRequest(
        key=key, item=messages.CacheItem(value="v", ttl=-1)))
    assert code == Code.INVALID_ARGUMENT and "ttl must be" in text
    rpc.ask("/proto.Counter/IncrementCounter", key=key, amount=(1 << 63) - 1)
    code, text = rpc.status("/proto.Counter/CounterIncrement",
                            messages.IncrementCounterRequest(key=key, amount=1))
    assert code == Code.OUT_OF_RANGE and "64-bit" in text


def test_both_spellings_are_one_method(rpc, key):
    key = key.decode()
    assert rpc.ask("/proto.Counter/IncrementCounter", key=key, amount=2).value == 2
    assert rpc.ask("/proto.Counter/CounterIncrement", key=key, amount=3).value == 5
    assert rpc.ask("/proto.Counter/GetCounter", key=key).value == 5
    assert rpc.ask("/proto.Counter/CounterGet", key=key).value == 5


def test_a_client_that_expects_an_empty_answer(rpc, key):
    """v0.1.3 declares IncrementCounter's answer as Empty."""
    call = rpc.channel.unary_unary("/proto.Counter/IncrementCounter",
                                   messages.IncrementCounterRequest.SerializeToString,
                                   messages.Empty.FromString)
    call(messages.IncrementCounterRequest(key=key.decode(), amount=7), timeout=20)


@pytest.mark.parametrize("path", ["/proto.KV/Nope", "/proto.Nope/KVGet", "/KVGet", "/",
                                  "/grpc.health.v1.Health/Nope", "/proto.KV/KVGet/",
                                  "/proto.kv/kvget"])
def test_unknown_methods(rpc, path):
    code, text = rpc.status(path, b"")
    assert code == Code.UNIMPLEMENTED
    assert "no such method" in text and path in text and "proto.KV" in text


def test_call_without_or_with_several_messages(rpc, key):
    """The second message of a unary call is passed over; a missing one is refused."""
    stream = rpc.channel.stream_unary("/proto.KV/KVGet", messages.Location.SerializeToString)
    with pytest.raises(grpc.RpcError) as caught:
        stream(iter([]), timeout=20)
    assert caught.value.code() == Code.INVALID_ARGUMENT
    assert "no message" in caught.value.details()
    rpc.kv_put(key.decode(), b"v")
    stream(iter([messages.Location(key=key.decode())] * 3), timeout=20)


# ---- Limits ----

def test_message_and_value_limits(rpc, key):
    key = key.decode()

    def put(size):
        return rpc.status("/proto.KV/KVPut", messages.PutRequest(
            location=messages.Location(key=key), value=messages.Value(content=b"x" * size)))
    assert put(MAX_VALUE) == (Code.OK, "")
    code, text = put(MAX_VALUE + 1)
    assert code == Code.INVALID_ARGUMENT
    assert text == "the value is 1048577 bytes long; at most 1048576 (max_value) are allowed"
    assert put(MAX_VALUE + 5000)[0] == Code.RESOURCE_EXHAUSTED
    assert put(20 * MAX_VALUE)[0] == Code.RESOURCE_EXHAUSTED
    assert len(rpc.kv_get(key)) == MAX_VALUE


def test_metadata_limit(strato, rpc, key):
    key = key.decode()
    rpc.kv_put(key, b"v", metadata=[("x-note", "n" * 4000)])
    with Rpc(strato.grpc) as other:
        code, _ = other.status("/proto.KV/KVGet", messages.Location(key=key),
                               metadata=[("x-note", "n" * 20000)])
        assert code == Code.RESOURCE_EXHAUSTED
    assert rpc.kv_get(key) == b"v"


def test_compressed_messages_are_refused(rpc, key):
    request = messages.PutRequest(location=messages.Location(key=key.decode()),
                                  value=messages.Value(content=b"\0" * 500000))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert rpc.status("/proto.KV/KVPut", request,
                          compression=compression)[0] == Code.UNIMPLEMENTED
    assert rpc.status("/proto.KV/KVGet", messages.Location(key=key.decode()))[0] == Code.NOT_FOUND


def test_deadline_and_cancellation(strato, rpc, key):
    """With the store stopped, a write ends when the client wants."""
    key = key.decode()
    rpc.kv_put(key, b"before")
    name = [name for name in strato.pids() if name.startswith("store-")][0]
    strato.kill(name, signal.SIGSTOP)
    try:
        for timeout in (0.05, 0.3, 1):
            start = time.monotonic()
            with pytest.raises(grpc.RpcError) as caught:
                rpc.kv_put(key, b"late", timeout=timeout)
            assert caught.value.code() == Code.DEADLINE_EXCEEDED
            assert timeout <= time.monotonic() - start + 0.01 < timeout + PATIENCE
        request = messages.PutRequest(location=messages.Location(key=key),
                                      value=messages.Value(content=b"late"))
        calls = [rpc.method("/proto.KV/KVPut").future(request, timeout=20) for _ in range(50)]
        time.sleep(0.05)
        for call in calls:
            assert call.cancel() or call.done()
        if name == "store-memory":
            assert rpc.kv_get(key) == b"before"
    finally:
        strato.kill(name, signal.SIGCONT)
    rpc.kv_put(key, b"after")
    assert rpc.kv_get(key) == b"after"


# ---- Bytes that are no message ----

def varint(number):
    data = b""
    while number >= 128:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def field(number, wire, data=b""):
    return varint(number << 3 | wire) + (varint(len(data)) if wire == 2 else b"") + data


def clean(rpc, path, data, codes=(Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND)):
    code, text = rpc.status(path, data)
    assert code in codes, (path, data, code, text)
    return code, text


def test_every_message_cut_at_every_byte(rpc, key):
    for path in METHODS:
        data = sample(path, (b"cut-" + key).decode()).SerializeToString()
        for length in range(len(data)):
            clean(rpc, path, data[:length])
        clean(rpc, path, data, [Code.OK, Code.NOT_FOUND])


def test_random_bytes(rpc, key):
    generator = random.Random(3)
    for path in METHODS:
        data = sample(path, (b"random-" + key).decode()).SerializeToString()
        for _ in range(60):
            clean(rpc, path, generator.randbytes(generator.randrange(60)), list(Code))
            changed = bytearray(data)
            for _ in range(generator.randrange(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            code, _ = clean(rpc, path, bytes(changed), list(Code))
            assert code in (Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.OUT_OF_RANGE)


BAD = {
    "overlong tag": b"\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00" + b"\1k",
    "endless varint": b"\x0a" + b"\xff" * 30,
    "length past the end": b"\x0a\xff\xff\xff\x7fk",
    "length near 2^63": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fk",
    "field 0": b"\x02\1k",
    "start of a group": field(1, 3) + b"\x0c",
    "wire type 6": field(1, 6),
    "wire type 7": field(1, 7),
    "key as varint": field(1, 0) + b"\5",
    "key as fixed64": field(1, 1) + b"12345678",
    "key as fixed32": field(1, 5) + b"1234",
}


@pytest.mark.parametrize("what", BAD)
def test_malformed_messages(rpc, what):
    for path in METHODS:
        clean(rpc, path, BAD[what], [Code.INVALID_ARGUMENT])


def test_unknown_fields_are_passed_over(rpc, key):
    extra = field(15, 2, b"later") + field(100, 0) + b"\x05" + field(101, 1) + b"12345678" \
        + field(102, 5) + b"1234"
    for path in METHODS:
        request = sample(path, key.decode()).SerializeToString()
        for data in (extra + request, request + extra):
            clean(rpc, path, data, [Code.OK, Code.NOT_FOUND])


def test_many_unknown_fields_in_a_large_message(rpc, key):
    request = sample("/proto.KV/KVGet", key.decode()).SerializeToString()
    clean(rpc, "/proto.KV/KVGet", field(15, 0) + b"\1" + request + (field(15, 0) + b"\1") * 400000)
    clean(rpc, "/proto.KV/KVGet", request + field(15, 2, b"x") * 300000)
    clean(rpc, "/proto.KV/KVPut", field(2, 2, field(1, 2, b"x")) * 200000 + field(1, 2, request))


def test_repeated_fields_last_one_wins_and_messages_merge(rpc, key):
    name = key.decode()
    data = field(1, 2, b"other") + field(1, 2, key)
    rpc.kv_put(name, b"v")
    assert rpc.call("/proto.KV/KVGet", data).value.content == b"v"
    rpc.call("/proto.KV/KVPut", field(1, 2, field(1, 2, key)) + field(2, 2, field(1, 2, b"one"))
             + field(2, 2, field(1, 2, b"two")))
    assert rpc.kv_get(name) == b"two"


NOT_UTF8 = [b"\xff", b"a\x80", b"\xc3", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf",
            b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"12345678\x80",
            b"\xe2\x82", b"\xf0\x9f\x94", "é".encode() + b"\xa9"]


def test_strings_that_are_no_utf8(rpc, key):
    for bad in NOT_UTF8:
        for path in [path for path in METHODS if path.startswith("/proto.")]:  # else keys are bytes
            data = field(1, 2, field(1, 2, bad)) if path.endswith("KVPut") else field(1, 2, bad)
            code, text = rpc.status(path, data)
            assert (code, text) == (Code.INVALID_ARGUMENT, "the key is not valid UTF-8"), path
        assert rpc.status("/proto.Cache/CacheSet", field(1, 2, key) + field(
            2, 2, field(1, 2, bad))) == (Code.INVALID_ARGUMENT, "the value is not valid UTF-8")
        assert rpc.status("/proto.Set/SetAdd", field(1, 2, key) + field(2, 2, bad)) == (
            Code.INVALID_ARGUMENT, "the item is not valid UTF-8")
    for good in ("\0", "\x7f", "\x80", "߿", "ࠀ", "\ud7ff", "\ue000", "\uffff", "\U00010000",
                 "\U0010ffff", "12345678é", "1234567é89012345"):
        rpc.kv_put(good, good.encode())
        assert rpc.kv_get(good) == good.encode()


# ---- HTTP and gRPC see the same data ----

@pytest.fixture
def web(strato):
    with Client(*strato.http) as client:
        yield client


def test_written_over_http_read_over_grpc(rpc, web, key):
    name = key.decode() + "/ключ 🔑\0"
    path = escape(name)
    for value in (b"", b"text", bytes(range(256)), b"x" * MAX_VALUE):
        assert web.kv_put(name, value).status == 204
        assert rpc.kv_get(name) == value
    web.put(f"/cache/{path}?value=caf%C3%A9&ttl=60")
    assert rpc.ask("/proto.Cache/CacheGet", key=name).value == "café"
    web.post(f"/counters/{path}?increment=-12")
    assert rpc.ask("/proto.Counter/CounterGet", key=name).value == -12
    web.put(f"/flags/{path}?value=true")
    assert rpc.ask("/proto.Flag/FlagGet", key=name).value is True
    web.put(f"/sets/{path}?item=one")
    web.put(f"/sets/{path}?item=%F0%9F%94%91")
    assert sorted(rpc.ask("/proto.Set/SetGet", set=name).items) == ["one", "🔑"]
    web.delete(f"/kv/{path}")
    assert rpc.status("/proto.KV/KVGet", messages.Location(key=name))[0] == Code.NOT_FOUND


def test_written_over_grpc_read_over_http(rpc, web, key):
    name = key.decode() + "/ключ 🔑\0"
    path = escape(name)
    for value in (b"", b"text", bytes(range(256)), b"x" * MAX_VALUE):
        rpc.kv_put(name, value)
        assert web.kv_get(name).body == value
    rpc.ask("/proto.Cache/CacheSet", key=name, item=messages.CacheItem(value="café", ttl=60))
    assert web.get(f"/cache/{path}").json() == {"value": "café"}
    rpc.ask("/proto.Counter/IncrementCounter", key=name, amount=-12)
    assert web.get(f"/counters/{path}").json() == {"key": name, "value": -12}
    rpc.ask("/proto.Flag/FlagSet", key=name, value=True)
    assert web.get(f"/flags/{path}").json() == {"value": True}
    rpc.ask("/proto.Set/SetAdd", set=name, item="one")
    rpc.ask("/proto.Set/SetAdd", set=name, item="🔑")
    assert sorted(web.get(f"/sets/{path}").json()["items"]) == ["one", "🔑"]
    rpc.ask("/proto.KV/KVDelete", key=name)
    assert web.kv_get(name).status == 404


def test_what_a_protobuf_string_cannot_carry(rpc, web, key):
    """Bytes that are no UTF-8 come from HTTP only; they are never altered."""
    name = key.decode()
    web.put(f"/cache/{name}?value=%FF%FE&ttl=60")
    web.put(f"/sets/{name}?item=fine")
    web.put(f"/sets/{name}?item=%C3%28")
    for path in ("/proto.Cache/CacheGet", "/proto.Set/SetGet"):
        code, text = rpc.status(path, METHODS[path][0](**{name_of(path): name}))
        assert code == Code.FAILED_PRECONDITION
        assert "no UTF-8" in text and "HTTP" in text
    code, text = rpc.status("/proto.Set/SetAdd", METHODS["/proto.Set/SetAdd"][0](set=name, item="more"))
    assert code == Code.FAILED_PRECONDITION and "it is done" in text
    web.delete(f"/sets/{name}?item=more")
    assert web.get(f"/cache/{name}", accept="application/octet-stream").body == b"\xff\xfe"
    web.delete(f"/sets/{name}?item=%C3%28")
    assert rpc.ask("/proto.Set/SetGet", set=name).items == ["fine"]


# ---- Health ----

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
SERVICES = ["proto.Cache", "proto.Counter", "proto.Flag", "proto.KV", "proto.Set"]
HELPERS = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
           "grpc.reflection.v1alpha.ServerReflection"]


def test_health_check(rpc):
    for service in ["", *SERVICES, *HELPERS]:
        assert rpc.check(service) == SERVING
    for service in ("proto.Nope", "proto", "proto.KV.", "proto.kv", "PROTO.KV"):
        with pytest.raises(grpc.RpcError) as caught:
            rpc.check(service)
        assert caught.value.code() == Code.NOT_FOUND
    assert rpc.status("/grpc.health.v1.Health/Check", b"\xff")[0] == Code.INVALID_ARGUMENT


def test_health_watch_of_an_unknown_service_stays_open(rpc):
    watch = rpc.watch("proto.Nope")
    assert next(watch).status == SERVICE_UNKNOWN
    assert watch.is_active()
    watch.cancel()


def test_health_follows_the_backends(strato, rpc):
    name = [name for name in strato.pids() if name.startswith("store-")][0]
    watches = {service: rpc.watch(service) for service in ["", *SERVICES, HELPERS[0]]}
    for watch in watches.values():
        assert next(watch).status == SERVING
    strato.kill(name, signal.SIGSTOP)
    try:
        until(lambda: rpc.check("") == NOT_SERVING, "not serving")
        assert rpc.check("proto.KV") == NOT_SERVING
        assert rpc.check(HELPERS[0]) == SERVING
        for service in ["", *SERVICES]:
            assert next(watches[service]).status == NOT_SERVING
    finally:
        strato.kill(name, signal.SIGCONT)
    for service in ["", *SERVICES]:
        assert next(watches[service]).status == SERVING
    until(lambda: rpc.check("") == SERVING, "serving again")
    for watch in watches.values():
        watch.cancel()


# ---- Reflection ----

@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(rpc, version, tmp_path):
    Request = reflection.ServerReflectionRequest
    answers = rpc.reflect(Request(list_services=""), version=version)
    services = [row.name for row in answers[0].list_services_response.service]
    assert sorted(services) == sorted([*SERVICES, *HELPERS, "strato.v1.Store"])
    made = tmp_path / "set"
    subprocess.run(["protoc", "-I", PROTO, f"--descriptor_set_out={made}", "strato.proto"],
                   check=True)
    expected = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file[0]
    requests = [Request(file_containing_symbol=symbol) for symbol in
                ("proto.KV", "proto.KV.KVGet", "proto.CacheItem", "proto.CacheItem.ttl")]
    for answer in rpc.reflect(*requests, Request(file_by_filename="strato.proto"), version=version):
        assert len(answer.file_descriptor_response.file_descriptor_proto) == 1
        data = answer.file_descriptor_response.file_descriptor_proto[0]
        assert descriptor_pb2.FileDescriptorProto.FromString(data) == expected
    pool = descriptor_pool.DescriptorPool()
    for service in services:
        answer = rpc.reflect(Request(host="h", file_containing_symbol=service), version=version)[0]
        assert answer.valid_host == "h"
        assert answer.original_request.file_containing_symbol == service
        file = answer.file_descriptor_response.file_descriptor_proto[0]
        pool.AddSerializedFile(file)
        assert pool.FindServiceByName(service).full_name == service


def test_reflection_refuses(rpc):
    Request = reflection.ServerReflectionRequest
    extension = reflection.ExtensionRequest(containing_type="proto.Value", extension_number=1)
    answers = rpc.reflect(
        Request(file_containing_symbol="proto.Nope"), Request(file_containing_symbol=""),
        Request(file_containing_symbol="proto."), Request(file_containing_symbol="proto"),
        Request(file_by_filename="nope.proto"), Request(file_containing_extension=extension),
        Request(all_extension_numbers_of_type="proto.Nope"))
    assert [answer.error_response.error_code for answer in answers] == [5] * 7
    answer = rpc.reflect(Request(all_extension_numbers_of_type="proto.Value"))[0]
    assert answer.all_extension_numbers_response.base_type_name == "proto.Value"
    assert list(answer.all_extension_numbers_response.extension_number) == []
    assert rpc.reflect(Request())[0].error_response.error_code == 12
    for bad in (b"\xff", field(7, 2, b"\xff"), field(1, 2, b"\xff")):
        with pytest.raises(grpc.RpcError) as caught:
            rpc.reflect(bad)
        assert caught.value.code() == Code.INVALID_ARGUMENT
    assert rpc.reflect() == []


def test_streams_are_limited(strato):
    """More open streams than the worker allows are refused, and freed again when closed."""
    connections = [Rpc(strato.grpc) for _ in range(12)]
    watches = [connection.watch() for connection in connections for _ in range(200)]
    refused = 0
    for watch in watches:
        try:
            assert next(watch).status == SERVING
        except grpc.RpcError as error:
            assert error.code() == Code.RESOURCE_EXHAUSTED, error.details()
            refused += 1
    assert 0 < refused < len(watches)
    for watch in watches:
        watch.cancel()
    for connection in connections:
        connection.close()
    with Rpc(strato.grpc) as rpc:
        def watched():
            try:
                return next(rpc.watch()).status == SERVING
            except grpc.RpcError:
                return False
        until(watched, "room for a stream")


def test_health_messages(rpc):
    assert health.HealthCheckResponse.ServingStatus.items() == [
        ("UNKNOWN", 0), ("SERVING", 1), ("NOT_SERVING", 2), ("SERVICE_UNKNOWN", 3)]

"""Clients that abuse HTTP/2: memory stays bounded, everybody else is served, the worker lives."""

import time

import pytest

from frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
                    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Frames, frame, headers, message,
                    settings)
from rpc import Rpc, messages
from strato import SANITIZED, Strato, until

GROWTH = 600 if SANITIZED else 250  # MiB that a worker may grow by under any of these
SLOWEST = 20 if SANITIZED else 5  # s that another client's read may take meanwhile
RESET = frame(RST_STREAM, 0, 1, b"\0\0\0\x08")[9:]
GET, PUT = headers("/proto.KV/KVGet"), headers("/proto.KV/KVPut")
GET_REQUEST = message(messages.Location(key="k").SerializeToString())
PUT_REQUEST = message(messages.PutRequest(
    location=messages.Location(key="put"), value=messages.Value(content=b"v")).SerializeToString())


def resident(pid):
    """MiB of memory."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
    raise AssertionError("no VmRSS")


class Victim:
    """The only gRPC worker of a Strato, and a client that minds its manners."""

    def __init__(self, strato):
        self.strato = strato
        self.address = strato.grpc
        self.pid = strato.pids()["grpc-0"]
        self.rpc = Rpc(strato.grpc)
        self.rpc.kv_put("k", b"v")
        self.before = resident(self.pid)

    def check(self):
        start = time.monotonic()
        assert self.rpc.kv_get("k") == b"v"
        assert time.monotonic() - start < SLOWEST
        grown = resident(self.pid) - self.before
        assert grown < GROWTH, f"the worker has grown by {grown} MiB"

    def finish(self):
        self.check()
        assert self.strato.pids()["grpc-0"] == self.pid, "the worker died"
        self.rpc.close()


@pytest.fixture(scope="module")
def strato():
    with Strato({"grpc": {"enabled": "yes", "workers": "1"}}) as running:
        yield running


@pytest.fixture
def victim(strato):
    victim = Victim(strato)
    yield victim
    victim.finish()


def flood(victim, connection, data, times):
    """Sends the same again and again; how often, until the server closed the connection."""
    for number in range(times):
        if not connection.send(data):
            return number
        if number % (times // 10) == 0:
            victim.check()
    return times


# ---- Streams that are reset ----

@pytest.mark.parametrize("block, request_message", [(GET, None), (GET, GET_REQUEST),
                                                    (PUT, PUT_REQUEST)], ids=["bare", "get", "put"])
def test_rapid_reset_of_100000_streams(victim, block, request_message):
    """Whoever does that is cut off; it may come back, and is cut off again."""
    streams, cuts = 0, 0
    while streams < 100000:
        with Frames(victim.address) as connection:
            for first in range(0, 100000 - streams, 500):
                batch = []
                for stream in range(2 * first + 1, 2 * first + 1000, 2):
                    batch.append(frame(HEADERS, END_HEADERS, stream, block))
                    if request_message:
                        batch.append(frame(DATA, END_STREAM, stream, request_message))
                    batch.append(frame(RST_STREAM, 0, stream, RESET))
                if not connection.send(b"".join(batch)):
                    cuts += 1
                    break
                streams += 500
                if first % 10000 == 0:
                    victim.check()
        victim.check()
    print(streams, "streams, cut off", cuts, "times")


def test_many_calls_cancelled_at_once_are_no_abuse(victim):
    before = victim.strato.log().count("floods")
    for _ in range(5):
        calls = [victim.rpc.method("/proto.KV/KVGet").future(messages.Location(key="k"))
                 for _ in range(200)]
        for call in calls:
            call.cancel()
        for _ in range(100):
            victim.check()
    assert victim.strato.log().count("floods") == before


# ---- Headers that do not end ----

def test_headers_without_end(victim):
    field = b"\x10\x08x-filler\x7f\x81\x00" + b"n" * 256
    with Frames(victim.address) as connection:
        connection.send(frame(HEADERS, 0, 1, GET))
        flood(victim, connection, frame(CONTINUATION, 0, 1, field * 50), 5000)
    with Frames(victim.address) as connection:
        connection.send(frame(HEADERS, 0, 1, GET))
        flood(victim, connection, frame(CONTINUATION, 0, 1) * 1000, 1000)
    waiting = [Frames(victim.address) for _ in range(200)]
    for connection in waiting:
        connection.send(frame(HEADERS, 0, 1, GET[:20]))
    victim.check()
    for connection in waiting:
        connection.close()


# ---- Floods of frames that need no stream ----

FLOODS = {"ping": frame(PING, 0, 0, b"12345678"), "settings": settings(initial_window=65535),
          "priority": frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
          "window": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
          "unknown": frame(77, 0, 0, b"0123456789"), "reset": frame(RST_STREAM, 0, 1, RESET),
          "empty data": frame(DATA, 0, 1)}


@pytest.mark.parametrize("read", [True, False], ids=["reading", "deaf"])
@pytest.mark.parametrize("what", FLOODS)
def test_floods(victim, what, read):
    with Frames(victim.address, read=read, timeout=3) as connection:
        connection.send(frame(HEADERS, END_HEADERS, 1, GET))
        sent = flood(victim, connection, FLOODS[what] * 1000, 200)
        print(what, sent * 1000, "frames", connection.goaways)
        if what == "ping" and read:
            until(connection.ended.is_set, "the connection closed")
            # What was still unread there resets the connection, and with it the last word.
            assert [why[1:] for why in connection.goaways] in ([], [(11, b"too_many_pings")])


# ---- Many connections, silent or strange ones ----

def test_a_thousand_idle_connections(victim):
    idle = [Frames(victim.address, read=False) for _ in range(500)]
    idle += [Frames(victim.address, read=False, preface=False) for _ in range(500)]
    for _ in range(100):
        victim.check()
    name = 'strato_connections_open{process="grpc-0"}'
    until(lambda: victim.strato.metrics()[name] >= 1000, "counted")
    for connection in idle:
        connection.close()
    until(lambda: victim.strato.metrics()[name] < 10, "gone")


GARBAGE = {"http/1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "zeros": b"\0" * 10000,
           "half a preface": PREFACE[:10], "ones": b"\xff" * 10000,
           "a frame too long": PREFACE + settings() + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100000,
           "data on stream 0": PREFACE + settings() + frame(DATA, 0, 0, b"x"),
           "headers on an even stream": PREFACE + settings() + frame(HEADERS, 5, 2, GET),
           "bad header block": PREFACE + settings() + frame(HEADERS, 5, 1, b"\xff" * 100),
           "bad table size": PREFACE + settings() + frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\x7f"),
           "settings of 5 bytes": PREFACE + frame(SETTINGS, 0, 0, b"12345"),
           "window overflow": PREFACE + settings() + frame(
               WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 4,
           "no method": PREFACE + settings() + frame(HEADERS, 5, 1, b"")}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage(victim, what):
    for _ in range(20):
        with Frames(victim.address, preface=False) as connection:
            connection.send(GARBAGE[what])
        victim.check()


def test_malformed_message_frames(victim):
    """Prefixes that lie about the message that follows."""
    for data in (b"", b"\0", b"\0\0\0\0", b"\0\xff\xff\xff\xff", b"\0\0\0\0\5abc", b"\1\0\0\0\3abc",
                 b"\2\0\0\0\3abc", b"\0\0\0\0\0" * 1000, b"\0\0\x0f\xff\xff" + b"x" * 5000):
        with Frames(victim.address) as connection:
            connection.send(b"".join(
                frame(HEADERS, END_HEADERS, stream, GET) + frame(DATA, END_STREAM, stream, data)
                for stream in range(1, 40, 2)))
            until(lambda: connection.counts[HEADERS] + connection.counts[RST_STREAM] >= 20
                  or connection.ended.is_set(), "answers")
        victim.check()


# ---- Clients that hold on to memory ----

def test_messages_that_do_not_end(strato, victim):
    """The worker's budget bounds what is kept of them."""
    connections = []
    part = frame(DATA, 0, 1, b"x" * 16000)[9:]
    for _ in range(60):
        connection = Frames(victim.address, timeout=2)
        connections.append(connection)
        for stream in range(1, 400, 2):
            start = b"\0\0\x10\0\0" + part[:15000]
            if not connection.send(frame(HEADERS, END_HEADERS, stream, PUT)
                                   + frame(DATA, 0, stream, start)
                                   + frame(DATA, 0, stream, part) * 3):
                break
    assert resident(victim.pid) - victim.before < 350
    for connection in connections:
        connection.close()
    victim.before = max(victim.before, resident(victim.pid))


def test_connections_over_the_limit_are_refused():
    with Strato({"grpc": {"enabled": "yes", "workers": "1", "max_connections": "20"}}) as strato:
        connections = [Frames(strato.grpc) for _ in range(30)]
        until(lambda: sum(c.ended.is_set() for c in connections) == 10, "ten refused")
        assert strato.metrics()['strato_connections_refused_total{process="grpc-0"}'] == 10
        for connection in connections:
            connection.close()
        with Rpc(strato.grpc) as rpc:
            def served():
                return rpc.status("/proto.KV/KVPut", messages.PutRequest(
                    location=messages.Location(key="k"), value=messages.Value()))[0].name == "OK"
            until(served, "served again")


def test_goaway_is_not_the_end_of_open_calls(victim):
    """A client that says GOAWAY still gets its answers."""
    with Frames(victim.address) as connection:
        connection.send(frame(HEADERS, END_HEADERS, 1, GET) + frame(GOAWAY, 0, 0, b"\0" * 8)
                        + frame(DATA, END_STREAM, 1, GET_REQUEST))
        until(lambda: connection.counts[DATA] == 1, "an answer")

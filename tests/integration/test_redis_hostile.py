"""A Redis that is broken or hostile: what it answers costs bounded memory and never more than its
connection. It is played by a test where a real one cannot be made to."""

import contextlib
import socket
import threading
import time

import pytest
from redis_servers import BASE, Redis
from strato import Strato, until
from support import settled

PIECE = b"x" * 65536


class Fake:
    """Answers each command as Redis would, and a GET of `evil` with what evil() yields."""

    def __init__(self, evil=None, greeting=None):
        self.evil, self.greeting = evil, greeting
        self.data = {}
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def settings(self, **redis):
        return {**BASE, "redis": {"url": f"redis://127.0.0.1:{self.port}", **redis}}

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    words.append(file.read(int(file.readline()[1:])))
                    file.readline()
                for piece in self.answer(words):
                    connection.sendall(piece)

    def answer(self, words):
        if self.greeting and words[0] in (b"CLIENT", b"SELECT", b"PING"):
            return self.greeting()
        if words[0] == b"GET" and words[1].endswith(b"evil"):
            return self.evil()
        if words[0] == b"GET":
            value = self.data.get(words[1])
            return [b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)]
        if words[0] == b"SET" and words[-1] != b"XX":
            self.data[words[1]] = words[2]
        if words[0] in (b"EVAL", b"SMEMBERS"):
            return [b"*0\r\n"]
        if words[0] in (b"DEL", b"INCRBY"):
            return [b":1\r\n"]
        return [b"+OK\r\n"]


def memory(strato):
    """The most that the store ever had, in MiB."""
    with open(f"/proc/{strato.pids()['store-redis']}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) >> 10


def endless(head, piece=PIECE, most=1 << 30):
    yield head
    for _ in range(0, most, len(piece)):
        yield piece


def huge_string():
    yield b"$%d\r\n" % (300 << 20)
    for _ in range(300 << 4):
        yield PIECE
    yield b"\r\n"


def many_strings(count=3000000):
    yield b"*%d\r\n" % count
    for _ in range(count // 10000):
        yield b"$1\r\nx\r\n" * 10000


def a_tree():
    yield b"*100000\r\n" + b"*10\r\n" + b"*5\r\n:1\r\n:2\r\n:3\r\n+x\r\n$-1\r\n" * 10
    for _ in range(99):
        yield (b"*10\r\n" + b"*5\r\n:1\r\n:2\r\n:3\r\n+x\r\n$-1\r\n" * 10) * 1000
    yield (b"*10\r\n" + b"*5\r\n:1\r\n:2\r\n:3\r\n+x\r\n$-1\r\n" * 10) * 999


def string_in_list():
    yield b"*2\r\n"
    yield from huge_string()
    yield b"$1\r\nx\r\n"


# What answers a GET, and what comes of it: 413 with the connection going on, or a connection lost.
TOO_LARGE = [huge_string, many_strings, a_tree, string_in_list]
BROKEN = [
    lambda: endless(b"+"), lambda: endless(b"-"), lambda: endless(b":", b"1" * 65536),
    lambda: endless(b"$", b"1" * 65536), lambda: endless(b"*", b"1" * 65536),
    lambda: endless(b""), lambda: [b"*1\r\n" * 100], lambda: [b"$-2\r\n"], lambda: [b"*-2\r\n"],
    lambda: [b"*2147483648\r\n"], lambda: [b"$9223372036854775808\r\n"], lambda: [b":x\r\n"],
    lambda: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], lambda: [b"\x00" * 100],
]


@pytest.mark.parametrize("evil", TOO_LARGE)
def test_an_answer_that_is_too_large(evil):
    with Fake(evil) as fake, Strato(fake.settings(timeout="60s", database="0")) as strato:
        client, other = strato.client(), strato.client()
        other.kv_put("good", b"value")
        before = memory(strato)
        client.send(b"GET /kv/evil HTTP/1.1\r\nHost: x\r\n\r\n")
        counted = [other.post("/counters/a?increment=1").status for _ in range(20)]
        assert counted == [200] * 20
        assert client.receive("GET").status == 413
        assert other.kv_get("good").body == b"value"
        assert memory(strato) - before < 100, (before, memory(strato))
        assert settled(strato)['strato_redis_losses_total{backend="redis"}'] == 0


@pytest.mark.parametrize("evil", BROKEN)
def test_an_answer_that_makes_no_sense(evil):
    with Fake(evil) as fake, Strato(fake.settings(timeout="300ms", database="0")) as strato:
        client, other = strato.client(), strato.client()
        other.kv_put("good", b"value")
        before = memory(strato)
        assert client.kv_get("evil").status == 503
        until(lambda: other.kv_get("good").body == b"value", "goes on")
        assert memory(strato) - before < 20
        assert settled(strato)['strato_redis_losses_total{backend="redis"}'] >= 1


def test_lists_of_two_thousand_million():
    """What is announced and never comes takes neither memory nor time, also when it ends."""
    evil = lambda: [b"*2147483647\r\n" * 7]
    with Fake(evil) as fake, Strato(fake.settings(timeout="300ms", database="0")) as strato:
        client = strato.client()
        assert client.kv_get("evil").status == 503
        assert memory(strato) < 60
        start = time.monotonic()
        strato.stop()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("answer", [b":1\r\n", b"*0\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"+OK\r\n",
                                    b"*1\r\n*1\r\n$-1\r\n"])
def test_answers_of_the_wrong_kind(answer):
    with Fake(lambda: [answer]) as fake, Strato(fake.settings(database="0")) as strato:
        client = strato.client()
        for path in ("/kv/evil", "/cache/evil", "/counters/evil", "/flags/evil"):
            assert client.get(path).status == 500, path
        client.kv_put("good", b"value")
        assert client.kv_get("good").body == b"value"


def test_errors_that_are_no_text():
    """Bounded and escaped, in answers and in the log."""
    evil = lambda: [b"-NOPERM \x1b[2J\x9b31m\x00\xc2\x85" + b"A" * 60000 + b"\r\n"]
    with Fake(evil) as fake, Strato(fake.settings(database="0")) as strato:
        answer = strato.client().kv_get("evil")
        assert answer.status == 502 and len(answer.body) < 400
        assert answer.json()["error"].startswith("redis: NOPERM ?[2J?31m???AAAA")
        line = next(line for line in strato.log().splitlines() if "refuses KVGet" in line)
        assert len(line) < 500 and "\x1b" not in line and "\x9b" not in line


@pytest.mark.parametrize("greeting", [
    lambda: endless(b"+"), lambda: endless(b"-ERR "), huge_string, lambda: many_strings(300000),
    lambda: [b"-ERR no\r\n" * 1000], lambda: [b"-\x1b[2J\x9b" + b"A" * 60000 + b"\r\n"],
    lambda: [b"+OK\r\n" * 100], lambda: [b"*1\r\n" * 100]])
def test_a_greeting_that_makes_no_sense(greeting):
    with Fake(greeting=greeting) as fake, Strato(fake.settings(timeout="300ms")) as strato:
        client = strato.client()
        until(lambda: client.kv_get("a").status in (502, 503), "refused")
        until(lambda: fake.connections > 8, "tried again")
        assert memory(strato) < 60
        for line in strato.log().splitlines():
            assert len(line) < 1000 and "\x1b" not in line and "\x9b" not in line
        assert len(strato.log().splitlines()) < 60, strato.log()


def test_a_server_that_hangs_up_again_and_again():
    """The log stays short."""
    def evil():
        raise OSError
    with Fake(evil) as fake, Strato(fake.settings(database="0")) as strato:
        client = strato.client()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert client.kv_get("evil").status == 503
        assert strato.log().count("connection is lost") <= 2
        assert fake.connections > 3


def test_a_foreign_value_of_200_megabytes():
    """A real one."""
    with Redis(["--appendonly", "no"]) as redis, Strato(redis.settings(timeout="60s")) as strato:
        client = strato.client()
        redis.cli(3, "SETRANGE", "huge", str((200 << 20) - 1), "x")
        redis.cli(4, "EVAL", "for i=1,800000 do redis.call('SADD','many',i) end", "0")
        before = memory(strato)
        assert client.kv_get("huge").status == 413
        assert client.get("/sets/many").status == 413
        assert client.put("/sets/many?item=x").status == 413  # and is refused before it is made
        assert redis.cli(4, "SISMEMBER", "many", "x") == b"0"
        assert memory(strato) - before < 110, (before, memory(strato))
        assert client.kv_put("a", b"b").status == 204
        assert settled(strato)['strato_redis_losses_total{backend="redis"}'] == 0

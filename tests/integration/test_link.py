"""The conversation over nng survives strangers on its socket and the death of either end."""

import os
import socket
import struct
import time

from strato import Strato, until
from support import generator

LARGE = 300000  # far over what a ring slot carries, and more than one message


def large_values_travel(client, seed):
    """A value and a set that need the link, there and back."""
    value = bytes([seed % 256]) * LARGE
    assert client.kv_put("large", value).status == 204
    assert client.kv_get("large").body == value
    for number in range(3):
        item = f"{number}-" + "i" * 470
        assert client.put(f"/sets/large-{seed}?item={item}").status == 200
    assert len(client.get(f"/sets/large-{seed}").json()["items"]) == 3


def store_figures(strato):
    """Figures that only the store has, which come to /metrics over the link."""
    return {name: value for name, value in strato.metrics().items() if "arena" in name}


HELLO = b"\0SP\0"
PROTOCOLS = [0x30, 0x31, 0x10, 0x11, 0xffff]


def abuse(path, random):
    """One connection of some impolite kind."""
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stranger.settimeout(1)
    kind = random.randrange(8)
    try:
        stranger.connect(path)
        if kind == 1:  # leaves in the middle of the handshake
            stranger.send(HELLO[:random.randrange(1, 4)])
        elif kind == 2:  # makes the handshake, then leaves
            stranger.send(HELLO + struct.pack(">HH", random.choice(PROTOCOLS), 0))
        elif kind == 3:  # garbage in place of it
            stranger.send(random.randbytes(random.randrange(1, 64)))
        elif kind == 4:  # a message that claims to be huge
            stranger.send(HELLO + struct.pack(">HH", 0x30, 0) + b"\1" + struct.pack(">Q", 1 << 62))
        elif kind == 5:  # a well-formed message of garbage
            body = random.randbytes(random.randrange(200))
            stranger.send(HELLO + struct.pack(">HH", 0x30, 0) + b"\1" +
                          struct.pack(">Q", len(body) + 4) + struct.pack(">I", 1 << 31 | 7) + body)
        elif kind == 6:  # half a message
            stranger.send(HELLO + struct.pack(">HH", 0x30, 0) + b"\1" + struct.pack(">Q", 100) +
                          b"x" * 10)
    except OSError:
        pass
    finally:
        stranger.close()


def test_ten_thousand_connects_and_closes():
    random = generator()
    with Strato() as strato:
        client = strato.client()
        path = os.path.join(strato.run_dir, "store-memory.link")
        pids = strato.pids()
        large_values_travel(client, 1)
        for number in range(10000):
            abuse(path, random)
            if number % 1000 == 999:
                large_values_travel(client, 2 + number // 1000)
        large_values_travel(client, 99)
        assert store_figures(strato)
        assert strato.pids() == pids, "a process died of it"


def test_the_socket_is_private():
    with Strato() as strato:
        mode = os.stat(strato.run_dir).st_mode & 0o777
        assert mode == 0o700, oct(mode)


def test_killing_either_end_at_any_time():
    random = generator()
    with Strato() as strato:
        for number in range(30):
            victim = random.choice(["store-memory", "http-0", "http-1"])
            client = strato.client()
            value = random.randbytes(LARGE)
            client.send(b"PUT /kv/large HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                        b"Content-Length: %d\r\n\r\n" % LARGE + value[:LARGE // 2])
            client.send(value[LARGE // 2:])
            time.sleep(random.uniform(0, 0.01))
            old = strato.kill(victim)
            if victim == "store-memory":
                # No connection is the store's: this very request must succeed.
                assert client.receive("PUT").status == 204
                assert client.kv_get("large").body == value
            strato.wait_restarted(victim, old)
            large_values_travel(strato.client(), number)
        until(lambda: store_figures(strato), "the store's figures again")


def test_large_values_while_the_store_dies_again_and_again():
    random = generator()
    with Strato() as strato:
        client = strato.client()
        end = time.monotonic() + 5
        kills = 0
        while time.monotonic() < end:
            value = random.randbytes(random.choice([2000, 50000, LARGE, 1 << 20]))
            if random.random() < 0.3:
                strato.kill("store-memory")
                kills += 1
            assert client.kv_put("large", value).status == 204
            assert client.kv_get("large").body == value
        assert kills >= 5

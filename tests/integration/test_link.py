"""The conversation over nng survives strangers on its socket and the death of either end."""

import os
import socket
import struct
import threading
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


# ---- Who speaks for whom ----

def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, value):
    """One field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


class Stranger:
    """A program of the same user that speaks the link's protocol."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(path)
        self.socket.sendall(HELLO + struct.pack(">HH", 0x30, 0))
        self.accepted = len(self.receive(8)) == 8

    def receive(self, count):
        data = b""
        try:
            while len(data) < count:
                piece = self.socket.recv(count - len(data))
                if not piece:
                    break
                data += piece
        except ConnectionResetError:
            pass
        return data

    @staticmethod
    def frame(body):
        return (b"\1" + struct.pack(">Q", len(body) + 4) + struct.pack(">I", 1 << 31 | 7) + body)

    def ask(self, number, body):
        """The answer's bytes; empty when the connection was closed. A stranger who asks a lot is not
        answered each time, and asks again."""
        for _ in range(20):
            self.socket.sendall(self.frame(field(1, 7) + field(number, body)))
            self.socket.settimeout(0.5)
            try:
                head = self.receive(9)
            except socket.timeout:
                continue
            self.socket.settimeout(5)
            return self.receive(struct.unpack(">Q", head[1:])[0]) if len(head) == 9 else b""
        raise AssertionError("no answer")

    @staticmethod
    def hello(secret=b""):
        """As http-0 says it, in channel 0."""
        text = field(1, 1) + field(2, 1) + field(3, 1) + field(4, b"http-0") + field(5, 0)
        return text + field(7, 12345) + (field(8, secret) if secret else b"")

    def alive(self):
        """Whether the server holds it; it sends nothing unasked."""
        self.socket.settimeout(0.2)
        try:
            return self.socket.recv(1) != b""
        except socket.timeout:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(5)

    def close(self):
        self.socket.close()


def test_nobody_speaks_for_another_workers_channel():
    with Strato({"http": {"workers": "1"}}) as strato:
        path = os.path.join(strato.run_dir, "store-memory.link")
        client = strato.client()
        large_values_travel(client, 1)
        stranger = Stranger(path)
        for secret in (b"", b"x", b"\0" * 16, b"x" * 16, b"x" * 1000):
            assert b"not who was given it" in stranger.ask(2, Stranger.hello(secret)), secret
            # bulk id 1, 5 bytes in all, the first of them: say hello first
            assert b"say hello first" in stranger.ask(
                3, field(1, 1) + field(2, 5) + field(3, 0) + field(4, b"x"))
        large_values_travel(client, 2)
        assert "http-0 is here" in strato.log()
        stranger.close()


def test_strangers_are_bounded():
    """So many connections of strangers; those of workers go on and can be made anew."""
    with Strato({"http": {"workers": "1"}}) as strato:
        path = os.path.join(strato.run_dir, "store-memory.link")
        client = strato.client()
        large_values_travel(client, 1)
        strangers = [Stranger(path) for _ in range(40)]
        held = until(lambda: [one for one in strangers if one.accepted and one.alive()],
                     "strangers held")
        assert len(held) == 16
        old = strato.kill("http-0")
        strato.wait_restarted("http-0", old)
        with strato.client() as other:
            large_values_travel(other, 2)
        for one in strangers:
            one.close()
        # There is room again.
        until(lambda: Stranger(path).ask(7, field(1, b"x")), "an answer for a new stranger")


def test_a_strangers_flood_is_bounded():
    """Sixteen of them ask for backups and for another's channel as fast as they can."""
    with Strato({"http": {"workers": "1"}}) as strato:
        path = os.path.join(strato.run_dir, "store-memory.link")
        client = strato.client()

        def puts():
            start = time.monotonic()
            for number in range(100):
                assert client.kv_put("large", bytes([number]) * LARGE).status == 204
            return time.monotonic() - start
        puts()
        alone = min(puts() for _ in range(3))
        stop = threading.Event()
        frame = Stranger.frame(field(1, 7) + field(2, Stranger.hello(b"x" * 16)))
        frame += Stranger.frame(field(1, 7) + field(7, field(1, b"")))

        def flood():
            stranger = Stranger(path)
            stranger.socket.setblocking(False)
            while not stop.is_set():
                for act in (lambda: stranger.socket.send(frame * 20),
                            lambda: stranger.socket.recv(1 << 16)):
                    try:
                        act()
                    except BlockingIOError:
                        pass
                    except OSError:
                        return
                time.sleep(0.001)
        threads = [threading.Thread(target=flood) for _ in range(16)]
        for thread in threads:
            thread.start()
        try:
            flooded = min(puts() for _ in range(3))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"100 PUTs of {LARGE} bytes: {alone:.3f} s alone, {flooded:.3f} s in the flood")
        assert flooded < 6 * alone + 1
        assert strato.metrics()  # and it answers as before

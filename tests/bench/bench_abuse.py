#!/usr/bin/python3
"""What a good client's reads take beside an abuser, by kind of abuse (make bench-abuse).

The good client reads a hot value at a fixed rate, and its times count from when each read was due:
an abuser that takes its fair half of a processor makes a client in a closed loop half as fast by
that alone. The only worker has a processor of its own. Everything else shares another one, where the
good client comes first, as on a machine of its own. `burn` is the control: an abuser that uses its
processor and does not talk to Strato.

    bench_abuse.py [KIND...]     prints per kind: p50 and p99 alone and beside, medians of RUNS
"""

import math
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ.setdefault("STRATO_BIN", os.path.join(HERE, "..", "..", "build", "bin"))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

from frames import (DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,  # noqa: E402
                    SETTINGS, WINDOW_UPDATE, frame, headers, message, settings)
from rpc import messages  # noqa: E402
from strato import Strato  # noqa: E402

RATE = int(os.environ.get("RATE", "250"))  # reads per second
SECONDS = float(os.environ.get("SECONDS", "2"))
RUNS = int(os.environ.get("RUNS", "3"))
WORKER, OTHERS = 0, 1  # processors
LARGE = b"\x01" * (1 << 20)  # six times as long in JSON
GET, PUT = headers("/proto.KV/KVGet"), headers("/proto.KV/KVPut")


def key(name):
    return message(messages.Location(key=name).SerializeToString())


# ---- The good client ----

class GoodHttp:
    def __init__(self, address):
        self.socket = socket.create_connection(address, 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self):
        self.socket.sendall(b"GET /kv/good HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while not data.endswith(b'{"value":"good"}'):
            part = self.socket.recv(65536)
            assert part and (data + part).startswith(b"HTTP/1.1 200"), data
            data += part


class GoodGrpc:
    """Sends small calls, any number at once, and waits until all are answered."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(PREFACE + settings())
        self.stream, self.data = 1, b""

    def read(self, count=1):
        streams = range(self.stream, self.stream + 2 * count, 2)
        self.stream += 2 * count
        self.socket.sendall(b"".join(frame(HEADERS, END_HEADERS, each, GET)
                                     + frame(DATA, END_STREAM, each, key("good")) for each in streams))
        while count > 0:
            part = self.socket.recv(65536)
            if not part:
                raise ConnectionResetError
            self.data += part
            count -= self.over()

    def over(self):
        """Takes the frames that are there; returns how many calls they end."""
        over, at = 0, 0
        while len(self.data) - at >= 9:
            head, end = self.data[at:at + 9], at + 9 + int.from_bytes(self.data[at:at + 3], "big")
            if len(self.data) < end:
                break
            if head[3] in (SETTINGS, PING) and not head[4] & 1:
                payload = self.data[at + 9:end] if head[3] == PING else b""
                self.socket.sendall(frame(head[3], 1, 0, payload))
            over += head[3] == HEADERS and head[4] & END_STREAM
            at = end
        self.data = self.data[at:]
        return over


def good(protocol, host, port, seconds):
    """Prints each read's time in ms."""
    os.sched_setaffinity(0, {OTHERS})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    client = (GoodHttp if protocol == "http" else GoodGrpc)((host, int(port)))
    for _ in range(20):
        client.read()
    print("ready", flush=True)
    sys.stdin.readline()
    times, start = [], time.monotonic() + 0.01
    for number in range(int(float(seconds) * RATE)):
        due = start + number / RATE
        if due > time.monotonic():
            time.sleep(due - time.monotonic())
        client.read()
        times.append((time.monotonic() - due) * 1000)
    print(" ".join(f"{each:.4f}" for each in times))


# ---- Abuse ----

def head(line, *fields):
    return "\r\n".join((line, "Host: localhost") + fields).encode() + b"\r\n\r\n"


STARTED = frame(HEADERS, END_HEADERS, 1, PUT) + frame(DATA, 0, 1, b"\0\0\x0f\xff\xff")
NO_WINDOW = PREFACE + settings(initial_window=0)
CALLS = range(1, 512, 2)

# kind: what a connection sends first, and then again and again (empty: it is kept and another one is
# opened, so many in all); its answers are read, unless it is kept.
HTTP = {
    "heads-long": (b"", head("HEAD /kv/large HTTP/1.1") * 800),
    "heads-set": (b"", head("HEAD /sets/large HTTP/1.1") * 800),
    "heads": (b"", head("HEAD /kv/good HTTP/1.1") * 800),
    "gets": (b"", head("GET /kv/good HTTP/1.1") * 800),
    "gets-long": (b"", head("GET /kv/large HTTP/1.1") * 10),
    "gets-set": (b"", head("GET /sets/large HTTP/1.1") * 10),
    "pings": (b"", head("GET /ping HTTP/1.1") * 800),
    "options": (b"", head("OPTIONS * HTTP/1.1") * 800),
    "not-found": (b"", head("GET /nothing HTTP/1.1") * 800),
    "bad": (b"", head("PUT /flags/x?value=maybe HTTP/1.1") * 800),
    "metrics": (b"", head("GET /metrics HTTP/1.1") * 800),
    "readyz": (b"", head("GET /readyz HTTP/1.1") * 800),
    "tiny-chunks": (b"", head("PUT /kv/chunks HTTP/1.1", "Transfer-Encoding: chunked",
                              "Content-Type: text/plain") + b"1\r\nx\r\n" * 100000 + b"0\r\n\r\n"),
    "puts-json": (b"", head("PUT /kv/json HTTP/1.1", f"Content-Length: {14 + 6 * 1000000}") +
                  b'{"content":"' + b"\\u0001" * 1000000 + b'"}'),
    "connections": (head("GET /ping HTTP/1.1", "Connection: close"), None),
}
GRPC = {
    "ping": (PREFACE + settings() + STARTED, frame(PING, 0, 0, b"12345678") * 100),
    "ping-idle": (PREFACE + settings(), frame(PING, 0, 0, b"12345678") * 100),
    "settings": (PREFACE + settings() + STARTED, settings(initial_window=65535) * 100),
    "reset": (PREFACE + settings() + STARTED, frame(RST_STREAM, 0, 1, b"\0\0\0\x08") * 100),
    "window": (PREFACE + settings() + STARTED, frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 100),
    "priority": (PREFACE + settings() + STARTED, frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 100),
    "empty-data": (PREFACE + settings() + STARTED, frame(DATA, 0, 1) * 100),
    "tiny-data": (PREFACE + settings() + STARTED, frame(DATA, 0, 1, b"x") * 100),
    "no-message": (NO_WINDOW + b"".join(frame(HEADERS, END_HEADERS, each, GET)
                                        for each in CALLS), 40),
    "not-read": (NO_WINDOW + b"".join(frame(HEADERS, END_HEADERS, each, GET)
                                      + frame(DATA, END_STREAM, each, key("large"))
                                      for each in CALLS[:200]), 20),
    "no-message-again": (NO_WINDOW + b"".join(frame(HEADERS, END_HEADERS, each, GET)
                                              for each in CALLS), None),
    "not-read-again": (NO_WINDOW + b"".join(frame(HEADERS, END_HEADERS, each, GET)
                                            + frame(DATA, END_STREAM, each, key("large"))
                                            for each in CALLS[:200]), None),
    "calls": (b"", GoodGrpc),
    "connections": (PREFACE + settings(), None),
}


def dial(address, first):
    while True:
        try:
            connection = socket.create_connection(address, 5)
            connection.sendall(first)
            return connection
        except OSError:
            pass


def pump(connection, again):
    """Sends without end and drops what comes, until the server ends it."""
    connection.setblocking(False)
    at = 0
    while True:
        readable, writable, _ = select.select([connection], [connection], [], 5)
        if readable and not connection.recv(1 << 20):
            return
        if writable:
            at = (at + connection.send(again[at:at + 262144])) % len(again)


def abuse(protocol, kind, host, port):
    os.sched_setaffinity(0, {OTHERS})
    print("begun", flush=True)
    while kind == "burn":
        pass
    first, again = (HTTP if protocol == "http" else GRPC)[kind]
    kept = []
    while again is GoodGrpc:
        client = GoodGrpc((host, int(port)))
        try:
            while True:
                client.read(100)
        except OSError:
            pass
    while True:
        connection = dial((host, int(port)), first)
        try:
            if isinstance(again, bytes):
                pump(connection, again)
            elif again:
                kept.append(connection)
                if len(kept) == again:
                    signal.pause()
                continue
            elif protocol == "http":
                while connection.recv(65536):
                    pass
        except OSError:
            pass
        connection.close()


# ---- Measuring ----

def prefer(pid):
    """Its session comes before what else the machine does, where sessions share it."""
    try:
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write("-20")
    except OSError:
        pass


def start(*words):
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), *map(str, words)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            start_new_session=True)


def percentiles(protocol, kind, address):
    """kind: of abuse that begins once the good client is connected; None: it is alone."""
    client, abuser = start("--good", protocol, *address, SECONDS), None
    try:
        client.stdout.readline()
        if kind:
            abuser = start("--abuse", protocol, kind, *address)
            prefer(abuser.pid)
            abuser.stdout.readline()
        times = sorted(map(float, client.communicate("go\n")[0].split()))
    finally:
        for process in filter(None, (client, abuser)):
            process.kill()
            process.wait()
    return (times[len(times) // 2], times[int(len(times) * 0.99)]) if times else (math.inf, math.inf)


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))


def median(figures):
    return [statistics.median(each) for each in zip(*figures)]


def fill(strato):
    client = strato.client()
    assert client.kv_put("good", b"good").status == 204
    assert client.kv_put("large", LARGE).status == 204
    with socket.create_connection(strato.http) as connection:
        put = b"".join(head(f"PUT /sets/large?item=item{number:060} HTTP/1.1", "Prefer: return=minimal")
                       for number in range(2000))
        connection.sendall(put + head("GET /ping HTTP/1.1", "Connection: close"))
        while connection.recv(65536):
            pass
    client.close()


def measure(protocol, kinds):
    one = {"http": {"workers": "1"}, "grpc": {"enabled": "yes", "workers": "1"}}
    with Strato(one, wrapper=("taskset", "-c", str(OTHERS))) as strato:
        fill(strato)
        pid = strato.pids()[f"{protocol}-0"]
        subprocess.run(["taskset", "-acp", str(WORKER), str(pid)], check=True,
                       stdout=subprocess.DEVNULL)
        prefer(strato.process.pid)
        address = strato.http if protocol == "http" else strato.grpc
        for kind in ["burn", *kinds]:
            alone, with_it = [], []
            for _ in range(RUNS):
                alone.append(percentiles(protocol, None, address))
                with_it.append(percentiles(protocol, kind, address))
            p50, p99 = median(alone)
            p50_beside, p99_beside = median(with_it)
            print(f"{protocol} {kind:18} p50 {p50:7.3f} -> {p50_beside:7.3f} ms   p99 {p99:7.3f} -> "
                  f"{p99_beside:7.3f} ms  ({p99_beside / p99:5.1f} times)   {resident(pid)} MiB",
                  flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--good"]:
        good(*sys.argv[2:])
    elif sys.argv[1:2] == ["--abuse"]:
        abuse(*sys.argv[2:])
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind
        for protocol, table in (("http", HTTP), ("grpc", GRPC)):
            chosen = [kind for kind in table if kind in sys.argv[1:]
                      or f"{protocol}:{kind}" in sys.argv[1:] or len(sys.argv) == 1]
            if chosen:
                measure(protocol, chosen)

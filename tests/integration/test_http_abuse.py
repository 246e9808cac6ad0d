"""Clients that ask for much and take nothing, or send slowly, or ask too fast: they cost themselves,
not others. And planned restarts under clients that seldom ask. Longer with STRATO_LONG=1."""

import os
import random
import selectors
import socket
import threading
import time

from client import Client, Disconnected
from strato import SANITIZED, Strato, until
from support import percentile
from test_control import ctl

LONG = bool(os.environ.get("STRATO_LONG"))
LARGE = b"\x01" * (1 << 20)  # six times as long in JSON


def head(line, *headers):
    return "\r\n".join((line, "Host: localhost") + headers).encode() + b"\r\n\r\n"


def cpu(pid):
    """Seconds of processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Bytes of a process's own memory, shared mappings left out."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Good:
    """A client that asks one thing after another, in a thread of its own, and is timed."""

    def __init__(self, strato):
        self.strato = strato
        self.times, self.failures = [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def run(self):
        with Client(*self.strato.http) as client:
            number = 0
            while not self.over.is_set():
                number += 1
                start = time.monotonic()
                try:
                    if number % 4 == 0:
                        good = client.kv_put("good", b"%d" % number).status == 204
                    else:
                        good = client.kv_get("good").status == 200
                except (Disconnected, OSError):
                    good = False
                self.times.append(time.monotonic() - start)
                if not good:
                    self.failures.append(number)

    def judge(self, longest):
        assert len(self.times) > 10 and not self.failures, self.failures[:10]
        print("good client: %d requests, p50 %.2f ms, p99 %.2f ms, longest %.2f ms" % (
            len(self.times), percentile(self.times, 0.5) * 1000,
            percentile(self.times, 0.99) * 1000, max(self.times) * 1000))
        assert max(self.times) < longest, "the others made it wait"


def server(**http):
    return Strato({"http": {"workers": "1", **http}})


# ---- Work ----

def test_thousands_of_requests_in_one_write():
    """60,000 pipelined requests in one write, by several clients; the worker serves the others."""
    count = 20000 if SANITIZED else 60000
    with server() as strato:
        strato.client().kv_put("good", b"value")
        pid = strato.pids()["http-0"]
        with Good(strato) as good:
            def flood():
                with Client(*strato.http, timeout=120) as client:
                    sender = threading.Thread(target=client.send,
                                              args=(head("GET /kv/good HTTP/1.1") * count,))
                    client.connect()
                    sender.start()
                    taken, rest, mark = 0, b"", b"HTTP/1.1 200 OK"
                    while taken < count:
                        data = client.socket.recv(1 << 20)
                        assert data
                        rest += data
                        taken += rest.count(mark)
                        rest = rest[max(rest.rfind(mark) + len(mark), len(rest) - len(mark)):]
                    sender.join()
                    done.append(taken)
            done = []
            floods = [threading.Thread(target=flood) for _ in range(3)]
            for thread in floods:
                thread.start()
            for thread in floods:
                thread.join()
        good.judge(2)
        assert len(done) == 3 and strato.pids()["http-0"] == pid


def test_heads_of_large_values():
    """800 pipelined HEADs of a value of which each byte becomes six in JSON: 4 s of work once."""
    with server() as strato:
        strato.client().kv_put("good", b"value")
        strato.client().kv_put("large", LARGE)
        pid = strato.pids()["http-0"]
        before = cpu(pid)
        with Good(strato) as good, strato.client(timeout=120) as client:
            client.send(head("HEAD /kv/large HTTP/1.1") * 800)
            for _ in range(800):
                assert client.receive("HEAD").headers["content-length"] == str(6 * len(LARGE) + 12)
        good.judge(1)
        print("processor time: %.2f s" % (cpu(pid) - before))
        with Good(strato) as good, strato.client() as client:  # and far more, whose answers wait
            client.connect().settimeout(1)
            try:
                client.send(head("HEAD /kv/large HTTP/1.1") * 60000)
            except TimeoutError:
                pass
            time.sleep(1)
        good.judge(1)
        assert strato.pids()["http-0"] == pid


def test_a_worker_that_waits_for_the_store_sleeps():
    """An answer had to wait for its client, then the next request for the store: no busy loop."""
    import signal
    with server() as strato, strato.client() as client:
        client.kv_put("large", LARGE)
        client.connect().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        store = strato.pids()["store-memory"]
        os.kill(store, signal.SIGSTOP)
        try:
            client.send(head("GET /kv/large HTTP/1.1") +
                        head("POST /counters/n?increment=1 HTTP/1.1"))
            time.sleep(0.2)  # the answer fills the socket
            assert client.receive().status == 200
            pid = strato.pids()["http-0"]
            before, start = cpu(pid), time.monotonic()
            time.sleep(1)
            used = (cpu(pid) - before) / (time.monotonic() - start)
        finally:
            os.kill(store, signal.SIGCONT)
        assert client.receive().status == 200
        assert used < 0.3, f"{used * 100:.0f} % of a processor to wait"


# ---- Memory ----

def test_answers_that_nobody_takes():
    """250 clients ask for 6 MB each and read nothing: the worker keeps to its budget."""
    budget = 64 << 20
    with server(max_memory="64M") as strato:
        strato.client().kv_put("good", b"value")
        strato.client().kv_put("large", LARGE)
        pid = strato.pids()["http-0"]
        before = resident(pid)
        greedy = []
        with Good(strato) as good:
            for _ in range(250):
                client = strato.client()
                client.connect().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.send(head("GET /kv/large HTTP/1.1"))
                greedy.append(client)

            def settled():
                figures = strato.metrics()
                return figures['strato_requests_total{process="http-0",op="KVGet"}'] >= 250
            until(settled, "all asked", 60)
            figures = strato.metrics()
            grown = resident(pid) - before
            print("grown by %.0f MiB" % (grown / 2 ** 20))
            assert SANITIZED or grown < 2 * budget  # a sanitizer keeps what is freed
            used = figures['strato_client_memory_bytes{process="http-0"}']
            limit = figures['strato_client_memory_limit_bytes{process="http-0"}']
            assert limit == budget and 0 < used <= limit
            assert figures['strato_client_memory_refused_total{process="http-0"}'] > 0

            def another_can():  # what the others hold for long is taken from them
                with strato.client() as client:
                    response = client.get("/kv/large")
                    if response.status == 503:
                        assert response.headers["retry-after"]
                    return response.status == 200 and response.json()["value"] == LARGE.decode()
            until(another_can, "an honest client's turn", 20, 0.1)
            assert strato.metrics()['strato_connections_cut_total{process="http-0"}'] > 0
        good.judge(1)
        for client in greedy:
            client.close()
        until(lambda: strato.metrics()['strato_client_memory_bytes{process="http-0"}'] == 0,
              "all is given back")


def test_bodies_that_do_not_come_to_an_end():
    """Clients that send most of a large body and wait: 503 for who is over the budget, no more."""
    with server(max_memory="16M", idle_timeout="30s") as strato:
        strato.client().kv_put("good", b"value")
        pid = strato.pids()["http-0"]
        before = resident(pid)
        refused, senders = 0, []
        body = b"v" * (1000 * 1000)
        request = head("PUT /kv/x HTTP/1.1", f"Content-Length: {len(body) + 10}",
                       "Content-Type: text/plain") + body
        with Good(strato) as good:
            for _ in range(60):
                client = strato.client()
                senders.append(client)
                try:
                    client.send(request)
                    client.socket.settimeout(0.02)
                    refused += client.receive().status == 503
                except (TimeoutError, OSError, Disconnected):
                    pass
            assert SANITIZED or resident(pid) - before < 48 << 20
        good.judge(1)
        figures = strato.metrics()
        cut = figures['strato_connections_cut_total{process="http-0"}']
        print(f"{refused} refused, {cut:.0f} cut")
        assert refused + cut >= 30
        assert figures['strato_client_memory_bytes{process="http-0"}'] <= 16 << 20


# ---- Slowness ----

def ends(client, step, seconds):
    """Whether the server ends a connection while step() goes on."""
    def ended():
        try:
            step()
            client.socket.settimeout(0.01)
            return not client.socket.recv(1, socket.MSG_PEEK) or b"408"
        except TimeoutError:
            return False
        except OSError:
            return True
    return until(ended, "an end to it", seconds, 0.1)


def test_slow_requests_end():
    """A byte now and then, in a head, a body, a chunk's size or a chunk, is no progress."""
    parts = [(b"GET /ping HTTP/1.1\r\nX-A: ", b"a"),
             (head("PUT /kv/a HTTP/1.1", "Content-Length: 100000", "Content-Type: text/plain"), b"a"),
             (head("PUT /kv/a HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: text/plain") +
              b"1;" + b"e" * 1000 + b"\r\na\r\n", b"1\r\na\r\n"),
             (head("PUT /kv/a HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: text/plain") +
              b"fff\r\n", b"a")]
    with server(idle_timeout="1s") as strato:
        clients = []
        for start, more in parts:
            client = strato.client()
            client.send(start)
            clients.append((client, more))
        for client, more in clients:
            ends(client, lambda: client.socket.sendall(more), 15)


def test_a_client_that_takes_its_answers_slowly():
    """A byte at a time keeps no answer alive."""
    with server(idle_timeout="1s") as strato:
        strato.client().kv_put("large", LARGE)
        client = strato.client()
        client.connect().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(head("GET /kv/large HTTP/1.1") * 4)

        def held():
            return strato.metrics()['strato_client_memory_bytes{process="http-0"}']
        until(lambda: held() > 0, "an answer waits")

        def given_up():
            try:
                client.socket.recv(1)
            except OSError:
                pass
            return held() == 0
        until(given_up, "the answer is given up", 20, 0.05)


def test_a_steady_client_is_not_cut():
    """A body and an answer that take longer than idle_timeout but come on."""
    with server(idle_timeout="1s") as strato, strato.client() as client:
        value = bytes(random.Random(6).randrange(256) for _ in range(1000)) * 400
        client.send(head("PUT /kv/steady HTTP/1.1", f"Content-Length: {len(value)}",
                         "Content-Type: text/plain"))
        for at in range(0, len(value), 10000):
            client.send(value[at:at + 10000])
            time.sleep(0.06)
        assert client.receive().status == 204
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.send(head("GET /kv/steady HTTP/1.1", "Accept: application/octet-stream"))
        taken = b""
        while len(taken) < len(value):
            taken += client.socket.recv(10000)
            time.sleep(0.03)
        assert taken.split(b"\r\n\r\n", 1)[1] == value


# ---- Restarts ----

class Seldom:
    """Many connections with a POST about each second, in one thread."""

    def __init__(self, strato, count, interval):
        self.address, self.interval = strato.http, interval
        self.selector = selectors.DefaultSelector()
        self.random = random.Random(8)
        self.asked = self.acknowledged = 0
        self.lost = []
        now = time.monotonic()
        self.connections = [self.Connection(now + self.random.random() * interval[1])
                            for _ in range(count)]

    class Connection:
        def __init__(self, due):
            self.socket, self.due, self.waiting, self.data = None, due, False, b""

    def drop(self, connection):
        self.selector.unregister(connection.socket)
        connection.socket.close()
        connection.socket = None

    def ask(self, connection):
        if connection.socket is None:
            connection.socket = socket.create_connection(self.address, 20)
            self.selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.data, connection.waiting = b"", True
        self.asked += 1
        try:
            connection.socket.sendall(head("POST /counters/seldom?increment=1 HTTP/1.1"))
        except OSError as error:
            self.lose(connection, repr(error))

    def lose(self, connection, why):
        self.lost.append(why)
        connection.waiting = False
        self.drop(connection)

    def read(self, connection):
        try:
            data = connection.socket.recv(65536)
        except OSError as error:
            data = b""
            if not connection.waiting:
                self.lost.append(f"idle: {error!r}")
                self.drop(connection)
                return
        if not data and connection.waiting:
            self.lose(connection, "closed without an answer")
            return
        if not data:
            self.drop(connection)
            return
        connection.data += data
        if connection.waiting and connection.data.endswith(b"}"):
            assert connection.data.startswith(b"HTTP/1.1 200"), connection.data
            self.acknowledged += 1
            connection.waiting = False
            if b"Connection: close" in connection.data:
                self.drop(connection)

    def close(self):
        for connection in self.connections:
            if connection.socket is not None:
                self.drop(connection)

    def run(self, until_over):
        """Asks until until_over() is true, then waits for the answers."""
        while True:
            over, now = until_over(), time.monotonic()
            waiting = False
            for connection in self.connections:
                if not over and not connection.waiting and connection.due <= now:
                    connection.due = now + self.random.uniform(*self.interval)
                    self.ask(connection)
                waiting = waiting or connection.waiting
            if over and not waiting:
                return
            for key, _ in self.selector.select(0.005):
                self.read(key.data)


def restart_under(strato, clients, seconds, how):
    stop = threading.Event()
    rounds = []

    def restarts():
        while not stop.is_set():
            how()
            rounds.append(time.monotonic())
    thread = threading.Thread(target=restarts)
    thread.start()
    end = time.monotonic() + seconds
    clients.run(lambda: time.monotonic() >= end)
    stop.set()
    clients.close()
    thread.join()
    value = strato.client().get("/counters/seldom").json()["value"]
    print(f"{clients.asked} requests, {len(rounds)} rounds, {len(clients.lost)} lost")
    assert not clients.lost, clients.lost[:5]
    assert value == clients.acknowledged == clients.asked
    assert len(rounds) >= 2


def test_restarts_cost_clients_that_seldom_ask_nothing():
    """Each asks about once per second, just when a quiet connection was closed once."""
    with Strato({"http": {"workers": "2"}, "strato": {"drain_timeout": "20s"}}) as strato:
        clients = Seldom(strato, 300, (0.97, 1.04))
        restart_under(strato, clients, 60 if LONG else 8, lambda: ctl(strato, "restart", "http"))


def test_reloads_cost_clients_that_seldom_ask_nothing():
    with Strato({"http": {"workers": "2"}, "strato": {"drain_timeout": "20s"}}) as strato:
        clients = Seldom(strato, 300, (0.97, 1.04))
        limit = [10000]

        def reload():
            limit[0] += 1
            strato.settings["http"]["max_connections"] = str(limit[0])
            strato.write_config()
            ctl(strato, "reload")
        restart_under(strato, clients, 60 if LONG else 6, reload)


def test_idle_connections_end_in_order_at_drain_timeout():
    """Those who say nothing at all see the end of the stream, not a reset; a stop of everything does
    not wait for them."""
    with Strato({"http": {"workers": "1"}, "strato": {"drain_timeout": "2s"}}) as strato:
        clients = [strato.client() for _ in range(20)]
        for client in clients:
            assert client.get("/ping").status == 200
        start = time.monotonic()
        ctl(strato, "restart", "http")
        assert time.monotonic() - start < 6
        for client in clients:
            client.socket.settimeout(10)
            assert client.socket.recv(1) == b""
        idle = [strato.client() for _ in range(5)]
        for client in idle:
            assert client.get("/ping").status == 200
        strato.settings["strato"]["drain_timeout"] = "50s"
        strato.write_config()
        ctl(strato, "reload")
        again = strato.client()
        assert again.get("/ping").status == 200
        start = time.monotonic()
        ctl(strato, "stop")
        assert strato.process.wait(30) == 0
        assert time.monotonic() - start < 10



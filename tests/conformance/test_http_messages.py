"""HTTP as a protocol: framing, pipelining, limits, and requests that break the rules."""

import random
import time

import pytest
from client import Client, Disconnected
from strato import Strato, until
from test_http import RAW, answered, done, refused

MAX_VALUE = 1 << 20


@pytest.fixture
def name(key):
    return key.decode()


def head(line, *headers):
    return "\r\n".join((line, "Host: x") + headers).encode("latin-1") + b"\r\n\r\n"


# ---- Connections ----

def test_a_connection_is_kept(client, name):
    socket = client.connect()
    for number in range(200):
        done(client.put(f"/kv/{name}", b"%d" % number, **RAW))
        answered(client.get(f"/kv/{name}"), {"value": str(number)})
        refused(client.get("/nope"), 404)
    assert client.socket is socket


def test_connection_close(client):
    client.send(head("GET /ping HTTP/1.1", "Connection: close"))
    response = client.receive()
    assert response.status == 200
    assert response.headers["connection"].lower() == "close"


def test_http_1_0(strato):
    for line, headers in (("GET /ping HTTP/1.0", ()), ("GET /kv/none HTTP/1.0", ("Host: x",))):
        with strato.client() as client:
            client.send("\r\n".join((line,) + headers).encode() + b"\r\n\r\n")
            data = b""
            while more := client.socket.recv(4096):
                data += more
            assert data.startswith(b"HTTP/1."), data


def test_absolute_form(client, name):
    done(client.put(f"/kv/{name}", b"v", **RAW))
    answered(client.raw(head(f"GET http://localhost/kv/{name} HTTP/1.1")), {"value": "v"})


def test_pipelining_keeps_the_order(client, name):
    """Reads answered at once must wait for the writes before them: in answers and in effect."""
    requests, expected = [], []
    for number in range(200):
        body = b"%d" % number * (1 if number % 7 else 400)
        requests.append(head(f"PUT /kv/{name} HTTP/1.1", f"Content-Length: {len(body)}",
                             "Content-Type: text/plain") + body)
        expected.append((204, None))
        requests.append(head(f"GET /kv/{name} HTTP/1.1"))
        expected.append((200, {"value": body.decode()}))
        if number % 5 == 0:
            requests.append(head("GET /nope HTTP/1.1"))
            expected.append((404, None))
            requests.append(head(f"POST /counters/{name}?increment=1 HTTP/1.1"))
            expected.append((200, {"key": name, "value": number // 5 + 1}))
    client.send(b"".join(requests))
    for status, document in expected:
        response = client.receive()
        assert response.status == status
        if document:
            assert response.json() == document


def test_pipelining_deeper_than_any_queue(strato, name):
    """More requests at once than rings have slots, sent by a client that reads only afterwards."""
    count = 3000
    with strato.client() as client:
        client.connect().settimeout(30)
        request = head(f"POST /counters/{name}?increment=1 HTTP/1.1")
        import threading
        sender = threading.Thread(target=client.send, args=(request * count,))
        sender.start()
        values = [client.receive().json()["value"] for _ in range(count)]
        sender.join()
        assert values == list(range(1, count + 1))


def test_a_request_arriving_byte_by_byte(client, name):
    body = b'{"content":"slowly"}'
    request = head(f"PUT /kv/{name} HTTP/1.1", f"Content-Length: {len(body)}",
                   "Content-Type: application/json") + body
    request += head(f"GET /kv/{name} HTTP/1.1")
    for byte in request:
        client.send(bytes([byte]))
    done(client.receive())
    answered(client.receive(), {"value": "slowly"})


def test_empty_lines_before_a_request(client):
    assert client.raw(b"\r\n\r\n" + head("GET /ping HTTP/1.1")).status == 200


def test_half_closed_connections_get_their_answers(client, name):
    import socket
    client.send(head(f"POST /counters/{name}?increment=1 HTTP/1.1") * 10)
    client.socket.shutdown(socket.SHUT_WR)
    assert [client.receive().json()["value"] for _ in range(10)] == list(range(1, 11))


def test_a_client_that_leaves_in_the_middle_harms_nobody(strato, client, name):
    generator = random.Random(3)
    value = b"x" * 300000
    request = head(f"PUT /kv/{name} HTTP/1.1", f"Content-Length: {len(value)}",
                   "Content-Type: text/plain") + value
    for _ in range(60):
        leaver = Client(*strato.http)
        leaver.send(request[:generator.randrange(1, len(request))])
        if generator.random() < 0.5:
            leaver.send(head("GET /kv/a HTTP/1.1") * generator.randrange(20))
        leaver.close()
    done(client.put(f"/kv/{name}", b"after", **RAW))
    answered(client.get(f"/kv/{name}"), {"value": "after"})


# ---- Bodies ----

def chunked(name, pieces, trailer=b"", extension=b""):
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return head(f"PUT /kv/{name} HTTP/1.1", "Transfer-Encoding: chunked",
                "Content-Type: text/plain") + body + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("value", [b"", b"x", b"hello world" * 3, bytes(range(256)) * 1000,
                                   b"m" * MAX_VALUE])
def test_chunked_bodies(client, name, value):
    sizes = [1, 2, 3, 10, 16, 100, 1000, 65536]
    generator, pieces, rest = random.Random(4), [], value
    while rest:
        size = generator.choice(sizes) if len(rest) < 5000 else 65536
        pieces.append(rest[:size])
        rest = rest[size:]
    done(client.raw(chunked(name, pieces)))
    assert client.kv_get(name).body == value
    done(client.raw(chunked(name, pieces, b"X-Trailer: yes\r\n", b";ext=1")))
    assert client.kv_get(name).body == value


def test_a_chunked_body_byte_by_byte(client, name):
    for byte in chunked(name, [b"he", b"llo", b"0\r\n\r\n"]):
        client.send(bytes([byte]))
    done(client.receive())
    assert client.kv_get(name).body == b"hello0\r\n\r\n"


@pytest.mark.parametrize("body", [b"zz\r\nhello\r\n", b"-1\r\n", b"\r\n", b"5\r\nhelloX\r\n",
                                  b"ffffffffffffffff\r\n", b"10000000000000005\r\nhello",
                                  b"0x5\r\nhello\r\n", b"5 5\r\nhello\r\n", b" 5\r\nhello\r\n"])
def test_bad_chunks(strato, name, body):
    with strato.client() as client:
        client.send(head(f"PUT /kv/{name} HTTP/1.1", "Transfer-Encoding: chunked",
                         "Content-Type: text/plain") + body + b"0\r\n\r\n")
        response = client.receive()
        assert response.status in (400, 413)
        refused(response, response.status)
        assert client.socket is None or client.closed(), "what follows cannot be trusted"
    with strato.client() as client:
        refused(client.get(f"/kv/{name}"), 404)


def test_expect_100_continue(client, name):
    value = b"v" * 3000
    client.send(head(f"PUT /kv/{name} HTTP/1.1", f"Content-Length: {len(value)}",
                     "Content-Type: text/plain", "Expect: 100-continue"))
    assert client.line() == b"HTTP/1.1 100 Continue"
    while client.line():
        pass
    client.send(value)
    done(client.receive())
    assert client.kv_get(name).body == value


def test_expect_100_continue_with_the_body_already_there(client, name):
    client.interim = []
    done(client.raw(head(f"PUT /kv/{name} HTTP/1.1", "Content-Length: 5",
                         "Content-Type: text/plain", "Expect: 100-continue") + b"hello"))
    assert client.interim in ([], [100])
    assert client.kv_get(name).body == b"hello"


def test_expect_100_continue_is_refused_when_the_body_would_be(strato, name):
    with strato.client() as client:
        client.send(head(f"PUT /kv/{name} HTTP/1.1", f"Content-Length: {MAX_VALUE + 1}",
                         "Content-Type: text/plain", "Expect: 100-continue"))
        client.interim = []
        refused(client.receive(), 413)
        assert client.interim == []


def test_a_body_where_none_is_needed_is_skipped(client, name):
    body = b"GET /nope HTTP/1.1\r\n\r\n"
    answered(client.request("GET", f"/counters/{name}", body), {"key": name, "value": 0})
    answered(client.request("POST", f"/counters/{name}?increment=1", body),
             {"key": name, "value": 1})
    refused(client.request("POST", "/nope", body), 404)
    assert client.get("/ping").status == 200


# ---- Requests that break the rules: JSON, and the connection ends ----

BROKEN = {
    "no version": b"GET /ping\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown version": b"GET /ping HTTP/3.7\r\nHost: x\r\n\r\n",
    "no http": b"GET /ping SMTP/1.1\r\nHost: x\r\n\r\n",
    "spaces": b"GET  /ping  HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /ping HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "space before colon": b"GET /ping HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
    "no colon": b"GET /ping HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "empty header name": b"GET /ping HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "folded header": b"GET /ping HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "NUL in a header": b"GET /ping HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "control in the target": b"GET /kv/a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
    "length no number": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    "length negative": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length with a sign": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx",
    "length empty": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n",
    "two lengths": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length list": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\nxx",
    "length and chunked": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "coding after chunked": b"PUT /kv/a HTTP/1.1\r\nHost: x\r\n"
                            b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": bytes(range(128, 256)) + b"\r\n\r\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_request(strato, case):
    with strato.client() as client:
        client.send(BROKEN[case])
        response = client.receive()
        assert 400 <= response.status <= 505, response
        refused(response, response.status)
        assert client.socket is None or client.closed(), "the connection must end"


def test_what_follows_a_broken_request_is_not_carried_out(strato, client, name):
    """Smuggling: the second request hides where one server sees a body and another does not."""
    with strato.client() as smuggler:
        smuggler.send(b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: "
                      b"chunked\r\n\r\n0\r\n\r\n" +
                      head(f"POST /counters/{name}?increment=1 HTTP/1.1"))
        refused(smuggler.receive(), 400)
        assert smuggler.socket is None or smuggler.closed()
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})


def test_random_noise_ends_no_process(strato):
    generator = random.Random(5)
    pids = strato.pids()
    seeds = list(BROKEN.values()) + [head("GET /ping HTTP/1.1"),
                                     chunked("noise", [b"hello"] * 3)]
    for _ in range(400):
        data = bytearray(b"".join(generator.choices(seeds, k=generator.randrange(1, 4))))
        for _ in range(generator.randrange(6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        with Client(*strato.http, timeout=0.05) as client:
            try:
                client.send(bytes(data))
                client.receive()
            except (Disconnected, OSError, AssertionError, ValueError):
                pass
    with strato.client() as client:
        assert client.get("/ping").status == 200
    assert strato.pids() == pids


# ---- Limits ----

def test_413(strato, name):
    with strato.client() as client:
        client.send(head(f"PUT /kv/{name} HTTP/1.1", "Content-Length: 99999999999",
                         "Content-Type: text/plain") + b"x" * 1000)
        refused(client.receive(), 413)
    with strato.client() as client:
        client.send(head(f"PUT /kv/{name} HTTP/1.1", "Content-Length: 99999999999999999999999",
                         "Content-Type: text/plain"))
        response = client.receive()
        assert response.status in (400, 413)
        refused(response, response.status)
    with strato.client() as client:
        refused(client.kv_put(name, b"x" * (MAX_VALUE + 1)), 413)
    with strato.client() as client:
        try:
            client.send(chunked(name, [b"x" * 65536] * 40))
        except OSError:
            pass  # the answer may come, and the connection end, before all is sent
        refused(client.receive(), 413)
    with strato.client() as client:
        refused(client.get(f"/kv/{name}"), 404)


def test_a_json_body_may_be_longer_than_its_value(client, name):
    """Escapes make it up to six times as long; it is the value that max_value limits."""
    text = "\\u0001" * (200 * 1024)
    done(client.put(f"/kv/{name}", b'{"content":"%s"}' % text.encode(),
                    content_type="application/json"))
    assert client.kv_get(name).body == b"\1" * (200 * 1024)
    long = b"x" * (MAX_VALUE + 1)
    refused(client.put(f"/kv/{name}", b'{"content":"%s"}' % long, content_type="application/json"),
            413)


def test_414(strato):
    with strato.client() as client:
        client.send(b"GET /kv/" + b"a" * 100000)
        refused(client.receive(), 414)
    with strato.client() as client:
        client.send(head("GET /kv/" + "a" * 100000 + " HTTP/1.1"))
        refused(client.receive(), 414)


def test_431(strato):
    for headers in (["X-Long: " + "a" * 200000], [f"X-{number}: a" for number in range(20000)],
                    ["X" * 200000 + ": a"]):
        with strato.client() as client:
            try:
                client.send(head("GET /ping HTTP/1.1", *headers))
            except OSError:
                pass
            refused(client.receive(), 431)


def test_a_usual_head_fits(client):
    """What browsers and proxies send: 40 headers, 4 KiB of cookies."""
    headers = [f"X-Header-{number}: {'v' * 40}" for number in range(40)]
    headers.append("Cookie: " + "c" * 4096)
    assert client.raw(head("GET /ping HTTP/1.1", *headers)).status == 200


@pytest.fixture(scope="module")
def hasty():
    """A server without patience."""
    with Strato({"http": {"idle_timeout": "1s", "workers": "1", "max_connections": "20"},
                 "strato": {"request_timeout": "1s"}}) as running:
        yield running


@pytest.mark.parametrize("part", [b"G", b"GET /ping HTTP/1.1\r\nHo", head("PUT /kv/a HTTP/1.1",
                                  "Content-Length: 10", "Content-Type: text/plain") + b"abc"])
def test_408_for_a_request_that_does_not_come(hasty, part):
    with hasty.client() as client:
        client.send(part)
        start = time.monotonic()
        refused(client.receive(), 408)
        assert 0.5 < time.monotonic() - start < 6
        assert client.socket is None or client.closed()


def test_408_for_a_request_that_trickles(hasty):
    """A byte now and then does not keep a request alive for ever."""
    with hasty.client() as client:
        client.connect().settimeout(0.1)
        client.send(b"GET /ping HTTP/1.1\r\nX-A: ")

        def answer():
            try:
                client.send(b"a")
                client.socket.recv(1, 2)  # MSG_PEEK
                return True
            except TimeoutError:
                return False
            except OSError:
                return True
        until(answer, "an end to it", 15)


def test_an_idle_connection_is_closed_without_a_word(hasty):
    with hasty.client() as client:
        assert client.get("/ping").status == 200
        assert client.closed()


def test_a_connection_beyond_the_most_is_refused_and_the_others_work(hasty):
    clients = [hasty.client() for _ in range(20)]
    for client in clients:
        assert client.get("/ping").status == 200
    extra = hasty.client()
    try:
        response = extra.get("/ping")
        assert response.status == 503
    except (Disconnected, OSError):
        pass
    for client in clients:
        client.close()

    def works():
        try:
            with hasty.client() as client:
                return client.get("/ping").status == 200
        except (Disconnected, OSError):
            return False
    until(works, "room for another connection")

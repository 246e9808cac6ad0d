"""What fields of a request mean: nothing that changes its meaning is ignored."""

import pytest
from client import escape
from rows import methods_of
from strato import Strato
from test_http import RAW, answered, done, name, refused  # noqa: F401  name is a fixture

TEXT = {"accept": "text/plain"}


# ---- Fields that cannot be honoured: refused, and nothing is changed ----

UNMET = [({"Content-Encoding": "gzip"}, 415), ({"Content-Encoding": "identity, br"}, 415),
         ({"Content-Encoding": "x-unknown"}, 415), ({"Content-Range": "bytes 0-1/5"}, 400),
         ({"If-Match": '"abc"'}, 412), ({"If-Match": 'W/"a", "b"'}, 412), ({"If-Match": "*"}, 501),
         ({"If-None-Match": "*"}, 501), ({"If-None-Match": '"abc"'}, 501),
         ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 501),
         ({"If": "(<opaquelocktoken:a>)"}, 501), ({"If-Schedule-Tag-Match": '"a"'}, 501),
         ({"if-anything": "a"}, 501),
         ({"X-HTTP-Method-Override": "GET"}, 501), ({"X-Method-Override": "DELETE"}, 501)]


@pytest.mark.parametrize("headers,status", UNMET, ids=lambda value: str(value))
def test_what_is_not_understood_changes_nothing(client, name, headers, status):  # noqa: F811
    done(client.put(f"/kv/{name}", b"before", **RAW))
    response = client.request("PUT", f"/kv/{name}", b"after", {"Content-Type": "text/plain",
                                                               **headers})
    refused(response, status)
    if status == 415:
        assert response.headers["accept-encoding"] == "identity"
    refused(client.request("DELETE", f"/kv/{name}", headers=headers), status)
    answered(client.get(f"/kv/{name}"), {"value": "before"})
    for method, target in (("POST", f"/counters/{name}?increment=1"),
                           ("PUT", f"/counters/{name}?increment=1")):
        refused(client.request(method, target, b"", headers), status)
    refused(client.request("PUT", f"/sets/{name}?item=i", headers=headers), status)
    refused(client.request("PUT", f"/flags/{name}?value=true", headers=headers), status)
    refused(client.request("PUT", f"/cache/{name}?value=v", headers=headers), status)
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})
    answered(client.get(f"/sets/{name}"), {"items": [], "set": name})
    answered(client.get(f"/flags/{name}"), {"value": False})
    refused(client.get(f"/cache/{name}"), 404)


@pytest.mark.parametrize("headers", [{"Content-Encoding": "identity"}, {"Range": "bytes=0-1"},
                                     {"Upgrade": "h2c", "Connection": "Upgrade"},
                                     {"TE": "trailers"}, {"If-Range": '"a"'}, {"Prefer": "respond-async"},
                                     {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}])
def test_what_may_be_ignored_is(client, name, headers):  # noqa: F811
    done(client.request("PUT", f"/kv/{name}", b"value", {"Content-Type": "text/plain", **headers}))
    answered(client.request("GET", f"/kv/{name}", headers=headers), {"value": "value"})


def test_a_refused_field_with_expect_100_continue(strato, name):  # noqa: F811
    with strato.client() as client:
        client.interim = []
        client.send(b"PUT /kv/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                    b"Content-Encoding: gzip\r\nExpect: 100-continue\r\n\r\n" % name.encode())
        refused(client.receive(), 415)
        assert client.interim == []


# ---- The length of a value ----

@pytest.mark.parametrize("version,status", [("1.0", 400), ("1.1", 411)])
@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "image/png"])
def test_a_value_without_a_length(strato, name, version, status, kind):  # noqa: F811
    """It would be empty, and what follows would be read as a request."""
    with strato.client() as client:
        done(client.put(f"/kv/{name}", b"before", **RAW))
        for body in ("NEWVALUE", f"DELETE /kv/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n", ""):
            client.send(f"PUT /kv/{name} HTTP/{version}\r\nHost: localhost\r\n"
                        f"Content-Type: {kind}\r\n\r\n{body}".encode())
            response = client.receive()
            assert "Content-Length" in refused(response, status)
            assert response.headers["connection"] == "close"
            answered(client.get(f"/kv/{name}"), {"value": "before"})


def test_an_empty_value_has_a_length(client, name):  # noqa: F811
    for length in ("Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        done(client.put(f"/kv/{name}", b"before", **RAW))
        client.send(f"PUT /kv/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                    f"{length}".encode())
        done(client.receive())
        answered(client.get(f"/kv/{name}"), {"value": ""})


def test_what_has_no_body_needs_no_length(client, name):  # noqa: F811
    for method, target, status in (
            ("PUT", f"/cache/{name}?value=v", 204), ("PUT", f"/counters/{name}?increment=1", 204),
            ("POST", f"/counters/{name}?increment=1", 200), ("PUT", f"/flags/{name}?value=1", 204),
            ("PUT", f"/sets/{name}?item=i", 200), ("DELETE", f"/sets/{name}?item=i", 200)):
        assert client.request(method, target, headers={"Content-Type": "text/plain"}).status == status
    refused(client.put(f"/kv/{name}", None, content_type="application/json"), 400)


# ---- Parameters ----

@pytest.mark.parametrize("method,path,query,twice", [
    ("PUT", "sets", "item=a&item=b", "item"), ("PUT", "sets", "item=a&item=a", "item"),
    ("DELETE", "sets", "item=a&x=1&ite%6d=b", "item"),
    ("POST", "counters", "increment=1&increment=2", "increment"),
    ("PUT", "counters", "increment=1&increment=2", "increment"),
    ("PUT", "cache", "value=a&value=b", "value"), ("PUT", "cache", "value=a&ttl=1&ttl=2", "ttl"),
    ("PUT", "cache", "value=a&value", "value"), ("PUT", "flags", "value=1&value=0", "value")])
def test_a_parameter_given_twice(client, name, method, path, query, twice):  # noqa: F811
    assert f"{twice} is given twice" in refused(client.request(method, f"/{path}/{name}?{query}"), 400)
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})
    answered(client.get(f"/sets/{name}"), {"items": [], "set": name})
    answered(client.get(f"/flags/{name}"), {"value": False})
    refused(client.get(f"/cache/{name}"), 404)


def test_a_key_given_twice(client, name):  # noqa: F811
    for method in ("GET", "PUT", "DELETE"):
        response = client.request(method, f"/kv?key={name}&key=b", b"{}")
        assert "key is given twice" in refused(response, 400)


def test_a_parameter_that_nobody_reads_may_come_twice(client, name):  # noqa: F811
    done(client.put(f"/kv/{name}?value=a&value=b&x=1&x=2", b"v", **RAW))
    answered(client.get(f"/kv/{name}?item=a&item=b"), {"value": "v"})
    done(client.put(f"/counters/{name}?increment=1&value=1&value=2"))


# ---- Forms ----

def test_numbers_are_exact_as_text(client, name):  # noqa: F811
    path = f"/counters/{name}"
    done(client.put(f"{path}?increment=9007199254740993"))
    for accept, kind in (("text/plain", "text/plain; charset=utf-8"),
                         ("application/octet-stream", "application/octet-stream"),
                         ("text/plain, */*;q=0.1", "text/plain; charset=utf-8"),
                         ("application/json;q=0.5, text/plain", "text/plain; charset=utf-8")):
        response = client.get(path, accept=accept)
        assert response.status == 200 and response.body == b"9007199254740993", accept
        assert response.headers["content-type"] == kind
    response = client.post(f"{path}?increment=-9007199254740994", **TEXT)
    assert response.body == b"-1"
    response = client.put(f"{path}?increment=2", prefer="return=representation", **TEXT)
    assert response.status == 200 and response.body == b"1"
    head = client.request("HEAD", path, headers={"Accept": "text/plain"})
    assert head.headers["content-length"] == "1"
    answered(client.get(path, accept="text/plain;q=0.5, application/json"),
             {"key": name, "value": 1})
    answered(client.get(path, accept="text/html"), {"key": name, "value": 1})


def test_other_values_as_text(client, name):  # noqa: F811
    assert client.get(f"/flags/{name}", **TEXT).body == b"false"
    client.put(f"/flags/{name}?value=1")
    assert client.get(f"/flags/{name}", accept="application/octet-stream").body == b"true"
    client.put(f"/kv/{name}", "é".encode(), **RAW)
    response = client.get(f"/kv/{name}", **TEXT)
    assert response.body == "é".encode()
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    client.put(f"/kv/{name}", b"\xff", **RAW)
    response = client.get(f"/kv/{name}", **TEXT)
    assert response.body == b"\xff"
    assert response.headers["content-type"] == "application/octet-stream"
    refused(client.get(f"/kv/{name}-missing", **TEXT), 404)


def test_an_answer_that_is_not_wanted(client, name):  # noqa: F811
    minimal = {"prefer": "return=minimal"}
    done(client.put(f"/sets/{name}?item=a", **minimal))
    done(client.put(f"/sets/{name}?item=b", **minimal))
    done(client.delete(f"/sets/{name}?item=a", **minimal))
    answered(client.get(f"/sets/{name}", **minimal), {"items": ["b"], "set": name})
    done(client.post(f"/counters/{name}?increment=2", **minimal))
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 2})
    batch = b"".join(b"PUT /sets/%s?item=%s HTTP/1.1\r\nHost: localhost\r\n"
                     b"Prefer: return=minimal\r\n\r\n" % (name.encode(), b"%d" % n + b"x" * 470)
                     for n in range(100))
    client.send(batch)
    for _ in range(100):
        done(client.receive())
    assert len(client.get(f"/sets/{name}").json()["items"]) == 101


# ---- Keys that a path cannot have ----

@pytest.mark.parametrize("key", [".", "..", "a/../b", "./a", "/", "a b", "a+b", "é", "a?b&c=d"])
def test_a_key_in_the_query(client, key):
    """What URL parsers rewrite in a path has another way; both mean the same key."""
    text = escape(key)
    done(client.put(f"/kv?key={text}", b"v", **RAW))
    answered(client.get(f"/kv?key={text}"), {"value": "v"})
    answered(client.get(f"/kv/?key={text}"), {"value": "v"})
    answered(client.get(f"/kv/{text}"), {"value": "v"})
    assert client.request("HEAD", f"/kv?key={text}").status == 200
    done(client.delete(f"/kv?key={text}"))
    refused(client.get(f"/kv/{text}"), 404)
    done(client.put(f"/cache?value=c&key={text}&ttl=60"))
    answered(client.get(f"/cache?key={text}"), {"value": "c"})
    before = client.get(f"/counters?key={text}").json()
    assert before["key"] == key
    answered(client.post(f"/counters?key={text}&increment=3"),
             {"key": key, "value": before["value"] + 3})
    done(client.put(f"/flags?key={text}&value=true"))
    answered(client.get(f"/flags/{text}"), {"value": True})
    answered(client.put(f"/sets?key={text}&item=i"), {"items": ["i"], "set": key})
    answered(client.delete(f"/sets?key={text}&item=i"), {"items": [], "set": key})


def test_a_key_in_the_query_that_is_none(client, name):  # noqa: F811
    refused(client.get("/kv?key="), 400)
    refused(client.get("/kv?keys=a"), 404)
    refused(client.get("/kv?key=%zz"), 400)
    refused(client.get("/kv?key=" + "k" * 481), 400)
    refused(client.get(f"/kv/{name}?key=a"), 400)
    refused(client.get("/ping/?key=a"), 404)
    assert client.request("PATCH", "/kv?key=a").status == 405


# ---- OPTIONS ----

@pytest.mark.parametrize("target,methods", [
    ("*", "GET HEAD PUT POST DELETE OPTIONS"), ("/", "GET HEAD PUT POST DELETE OPTIONS"),
    *((path, " ".join(methods_of(path) + ["OPTIONS"]))
      for path in ("/kv/a", "/counters/a", "/cache/a", "/flags/a", "/sets/a")),
    ("/kv?key=a", " ".join(methods_of("/kv/a") + ["OPTIONS"])), ("/ping", "GET HEAD OPTIONS"), ("/livez", "GET HEAD OPTIONS"), ("/readyz", "GET HEAD OPTIONS"),
    ("/metrics", "GET HEAD OPTIONS")])
def test_options(client, target, methods):
    response = client.request("OPTIONS", target)
    done(response)
    assert response.headers["allow"].replace(",", "").split() == methods.split()
    response = client.request("OPTIONS", target, b"a body is skipped")
    assert response.status == 204
    assert client.get("/ping").status == 200


@pytest.mark.parametrize("target", ["http://localhost", "http://localhost?x", "HTTP://localhost:80"])
def test_a_target_without_a_path_is_the_root(client, target):
    done(client.request("OPTIONS", target))
    refused(client.request("GET", target), 404)
    assert "evil" not in refused(client.request("GET", "http://evil.example"), 403)


def test_options_of_a_load_balancer(strato):
    with strato.client() as client:
        client.send(b"OPTIONS / HTTP/1.0\r\n\r\n")
        assert client.receive().status == 204
    with strato.client() as client:
        refused(client.request("OPTIONS", "/nope"), 404)
        refused(client.request("GET", "/"), 404)


# ---- Where a request comes from ----

def ask(client, method, target, headers, body=None):
    """A request with its own Host."""
    lines = [f"{method} {target} HTTP/1.1"] + [f"{key}: {value}" for key, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
    return client.receive(method)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "192.0.2.1", "[2001:db8::1]",
                                  "127.0.0.1.evil.example", "localhost.evil.example:80"])
def test_a_foreign_host_on_loopback(client, name, host):  # noqa: F811
    for method, target in (("GET", f"/counters/{name}"), ("PUT", f"/kv/{name}"), ("GET", "/metrics"),
                           ("POST", f"/counters/{name}?increment=1"), ("GET", "/ping")):
        assert "allowed_hosts" in refused(ask(client, method, target, {"Host": host}), 403)
    refused(ask(client, "GET", f"http://{host}/counters/{name}", {"Host": "localhost"}), 403)
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8081", "localhost.", "127.0.0.1",
                                  "127.1.2.3:1", "[::1]", "[::1]:8081", "a.localhost", "strato", ""])
def test_a_host_of_this_machine(client, host):
    assert ask(client, "GET", "/ping", {"Host": host}).status == 200


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "http://localhost:3000"}, {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}], ids=str)
def test_a_page_of_another_site(client, name, headers):  # noqa: F811
    done(client.put(f"/kv/{name}", b"secret", **RAW))
    for method, target in (("GET", f"/kv/{name}"), ("PUT", f"/kv/{name}"), ("DELETE", f"/kv/{name}"),
                           ("POST", f"/counters/{name}?increment=1"), ("GET", "/metrics"),
                           ("OPTIONS", f"/kv/{name}")):
        response = ask(client, method, target, {"Host": "localhost", **headers})
        assert "allowed_origins" in refused(response, 403)
        assert not any(field.startswith("access-control") for field in response.headers)
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})
    answered(client.get(f"/kv/{name}"), {"value": "secret"})


@pytest.mark.parametrize("headers", [
    {"Origin": "http://localhost:8081"}, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    {"Host": "localhost:80", "Origin": "http://localhost"},
    {"Host": "localhost:443", "Origin": "https://localhost"},
    {"Host": "localhost.", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8081"}], ids=str)
def test_a_page_of_its_own(client, name, headers):  # noqa: F811
    answered(ask(client, "GET", f"/counters/{name}", {"Host": "localhost:8081", **headers}),
             {"key": name, "value": 0})


def test_no_cache_keeps_an_answer(client, name):  # noqa: F811
    for response in (client.get("/ping"), client.get(f"/kv/{name}"), client.get("/metrics"),
                     client.get(f"/counters/{name}"), client.put(f"/kv/{name}", b"v", **RAW)):
        assert response.headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def opened():
    """A server that an operator opened to a page, and that has a name."""
    with Strato({"http": {"workers": "1", "allowed_hosts": "strato.example.org, *.test",
                          "allowed_origins": "https://app.example.org"}}) as running:
        yield running


def test_cors(opened):
    page = {"Host": "strato.example.org", "Origin": "https://app.example.org",
            "Sec-Fetch-Site": "same-site"}
    with opened.client() as client:
        response = ask(client, "OPTIONS", "/kv/a", {
            **page, "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type,x-own"})
        done(response)
        assert response.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "PUT" in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-allow-headers"] == "content-type,x-own"
        assert response.headers["vary"] == "Origin"
        response = ask(client, "PUT", "/kv/a", {**page, "Content-Type": "text/plain"}, b"v")
        done(response)
        assert response.headers["access-control-allow-origin"] == "https://app.example.org"
        for target, status in (("/kv/a", 200), ("/kv/none", 404), ("/nope", 404)):
            response = ask(client, "GET", target, page)
            assert response.status == status
            assert response.headers["access-control-allow-origin"] == "https://app.example.org"
            assert "retry-after" in response.headers["access-control-expose-headers"].lower()
        response = ask(client, "GET", "/kv/a", {**page, "Origin": "https://other.example.org"})
        refused(response, 403)
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"
        response = client.get("/kv/a")
        assert response.status == 200 and "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"


def test_hosts_that_are_allowed(opened):
    with opened.client() as client:
        for host in ("strato.example.org", "a.test:8081", "localhost"):
            assert ask(client, "GET", "/ping", {"Host": host}).status == 200
        for host in ("test", "example.org"):
            assert ask(client, "GET", "/ping", {"Host": host}).status == (403 if "." in host else 200)


def test_any_host_on_an_address_that_is_not_loopback():
    """Scrapers and probes name a machine as they know it."""
    with Strato({"http": {"listen": "0.0.0.0:0", "workers": "1"}}) as strato:
        with strato.client() as client:
            for host in ("node-7.example.org:8081", "192.0.2.1", "localhost"):
                assert ask(client, "GET", "/metrics", {"Host": host}).status == 200
            refused(ask(client, "GET", "/metrics", {"Host": "node-7.example.org",
                                                    "Sec-Fetch-Site": "cross-site"}), 403)

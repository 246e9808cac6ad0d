"""The HTTP table of the contract: every request, its status, its body."""

import base64
import json

import pytest
from client import escape
from rows import methods_of
from strato import until

JSON = {"content_type": "application/json"}
RAW = {"content_type": "application/octet-stream"}


@pytest.fixture
def name(key):
    return key.decode()


def refused(response, status):
    """An error is JSON with a reason and nothing else."""
    assert response.status == status, response
    assert response.headers["content-type"].split(";")[0] == "application/json"
    document = response.json()
    assert list(document) == ["error"] and document["error"].strip(), document
    return document["error"]


def done(response):
    """204: no body and no word of one."""
    assert response.status == 204, response
    assert response.body == b""
    assert "content-length" not in response.headers


def answered(response, document):
    assert response.status == 200, response
    assert response.headers["content-type"].split(";")[0] == "application/json"
    assert response.json() == document, response


# ---- Ping and health ----

def test_ping(client):
    response = client.get("/ping")
    assert response.status == 200 and response.body == b""


def test_live_and_ready(client):
    assert client.get("/livez").status == 200
    assert client.get("/readyz").status == 200


# ---- KV as JSON ----

def test_kv(client, name):
    refused(client.get(f"/kv/{name}"), 404)
    done(client.put(f"/kv/{name}", b'{"content":"hello"}', **JSON))
    answered(client.get(f"/kv/{name}"), {"value": "hello"})
    done(client.put(f"/kv/{name}", b' { "content" : "again" } \n', **JSON))
    answered(client.get(f"/kv/{name}"), {"value": "again"})
    done(client.delete(f"/kv/{name}"))
    refused(client.delete(f"/kv/{name}"), 404)
    refused(client.get(f"/kv/{name}"), 404)


def test_kv_put_without_a_content_type_is_json(client, name):
    done(client.put(f"/kv/{name}", b'{"content":"hello"}'))
    answered(client.get(f"/kv/{name}"), {"value": "hello"})


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON",
                                  "application/json;charset=UTF-8"])
def test_kv_json_by_any_spelling(client, name, kind):
    done(client.put(f"/kv/{name}", b'{"content":"hello"}', content_type=kind))
    answered(client.get(f"/kv/{name}"), {"value": "hello"})


@pytest.mark.parametrize("body", [
    b"", b"hello", b"{", b"{}", b"[]", b"null", b'"content"', b'{"value":"x"}', b'{"content":1}',
    b'{"content":null}', b'{"content":["a"]}', b'{"content":{"a":"b"}}', b'{"content":true}',
    b'{"content":""}', b'{"content":"x"', b'{"content":"x"} x', b'{"content":"x",}',
    b'{"content":"\xff"}', b'{"content":"\\ud800"}', b'{"content":"\\udc00\\ud800"}',
    b'{"content":"a\nb"}', b'{"content":"\\x41"}', b'{content:"x"}', b"{'content':'x'}",
    b"[" * 5000, b'{"content":' * 3000])
def test_kv_put_refuses_bad_json(client, name, body):
    done(client.put(f"/kv/{name}", b'{"content":"before"}', **JSON))
    refused(client.put(f"/kv/{name}", body, **JSON), 400)
    answered(client.get(f"/kv/{name}"), {"value": "before"})


@pytest.mark.parametrize("more", [b'"id":9223372036854775808', b'"x":1e400', b'"x":-1E-99999',
                                  b'"x":1,"x":2', b'"x":"\\ud800"', b'"x":' + b"[" * 5000 + b"]" * 5000,
                                  b'"x":[' + b"0," * 5000 + b"0]", b'"":{"":[null,true,false]}'])
def test_kv_json_with_members_that_nobody_asked_for(client, name, more):
    for body in (b'{"content":"v",%s}' % more, b'{%s,"content":"v"}' % more):
        client.delete(f"/kv/{name}")
        done(client.put(f"/kv/{name}", body, **JSON))
        answered(client.get(f"/kv/{name}"), {"value": "v"})


STRINGS = ["x", "\"\\/\b\f\n\r\t", "\0", "a\0b", "\x01\x1f\x7f", "é", "e\u0301", "\u2028\u2029",
           "\ufeff", "\uffff", "😀", "\U0010ffff", "𝄞 clef", "שלום", "</script>", "x" * 5000,
           "😀" * 400]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_kv_any_unicode(client, name, ascii_only):
    """Sent with escapes and surrogate pairs, and as it is; it comes back the same."""
    for text in STRINGS:
        body = json.dumps({"content": text}, ensure_ascii=ascii_only).encode()
        done(client.put(f"/kv/{name}", body, **JSON))
        answered(client.get(f"/kv/{name}"), {"value": text})
        raw = client.get(f"/kv/{name}", accept="application/octet-stream")
        assert raw.body == text.encode()


# ---- KV as raw bytes ----

def test_kv_raw(client, name):
    for value in (b"", b"\0", b"plain", b'{"content":"json"}', bytes(range(256)) * 10):
        done(client.put(f"/kv/{name}", value, **RAW))
        response = client.get(f"/kv/{name}", accept="application/octet-stream")
        assert response.status == 200 and response.body == value
        assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("kind", ["text/plain", "image/png", "application/xml; charset=utf-8",
                                  "application/jsonlines"])
def test_kv_any_type_but_json_is_raw(client, name, kind):
    done(client.put(f"/kv/{name}", b'{"content":"x"}', content_type=kind))
    answered(client.get(f"/kv/{name}"), {"value": '{"content":"x"}'})


@pytest.mark.parametrize("value", [b"\xff", b"a\x80", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                                   b"\xc0\x80", b"\xf0\x9f\x98", bytes(range(256)), b"ok\xfe" * 2000])
def test_kv_what_is_no_utf8_comes_back_as_base64(client, name, value):
    done(client.put(f"/kv/{name}", value, **RAW))
    answered(client.get(f"/kv/{name}"), {"value_base64": base64.b64encode(value).decode()})


def test_kv_an_empty_raw_value_in_json(client, name):
    done(client.put(f"/kv/{name}", b"", **RAW))
    answered(client.get(f"/kv/{name}"), {"value": ""})


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/json;q=0.9"])
def test_kv_json_unless_raw_is_asked_for(client, name, accept):
    done(client.put(f"/kv/{name}", b"x", **RAW))
    answered(client.get(f"/kv/{name}", accept=accept), {"value": "x"})


# ---- Cache ----

def test_cache(client, name):
    refused(client.get(f"/cache/{name}"), 404)
    done(client.put(f"/cache/{name}?value=hello&ttl=60"))
    answered(client.get(f"/cache/{name}"), {"value": "hello"})
    done(client.put(f"/cache/{name}?ttl=60&value=a+b%2Bc%26d%3D%C3%A9"))
    answered(client.get(f"/cache/{name}"), {"value": "a b+c&d=é"})
    done(client.put(f"/cache/{name}?value=%ff%00&ttl=60"))
    answered(client.get(f"/cache/{name}"), {"value_base64": "/wA="})
    done(client.put(f"/cache/{name}?value=short"))
    answered(client.get(f"/cache/{name}"), {"value": "short"})
    done(client.put(f"/cache/{name}?value=zero&ttl=0"))
    answered(client.get(f"/cache/{name}"), {"value": "zero"})


@pytest.mark.parametrize("query", ["", "?", "?ttl=60", "?value=", "?value=&ttl=60", "?Value=x",
                                   "?value=x&ttl=-1", "?value=x&ttl=abc", "?value=x&ttl=1.5",
                                   "?value=x&ttl=99999999999999999999", "?value=x&ttl=5s",
                                   "?value=x&ttl=1%00", "?value=%zz", "?value=%f"])
def test_cache_put_refuses(client, name, query):
    refused(client.put(f"/cache/{name}{query}"), 400)
    refused(client.get(f"/cache/{name}"), 404)


# ---- Counters ----

def test_counters(client, name):
    path = f"/counters/{name}"
    answered(client.get(path), {"key": name, "value": 0})
    done(client.put(f"{path}?increment=5"))
    answered(client.get(path), {"key": name, "value": 5})
    answered(client.post(f"{path}?increment=-7"), {"key": name, "value": -2})
    answered(client.put(f"{path}?increment=1", prefer="return=representation"),
             {"key": name, "value": -1})
    answered(client.put(f"{path}?increment=1", Prefer="wait=5, return=representation"),
             {"key": name, "value": 0})
    done(client.put(f"{path}?increment=1", prefer="return=minimal"))
    answered(client.get(path), {"key": name, "value": 1})


def test_counter_numbers_are_exact(client, name):
    path = f"/counters/{name}"
    response = client.post(f"{path}?increment=9223372036854775807")
    assert b"9223372036854775807" in response.body
    refused(client.put(f"{path}?increment=1"), 409)
    refused(client.post(f"{path}?increment=1"), 409)
    assert client.get(path).json()["value"] == 9223372036854775807
    answered(client.post(f"{path}?increment=-9223372036854775808"), {"key": name, "value": -1})


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("query", ["", "?", "?increment=", "?increment=abc", "?increment=1.5",
                                   "?increment=9223372036854775808", "?increment=1e3",
                                   "?increment=-9223372036854775809", "?increment=0x10",
                                   "?increment=%201", "?increment=1%20", "?increment=--1",
                                   "?increment=-", "?increment=1%00", "?amount=1"])
def test_counters_refuse(client, name, method, query):
    refused(client.request(method, f"/counters/{name}{query}"), 400)
    answered(client.get(f"/counters/{name}"), {"key": name, "value": 0})


# ---- Flags ----

def test_flags(client, name):
    path = f"/flags/{name}"
    answered(client.get(path), {"value": False})
    for spelling in ("1", "t", "T", "TRUE", "true", "True"):
        done(client.put(f"{path}?value={spelling}"))
        answered(client.get(path), {"value": True})
        done(client.put(f"{path}?value=0"))
    for spelling in ("0", "f", "F", "FALSE", "false", "False"):
        done(client.put(f"{path}?value=1"))
        done(client.put(f"{path}?value={spelling}"))
        answered(client.get(path), {"value": False})


@pytest.mark.parametrize("query", ["", "?", "?value=", "?value=yes", "?value=tRUE", "?value=on",
                                   "?value=2", "?value=-1", "?value=true+", "?value=+true",
                                   "?value=truee", "?value=true%00", "?flag=true"])
def test_flags_refuse(client, name, query):
    done(client.put(f"/flags/{name}?value=true"))
    error = refused(client.put(f"/flags/{name}{query}"), 400)
    answered(client.get(f"/flags/{name}"), {"value": True})
    if query == "?value=yes":
        assert "true" in error, "the error says what is allowed"


# ---- Sets ----

def test_sets(client, name):
    path = f"/sets/{name}"
    answered(client.get(path), {"items": [], "set": name})
    answered(client.put(f"{path}?item=a"), {"items": ["a"], "set": name})
    answered(client.put(f"{path}?item=a"), {"items": ["a"], "set": name})
    response = client.put(f"{path}?item=b+c%2Bd%2F%22%C3%A9")
    assert response.status == 200
    assert sorted(response.json()["items"]) == ["a", 'b c+d/"é']
    answered(client.delete(f"{path}?item=a"), {"items": ['b c+d/"é'], "set": name})
    answered(client.delete(f"{path}?item=missing"), {"items": ['b c+d/"é'], "set": name})
    answered(client.delete(f"/sets/{name}-missing?item=a"), {"items": [], "set": f"{name}-missing"})


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("query", ["", "?", "?item=", "?items=a", "?item=%zz",
                                   "?item=" + "i" * 481])
def test_sets_refuse(client, name, method, query):
    refused(client.request(method, f"/sets/{name}{query}"), 400)
    answered(client.get(f"/sets/{name}"), {"items": [], "set": name})


# ---- Keys in the path ----

def test_a_path_is_decoded_once_and_the_rest_of_it_is_the_key(client, name):
    spellings = {  # what is sent: the key that is meant
        "a/b": "a/b", "a%2Fb": "a/b", "a%252Fb": "a%2Fb", "a+b": "a+b", "a%20b": "a b",
        "a%2Bb": "a+b", "/a": "/a", "a/": "a/", "../a": "../a", "./a": "./a", "a//b": "a//b",
        "%C3%A9": "é", "a%00b": "a\0b", "a%3Fb": "a?b", "a;b=c": "a;b=c", "a%41": "aA",
        "%2e%2E": "..", "a:b@c!$&'()*,=~": "a:b@c!$&'()*,=~"}
    for sent, meant in spellings.items():
        done(client.put(f"/kv/{name}/{sent}", meant.encode(), **RAW))
        answered(client.get("/kv/" + escape(f"{name}/{meant}")), {"value": meant})
        answered(client.get(f"/counters/{name}/{sent}"), {"key": f"{name}/{meant}", "value": 0})


@pytest.mark.parametrize("tail", ["%", "%2", "%zz", "a%", "%G0", "a%2"])
def test_a_bad_escape_is_refused(client, tail):
    refused(client.get(f"/kv/{tail}"), 400)
    refused(client.put(f"/kv/{tail}", b"x", **RAW), 400)


@pytest.mark.parametrize("service", ["kv", "cache", "counters", "flags", "sets"])
def test_a_key_has_1_to_480_bytes_after_decoding(client, service):
    assert client.get(f"/{service}/" + "%6b" * 480).status in (200, 404)
    error = refused(client.get(f"/{service}/" + "k" * 481), 400)
    assert "480" in error, "the error says what is allowed"
    assert client.get(f"/{service}/").status in (400, 404)


# ---- Paths and methods ----

@pytest.mark.parametrize("path", ["/", "/nope", "/kv", "/k/a", "/KV/a", "/kvs/a", "/ping/", "/pingx",
                                  "/metrics/a", "/%6bv2/a", "/?a=b", "//kv/a"])
def test_an_unknown_path(client, path):
    refused(client.get(path), 404)


ALLOWED = {path: {"GET", "HEAD"} for path in ("/ping", "/livez", "/readyz", "/metrics")}
ALLOWED.update({path: set(methods_of(path))
                for path in ("/kv/a", "/cache/a", "/counters/a", "/flags/a", "/sets/a")})


@pytest.mark.parametrize("path", ALLOWED)
def test_methods(client, path):
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE", "get", "FOO"):
        response = client.request(method, path)
        if method in ALLOWED[path]:
            assert response.status != 405, method
            continue
        if method in ("PATCH", "PUT", "POST", "DELETE"):
            assert response.status == 405, (method, response)
        assert response.status in (405, 501), (method, response)
        if response.status == 405:
            refused(response, 405)
            allow = {word.strip() for word in response.headers["allow"].split(",")}
            assert allow - {"OPTIONS"} == ALLOWED[path]


def test_head_is_get_without_a_body(client, name):
    client.put(f"/kv/{name}", b"value", **RAW)
    client.put(f"/cache/{name}?value=v&ttl=60")
    client.put(f"/sets/{name}?item=i")
    paths = [f"/{service}/{name}" for service in ("kv", "cache", "counters", "flags", "sets")]
    paths += ["/ping", "/livez", "/readyz", f"/kv/{name}-missing", "/nope"]
    for path in paths:
        got, head = client.get(path), client.request("HEAD", path)
        assert head.status == got.status and head.body == b""
        assert head.headers.get("content-type") == got.headers.get("content-type")
        assert head.headers["content-length"] == str(len(got.body)), path
    assert client.request("HEAD", "/metrics").status == 200
    head = client.request("HEAD", f"/kv/{name}", headers={"Accept": "application/octet-stream"})
    assert head.headers["content-length"] == "5"


def test_a_query_may_have_more_than_is_asked_for(client, name):
    done(client.put(f"/kv/{name}?x=y", b"v", **RAW))
    answered(client.get(f"/kv/{name}?"), {"value": "v"})
    answered(client.post(f"/counters/{name}?a=b&increment=3&c"), {"key": name, "value": 3})


# ---- Metrics ----

def test_metrics(client, name, strato):
    before = strato.metrics()
    for _ in range(50):
        client.put(f"/kv/{name}", b"v", **RAW)
        client.get(f"/kv/{name}")
    response = client.get("/metrics")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = response.body.decode()
    check_exposition(text)
    assert name not in text, "never a label per key"

    def counted(word):  # the figures may lag behind by a moment
        return any(value >= before.get(metric, 0) + 50 for metric, value in strato.metrics().items()
                   if metric.startswith("strato_requests_total") and word in metric)
    until(lambda: counted("KVPut") and counted("KVGet"), "a counter of each operation")


def check_exposition(text):
    """Prometheus text: each metric with HELP and TYPE before its samples, in one run, no doubles."""
    import re
    kinds, helped, samples, current = {}, set(), set(), None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            metric = line.split(" ", 3)[2]
            assert metric not in helped, f"{metric}: HELP twice"
            assert len(line.split(" ", 3)) == 4 and line.split(" ", 3)[3], line
            helped.add(metric)
        elif line.startswith("# TYPE "):
            _, _, metric, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram", "summary"), line
            assert metric not in kinds, f"{metric}: TYPE twice"
            kinds[metric] = kind
            current = metric
        else:
            match = re.fullmatch(
                r'([a-z_][a-z0-9_]*)(\{[a-z_]+="[^"\\\n]*"(,[a-z_]+="[^"\\\n]*")*\})? (\S+)', line)
            assert match, line
            metric = match.group(1)
            assert metric.startswith("strato_"), line
            float(match.group(4))
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            family = base if kinds.get(base) == "histogram" else metric
            assert family == current, f"{line}: outside its family {current}"
            assert family in helped and family in kinds, line
            assert (metric, match.group(2)) not in samples, f"twice: {line}"
            samples.add((metric, match.group(2)))
            if kinds[family] == "counter":
                assert metric.endswith("_total"), line
    assert samples

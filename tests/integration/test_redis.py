"""One Redis behind Strato: what it holds, what it refuses, and what happens while it is away."""

import os
import signal
import time

import pytest
from client import escape
from faked import run
from redis_servers import Redis, free_port
from strato import BIN, Strato, until
from support import settled


@pytest.fixture(scope="module")
def redis():
    with Redis() as running:
        yield running


@pytest.fixture(scope="module")
def strato(redis):
    with Strato(redis.settings()) as running:
        yield running


@pytest.fixture
def client(strato):
    with strato.client() as connection:
        yield connection


# ---- The same data for redis-cli ----

def test_redis_cli_reads_what_strato_writes(redis, client):
    assert client.kv_put("mine/1", b"a\0b\xff").status == 204
    assert redis.cli(3, "GET", "mine/1") == b"a\0b\xff"
    assert client.put("/cache/mine?value=v&ttl=100").status == 204
    assert redis.cli(0, "GET", "mine") == b"v"
    assert 98000 < int(redis.cli(0, "PTTL", "mine")) <= 100000
    client.put("/counters/mine?increment=-7")
    assert redis.cli(1, "GET", "mine") == b"-7"
    client.put("/flags/mine?value=true")
    client.put("/flags/mine-not?value=f")
    assert redis.cli(2, "GET", "mine") == b"1" and redis.cli(2, "GET", "mine-not") == b"0"
    client.put("/sets/mine?item=a")
    client.put("/sets/mine?item=b%20c")
    assert redis.cli(4, "TYPE", "mine") == b"set"
    assert sorted(redis.cli(4, "SMEMBERS", "mine").splitlines()) == [b"a", b"b c"]
    for database in range(5):
        assert redis.cli(database, "DBSIZE") != b"0"


def test_strato_reads_what_redis_cli_writes(redis, client):
    redis.cli(3, "SET", "theirs", "hello")
    assert client.kv_get("theirs").body == b"hello"
    redis.cli(3, "APPEND", "theirs", " again")
    assert client.kv_get("theirs").body == b"hello again"
    redis.cli(3, "DEL", "theirs")
    assert client.kv_get("theirs").status == 404
    redis.cli(0, "SET", "theirs", "v")
    assert client.get("/cache/theirs").json() == {"value": "v"}
    redis.cli(0, "PEXPIRE", "theirs", "1")
    until(lambda: client.get("/cache/theirs").status == 404, "expired by Redis")
    redis.cli(1, "INCRBY", "theirs", "9223372036854775807")
    assert client.get("/counters/theirs").json()["value"] == 9223372036854775807
    assert client.post("/counters/theirs?increment=1").status == 409
    redis.cli(4, "SADD", "theirs", "x", "y")
    assert sorted(client.get("/sets/theirs").json()["items"]) == ["x", "y"]
    assert sorted(client.delete("/sets/theirs?item=x").json()["items"]) == ["y"]


@pytest.mark.parametrize("text, value", [("1", True), ("t", True), ("true", True), ("TRUE", True),
                                         ("True", True), ("0", False), ("f", False),
                                         ("false", False), ("False", False)])
def test_flags_in_every_spelling(redis, client, text, value):
    redis.cli(2, "SET", f"spelt-{text}", text)
    assert client.get(f"/flags/spelt-{text}").json() == {"value": value}


def test_foreign_types_are_refused_and_left_alone(redis, client):
    for database in range(5):
        redis.cli(database, "HSET", "hash", "field", "value")
    asked = [("GET", "/kv/hash"), ("GET", "/cache/hash"), ("GET", "/counters/hash"),
             ("POST", "/counters/hash?increment=1"), ("GET", "/flags/hash"), ("GET", "/sets/hash"),
             ("PUT", "/sets/hash?item=a"), ("DELETE", "/sets/hash?item=a")]
    for method, target in asked:
        response = client.request(method, target)
        assert response.status == 409, (method, target, response)
        assert "another type" in response.json()["error"]
    for database in range(5):
        assert redis.cli(database, "HGET", "hash", "field") == b"value"
    # A put replaces whatever is there, as SET does.
    assert client.kv_put("hash", b"now a value").status == 204
    assert redis.cli(3, "GET", "hash") == b"now a value"


def test_strings_that_are_no_number_no_flag_and_items_that_are_no_items(redis, client):
    redis.cli(1, "SET", "words", "many")
    assert client.get("/counters/words").status == 409
    assert client.post("/counters/words?increment=1").status == 409
    redis.cli(2, "SET", "words", "maybe")
    assert client.get("/flags/words").status == 409
    redis.cli(4, "SADD", "words", "x" * 481)
    assert client.get("/sets/words").status == 409
    redis.cli(3, "SETRANGE", "huge", str(1 << 20), "x")
    assert client.kv_get("huge").status == 413


def test_a_set_of_many_items(redis, client):
    redis.cli(4, "EVAL", "for i=1,50000 do redis.call('SADD','many','item-'..i) end", "0")
    assert len(client.get("/sets/many").json()["items"]) == 50000
    items = client.put("/sets/many?item=one-more").json()["items"]
    assert len(items) == 50001 and "one-more" in items


# ---- Access ----

def test_passwords():
    with Redis(["--requirepass", "secret@:/%word"], login=("", "secret@:/%word")) as redis:
        redis.cli(0, "ACL", "SETUSER", "us@er", "on", ">pass", "~*", "+@all")
        for login in (redis.login, ("us@er", "pass")):
            with Strato(redis.settings(url=redis.url(login))) as strato:
                client = strato.client()
                assert client.kv_put("a", b"b").status == 204
                assert client.get("/readyz").status == 200


@pytest.mark.parametrize("login", [None, ("", "wrong"), ("nobody", "secret")])
def test_a_wrong_or_missing_password(login):
    with Redis(["--requirepass", "secret"], login=("", "secret")) as redis:
        with Strato(redis.settings(url=redis.url(login))) as strato:
            client = strato.client()
            until(lambda: client.kv_get("a").status == 502, "refused")
            assert "retry-after" not in client.kv_get("a").headers
            answer = client.get("/readyz")
            assert answer.status == 503 and b"redis" in answer.body
            until(lambda: "refuses us" in strato.log(), "said")
            assert "NOAUTH" in strato.log() or "WRONGPASS" in strato.log()
            assert "secret" not in strato.log()
            # Given the right one it works without a restart.
            if login == ("nobody", "secret"):
                redis.cli(0, "ACL", "SETUSER", "nobody", "on", ">secret", "~*", "+@all")
            else:
                redis.cli(0, "CONFIG", "SET", "requirepass", "wrong" if login else "")
            until(lambda: client.kv_put("a", b"b").status == 204, "let in", 3)


def test_urls_that_are_refused(tmp_path):
    path = tmp_path / "strato.ini"
    for url, said in [("rediss://127.0.0.1:6379", "stunnel"), ("redis://127.0.0.1", "host:port"),
                      ("redis://127.0.0.1:0", "host:port"), ("http://127.0.0.1:6379", "redis://"),
                      ("redis://user@127.0.0.1:6379", "user:password@")]:
        path.write_text(f"[strato]\nbackend = redis\n[redis]\nurl = {url}\n")
        code, out, err = run("stratod", "--check-config", "--config", str(path))
        assert code == 1 and said in out + err, (url, code, out, err)


def test_a_host_name():
    with Redis() as redis:
        with Strato(redis.settings(url=f"localhost:{redis.port}")) as strato:
            assert strato.client().kv_put("a", b"b").status == 204


def test_a_host_name_that_nobody_knows():
    settings = {"strato": {"backend": "redis"}, "redis": {"url": "redis://no.such.host.invalid:1"}}
    with Strato(settings) as strato:
        assert strato.client().kv_get("a").status == 503
        until(lambda: "no address of no.such.host.invalid" in strato.log(), "said", 15)


# ---- What Redis refuses ----

def test_full(redis, strato, client):
    client.kv_put("kept", b"value")
    client.put("/counters/kept?increment=1")
    client.put("/sets/kept?item=a")
    redis.cli(0, "CONFIG", "SET", "maxmemory", "1000000")
    try:
        until(lambda: client.kv_put("more", b"x" * 10000).status == 507, "full")
        for method, target in [("PUT", "/cache/more?value=x"), ("PUT", "/flags/more?value=1"),
                               ("POST", "/counters/kept?increment=1"), ("PUT", "/sets/kept?item=b")]:
            response = client.request(method, target)
            assert response.status == 507 and response.json()["error"], (target, response)
        assert client.kv_get("kept").body == b"value"
        assert client.get("/counters/kept").json()["value"] == 1
        assert client.get("/sets/kept").json()["items"] == ["a"]
        assert client.delete("/sets/kept?item=a").json()["items"] == []
        assert client.delete("/kv/kept").status == 204
    finally:
        redis.cli(0, "CONFIG", "SET", "maxmemory", "0")
    assert client.kv_put("more", b"x").status == 204


def test_a_replica_takes_no_writes():
    with Redis() as master, Redis(["--replicaof", "127.0.0.1", master.port]) as replica, \
            Strato(replica.settings()) as strato:
        until(lambda: b"master_link_status:up" in replica.cli(0, "INFO", "replication"), "follows")
        client = strato.client()
        response = client.kv_put("a", b"b")
        assert response.status == 503 and "retry-after" in response.headers
        assert client.put("/sets/a?item=b").status == 503
        assert client.get("/counters/a").json()["value"] == 0
        assert "READONLY" in strato.log()
        replica.cli(0, "REPLICAOF", "NO", "ONE")
        assert client.kv_put("a", b"b").status == 204


def test_while_redis_loads():
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        redis.cli(3, "EVAL", "for i=1,2000 do redis.call('SET','k'..i,'v') end", "0")
        redis.cli(3, "BGREWRITEAOF")
        until(lambda: b"aof_rewrite_in_progress:0" in redis.cli(0, "INFO", "persistence"), "rewritten")
        redis.options += ["--key-load-delay", "1000", "--loading-process-events-interval-bytes",
                          "1024"]
        redis.kill()
        redis.spawn()
        until(lambda: redis.run("GET", "a", check=False).startswith(b"LOADING"), "loading")
        response = client.kv_get("k1")
        assert response.status == 503 and "retry-after" in response.headers, response
        until(lambda: client.kv_get("k1").body == b"v", "loaded", 20)


# ---- Redis away ----

def test_redis_away_and_back():
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        redis.kill()
        for method, target in [("GET", "/kv/a"), ("PUT", "/kv/a"), ("POST", "/counters/a?increment=1")]:
            start = time.monotonic()
            response = client.request(method, target, b"x" if method == "PUT" else None,
                                      {"Content-Type": "text/plain"})
            assert response.status == 503 and "retry-after" in response.headers, response
            assert "redis" in response.json()["error"]
            assert time.monotonic() - start < 1.2
        # Once it is known to be away, at once.
        start = time.monotonic()
        for _ in range(20):
            assert client.kv_get("a").status == 503
        assert time.monotonic() - start < 0.5
        until(lambda: client.get("/readyz").status == 503, "unready")
        assert b"redis" in client.get("/readyz").body
        assert client.get("/livez").status == 200
        redis.start()
        start = time.monotonic()
        until(lambda: client.kv_get("a").body == b"b", "back")
        assert time.monotonic() - start < 1
        until(lambda: client.get("/readyz").status == 200, "ready")
        assert strato.log().count("is away") <= 5  # once for each database


def test_redis_that_is_not_there_yet():
    port = free_port()
    settings = {"strato": {"backend": "redis"}, "redis": {"url": f"redis://127.0.0.1:{port}"}}
    with Strato(settings) as strato:
        client = strato.client()
        assert client.kv_get("a").status == 503
        with Redis(port=port):
            until(lambda: client.kv_put("a", b"b").status == 204, "found", 3)


def test_redis_that_stops_answering():
    """Whatever was under way is answered within the timeout; what was sent is carried out when it
    goes on, before anything newer."""
    with Redis() as redis, Strato(redis.settings(timeout="300ms")) as strato:
        client, other = strato.client(), strato.client()
        client.kv_put("a", b"first")
        redis.signal(signal.SIGSTOP)
        try:
            start = time.monotonic()
            other.send(b"POST /counters/a?increment=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.kv_put("a", b"second").status == 503
            response = other.receive("POST")
            assert response.status == 500 and "may have been made" in response.json()["error"]
            assert time.monotonic() - start < 1
            start = time.monotonic()
            for _ in range(20):
                assert client.kv_put("a", b"never").status == 503
                assert client.post("/counters/a?increment=1").status == 503
            assert time.monotonic() - start < 1
        finally:
            redis.signal(signal.SIGCONT)
        until(lambda: client.kv_put("a", b"third").status == 204, "back")
        assert client.kv_get("a").body == b"third"
        assert client.get("/counters/a").json()["value"] == 1
        assert settled(strato)['strato_redis_losses_total{backend="redis"}'] == 0


def test_connections_that_are_cut():
    """An idle connection is made again, and a request finds out only by its answer's coming."""
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        for number in range(20):
            redis.cli(0, "CLIENT", "KILL", "TYPE", "normal")
            assert client.kv_put("a", b"%d" % number).status == 204
            assert client.kv_get("a").body == b"%d" % number
            assert client.post("/counters/a?increment=1").status == 200
        assert client.get("/counters/a").json()["value"] == 20


# ---- Together with others ----

def test_services_on_different_backends():
    with Redis() as redis:
        settings = redis.settings()
        settings["strato"] = {"backend": "memory"}
        settings["services"] = {"cache": "redis", "set": "redis"}
        with Strato(settings) as strato:
            client = strato.client()
            assert set(strato.pids()) >= {"store-memory", "store-redis"}
            client.put("/cache/a?value=v&ttl=100")
            client.put("/sets/a?item=i")
            client.kv_put("a", b"b")
            assert redis.cli(0, "GET", "a") == b"v" and redis.cli(4, "SCARD", "a") == b"1"
            assert redis.cli(3, "DBSIZE") == b"0"
            assert client.get("/readyz").status == 200
            redis.kill()
            assert client.kv_get("a").body == b"b"
            until(lambda: client.get("/readyz").status == 503, "unready")
            assert b"redis" in client.get("/readyz").body
            assert client.get("/cache/a").status == 503


def test_several_instances_give_the_same_answers():
    with Redis() as redis, Strato(redis.settings()) as one, Strato(redis.settings()) as two, \
            Strato(redis.settings()) as three:
        clients = [one.client(), two.client(), three.client()]
        for number in range(300):
            writer, reader = clients[number % 3], clients[(number + 1) % 3]
            writer.kv_put("a", b"%d" % number)
            assert reader.kv_get("a").body == b"%d" % number
            assert writer.post("/counters/a?increment=1").json()["value"] == number + 1
            assert reader.get("/counters/a").json()["value"] == number + 1
            writer.put(f"/sets/a?item={number % 7}")
            assert str(number % 7) in reader.get("/sets/a").json()["items"]
            writer.put(f"/flags/a?value={number % 2}")
            assert reader.get("/flags/a").json()["value"] == bool(number % 2)
            writer.put(f"/cache/a?value={number}&ttl=60")
            assert reader.get("/cache/a").json()["value"] == str(number)


def test_figures(redis, strato, client):
    client.kv_put("a", b"b")
    figures = settled(strato)
    assert figures['strato_redis_connected{backend="redis"}'] == 5
    assert figures['strato_redis_connections{backend="redis"}'] == 5
    assert figures['strato_redis_in_flight{backend="redis"}'] == 0
    redis.cli(1, "HSET", escape("for figures"), "a", "b")
    client.post(f"/counters/{escape(escape('for figures'))}?increment=1")
    assert settled(strato)['strato_redis_errors_total{backend="redis",error="wrong_type"}'] >= 1


def test_the_store_has_nothing_of_hiredis_elsewhere():
    """Only the store is linked to it."""
    for folder in (BIN, os.path.join(BIN, "..", "libexec", "strato")):
        for name in os.listdir(folder):
            if name == "strato-store":
                continue
            with open(os.path.join(folder, name), "rb") as file:
                assert b"libhiredis" not in file.read(), name

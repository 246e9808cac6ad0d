"""The same key in several namespaces, on every backend: nothing of one is seen, changed, expired or
lost in another. Test builds take the namespace from the key: "NUMBER|KEY" (workers/core/namespace.c).
"""

import os
import signal

import pytest
from client import escape
from redis_servers import Redis
from rpc import Rpc
from strato import Strato, until
from test_inspect import inspect, row

NAMESPACES = [0, 1, 65535]
BACKENDS = ["memory", "disk", "redis", "redis in one database"]


def key(namespace, name="key"):
    return f"{namespace}|{name}" if namespace else name


@pytest.fixture(params=BACKENDS)
def strato(request):
    settings = {"grpc": {"enabled": "yes"}, "memory": {"size": "16M"}}
    if not request.param.startswith("redis"):
        with Strato({**settings, "strato": {"backend": request.param}},
                    {"STRATO_NAMESPACES": "1"}) as running:
            yield running
        return
    with Redis() as redis:
        more = {"database": "0"} if "one" in request.param else {}
        with Strato({**settings, **redis.settings(**more)}, {"STRATO_NAMESPACES": "1"}) as running:
            running.redis = redis
            yield running


def fill(client, namespace):
    at = escape(key(namespace))
    assert client.kv_put(key(namespace), b"value of %d" % namespace).status == 204
    assert client.kv_put(key(namespace, "large"), b"%d" % namespace * 20000).status == 204
    assert client.put(f"/cache/{at}?ttl=600&value=cached+{namespace}").status == 204
    assert client.post(f"/counters/{at}?increment={namespace + 7}").json()["value"] == namespace + 7
    assert client.put(f"/flags/{at}?value={'true' if namespace == 1 else 'false'}").status == 204
    for item in ("all", f"of-{namespace}"):
        assert client.put(f"/sets/{at}?item={item}").status == 200


def check(client, namespace):
    at = escape(key(namespace))
    for _ in range(2):  # from the store, and what that has shown to hot reads
        assert client.kv_get(key(namespace)).body == b"value of %d" % namespace
        assert client.kv_get(key(namespace, "large")).body == b"%d" % namespace * 20000
        assert client.get(f"/cache/{at}").json() == {"value": f"cached {namespace}"}
        assert client.get(f"/counters/{at}").json()["value"] == namespace + 7
        assert client.get(f"/flags/{at}").json()["value"] is (namespace == 1)
        assert set(client.get(f"/sets/{at}").json()["items"]) == {"all", f"of-{namespace}"}


def kill_store(strato):
    for name, pid in list(strato.pids().items()):
        if name in ("store-memory", "store-disk", "store-redis"):
            os.kill(pid, signal.SIGKILL)
            strato.wait_restarted(name, pid)


def test_services_are_apart(strato):
    client = strato.client()
    for namespace in NAMESPACES:
        assert client.kv_get(key(namespace)).status == 404
        fill(client, namespace)
    for namespace in NAMESPACES:
        check(client, namespace)
    kill_store(strato)
    for namespace in NAMESPACES:
        check(client, namespace)
    with Rpc(strato.grpc) as rpc:
        for namespace in NAMESPACES:
            assert rpc.kv_get(key(namespace)) == b"value of %d" % namespace


def test_deletes_are_apart(strato):
    client = strato.client()
    for namespace in NAMESPACES:
        fill(client, namespace)
    for namespace in NAMESPACES:
        at = escape(key(namespace))
        assert client.delete(f"/kv/{at}").status == 204
        assert client.kv_get(key(namespace)).status == 404
        for item in ("all", f"of-{namespace}"):
            client.delete(f"/sets/{at}?item={item}")
        assert client.get(f"/sets/{at}").json()["items"] == []
        assert client.delete(f"/kv/{at}").status == 404
        for other in NAMESPACES:
            if other > namespace:
                check(client, other)


def test_expiry_is_apart(strato):
    client = strato.client()
    for namespace in NAMESPACES:
        ttl = 1 if namespace == 1 else 600
        assert client.put(
            f"/cache/{escape(key(namespace))}?ttl={ttl}&value=of+{namespace}").status == 204
    until(lambda: client.get(f"/cache/{escape(key(1))}").status == 404, "that of 1 has expired")
    for namespace in (0, 65535):
        answer = client.get(f"/cache/{escape(key(namespace))}")
        assert answer.json() == {"value": f"of {namespace}"}


def test_keys_that_look_like_keys_of_namespaces(strato):
    """What a backend puts before a key to tell a namespace is a key, too."""
    client = strato.client()
    long = "k" * 480
    assert client.kv_put(key(1, long), b"in 1").status == 204
    assert client.kv_get(key(1, long)).body == b"in 1" and client.kv_get(long).status == 404
    for before in (b"\xffstrato@1:", b"\0\1", b"\1\0", b"\3\0\1", b"\xffstrato@0:", b"kv:"):
        assert client.kv_get(before + b"key").status == 404
        assert client.kv_put(before + b"key", b"plain").status == 204
        assert client.kv_get(before + b"key").body == b"plain"
        assert client.kv_get(key(1)).status == 404


def test_inspect_shows_them():
    with Strato({"strato": {"backend": "disk"}}, {"STRATO_NAMESPACES": "1"}) as strato:
        client = strato.client()
        assert row(inspect("--in", strato.run_dir, "disk")["formats"], of="all")["format"] == 1
        for namespace in NAMESPACES:
            fill(client, namespace)
        found = inspect("--in", strato.run_dir, "--check", "disk")
        assert row(found["tables"], table="named")["found"] == 12
        assert inspect("--in", strato.run_dir, "--namespace", "65535", "disk", "kv", "key")[
            "record"]["value"] == "value of 65535"
        assert row(found["formats"], of="all")["format"] == 2

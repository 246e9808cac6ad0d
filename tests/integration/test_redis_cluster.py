"""A real Redis Cluster of three masters and three replicas behind Strato: where keys go, failover,
resharding, and several instances at once. At full size with STRATO_LONG=1."""

import os
import signal
import threading
import time

import pytest
from redis_load import RedisLoad
from redis_servers import Cluster
from strato import Strato, until
from support import generator, settled

LONG = bool(os.environ.get("STRATO_LONG"))
NODE_TIMEOUT = 1.0  # seconds until the cluster takes a silent master for dead


@pytest.fixture(scope="module")
def cluster():
    with Cluster(node_timeout=int(NODE_TIMEOUT * 1000)) as running:
        yield running


@pytest.fixture(scope="module")
def strato(cluster):
    with Strato(cluster.settings()) as running:
        yield running


@pytest.fixture
def client(strato):
    with strato.client() as connection:
        yield connection


# ---- Keys ----

def test_each_service_has_a_prefix(cluster, client):
    client.kv_put("mine", b"v")
    client.put("/cache/mine?value=v&ttl=60")
    client.put("/counters/mine?increment=5")
    client.put("/flags/mine?value=true")
    client.put("/sets/mine?item=i")
    assert cluster.cli("GET", "kv:mine") == b"v"
    assert cluster.cli("GET", "cache:mine") == b"v"
    assert cluster.cli("GET", "counter:mine") == b"5"
    assert cluster.cli("GET", "flag:mine") == b"1"
    assert cluster.cli("SMEMBERS", "set:mine") == b"i"
    cluster.cli("SET", "kv:theirs", "hello")
    cluster.cli("INCRBY", "counter:theirs", "7")
    cluster.cli("SET", "flag:theirs", "TRUE")
    cluster.cli("SADD", "set:theirs", "a")
    assert client.kv_get("theirs").body == b"hello"
    assert client.get("/counters/theirs").json()["value"] == 7
    assert client.get("/flags/theirs").json()["value"] is True
    assert client.get("/sets/theirs").json()["items"] == ["a"]


def test_keys_go_where_redis_says(cluster, strato, client):
    """Every slot is computed as Redis does it: no node sends anything on."""
    client.kv_put("warm", b"v")
    before = settled(strato)['strato_redis_redirected_total{backend="redis"}']
    for name in [f"k-{number}" for number in range(500)] + [
            "{tag}a", "a{tag}b", "{}", "{}a", "a{", "}{", "{{x}}", "a}b{c}", "é🔑{é}", "{a}{b}",
            "x" * 470, "{" + "x" * 400 + "}"]:
        assert client.kv_put(name, name.encode()).status == 204
        assert client.kv_get(name).body == name.encode()
    metrics = settled(strato)
    assert metrics['strato_redis_redirected_total{backend="redis"}'] == before
    assert metrics['strato_redis_connected{backend="redis"}'] >= 3
    assert {len(node.run("KEYS", "kv:k-*").splitlines()) > 100 for node in cluster.masters()} == {True}


@pytest.mark.parametrize("database", ["per-service", "0"])
def test_a_cluster_where_none_is_expected(cluster, database):
    with Strato(cluster.settings(cluster="no", database=database)) as strato:
        client = strato.client()
        until(lambda: any(client.kv_put(f"a{number}", b"b").status == 502 for number in range(10)),
              "refused")
        until(lambda: "set cluster = yes" in strato.log(), "said")


def test_readiness_of_a_cluster(cluster, strato, client):
    """Each master is asked whether it takes writes."""
    until(lambda: client.get("/readyz").status == 200, "ready")
    master = cluster.masters()[-1]
    until(cluster.settled, "the cluster is whole", 30)
    master.run("CONFIG", "SET", "min-replicas-to-write", "3")
    try:
        until(lambda: client.get("/readyz").status == 503, "not ready")
        assert "NOREPLICAS" in client.get("/readyz").json()["error"]
    finally:
        master.run("CONFIG", "SET", "min-replicas-to-write", "0")
    until(lambda: client.get("/readyz").status == 200, "ready")


# ---- Slots on the move ----

def test_one_slot_on_its_way(cluster, client):
    """ASK while some of a slot's keys are here and some there, MOVED when it is done."""
    slot = int(cluster.cli("CLUSTER", "KEYSLOT", "{slot}"))
    for number in range(20):
        client.kv_put(f"{{slot}}{number}", b"%d" % number)
    masters = cluster.masters()
    source = next(node for node in masters if node.run("CLUSTER", "COUNTKEYSINSLOT", str(slot)) != b"0")
    target = next(node for node in masters if node is not source)
    target.run("CLUSTER", "SETSLOT", str(slot), "IMPORTING", cluster.identity(source))
    source.run("CLUSTER", "SETSLOT", str(slot), "MIGRATING", cluster.identity(target))
    for number in range(10):
        source.run("MIGRATE", "127.0.0.1", str(target.port), f"kv:{{slot}}{number}", "0", "1000")
    for number in range(20):
        assert client.kv_get(f"{{slot}}{number}").body == b"%d" % number
        assert client.kv_put(f"{{slot}}{number}", b"x%d" % number).status == 204
        assert client.post(f"/counters/{{slot}}{number}?increment=3").json()["value"] == 3
        assert client.put(f"/sets/{{slot}}{number}?item=a").json()["items"] == ["a"]
    for key in source.run("CLUSTER", "GETKEYSINSLOT", str(slot), "1000").decode().splitlines():
        source.run("MIGRATE", "127.0.0.1", str(target.port), key, "0", "1000")
    for node in [target, source, *[node for node in masters if node not in (target, source)]]:
        node.run("CLUSTER", "SETSLOT", str(slot), "NODE", cluster.identity(target))
    for number in range(20):
        assert client.kv_get(f"{{slot}}{number}").body == b"x%d" % number
        assert client.get(f"/counters/{{slot}}{number}").json()["value"] == 3


def test_resharding_under_load(cluster, strato):
    """Thousands of slots change hands while everything is written: exact, and nobody notices."""
    with RedisLoad(strato) as load:
        masters = cluster.masters()
        for number in range(6 if LONG else 2):
            cluster.reshard(masters[number % 3], masters[(number + 1) % 3],
                            2000 if LONG else 300)
        figures = load.finish()
    assert figures["not done"] == figures["maybe"] == 0, figures
    assert settled(strato)['strato_redis_redirected_total{backend="redis"}'] > 0


# ---- Masters that die ----

def wait_whole(cluster):
    until(cluster.settled, "whole again", 30)


def test_a_planned_failover_under_load(cluster, strato):
    with RedisLoad(strato) as load:
        for _ in range(6 if LONG else 2):
            wait_whole(cluster)
            cluster.fail_over()
            time.sleep(0.3)
        figures = load.finish()
    assert figures["done"] > 200


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_master_dies_under_load(cluster, strato, how):
    """The rest goes on; the dead one's slots are back when a replica has them. Replication is not
    synchronous, so Redis itself may lose what a master acknowledged in its last moments."""
    random, moments = generator(), []
    with RedisLoad(strato) as load:
        for _ in range(5 if LONG else 1):
            wait_whole(cluster)
            time.sleep(0.5)
            victim = random.choice(cluster.masters())
            moments.append(time.monotonic())
            victim.kill() if how == "killed" else victim.signal(signal.SIGSTOP)
            others = [node for node in cluster.nodes if node is not victim]
            until(lambda: sum(b"role:master" in node.run("INFO", "replication")
                              for node in others if cluster.up(node)) == 3, "a replica took over", 30)
            until(lambda: all(cluster.ok(node) for node in others), "the cluster is whole", 30)
            whole = time.monotonic()
            for number in range(50):
                client = strato.client()
                until(lambda: client.kv_put(f"after-{number}", b"x").status == 204, "served", 10, 0.002)
                client.close()
            assert time.monotonic() - whole < 2, "late"
            moments.append(time.monotonic())
            before = load.done()
            until(lambda: load.done() > before + 100, "the load goes on")
            victim.signal(signal.SIGCONT) if how == "stopped" else victim.start()
        wait_whole(cluster)
        figures = load.finish(lossy=moments)
    assert figures["done"] > 200, figures


def test_the_store_dies_while_slots_move(cluster, strato):
    random = generator()
    with RedisLoad(strato) as load:
        masters = cluster.masters()
        mover = threading.Thread(target=cluster.reshard, args=(masters[0], masters[1], 300))
        mover.start()
        while mover.is_alive():
            time.sleep(random.uniform(0.1, 0.5))
            old = strato.kill("store-redis")
            strato.wait_restarted("store-redis", old)
        mover.join()
        figures = load.finish()
    assert figures["not done"] == 0 and figures["maybe"] == figures["unknown"], figures


# ---- Many instances ----

def test_three_instances_count_together(cluster, strato):
    with Strato(cluster.settings()) as second, Strato(cluster.settings()) as third:
        instances = [strato, second, third]
        errors = []

        def count(instance):
            with instance.client() as mine:
                for _ in range(300):
                    answer = mine.post("/counters/together?increment=1")
                    if answer.status != 200:
                        errors.append(answer)
        threads = [threading.Thread(target=count, args=(instance,)) for instance in instances * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors[0]
        for instance in instances:
            with instance.client() as asked:
                assert asked.get("/counters/together").json()["value"] == 1800


def test_the_node_of_the_url_is_gone(cluster):
    """Once the map is known any node will do; at a start the named one must be there."""
    with Strato(cluster.settings()) as strato:
        client = strato.client()
        for number in range(30):
            assert client.kv_put(f"gone-{number}", b"v").status == 204
        wait_whole(cluster)
        named = cluster.nodes[0]
        named.kill()
        others = cluster.nodes[1:]
        until(lambda: sum(b"role:master" in node.run("INFO", "replication") for node in others) == 3,
              "its replica took over", 30)
        try:
            for number in range(30):
                until(lambda: client.kv_put(f"gone-{number}", b"w").status == 204, "served", 5)
        finally:
            named.start()
            wait_whole(cluster)

"""A Redis that is the wrong one, or not well: a replica where a master was, a name that points
elsewhere, a server that takes no writes. Strato looks for the right one, says so once, and is not
ready meanwhile.

The name `redis.test` is in an /etc/hosts that only the Strato under test sees.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from redis_servers import BASE, Redis, free_port
from rpc import Rpc, health
from strato import Strato, until

NAME = "redis.test"


class Hosts:
    """An /etc/hosts of its own for a program, by a mount namespace of its own."""

    def __init__(self, *addresses):
        self.directory = tempfile.mkdtemp(prefix="strato-hosts-", dir="/tmp")
        self.path = os.path.join(self.directory, "hosts")
        self.point_to(*addresses)
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        self.wrapper = ["unshare", "--mount", *user, "sh", "-c",
                        f'mount --bind {self.path} /etc/hosts && exec "$@"', "sh"]

    def point_to(self, *addresses):
        with open(self.path, "w") as file:
            file.write("".join(f"{address} {NAME}\n" for address in addresses))

    def __enter__(self):
        if subprocess.run([*self.wrapper, "true"], capture_output=True, check=False).returncode:
            shutil.rmtree(self.directory)
            pytest.skip("no mount namespace may be made here")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def far_away():
    """A network namespace of its own behind a wire: (its name, an address in it)."""
    name, subnet = f"strato-{os.getpid()}", f"10.213.{os.getpid() % 250}"
    near, far = f"sn{os.getpid()}", f"sf{os.getpid()}"

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    if not ip("netns", "add", name):
        pytest.skip("no network namespace may be made here")
    try:
        inside = ["-n", name]
        if not (ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name) and
                ip("addr", "add", f"{subnet}.1/24", "dev", near) and ip("link", "set", near, "up") and
                ip(*inside, "addr", "add", f"{subnet}.2/24", "dev", far) and
                ip(*inside, "link", "set", far, "up") and ip(*inside, "link", "set", "lo", "up")):
            pytest.skip("no wire may be made here")
        yield name, f"{subnet}.2", lambda how: ip(*inside, "link", "set", far, how)
    finally:
        ip("link", "del", near)
        ip("netns", "del", name)


@contextlib.contextmanager
def moving(settings=None, options=(), first="127.0.0.1"):
    """Two servers on one port, a name that points to the first, and a Strato that knows the name."""
    port = free_port()
    with Hosts(first) as hosts, Redis(options, port=port) as one, \
            Redis(options, port=port, address="127.0.0.2") as two:
        redis = {"url": f"redis://{NAME}:{port}", **(settings or {})}
        with Strato({**BASE, "redis": redis, "grpc": {"enabled": "yes", "workers": "1"}},
                    wrapper=hosts.wrapper) as strato:
            yield hosts, one, two, strato


def follows(replica):
    return b"master_link_status:up" in replica.run("INFO", "replication")


def fail_over(old, new, hosts=None):
    """As an operator would: the replica becomes the master and the master its replica."""
    new.run("REPLICAOF", old.address, str(old.port))
    until(lambda: follows(new), "it follows", 20)
    new.run("REPLICAOF", "NO", "ONE")
    if hosts:
        hosts.point_to(new.address)
    old.run("REPLICAOF", new.address, str(new.port))
    until(lambda: follows(old), "it follows", 20)


def not_ready(strato, *words):
    answer = strato.client().get("/readyz")
    if answer.status != 503:
        return False
    assert "redis" in answer.json()["error"]
    return all(word in answer.json()["error"] for word in words)


# ---- A name that moves ----

def test_a_name_that_moves_to_the_new_master():
    with moving() as (hosts, one, two, strato):
        client = strato.client()
        assert client.kv_put("a", b"1").status == 204
        assert client.post("/counters/a?increment=1").json()["value"] == 1
        fail_over(one, two, hosts)
        for service in ("/kv/a", "/cache/a?value=v&ttl=60", "/counters/a?increment=1",
                        "/flags/a?value=1", "/sets/a?item=x"):
            answer = client.request("PUT", service, b"x", {"Content-Type": "text/plain"})
            assert answer.status in (200, 204), (service, answer)
        assert two.cli(3, "GET", "a") == b"x" and two.cli(1, "GET", "a") == b"2"
        until(lambda: client.get("/readyz").status == 200, "ready")
        assert strato.log().count("takes no writes") <= 1, strato.log()
        assert "connecting again" in strato.log()


def test_a_name_that_moves_under_load():
    """Increments are exact: none is lost, none is made twice."""
    with moving() as (hosts, one, two, strato):
        client, made = strato.client(), 0
        for number in range(600):
            if number == 200:
                fail_over(one, two, hosts)
            if number == 400:
                fail_over(two, one, hosts)
            answer = client.post("/counters/a?increment=1")
            if answer.status == 200:
                made += 1
            else:
                assert answer.status == 503, answer  # and not "may have been made"
        assert client.get("/counters/a").json()["value"] == made >= 590


def test_a_name_that_moves_while_the_connection_works():
    with moving() as (hosts, one, two, strato):
        client = strato.client()
        assert client.kv_put("a", b"one").status == 204
        two.cli(3, "SET", "a", "two")
        hosts.point_to("127.0.0.2")
        until(lambda: client.kv_get("a").body == b"two", "moved", 20)
        assert "another address" in strato.log()
        assert one.cli(3, "GET", "a") == b"one"


def test_a_name_whose_server_stands_still():
    """It is no longer waited for once the name says that another one is to be asked."""
    with moving({"timeout": "300ms"}) as (hosts, one, two, strato):
        client = strato.client()
        assert client.kv_put("a", b"one").status == 204
        one.signal(signal.SIGSTOP)
        try:
            assert client.kv_put("a", b"two").status == 503
            hosts.point_to("127.0.0.2")
            until(lambda: client.kv_put("a", b"three").status == 204, "moved", 20)
            assert two.cli(3, "GET", "a") == b"three"
        finally:
            one.signal(signal.SIGCONT)


def test_a_machine_that_vanishes():
    """Nothing says that the connection is gone. It is given up within seconds, and the name asked."""
    port = free_port()
    with far_away() as (name, address, wire), Hosts(address) as hosts, \
            Redis(port=port) as near, Redis(["--protected-mode", "no"], port=port, address=address,
                                            wrapper=["ip", "netns", "exec", name]):
        with Strato({**BASE, "redis": {"url": f"redis://{NAME}:{port}", "timeout": "500ms"}},
                    wrapper=hosts.wrapper) as strato:
            client = strato.client()
            until(lambda: client.kv_put("a", b"far").status == 204, "written")
            assert near.cli(3, "DBSIZE") == b"0"
            assert wire("down")
            hosts.point_to("127.0.0.1")
            start = time.monotonic()
            until(lambda: client.kv_put("a", b"near").status == 204, "moved", 20)
            assert time.monotonic() - start < 10
            assert near.cli(3, "GET", "a") == b"near"
            until(lambda: client.get("/readyz").status == 200, "ready")


def test_a_name_with_several_addresses_of_which_one_works():
    port = free_port()
    for place in range(3):
        addresses = ["127.0.0.3", "127.0.0.4"]
        addresses.insert(place, "127.0.0.1")
        with Hosts(*addresses) as hosts, Redis(port=port), \
                Strato({**BASE, "redis": {"url": f"redis://{NAME}:{port}"}},
                       wrapper=hosts.wrapper) as strato:
            client = strato.client()
            until(lambda: client.kv_put("a", b"b").status == 204, "found", 5)
            until(lambda: client.get("/readyz").status == 200, "ready")


def test_a_name_of_a_replica_and_its_master():
    """Another address is tried at once when one is a replica's."""
    port = free_port()
    with Hosts("127.0.0.1", "127.0.0.2") as hosts, Redis(port=port) as master, \
            Redis(["--replicaof", "127.0.0.1", port], port=port, address="127.0.0.2") as replica:
        until(lambda: follows(replica), "it follows", 20)
        with Strato({**BASE, "redis": {"url": f"redis://{NAME}:{port}"}},
                    wrapper=hosts.wrapper) as strato:
            client = strato.client()
            for number in range(20):
                until(lambda: client.kv_put(f"a{number}", b"b").status == 204, "taken", 3)
            until(lambda: client.get("/readyz").status == 200, "ready")
            assert master.cli(3, "DBSIZE") == b"20"


def test_a_name_that_moves_to_another_cluster():
    """The nodes of the old one still work, and yet they are left."""
    options = ["--cluster-enabled", "yes", "--cluster-announce-ip"]
    port = free_port(10000)
    with Hosts("127.0.0.1") as hosts, Redis([*options, "127.0.0.1"], port=port) as one, \
            Redis([*options, "127.0.0.2"], port=port, address="127.0.0.2") as two:
        for node in (one, two):
            node.run("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            until(lambda: b"cluster_state:ok" in node.run("CLUSTER", "INFO"), "whole", 20)
        redis = {"url": f"redis://{NAME}:{port}", "cluster": "yes"}
        with Strato({**BASE, "redis": redis}, wrapper=hosts.wrapper) as strato:
            client = strato.client()
            until(lambda: client.kv_put("a", b"one").status == 204, "written")
            until(lambda: client.get("/readyz").status == 200, "ready")
            assert one.cli(0, "GET", "kv:a") == b"one"
            two.cli(0, "SET", "kv:a", "two")
            hosts.point_to("127.0.0.2")
            until(lambda: client.kv_get("a").body == b"two", "moved", 20)
            for number in range(20):
                assert client.kv_put(f"b{number}", b"x").status == 204
            assert two.cli(0, "DBSIZE") == b"21"
            until(lambda: strato.metrics()['strato_redis_connections{backend="redis"}'] == 2, "left")
            assert client.get("/readyz").status == 200


# ---- No writes ----

def test_a_replica_is_not_ready_and_is_watched():
    """Nobody writes, and yet it is noticed; an address in the place of a name is tried again too."""
    with Redis() as one, Redis() as two, Strato({
            **one.settings(), "grpc": {"enabled": "yes", "workers": "1"}}) as strato:
        client, rpc = strato.client(), Rpc(strato.grpc)
        assert client.kv_put("a", b"b").status == 204
        assert client.get("/readyz").status == 200
        assert rpc.check() == health.HealthCheckResponse.SERVING
        fail_over(one, two)
        until(lambda: not_ready(strato, "READONLY"), "not ready", 5)
        until(lambda: rpc.check() == health.HealthCheckResponse.NOT_SERVING, "not serving", 5)
        assert rpc.check("proto.KV") == health.HealthCheckResponse.NOT_SERVING
        answer = client.kv_put("a", b"c")
        assert answer.status == 503 and "READONLY" in answer.json()["error"]
        assert "retry-after" in answer.headers
        end = time.monotonic() + 2.5
        while time.monotonic() < end:  # reads go on while it is connected anew each second
            assert client.kv_get("a").body == b"b"
        assert strato.log().count("takes no writes") == 1, strato.log()
        one.run("REPLICAOF", "NO", "ONE")
        until(lambda: client.get("/readyz").status == 200, "ready", 5)
        until(lambda: rpc.check() == health.HealthCheckResponse.SERVING, "serving", 5)
        assert client.kv_put("a", b"c").status == 204
        assert strato.log().count("takes all commands again") == 1
        rpc.close()


def test_too_few_replicas():
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        redis.run("CONFIG", "SET", "min-replicas-to-write", "1")
        until(lambda: not_ready(strato, "NOREPLICAS"), "not ready", 5)
        answer = client.kv_put("a", b"c")
        assert answer.status == 503 and "NOREPLICAS" in answer.json()["error"]
        assert client.kv_get("a").body == b"b"
        redis.run("CONFIG", "SET", "min-replicas-to-write", "0")
        until(lambda: client.get("/readyz").status == 200, "ready", 5)
        assert strato.log().count("takes no writes") == 1


def test_a_redis_that_cannot_save():
    """MISCONF; also a connection that is made then can read."""
    with Redis(["--enable-protected-configs", "yes"]) as redis, \
            Strato(redis.settings()) as strato:
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        gone = os.path.join(redis.directory, "gone")
        os.mkdir(gone)
        redis.run("CONFIG", "SET", "appendonly", "no")
        redis.run("CONFIG", "SET", "save", "3600 1")
        redis.run("CONFIG", "SET", "dir", gone)
        shutil.rmtree(gone)
        redis.run("BGSAVE")
        until(lambda: b"rdb_last_bgsave_status:err" in redis.run("INFO", "persistence"), "failed")
        until(lambda: not_ready(strato, "MISCONF"), "not ready", 5)
        redis.run("CLIENT", "KILL", "TYPE", "normal")
        until(lambda: client.kv_get("a").body == b"b", "readable", 5)
        assert client.kv_put("a", b"c").status == 503
        redis.run("CONFIG", "SET", "save", "")
        until(lambda: client.get("/readyz").status == 200, "ready", 5)


def test_a_replica_that_lost_its_master():
    """MASTERDOWN for good: the name leads on."""
    with moving() as (hosts, one, two, strato):
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        one.run("CONFIG", "SET", "replica-serve-stale-data", "no")
        one.run("REPLICAOF", "127.0.0.1", "1")
        until(lambda: not_ready(strato, "MASTERDOWN") or not_ready(strato, "does not answer"),
              "not ready", 5)
        assert client.kv_get("a").status == 503
        hosts.point_to("127.0.0.2")
        until(lambda: client.kv_put("a", b"c").status == 204, "moved", 5)
        assert two.cli(3, "GET", "a") == b"c"
        until(lambda: client.get("/readyz").status == 200, "ready", 5)


def test_a_full_redis_is_ready():
    """As with the other backends: reads and deletes go on, each write that grows is refused."""
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        redis.run("CONFIG", "SET", "maxmemory", "1")
        until(lambda: client.kv_put("a", b"b").status == 507, "full")
        assert client.get("/readyz").status == 200

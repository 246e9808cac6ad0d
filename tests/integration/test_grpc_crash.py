"""kill -9 under a gRPC load: nothing acknowledged is lost, nothing is applied twice."""

import os
import signal
import time

import grpc
import pytest

from rpc import Rpc, messages
from rpc_load import RpcLoad
from strato import SANITIZED, Strato, until
from support import generator

GRPC = {"grpc": {"enabled": "yes"}}


def test_kill_the_store():
    """No call fails: those under way wait for the store's successor."""
    random, outages = generator(), []
    with Strato(GRPC) as strato, RpcLoad(strato) as load, Rpc(strato.grpc) as prober:
        for number in range(30):
            time.sleep(random.uniform(0.02, 0.3))
            pid = strato.kill("store-memory")
            start = time.monotonic()
            prober.kv_put("probe", b"%d" % number)
            outages.append(time.monotonic() - start)
            assert prober.kv_get("probe") == b"%d" % number
            strato.wait_restarted("store-memory", pid)
        load.finish()
        assert sum(load.lost) == 0
        print("longest outage: %.0f ms" % (max(outages) * 1000))


def test_large_values_survive_the_store():
    """What travels in pieces over the link is sent again to the successor."""
    random = generator()
    with Strato(GRPC) as strato, RpcLoad(strato, clients=4, size=300000) as load:
        for number in range(10):
            time.sleep(random.uniform(0.05, 0.3))
            strato.wait_restarted("store-memory", strato.kill("store-memory"))
        load.finish()
        assert sum(load.lost) == 0


def test_kill_a_worker_a_hundred_times():
    """Only its own connections break; their clients connect again and go on."""
    random = generator()
    with Strato(GRPC) as strato, RpcLoad(strato) as load:
        for number in range(20 if SANITIZED else 100):
            time.sleep(random.uniform(0, 0.1))
            name = f"grpc-{number % 2}"
            strato.wait_restarted(name, strato.kill(name), timeout=60)
        load.finish()
        assert sum(load.lost) > 0
        until(lambda: len(strato.pids()) == 5, "every process back")


def test_a_stopping_worker_says_so():
    """SIGTERM: those who watch its health hear of it, and calls go on elsewhere."""
    with Strato({"grpc": {"enabled": "yes", "workers": "1"}}) as strato, \
            Rpc(strato.grpc) as rpc, Rpc(strato.grpc) as other:
        rpc.kv_put("k", b"v")
        watch = rpc.watch("proto.KV")
        assert next(watch).status == 1
        pid = strato.kill("grpc-0", signal.SIGTERM)
        assert next(watch).status == 2
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        strato.wait_restarted("grpc-0", pid)
        assert rpc.kv_get("k") == other.kv_get("k") == b"v"


def test_drain_timeout_cuts_off_what_does_not_end():
    """A write that waits for a stopped store does not keep a worker from stopping."""
    with Strato({"strato": {"drain_timeout": "1s", "request_timeout": "30s"}, **GRPC}) as strato, \
            Rpc(strato.grpc) as rpc:
        rpc.kv_put("k", b"v")
        store = strato.kill("store-memory", signal.SIGSTOP)
        try:
            request = messages.PutRequest(location=messages.Location(key="k"),
                                          value=messages.Value(content=b"w"))
            calls = [rpc.method("/proto.KV/KVPut").future(request, timeout=30) for _ in range(20)]
            assert rpc.kv_get("k") == b"v"
            workers = {name: strato.kill(name, signal.SIGTERM) for name in ("grpc-0", "grpc-1")}
            for call in calls:
                assert call.exception(timeout=20) is not None
        finally:
            os.kill(store, signal.SIGCONT)
        for name, pid in workers.items():
            strato.wait_restarted(name, pid, timeout=30)
        rpc.kv_put("k", b"x")
        assert rpc.kv_get("k") == b"x"

"""kill -9 of any process at any moment: nothing acknowledged is lost, nothing is applied twice."""

import os
import signal
import time

import pytest
from client import Disconnected
from strato import SANITIZED, Strato, until
from support import Load, connections_of, generator, percentile, worker_of

LEAST_WRITES = 2000  # per second, outages included

def judge(figures):
    assert figures["wrong"] == 0, figures
    assert figures["failures"] == 0, figures
    if not SANITIZED:
        assert figures["writes_per_second"] >= LEAST_WRITES, figures


BURST = 600
INCREMENT = b"POST /counters/burst?increment=1 HTTP/1.1\r\nHost: x\r\n\r\n"


def test_kill_the_store():
    """At random moments, under load: no request fails, and the store is back within a second."""
    kills, random, outages, counted = 60, generator(), [], 0
    with Strato() as strato, Load(strato) as load:
        prober, burst = strato.client(), strato.client()
        prober.kv_put("probe", b"0")
        for number in range(kills):
            time.sleep(random.uniform(0.02, 0.3))
            pid = strato.pids()["store-memory"]
            # The store spends most of its time waiting: this makes sure that it has work in hand.
            burst.send(INCREMENT * BURST)
            moment = time.perf_counter() + random.uniform(0, 0.004)
            while time.perf_counter() < moment:
                pass
            os.kill(pid, signal.SIGKILL)
            start = time.monotonic()
            assert prober.kv_put("probe", b"%d" % number).status == 204
            outages.append(time.monotonic() - start)
            assert prober.kv_get("probe").body == b"%d" % number
            strato.wait_restarted("store-memory", pid)
            values = [burst.receive().json()["value"] for _ in range(BURST)]
            assert values == list(range(counted + 1, counted + BURST + 1))
            counted += BURST
        figures = load.finish()
        judge(figures)
        assert figures["disconnects"] == 0, figures
        print("outages:", " ".join(f"{outage * 1000:.0f}" for outage in sorted(outages)), "ms")
        assert percentile(outages, 0.99) <= 1.0
        assert strato.client().get("/readyz").status == 200


APPEND = b"POST /kv/burst?value=x HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_an_append_is_made_once_and_answered_as_it_was(backend):
    """Its answer is a message, which the store's successor must still have."""
    random, length = generator(), 0
    with Strato({"strato": {"backend": backend}}) as strato:
        burst = strato.client()
        for _ in range(12):
            pid = strato.pids()[f"store-{backend}"]
            burst.send(APPEND * BURST)
            moment = time.perf_counter() + random.uniform(0, 0.004)
            while time.perf_counter() < moment:
                pass
            os.kill(pid, signal.SIGKILL)
            strato.wait_restarted(f"store-{backend}", pid)
            lengths = [burst.receive().json()["length"] for _ in range(BURST)]
            assert lengths == list(range(length + 1, length + BURST + 1))
            length += BURST


def test_kill_the_store_while_it_recovers():
    """Two or three times in a row, so that the recovery itself is hit."""
    random = generator()
    with Strato() as strato, Load(strato) as load:
        for _ in range(6):
            # Failed starts are throttled more and more until one runs for two seconds.
            time.sleep(random.uniform(2.1, 2.5))
            for _ in range(random.randrange(2, 4)):
                old = strato.kill("store-memory")
                strato.wait_restarted("store-memory", old)
                time.sleep(random.uniform(0, 0.01))
            assert strato.client().kv_put("probe", b"x").status == 204
        figures = load.finish()
        judge(figures)
        assert figures["disconnects"] == 0, figures


def test_kill_workers():
    """Only the victim's connections break; what was acknowledged is exact."""
    kills, random, broken = 24, generator(), 0
    with Strato() as strato, Load(strato) as load:
        for number in range(kills):
            time.sleep(random.uniform(0.1, 0.4))
            victim = f"http-{number % 2}"
            broken += connections_of(strato, victim)
            old = strato.kill(victim)
            strato.wait_restarted(victim, old)
        time.sleep(0.3)
        figures = load.finish()
        judge(figures)
        # A connection can be accepted between the count and the kill, once in a while.
        assert figures["disconnects"] <= broken + kills // 4, (figures, broken)
        assert broken > 0, "the load was never on a victim"


def test_a_workers_death_leaves_the_other_workers_connections_alone():
    with Strato() as strato:
        clients = [strato.client() for _ in range(24)]
        for client in clients:
            assert client.get("/ping").status == 200
        owners = [worker_of(strato, client) for client in clients]
        assert set(owners) == {"http-0", "http-1"}, owners
        old = strato.kill("http-0")
        for client, owner in zip(clients, owners):
            socket = client.socket
            if owner == "http-1":
                assert client.kv_put("a", b"b").status == 204
                assert client.socket is socket
        strato.wait_restarted("http-0", old)
        for client, owner in zip(clients, owners):
            if owner == "http-0":
                try:
                    client.get("/ping")
                    raise AssertionError("a dead worker's connection still answers")
                except (Disconnected, OSError):
                    client.close()
            assert client.get("/ping").status == 200


def test_kill_everything_in_turn():
    """Store and workers together, at random."""
    random = generator()
    with Strato() as strato, Load(strato) as load:
        for _ in range(30):
            time.sleep(random.uniform(0.02, 0.3))
            victims = random.sample(["store-memory", "http-0", "http-1"], random.randrange(1, 4))
            pids = strato.pids()
            for victim in victims:
                if victim in pids:
                    os.kill(pids[victim], signal.SIGKILL)
            for victim in victims:
                if victim in pids:
                    strato.wait_restarted(victim, pids[victim])
        time.sleep(0.3)
        judge(load.finish())


def test_reads_go_on_while_the_store_is_away():
    """Hot reads need no store; writes wait and succeed when it is back."""
    with Strato() as strato:
        client, writer = strato.client(), strato.client()
        client.kv_put("hot", b"value")
        client.put("/counters/hot?increment=3")
        pid = strato.kill("store-memory", signal.SIGSTOP)
        try:
            writer.send(b"POST /counters/hot?increment=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(500):
                assert client.kv_get("hot").body == b"value"
                assert client.get("/counters/hot").json()["value"] == 3
        finally:
            os.kill(pid, signal.SIGCONT)
        assert writer.receive().json()["value"] == 4
        assert client.get("/counters/hot").json()["value"] == 4


def test_a_store_that_stays_away():
    """Writes end with 504 after request_timeout, readiness says which backend; then all is well."""
    with Strato({"strato": {"request_timeout": "500ms"}}) as strato:
        client = strato.client()
        client.kv_put("hot", b"value")
        pid = strato.kill("store-memory", signal.SIGSTOP)
        try:
            start = time.monotonic()
            response = client.kv_put("cold", b"x")
            assert response.status in (503, 504) and response.json()["error"], response
            assert 0.3 < time.monotonic() - start < 2
            assert client.kv_get("hot").body == b"value"
            assert client.get("/livez").status == 200

            def unready():
                answer = client.get("/readyz")
                return answer.status == 503 and b"memory" in answer.body
            until(unready, "readyz names the backend", 15)
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: client.get("/readyz").status == 200, "ready again")
        # The refused write was given up in time: it must not be applied later.
        assert client.kv_get("cold").status == 404
        assert client.kv_put("cold", b"y").status == 204


def test_children_never_outlive_the_supervisor():
    strato = Strato()
    try:
        strato.start()
        pids = strato.pids()
        assert len(pids) == 3, pids
        strato.process.kill()
        strato.process.wait()
        until(lambda: not strato.left(), "children gone", 5)
    finally:
        strato.abandon()

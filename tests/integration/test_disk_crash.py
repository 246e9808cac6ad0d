"""kill -9 with the disk backend: what was acknowledged is there, nothing is applied twice.

STRATO_KILLS scales how often is killed: 0.6, which is over 200 times, unless said.
"""

import os
import random as generate
import socket
import time

import pytest
from strato import SANITIZED, Strato, until
from support import Load, generator, percentile
from test_failpoints import Model

LEAST_WRITES = 1000  # per second, outages included
CLIENTS = 24
SCALE = float(os.environ.get("STRATO_KILLS", "1" if os.environ.get("STRATO_LONG") else "0.6"))
SYNCS = ["commit", "interval", "off"]
POINTS = ["disk.before_commit", "disk.after_commit", "disk.after_publish", "store.after_take",
          "store.before_apply", "store.after_keep", "store.before_completion", "store.after_completion"]


def kills(count):
    return max(2, int(count * SCALE))


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port():
    """One that stays free while nobody listens on it: clients are given higher ones."""
    while True:
        port = generate.randrange(20000, 32000)
        if is_free(port):
            return port


def disk(sync="commit", **sections):
    return Strato({"strato": {"backend": "disk"}, "disk": {"sync": sync},
                   "http": {"listen": f"127.0.0.1:{free_port()}"}, **sections})


def judge(figures):
    assert figures["wrong"] == 0, figures
    assert figures["failures"] == 0, figures
    if not SANITIZED:
        assert figures["writes_per_second"] >= LEAST_WRITES, figures


@pytest.mark.parametrize("sync", SYNCS)
def test_kill_the_store(sync):
    """At random moments, under load: no request fails."""
    random, outages = generator(), []
    with disk(sync) as strato, Load(strato, clients=CLIENTS) as load:
        prober = strato.client()
        for number in range(kills(100 if sync == "commit" else 20)):
            time.sleep(random.uniform(0.02, 0.3))
            old = strato.kill("store-disk")
            start = time.monotonic()
            assert prober.kv_put("probe", b"%d" % number).status == 204
            outages.append(time.monotonic() - start)
            assert prober.kv_get("probe").body == b"%d" % number
            strato.wait_restarted("store-disk", old)
        figures = load.finish()
        judge(figures)
        assert figures["disconnects"] == 0, figures
        print("outages:", " ".join(f"{outage * 1000:.0f}" for outage in sorted(outages)), "ms")
        if not SANITIZED:
            assert percentile(outages, 0.99) <= 1.0


def start_again(strato):
    """After the supervisor is gone with all its children."""
    strato.process.wait()
    until(lambda: not strato.left(), "children gone", 5)
    # The threads of a dead process may hold its sockets for a moment longer.
    until(lambda: is_free(strato.http[1]), "the port is free", 5)
    strato.check_log()
    os.remove(strato.log_path)
    strato.start()


def test_kill_the_supervisor():
    """Its children go with it; what they had not done is not promised, what they had is there."""
    random = generator()
    with disk() as strato, Load(strato, clients=CLIENTS) as load:
        for _ in range(kills(50)):
            time.sleep(random.uniform(0.1, 0.5))
            strato.pids()
            strato.process.kill()
            start_again(strato)
        time.sleep(0.5)
        judge(load.finish())


@pytest.mark.parametrize("sync", SYNCS)
def test_kill_everything_at_once(sync):
    random = generator()
    with disk(sync) as strato, Load(strato, clients=CLIENTS) as load:
        for _ in range(kills(50 if sync == "commit" else 10)):
            time.sleep(random.uniform(0.1, 0.5))
            pids = list(strato.pids().values())
            random.shuffle(pids)
            strato.process.kill()
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            start_again(strato)
        time.sleep(0.5)
        judge(load.finish())


@pytest.mark.parametrize("point", POINTS)
def test_kill_the_store_at_a_failpoint_under_load(point):
    random = generator()
    strato = disk()
    path = os.path.join(strato.directory, "failpoint")
    strato.environment["STRATO_FAILPOINT"] = path
    with strato, Load(strato, clients=CLIENTS) as load:
        for _ in range(kills(8)):
            with open(path, "w") as file:
                file.write(f"store-disk {point} {random.randrange(1, 200)}\n")
            ends = strato.log().count("store-disk ended") + 2
            strato.kill("store-disk")
            until(lambda: strato.log().count("store-disk ended") >= ends, "killed at the point")
            assert not os.path.exists(path)
            time.sleep(random.uniform(0.5, 1))
        figures = load.finish()
        judge(figures)
        assert figures["disconnects"] == 0, figures


@pytest.mark.parametrize("point", POINTS)
def test_each_operation_is_exact_across_the_kill(point):
    """One client, so that nothing else hides a wrong answer."""
    strato = disk()
    path = os.path.join(strato.directory, "failpoint")
    strato.environment["STRATO_FAILPOINT"] = path
    with strato:
        for count in (1, 2, 3, 4, 7, 30):
            model = Model(strato.client(), f"{point}-{count}")
            ends = strato.log().count("store-disk ended") + 2
            with open(path, "w") as file:
                file.write(f"store-disk {point} {count}\n")
            strato.kill("store-disk")
            until(lambda: not os.path.exists(path), "the store took the failpoint up")
            for number in range(12):
                model.round(number)
            assert strato.log().count("store-disk ended") >= ends, f"{point} was never reached"
            model.check(strato.client())


def test_reads_go_on_while_the_store_is_away():
    """What was read lately needs no store; the rest waits for it."""
    with disk() as strato:
        client = strato.client()
        assert client.kv_put("hot", b"value").status == 204
        old = strato.kill("store-disk", 19)  # stopped
        for _ in range(300):
            assert client.kv_get("hot").body == b"value"
        strato.kill("store-disk")
        assert client.kv_get("hot").body == b"value"
        assert client.kv_put("hot", b"new").status == 204
        assert client.kv_get("hot").body == b"new"
        strato.wait_restarted("store-disk", old)

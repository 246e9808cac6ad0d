"""From release 0.2.0 to this one, and back: its data directory, its arena that systemd kept, its
rings and its processes beside ours. All data is there, no request fails, nothing is done twice; and
what 0.2.0 finds on going back it takes or refuses, but never loses."""

import os
import re
import signal
import threading
import time

import pytest
from redis_servers import Redis
from released import build, install
from rpc_load import RpcLoad
from stored import Stored
from strato import Strato, until
from support import Load
from test_control import ctl, status
from test_failpoints import Model
from test_systemd import Service, Systemd

OLD = build("0.2.0")
DISK = {"strato": {"backend": "disk"}, "memory": {"size": "32M"}}
MEMORY = {"memory": {"size": "64M"}}


def old_strato(settings, environment=None):
    strato = Strato(settings, environment)
    install(strato, OLD)
    return strato


def start_again(strato, build_directory=None, kill=False):
    """Ends all of it, in order or not, puts the other release's programs there and starts them."""
    for client in strato.clients:
        client.close()
    if kill:
        for pid in [strato.process.pid, *strato.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        strato.process.wait()
        until(lambda: not strato.left(), "all of it gone")
    else:
        strato.process.send_signal(signal.SIGTERM)
        assert strato.process.wait(30) == 0
    os.rename(strato.log_path, strato.log_path + f".{time.monotonic_ns()}")
    install(strato, build_directory)
    strato.start()


def all_ready(strato):
    return all(row["state"] in ("ready", "running") for row in status(strato).values())


# ---- What is stored ----

@pytest.mark.parametrize("sync, kill", [("commit", False), ("commit", True), ("interval", False),
                                        ("interval", True), ("off", False)])
def test_a_data_directory(sync, kill):
    stored = Stored()
    with old_strato({**DISK, "disk": {"sync": sync, "sync_interval": "20ms"}}) as strato:
        stored.fill(strato.client())
        start_again(strato, kill=kill)
        assert "damaged" not in strato.log()
        client = strato.client()
        stored.check(client)
        until(lambda: client.get("/cache/short").status == 404, "what was short is gone")
        stored.change(client)
        stored.check(client)
        strato.wait_restarted("store-disk", strato.kill("store-disk"))
        stored.check(client)
        start_again(strato)
        stored.check(strato.client())


def test_an_arena_kept_by_systemd(tmp_path):
    stored = Stored()
    with Systemd(str(tmp_path)) as systemd:
        strato = Service(systemd, MEMORY)
        install(strato, OLD)
        with strato:
            until(lambda: systemd.heard("READY"), "READY=1")
            stored.fill(strato.client())
            start_again(strato)
            assert "took over the arena" in strato.log()
            client = strato.client()
            stored.check(client)
            until(lambda: client.get("/cache/short").status == 404, "what was short is gone")
            stored.change(client)
            strato.wait_restarted("store-memory", strato.kill("store-memory"))
            stored.check(client)
            start_again(strato)
            stored.check(strato.client())


# ---- Going back ----

def start_old(strato):
    """Starts 0.2.0 on what this release wrote. Whether it runs; if not, it has said why."""
    try:
        start_again(strato, OLD)
        return True
    except AssertionError:
        assert strato.process.wait(60) != 0
        assert re.search(r"has (format|version) \d+, this program (knows|needs)", strato.log())
        return False


def there_and_back(strato, stored):
    """0.2.0 and this release again, with all that was stored."""
    if start_old(strato):
        stored.check(strato.client())
        stored.change(strato.client())
        start_again(strato)
    else:
        install(strato)
        os.remove(strato.log_path)
        strato.start()
    stored.check(strato.client())


def test_going_back_with_a_data_directory():
    stored = Stored()
    strato = Strato(DISK)
    install(strato)
    with strato:
        stored.fill(strato.client())
        there_and_back(strato, stored)


def test_going_back_with_a_kept_arena(tmp_path):
    stored = Stored()
    with Systemd(str(tmp_path)) as systemd:
        strato = Service(systemd, MEMORY)
        install(strato)
        with strato:
            until(lambda: systemd.heard("READY"), "READY=1")
            stored.fill(strato.client())
            there_and_back(strato, stored)


# ---- Side by side ----

class Large(threading.Thread):
    """A client whose values and set answers do not go into a slot. Nothing may fail."""

    def __init__(self, strato, number):
        super().__init__()
        self.client, self.number = strato.client(), number
        self.ended, self.wrong, self.rounds = threading.Event(), None, 0
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def finish(self):
        self.__exit__()
        assert self.wrong is None, self.wrong
        assert self.rounds > 2
        return self.rounds

    def run(self):
        try:
            self.fill()
            while not self.ended.is_set():
                self.round()
                self.rounds += 1
        except Exception as error:  # shown by the test's own thread
            self.wrong = repr(error)

    def fill(self):
        self.items = {f"{number:0100d}" for number in range(60)}
        for item in self.items:
            assert self.client.put(f"/sets/large-{self.number}?item={item}").status == 200

    def round(self):
        value = b"%d %d " % (self.number, self.rounds) * (100 + self.rounds % 40 * 300)
        key = f"large-{self.number}-{self.rounds % 5}"
        assert self.client.kv_put(key, value).status == 204
        self.items.add(f"round-{self.rounds}")
        answer = self.client.put(f"/sets/large-{self.number}?item=round-{self.rounds}")
        assert set(answer.json()["items"]) == self.items
        assert self.client.kv_get(key).body == value
        if self.rounds >= 5:
            self.items.remove(f"round-{self.rounds - 5}")
            answer = self.client.delete(
                f"/sets/large-{self.number}?item=round-{self.rounds - 5}")
            assert set(answer.json()["items"]) == self.items
        answer = self.client.post(f"/counters/large-{self.number}?increment=1")
        assert answer.json()["value"] == self.rounds + 1
        assert set(self.client.get(f"/sets/large-{self.number}").json()["items"]) == self.items


def judge(figures):
    assert figures["wrong"] == 0 and figures["failures"] == 0, figures
    assert figures["disconnects"] == 0 and figures["writes"] > 0, figures


def rounds_pass(clients, count=3):
    """Waits until each client has gone round some times more."""
    aims = [client.rounds + count for client in clients]
    until(lambda: any(client.wrong for client in clients) or
          all(client.rounds >= aim for client, aim in zip(clients, aims)), "some rounds", 60)


def upgrade_under_load(settings, store):
    stored = Stored()
    with old_strato({**settings, "grpc": {"enabled": "yes"}}) as strato:
        stored.fill(strato.client())
        with Load(strato, clients=8) as load, RpcLoad(strato, clients=4) as rpc, \
                Large(strato, 0) as first, Large(strato, 1) as second:
            rounds_pass([first, second])
            install(strato)
            ctl(strato, "restart", "store")
            rounds_pass([first, second])  # old workers, new store
            stored.check(strato.client())
            for _ in range(3):
                ctl(strato, "restart", "all")
                rounds_pass([first, second])
            stored.check(strato.client())
            stored.change(strato.client())
            ctl(strato, "reload")
            first.finish()
            second.finish()
            rpc.unnoticed()
            judge(load.finish())
        stored.check(strato.client())
        old = strato.kill(store)
        strato.wait_restarted(store, old)
        stored.check(strato.client())
        assert "damaged" not in strato.log() and "not in order" not in strato.log()


def test_an_upgrade_under_load_in_memory():
    upgrade_under_load(MEMORY, "store-memory")


def test_an_upgrade_under_load_on_disk():
    upgrade_under_load(DISK, "store-disk")


def test_an_upgrade_under_load_on_redis():
    with Redis() as redis:
        upgrade_under_load(redis.settings(), "store-redis")


def test_a_new_worker_beside_the_old_store():
    """A worker that ended after the files were replaced and before the processes were."""
    for settings, store in ((MEMORY, "store-memory"), (DISK, "store-disk")):
        stored = Stored()  # idle connections keep a draining worker for as long as they may
        with old_strato({**settings, "strato": {**settings.get("strato", {}),
                                                "drain_timeout": "1s"}}) as strato:
            stored.fill(strato.client())
            install(strato)
            old = strato.pids()
            for name in ("http-0", "http-1"):
                strato.wait_restarted(name, strato.kill(name))
            assert strato.pids()[store] == old[store]
            until(lambda: all_ready(strato), "the new workers")
            stored.check(strato.client())
            stored.change(strato.client())
            stored.check(strato.client())
            with Large(strato, 0) as large:
                rounds_pass([large])
                ctl(strato, "restart", "all")
                rounds_pass([large])
                large.finish()
            stored.check(strato.client())


POINTS = {"store-memory": ["store.after_take", "arena.before_intent", "arena.after_intent",
                           "arena.before_publish", "arena.after_publish", "arena.after_applied",
                           "store.before_completion", "store.after_completion"],
          "store-disk": ["store.after_take", "disk.before_commit", "disk.after_commit",
                         "disk.after_publish", "store.before_completion", "store.after_completion"]}


def run_models(models, rounds):
    """Each model's rounds in a thread of its own; returns what went wrong."""
    wrong = []

    def run(model):
        try:
            for number in rounds:
                model.round(number)
        except Exception as error:
            wrong.append(repr(error))
    threads = [threading.Thread(target=run, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("store, point", [(store, point) for store, points in POINTS.items()
                                          for point in points])
def test_a_store_killed_whose_successor_is_new(store, point):
    """What the old one had taken, carried out or not answered is settled by the new one, once."""
    strato = old_strato(MEMORY if store == "store-memory" else DISK)
    armed = os.path.join(strato.directory, "failpoint")
    strato.environment["STRATO_FAILPOINT"] = armed
    with strato:
        with open(armed, "w") as file:
            file.write(f"{store} {point} 30")
        ctl(strato, "restart", "store")
        old = strato.pids()[store]
        assert not os.path.exists(armed)
        install(strato)
        models = [Model(strato.client(), f"m{number}") for number in range(6)]
        assert run_models(models, range(6)) == []
        assert strato.wait_restarted(store, old) != old
        assert run_models(models, range(6, 8)) == []
        client = strato.client()
        for model in models:
            model.check(client)

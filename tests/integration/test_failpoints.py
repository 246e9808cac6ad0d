"""The store killed exactly at the dangerous instants; each operation's outcome stays exact."""

import os

import pytest
from strato import Strato, until
from support import Load, generator

POINTS = ["store.after_take", "store.before_apply", "arena.before_intent", "arena.after_intent",
          "arena.before_publish", "arena.after_publish", "arena.after_applied",
          "store.after_keep", "store.before_completion", "store.after_completion"]


class Model:
    """One client's operations, each checked against what it must answer."""

    def __init__(self, client, prefix):
        self.client = client
        self.prefix = prefix
        self.counter = 0
        self.items = set()
        self.kv = {}

    def increment(self, amount):
        self.counter += amount
        answer = self.client.post(f"/counters/{self.prefix}?increment={amount}")
        assert (answer.status, answer.json()["value"]) == (200, self.counter), answer

    def add(self, item):
        self.items.add(item)
        answer = self.client.put(f"/sets/{self.prefix}?item={item}")
        assert sorted(answer.json()["items"]) == sorted(self.items)

    def remove(self, item):
        self.items.discard(item)
        answer = self.client.delete(f"/sets/{self.prefix}?item={item}")
        assert sorted(answer.json()["items"]) == sorted(self.items)

    def put(self, name, value):
        self.kv[name] = value
        assert self.client.kv_put(f"{self.prefix}.{name}", value).status == 204

    def delete(self, name):
        expected = 204 if self.kv.pop(name, None) is not None else 404
        assert self.client.delete(f"/kv/{self.prefix}.{name}").status == expected

    def flag(self, value):
        assert self.client.put(f"/flags/{self.prefix}?value={value}").status == 204
        assert self.client.get(f"/flags/{self.prefix}").json() == {"value": value == "true"}

    def cache(self, value):
        assert self.client.put(f"/cache/{self.prefix}?ttl=600&value={value}").status == 204
        assert self.client.get(f"/cache/{self.prefix}").json() == {"value": value}

    def round(self, number):
        """One of each; the values change sizes, so that records move between blocks."""
        self.increment(number + 1)
        self.put("a", b"%d" % number * (1 + number % 50))
        self.add(f"item-{number}")
        self.flag("true" if number % 2 else "false")
        self.put("b", b"large %d" % number * (300 + number % 7 * 100))
        self.cache(f"value-{number}")
        self.delete("a")
        self.delete("a")
        self.remove(f"item-{number - 3}")
        self.increment(-2 * number)

    def check(self, client):
        assert client.get(f"/counters/{self.prefix}").json()["value"] == self.counter
        assert set(client.get(f"/sets/{self.prefix}").json()["items"]) == self.items
        assert client.kv_get(f"{self.prefix}.b").body == self.kv["b"]
        assert client.kv_get(f"{self.prefix}.a").status == 404


@pytest.fixture(scope="module")
def armed():
    """A Strato whose next store can be armed by writing the returned file."""
    strato = Strato()
    path = os.path.join(strato.directory, "failpoint")
    strato.environment["STRATO_FAILPOINT"] = path
    with strato:
        yield strato, path


def arm(strato, path, point, count):
    """Restarts the store armed and returns its pid."""
    with open(path, "w") as file:
        file.write(f"store-memory {point} {count}\n")
    old = strato.kill("store-memory")
    until(lambda: not os.path.exists(path), "the store took the failpoint up")
    return strato.wait_restarted("store-memory", old)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 11, 30])
@pytest.mark.parametrize("point", POINTS)
def test_each_operation_is_exact_across_the_kill(armed, point, count):
    strato, path = armed
    model = Model(strato.client(), f"{point}-{count}")
    pid = arm(strato, path, point, count)
    for number in range(12):
        model.round(number)
    assert strato.pids().get("store-memory") != pid, f"{point} was never reached"
    for _ in range(2):
        model.round(99)
    for _ in range(4):
        model.check(strato.client())


@pytest.mark.parametrize("count", [5, 64, 300])
@pytest.mark.parametrize("point", POINTS)
def test_a_batch_is_exact_across_the_kill(armed, point, count):
    """Many submissions in the rings at once, from two workers."""
    strato, path = armed
    clients = [strato.client() for _ in range(6)]
    pid = arm(strato, path, point, count)
    each, rounds, name = 100, 0, f"batch-{point}-{count}"
    request = f"POST /counters/{name}?increment=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    values = []
    # More than once, because some points are passed once for many submissions.
    while rounds == 0 or strato.pids().get("store-memory") == pid:
        assert rounds < 100, f"{point} was never reached"
        rounds += 1
        for client in clients:
            client.send(request * each)
        for client in clients:
            mine = [client.receive().json()["value"] for _ in range(each)]
            assert mine == sorted(mine)
            values += mine
    total = rounds * each * len(clients)
    assert sorted(values) == list(range(1, total + 1))
    assert clients[0].get(f"/counters/{name}").json()["value"] == total


READY = "is ready after"  # in the supervisor's log, once for each start


def test_under_load(armed):
    """A store spends most of its time waiting, where random kills find it; these find it at work,
    with many clients' submissions in hand."""
    strato, path = armed
    random = generator()
    with Load(strato, prefix="load-") as load:
        for _ in range(40):
            starts = strato.log().count(READY)
            point, count = random.choice(POINTS), random.randrange(1, 1500)
            with open(path, "w") as file:
                file.write(f"store-memory {point} {count}\n")
            strato.kill("store-memory")
            # One for the armed store, and one for its successor.
            until(lambda: strato.log().count(READY) >= starts + 2, f"{point} {count} reached", 30)
        figures = load.finish()
    assert figures["wrong"] == figures["failures"] == figures["disconnects"] == 0, figures


def test_killed_while_it_recovers(armed):
    """A second kill at an instant of the recovery, which carries a valid intent out again."""
    strato, path = armed
    for count in range(1, 6):
        model = Model(strato.client(), f"again-{count}")
        for number in range(3):
            model.round(number)
        arm(strato, path, "arena.after_intent", count)
        with open(path, "w") as file:
            file.write("store-memory store.before_apply 1\n")
        for number in range(3, 8):
            model.round(number)
        assert not os.path.exists(path), "the second one was never taken up"
        model.check(strato.client())

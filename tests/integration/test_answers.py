"""Answers that do not fit a ring's slot, over kill -9 of the store: each is exactly what its change left,
and none is asked for again."""

import os
import threading
import time

import pytest
from strato import SANITIZED, Strato, until
from support import generator

ITEM = 400  # bytes; 150 of them are 60 KB
CLIENTS = 4
POINTS = {"memory": ["store.after_keep", "arena.after_intent", "arena.after_applied",
                     "store.before_completion"],
          "disk": ["store.after_keep", "disk.before_commit", "disk.after_commit", "store.before_completion"]}


class Adder(threading.Thread):
    """Adds to a set of its own and removes from it, and knows what each answer must be."""

    def __init__(self, strato, number):
        super().__init__()
        self.client = strato.client()
        self.number = number
        self.items = set()
        self.count = 0
        self.wrong = None
        self.stop = False
        for i in range(150):
            self.change(self.client.put, f"{i:06}")

    def change(self, method, name):
        item = name.ljust(ITEM, "x")
        (self.items.add if method == self.client.put else self.items.discard)(item)
        answer = method(f"/sets/long-{self.number}?item={item}")
        assert answer.status == 200, answer
        assert sorted(answer.json()["items"]) == sorted(self.items), "another set than after this change"
        self.count += 1

    def run(self):
        number = 150
        try:
            while not self.stop:
                self.change(self.client.put, f"{number:06}")
                self.change(self.client.delete, f"{number - 150:06}")
                number += 1
        except Exception as error:  # pylint: disable=broad-except
            self.wrong = error


def run_all(strato, kill, count):
    adders = [Adder(strato, number) for number in range(CLIENTS)]
    for adder in adders:
        adder.start()
    for number in range(count):
        kill(number)
    for adder in adders:
        adder.stop = True
    for adder in adders:
        adder.join()
        assert adder.wrong is None, adder.wrong
        answer = strato.client().get(f"/sets/long-{adder.number}")
        assert sorted(answer.json()["items"]) == sorted(adder.items)
    assert sum(adder.count for adder in adders) > CLIENTS * 150 + count


@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_killed_at_random_moments(backend):
    random = generator()
    with Strato({"strato": {"backend": backend}}) as strato:
        def kill(_):
            time.sleep(random.uniform(0.02, 0.3))
            strato.wait_restarted(f"store-{backend}", strato.kill(f"store-{backend}"))
        run_all(strato, kill, 5 if SANITIZED else 20)


@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_killed_at_the_instants_that_matter(backend):
    random = generator()
    strato = Strato({"strato": {"backend": backend}})
    path = os.path.join(strato.directory, "failpoint")
    strato.environment["STRATO_FAILPOINT"] = path
    with strato:
        def kill(number):
            starts = strato.log().count("is ready after")
            point = POINTS[backend][number % len(POINTS[backend])]
            with open(path, "w") as file:
                file.write(f"store-{backend} {point} {random.randrange(1, 60)}\n")
            strato.kill(f"store-{backend}")
            until(lambda: strato.log().count("is ready after") >= starts + 2, f"{point} reached", 30)
        run_all(strato, kill, 4 if SANITIZED else 16)

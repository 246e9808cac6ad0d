"""Load while servers come and go: writes over HTTP, and remembers what each answer promised.

    2xx                 done
    503                 an increment was not made; anything else may have been
    500, "may have"     only to an increment: it may have been made
    504                 may have been made

So a counter is between what was acknowledged and that plus what may have been, and a key holds what
was acknowledged last, or something that may have been made after it: never anything older.
"""

import itertools
import random
import threading
import time

from client import Client, Disconnected
from strato import until

DONE, NOT_DONE, MAYBE = "done", "not done", "maybe"
_writers = itertools.count()  # several loads may use one Redis


class Writer(threading.Thread):
    """One client with keys of its own."""

    def __init__(self, address, stop, only=None):
        super().__init__()
        self.client = Client(*address, timeout=30)
        self.number = next(_writers)
        self.random = random.Random(self.number)
        self.stop = stop
        self.only = only
        self.wrong = []
        self.counts = {DONE: 0, NOT_DONE: 0, MAYBE: 0}
        self.unknown = 0  # increments answered "may have been made"
        self.done_times = []  # of acknowledged increments
        self.last_done = 0.0
        self.longest_gap = 0.0  # without a success
        self.increments = 0
        self.maybe_increments = 0
        self.kv = {}  # name: values it may have; None: no such key
        self.kv_times = {}  # name: [(when acknowledged, value)]
        self.items = {}  # item: it is there, as values that may be true
        self.version = 0

    def name(self, what):
        return f"load-{self.number}-{what}"

    # ---- One request ----

    def ask(self, method, target, increment=False, body=None, missing_ok=False):
        headers = {"Content-Type": "text/plain"} if body is not None else {}
        try:
            response = self.client.request(method, target, body, headers)
        except (Disconnected, OSError):
            self.client.close()
            self.counts[MAYBE] += 1
            time.sleep(0.01)
            return MAYBE, None
        outcome = self.outcome(response, increment, missing_ok)
        self.counts[outcome] += 1
        now = time.monotonic()
        if outcome == DONE:
            if self.last_done:
                self.longest_gap = max(self.longest_gap, now - self.last_done)
            self.last_done = now
        else:
            time.sleep(0.002)  # as a client would
        return outcome, response

    def outcome(self, response, increment, missing_ok):
        if response.status in (200, 204) or missing_ok and response.status == 404:
            return DONE
        if response.status == 503:
            if "retry-after" not in response.headers:
                self.wrong.append(f"no Retry-After: {response}")
            return NOT_DONE if increment else MAYBE
        if response.status == 500 and increment and b"may have been made" in response.body:
            self.unknown += 1
            return MAYBE
        if response.status != 504:
            self.wrong.append(f"{response}")
        return MAYBE

    # ---- What it does ----

    def increment(self):
        outcome, response = self.ask("POST", f"/counters/{self.name('c')}?increment=1", True)
        if outcome == DONE:
            self.increments += 1
            self.done_times.append(time.monotonic())
            value = response.json()["value"]
            if not self.increments <= value <= self.increments + self.maybe_increments:
                self.wrong.append(f"counter {value}: {self.increments} were acknowledged and "
                                  f"{self.maybe_increments} may have been made")
        elif outcome == MAYBE:
            self.maybe_increments += 1

    def put(self):
        name = self.name(f"k{self.random.randrange(20)}")
        self.version += 1
        value = b"%d-" % self.version + b"v" * self.random.choice([10, 100, 700, 3000])
        outcome, _ = self.ask("PUT", f"/kv/{name}", body=value)
        self.note_kv(name, outcome, value)

    def delete(self):
        name = self.name(f"k{self.random.randrange(20)}")
        before = self.kv.get(name, {None})
        outcome, response = self.ask("DELETE", f"/kv/{name}", missing_ok=True)
        if outcome == DONE and len(before) == 1 and response.status == 404 and before != {None}:
            self.wrong.append(f"DELETE {name}: 404, but it held {before}")
        self.note_kv(name, outcome, None)

    def note_kv(self, name, outcome, value):
        if outcome == DONE:
            self.kv[name] = {value}
            self.kv_times.setdefault(name, []).append((time.monotonic(), value))
        else:
            self.kv[name] = self.kv.get(name, {None}) | {value}

    def get(self):
        name = self.name(f"k{self.random.randrange(20)}")
        outcome, response = self.ask("GET", f"/kv/{name}", missing_ok=True)
        if outcome == DONE:
            self.check_kv(name, None if response.status == 404 else response.json()["value"])

    def check_kv(self, name, text, also=()):
        value = None if text is None else text.encode()
        if value not in self.kv.get(name, {None}) | set(also):
            self.wrong.append(f"{name} holds {value and value[:12]}, not one of "
                              f"{[v and v[:12] for v in self.kv.get(name, {None})]}")

    def change_set(self):
        item = f"i{self.random.randrange(30)}"
        add = self.random.random() < 0.6
        outcome, response = self.ask("PUT" if add else "DELETE",
                                     f"/sets/{self.name('s')}?item={item}")
        if outcome == DONE:
            self.items[item] = {add}
            self.check_set(response.json()["items"])
        else:
            self.items[item] = self.items.get(item, {False}) | {add}

    def check_set(self, found):
        if len(set(found)) != len(found):
            self.wrong.append(f"an item twice: {found}")
        for number in range(30):
            item = f"i{number}"
            if (item in found) not in self.items.get(item, {False}):
                self.wrong.append(f"set {self.name('s')}: {item} is "
                                  f"{'there' if item in found else 'missing'}")

    def run(self):
        acts = [(self.increment, 40), (self.put, 25), (self.delete, 5), (self.get, 15),
                (self.change_set, 15)]
        if self.only:
            acts = [(getattr(self, self.only), 1)]
        choices = [act for act, weight in acts for _ in range(weight)]
        while not self.stop.is_set():
            self.random.choice(choices)()
        self.client.close()

    # ---- Afterwards ----

    def verify(self, client, lossy=None):
        """lossy: moments in which Redis itself may lose what it had acknowledged just before."""
        lost = [t for t in self.done_times if in_windows(t, lossy)]
        value = settled(client, f"/counters/{self.name('c')}").json()["value"]
        least = self.increments - len(lost)
        if not least <= value <= self.increments + self.maybe_increments:
            self.wrong.append(f"counter {value}, not within {least} and "
                              f"{self.increments + self.maybe_increments}")
        for name in self.kv:
            response = settled(client, f"/kv/{name}")
            self.check_kv(name, response.json()["value"] if response.status == 200 else None,
                          self.rolled_back(name, lossy))
        if not lossy:
            self.check_set(settled(client, f"/sets/{self.name('s')}").json()["items"])

    def rolled_back(self, name, lossy):
        """Values that are right when the last writes to a key were lost with a master."""
        older, previous = set(), None
        for when, value in self.kv_times.get(name, []):
            if in_windows(when, lossy):
                older.add(previous)
            previous = value
        return older


def settled(client, path):
    """The answer once Redis is back: what was done to it last may not be over yet."""
    return until(lambda: (response := client.get(path)).status in (200, 404) and response,
                 "an answer to " + path, 10)


def in_windows(when, moments, before=0.2):
    return any(moment - before <= when <= moment for moment in moments or [])


class RedisLoad:
    """Writers in the background; finish() checks everything and gives the figures."""

    def __init__(self, strato, writers=6, only=None):
        self.strato = strato
        self.stop = threading.Event()
        self.writers = [Writer(strato.http, self.stop, only) for _ in range(writers)]
        self.started = time.monotonic()
        for writer in self.writers:
            writer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for writer in self.writers:
            writer.join()

    def done(self):
        return sum(writer.counts[DONE] for writer in self.writers)

    def finish(self, lossy=None):
        self.__exit__()
        client = self.strato.client()
        for writer in self.writers:
            writer.verify(client, lossy)
        wrong = [text for writer in self.writers for text in writer.wrong]
        assert not wrong, "\n".join(wrong[:20])
        figures = {key: sum(writer.counts[key] for writer in self.writers)
                   for key in (DONE, NOT_DONE, MAYBE)}
        figures["unknown"] = sum(writer.unknown for writer in self.writers)
        figures["rate"] = round(figures[DONE] / (time.monotonic() - self.started))
        figures["longest_gap"] = round(max(writer.longest_gap for writer in self.writers), 3)
        print("load:", figures)
        return figures

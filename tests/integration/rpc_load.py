"""Clients that write over gRPC all the time and notice anything lost or applied twice."""

import threading
import time

import grpc

from rpc import Rpc


class RpcLoad:
    """Each client has a connection and keys of its own. When a call is lost with its connection its
    outcome is unknown: it may have been applied once or not at all. One that found nobody to connect
    to (refused) is made again."""

    def __init__(self, strato, clients=8, size=40):
        self.address, self.size = strato.grpc, size
        self.wrong, self.failures, self.lost, self.calls = [], [], [0] * clients, [0] * clients
        self.refused = [0] * clients
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,))
                        for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def finish(self):
        """Stops, and returns the number of calls; fails when anything was lost or doubled."""
        self.__exit__()
        print("rpc load:", sum(self.calls), "calls,", sum(self.lost), "lost with a connection")
        assert self.wrong == [] and self.failures == [], (self.wrong, self.failures)
        assert min(self.calls) > 0
        return sum(self.calls)

    def unnoticed(self):
        """As finish(); fails when any call did."""
        self.finish()
        assert sum(self.lost) == sum(self.refused) == 0

    def run(self, number):
        with Rpc(self.address) as rpc:
            counts, values = {0}, {None}
            while not self.stop.is_set():
                counts = self.count(rpc, number, counts)
                values = self.write(rpc, number, values)
                self.look(rpc, number, counts, values)

    def attempt(self, number, function):
        """What the function returns; None when its outcome is unknown."""
        while not self.stop.is_set():
            try:
                value = function()
                self.calls[number] += 1
                return value
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    self.failures.append(f"{error.code()} {error.details()}")
                    self.stop.set()
                elif "failed to connect" not in error.details():
                    self.lost[number] += 1
                    return None
                else:
                    self.refused[number] += 1
                time.sleep(0.01)
        return None

    def count(self, rpc, number, counts):
        """counts: what the counter may be. Returns what it may be now."""
        value = self.attempt(number, lambda: rpc.ask(
            "/proto.Counter/IncrementCounter", key=f"load-{number}", amount=1).value)
        if value is None:
            return counts | {count + 1 for count in counts}
        if value - 1 not in counts:
            self.wrong.append(f"counter {number}: {value} after one of {counts}")
        return {value}

    def write(self, rpc, number, values):
        value = b"%d %d " % (number, self.calls[number]) + b"x" * self.size
        done = self.attempt(number, lambda: rpc.kv_put(f"load-{number}", value) or True)
        return {value} if done else values | {value}

    def look(self, rpc, number, counts, values):
        count = self.attempt(number, lambda: rpc.ask(
            "/proto.Counter/CounterGet", key=f"load-{number}").value)
        if count is not None and count not in counts:
            self.wrong.append(f"counter {number}: {count}, not one of {counts}")
        if None in values:
            return
        value = self.attempt(number, lambda: rpc.kv_get(f"load-{number}"))
        if value is not None and value not in values:
            self.wrong.append(f"value {number}: {value[:20]}, not one of {values}")


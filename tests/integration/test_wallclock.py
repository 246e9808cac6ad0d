"""The wall clock is set, by an hour or by years: no time to live grows or shrinks."""

import os
import signal
import struct
import time

import pytest
from strato import SANITIZED, TEST_BIN, Strato, until

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer does not go with LD_PRELOAD")
HOUR = 3600
TEN_YEARS = 10 * 365 * 24 * HOUR


class Moved(Strato):
    """A Strato whose wall clock the test sets."""

    def __init__(self, settings):
        super().__init__(settings, {"LD_PRELOAD": os.path.join(TEST_BIN, "libwallclock.so")})
        self.clock_path = os.path.join(self.directory, "wallclock")
        self.environment["STRATO_WALLCLOCK"] = self.clock_path
        self.set_clock(0)

    def end(self):
        """As stop(), but what is stored stays."""
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        os.remove(self.log_path)

    def set_clock(self, seconds):
        with open(self.clock_path + ".new", "w") as file:
            file.write(str(seconds))
        os.rename(self.clock_path + ".new", self.clock_path)


def settings(backend):
    return {"strato": {"backend": backend}, "memory": {"size": "8M"}}


def cache_set(client, key, ttl):
    assert client.put(f"/cache/{key}?value=v&ttl={ttl}").status == 204


def check_times(strato, client):
    """What lives ten minutes is there, and what lives a second goes."""
    assert client.get("/cache/long").status == 200
    cache_set(client, "short", 1)
    assert client.get("/cache/short").status == 200
    until(lambda: client.get("/cache/short").status == 404, "the end of a second's life", timeout=20)
    assert client.get("/cache/long").status == 200


@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_a_clock_that_is_set_moves_nothing(backend):
    with Moved(settings(backend)) as strato:
        client = strato.client()
        cache_set(client, "long", 600)
        for seconds in (-HOUR, TEN_YEARS, -50 * TEN_YEARS // 10):
            strato.set_clock(seconds)
            check_times(strato, client)
        # Successors of all processes go by the same clock.
        old = strato.kill(f"store-{backend}")
        strato.wait_restarted(f"store-{backend}", old)
        old = strato.kill("http-0")
        strato.wait_restarted("http-0", old)
        check_times(strato, strato.client())


def test_no_step_over_a_restart_within_a_boot():
    with Moved(settings("disk")) as strato:
        cache_set(strato.client(), "long", 600)
        until(lambda: os.path.exists(os.path.join(strato.directory, "data", "disk", "clock")),
              "the clock's file")
        for seconds in (HOUR, -HOUR):
            strato.end()
            strato.set_clock(seconds)
            strato.start()
            check_times(strato, strato.client())


def mix(data):
    hashed = 0xcbf29ce484222325
    for byte in data:
        hashed = (hashed ^ byte) * 0x100000001b3 % 2**64
    return hashed | 1


def test_after_a_boot_the_clock_never_goes_back():
    """The file says another boot: the wall clock counts, but not if it is behind."""
    with Moved(settings("disk")) as strato:
        client = strato.client()
        path = os.path.join(strato.directory, "data", "disk", "clock")
        cache_set(client, "long", 600)
        cache_set(client, "soon", 2)
        until(lambda: client.get("/cache/soon").status == 404, "the end of two seconds' life")
        strato.end()
        with open(path, "rb") as file:
            magic, offset, boot, seen, _ = struct.unpack("<8s4Q", file.read())
        assert abs(seen / 1000 - time.time()) < 60
        body = struct.pack("<8s3Q", magic, offset, boot ^ 2, seen)
        with open(path, "wb") as file:
            file.write(body + struct.pack("<Q", mix(body)))
        strato.set_clock(-HOUR)
        strato.start()
        assert "behind what the data directory has seen" in strato.log()
        check_times(strato, strato.client())

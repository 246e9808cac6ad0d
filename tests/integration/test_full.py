"""A full arena: 507 and a reason, reads and deletes go on, the cache makes room for itself."""

import contextlib
import os
import re
import subprocess
import threading

import pytest
from strato import Strato, until
from support import generator
from test_control import ctl

SMALL = {"memory": {"size": "4M"}}


def refused(response):
    assert response.status == 507, response
    assert response.json()["error"]


def fill(client, put, most=200000):
    """Writes numbered entries until one is refused; returns how many were taken."""
    for number in range(most):
        response = put(client, number)
        if response.status not in (200, 204):
            refused(response)
            return number
    raise AssertionError("never full")


def test_kv_full_and_room_after_deletes():
    with Strato(SMALL) as strato:
        client = strato.client()

        def value(number):
            return b"%06d" % number * 100
        count = fill(client, lambda c, n: c.kv_put(f"k{n}", value(n)))
        assert count * 600 > 4 * 1024 * 1024 * 0.6, f"full after only {count} records"
        for number in range(0, count, 7):
            assert client.kv_get(f"k{number}").body == value(number)
        assert client.kv_get(f"k{count}").status == 404
        for number in range(0, count, 2):
            assert client.delete(f"/kv/k{number}").status == 204
        for number in range(0, count, 2):
            if number < count * 0.8:
                assert client.kv_put(f"n{number}", value(number)).status == 204, number
        for number in range(1, count, 2):
            assert client.kv_get(f"k{number}").body == value(number)


def what_does_not_grow_goes_on(client):
    for _ in range(30):
        assert client.put("/counters/old?increment=1").status == 204
    for value in ("false", "true"):
        assert client.put(f"/flags/old?value={value}").status == 204
    for size in (500, 500, 400, 1, 0):
        assert client.kv_put("same", b"2" * size).status == 204
        assert client.kv_get("same").body == b"2" * size
    for item, left in (("a", 2), ("b", 1), ("c", 0)):
        answer = client.delete(f"/sets/three?item={item * 100}")
        assert answer.status == 200 and len(answer.json()["items"]) == left
    assert client.get("/counters/old").json()["value"] == 37


def test_every_service_but_the_cache_refuses():
    with Strato(SMALL) as strato:
        client = strato.client()
        client.put("/counters/old?increment=7")
        client.put("/flags/old?value=true")
        client.put("/sets/old?item=a")
        for item in "abc":
            client.put(f"/sets/three?item={item * 100}")
        client.kv_put("same", b"1" * 500)
        # From large to small, so that not even a flag finds a place.
        for size in (100000, 10000, 1000, 100, 1):
            fill(client, lambda c, n: c.kv_put(f"kv-{size}-{n}", b"x" * size))
        counters = fill(client, lambda c, n: c.put(f"/counters/c{n}?increment=1"))
        flags = fill(client, lambda c, n: c.put(f"/flags/f{n}?value=true"))
        sets = fill(client, lambda c, n: c.put(f"/sets/s{n}?item=a"))
        print(f"then still {counters} counters, {flags} flags and {sets} sets")
        refused(client.put("/counters/new?increment=1"))
        refused(client.put("/flags/new-flag-of-some-length?value=true"))
        refused(client.put("/sets/new-set-of-some-length?item=a"))
        assert client.get("/counters/new").json()["value"] == 0
        assert client.get("/sets/new-set-of-some-length").json()["items"] == []
        assert client.get("/counters/old").json()["value"] == 7
        assert client.get("/flags/old").json()["value"] is True
        assert client.get("/sets/old").json()["items"] == ["a"]
        assert client.get("/readyz").status == 200
        refused(client.kv_put("same", b"2" * 5000))
        what_does_not_grow_goes_on(client)
        client.put("/counters/old?increment=-30")
        assert client.delete("/kv/kv-100000-0").status == 204
        assert client.put("/counters/new?increment=1").status == 204
        assert client.put("/counters/old?increment=1").status == 204
        assert client.get("/counters/old").json()["value"] == 8


def test_the_cache_evicts():
    with Strato(SMALL) as strato:
        client = strato.client()
        client.kv_put("kept", b"kept")
        count = 20000
        for number in range(count):
            answer = client.put(f"/cache/c{number}?ttl=3600&value={'v' * 600}{number}")
            assert answer.status == 204, (number, answer)
            if number % 20 == 0:
                assert client.get("/cache/c0").status in (200, 404)
        there = [number for number in range(count)
                 if client.get(f"/cache/c{number}").status == 200]
        assert count - 1 in there and len(there) > 3000, len(there)
        for number in there[::50]:
            value = client.get(f"/cache/c{number}").json()["value"]
            assert value == "v" * 600 + str(number)
        assert client.kv_get("kept").body == b"kept"


def test_what_is_read_often_is_evicted_last():
    random = generator()
    with Strato(SMALL) as strato:
        client = strato.client()
        for number in range(200):
            client.put(f"/cache/hot{number}?ttl=3600&value={'h' * 600}")
        for number in range(8000):
            client.put(f"/cache/c{number}?ttl=3600&value={'v' * 600}")
            for _ in range(3):
                client.get(f"/cache/hot{random.randrange(200)}")
        assert client.get("/cache/c0").status == 404, "nothing was evicted"
        hot = sum(client.get(f"/cache/hot{number}").status == 200 for number in range(200))
        assert hot >= 150, f"{hot} of 200 hot entries are left"


@pytest.mark.parametrize("size", [100, 5000, 200000])
def test_an_overwrite_is_all_or_nothing_when_full(size):
    with Strato(SMALL) as strato:
        client = strato.client()
        count = fill(client, lambda c, n: c.kv_put(f"k{n}", b"%08d" % n * (size // 8)))
        for number in range(min(count, 200)):
            new = b"new-%04d" % number * (size // 8)
            answer = client.kv_put(f"k{number}", new)
            if answer.status == 204:
                assert client.kv_get(f"k{number}").body == new
            else:
                refused(answer)
                assert client.kv_get(f"k{number}").body == b"%08d" % number * (size // 8)


def test_the_largest_value_fits_an_empty_arena():
    with Strato(SMALL) as strato:
        client = strato.client()
        for number in range(10):
            assert client.kv_put("big", bytes([number]) * (1 << 20)).status == 204
        assert client.kv_get("big").body == b"\t" * (1 << 20)


@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_a_set_larger_than_max_set_is_read_and_shrinks(backend):
    """It was made when max_set was larger."""
    items = [b"%04d" % number + b"i" * 94 for number in range(40)]
    with Strato({"strato": {"backend": backend, "max_set": "4K"}}) as strato:
        client = strato.client()
        for item in items:
            assert client.put(f"/sets/s?item={item.decode()}", b"").status == 200
        strato.settings["strato"]["max_set"] = "1K"
        strato.write_config()
        ctl(strato, "reload")
        client = strato.client()
        refused = client.put("/sets/s?item=x", b"")
        assert refused.status == 413
        assert "1024 bytes (max_set)" in refused.json()["error"]
        assert len(client.get("/sets/s").json()["items"]) == 40
        for number, item in enumerate(items[:30]):
            shown = client.delete(f"/sets/s?item={item.decode()}")
            assert shown.status == 200 and len(shown.json()["items"]) == 39 - number
        assert client.put("/sets/s?item=x", b"").status == 200
        assert client.put("/sets/s?item=" + "x" * 80, b"").status == 413


# ---- A disk, and a limit on files ----

@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own, which needs root."""
    os.makedirs(path, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", path],
                      check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill_up(path):
    """Leaves not a block."""
    with contextlib.suppress(OSError), open(os.path.join(path, "filler"), "wb", 0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4, 5, 8])
def test_a_first_start_on_a_full_disk(room):
    """With so many blocks left: it says what is wrong, is killed by no signal, and starts once there
    is room."""
    strato = Strato({"strato": {"backend": "disk"}})
    data = os.path.join(strato.directory, "data")
    with small_disk(data, "32M"):
        os.makedirs(os.path.join(data, "disk"), mode=0o700)
        fill_up(data)
        if room:
            os.truncate(os.path.join(data, "filler"),
                        os.path.getsize(os.path.join(data, "filler")) - room * 4096)
        try:
            strato.spawn()
            until(lambda: re.search("no space left|No space left|is ready:", strato.log()), "a word")
            until(lambda: re.search("starting it again|is ready:", strato.log()) or
                  strato.process.poll() is not None, "what comes of it")
            assert "signal" not in strato.log()
            os.remove(os.path.join(data, "filler"))
            if strato.process.poll() is not None:
                strato.spawn()
            until(strato.ready, "stratod ready", 30)
            strato.pids()
            assert strato.client().kv_put("key", b"value").status == 204
        except BaseException:
            strato.abandon()
            raise
        strato.stop()


def test_a_file_size_limit_refuses_what_is_too_much_and_nothing_else():
    """ulimit -f: large values are refused, all else goes on, and no process dies."""
    strato = Strato({"strato": {"backend": "disk"}, "http": {"workers": "1"},
                     "memory": {"size": "8M"}, "disk": {"map_size": "64M"}})
    limited = os.path.join(strato.directory, "limited")
    with open(limited, "w", opener=lambda path, flags: os.open(path, flags, 0o700)) as file:
        file.write(f'#!/bin/bash\nulimit -f {12 << 10}\nexec {os.path.abspath(strato.program)} "$@"\n')
    strato.program = limited
    strato.start()
    with contextlib.ExitStack() as stack:
        stack.push(strato.__exit__)
        pids, client, statuses, stop = strato.pids(), strato.client(), set(), threading.Event()

        def others():
            with strato.client() as mine:
                while not stop.is_set():
                    assert mine.get("/counters/steady").status == 200
                    statuses.add(mine.put("/counters/steady?increment=1").status)
        thread = threading.Thread(target=others)
        thread.start()
        try:
            large = [client.kv_put(f"large-{number}", b"x" * 500000).status for number in range(40)]
        finally:
            stop.set()
            thread.join()
        assert set(large) == {204, 507}, large
        assert large[0] == 204 and large[-1] == 507
        assert statuses <= {204, 507}
        assert client.delete("/kv/large-0").status == 204
        assert client.delete("/kv/large-1").status == 204
        until(lambda: client.put("/counters/new?increment=1").status == 204, "room again")
        assert strato.pids() == pids, "a process died"

"""An arena scribbled over while its store is down: what is damaged is given up loudly, and only that.

Hundreds of variants of damage run in one process (tests/unit); here a handful go through the real
processes: through the supervisor's descriptor, with the workers' mappings open.
"""

import mmap
import os
import signal

import pytest
from strato import Strato, until
from support import generator


def arena_path(strato):
    """The arena's memfd, through the supervisor's descriptor of it."""
    folder = f"/proc/{strato.process.pid}/fd"
    for entry in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{entry}").startswith("/memfd:strato-arena-memory"):
                os.close(os.open(f"{folder}/{entry}", os.O_RDWR))
                return f"{folder}/{entry}"
        except OSError:
            continue
    raise AssertionError("the supervisor has no arena")


def damage(strato, scribble):
    """Lets scribble change the mapped arena while the store is down; waits for the next store."""
    path = arena_path(strato)
    os.kill(strato.process.pid, signal.SIGSTOP)
    try:
        old = strato.kill("store-memory")
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            scribble(memory)
    finally:
        os.kill(strato.process.pid, signal.SIGCONT)
    strato.wait_restarted("store-memory", old)


def write_something(client, count=300):
    for number in range(count):
        assert client.kv_put(f"k{number}", b"needle-%06d" % number * 10).status == 204
        assert client.put(f"/counters/c{number}?increment={number}").status == 204


def works(client):
    assert client.kv_put("after", b"x").status == 204
    assert client.kv_get("after").body == b"x"
    assert client.post("/counters/after?increment=2").status == 200


def flip_in_a_value(memory):
    at = memory.find(b"needle-000123")
    assert at > 0
    memory[at + 20] ^= 1


def flip_a_length(memory):
    """The value's length of some record, 16 bytes into its header."""
    at = memory.find(b"k123needle-000123")
    assert at > 0
    memory[at - 32 + 16] ^= 0x40


def smear_the_index(memory):
    for at in range(4096 + 32768, 4096 + 32768 + 65536, 40):
        memory[at] ^= 0xff


def wipe_the_header(memory):
    memory[0:64] = bytes(64)


def break_the_intent(memory):
    """A valid intent that wants to store nonsense outside the arena."""
    memory[128:168] = b"\1\0\0\0" + b"\0\0\0\0" + bytes(8) + b"\xff" * 16 + bytes(8)


def overwrite_with_noise(memory):
    for at in range(0, len(memory), 65536):
        memory[at:at + 4096] = os.urandom(4096)


def wreck_the_header(memory):
    """With its spare: nobody can tell any more how the index was made."""
    memory[0:128] = os.urandom(128)


# And how many of the 600 records may be lost by it.
LOUD = {flip_in_a_value: 1, flip_a_length: 1, smear_the_index: 600, overwrite_with_noise: 600,
        wreck_the_header: 600, wipe_the_header: 0, break_the_intent: 0}


def survivors(client):
    return sum(client.kv_get(f"k{number}").status == 200 for number in range(300)) + sum(
        client.get(f"/counters/c{number}").json()["value"] == number for number in range(300))


@pytest.mark.parametrize("scribble", LOUD)
def test_damage_costs_itself_only(scribble):
    with Strato({"memory": {"size": "8M"}}) as strato:
        client = strato.client()
        write_something(client)
        workers = {name: pid for name, pid in strato.pids().items() if name.startswith("http")}
        before = len(strato.log())
        damage(strato, scribble)
        works(client)
        until(lambda: "damage" in strato.log()[before:].lower(), "the damage in the log")
        log = strato.log()[before:]
        assert "error" in log, log
        assert survivors(client) >= 600 - LOUD[scribble]
        if scribble == wreck_the_header:
            assert "everything" in log
            assert client.kv_get("k1").status == 404
            assert client.get("/counters/c7").json()["value"] == 0
        if scribble in (flip_in_a_value, flip_a_length):
            until(lambda: 'strato_arena_quarantined_total{backend="memory"} 1' in
                  client.get("/metrics").body.decode(), "counted")
        # Whole or gone: never something else than what was written.
        for number in range(300):
            answer = client.kv_get(f"k{number}")
            assert answer.status == 404 or answer.body == b"needle-%06d" % number * 10
        pids = strato.pids()
        assert {name: pids.get(name) for name in workers} == workers, "a worker died of it"
        write_something(client)


def test_random_flips_never_yield_a_wrong_value():
    random = generator()
    with Strato({"memory": {"size": "4M"}}) as strato:
        client = strato.client()
        for _ in range(12):
            write_something(client, 100)
            workers = {n: p for n, p in strato.pids().items() if n.startswith("http")}

            def flip(memory):
                for _ in range(random.choice([1, 10, 1000])):
                    memory[random.randrange(len(memory))] ^= 1 << random.randrange(8)
            damage(strato, flip)
            works(client)
            for number in range(100):
                answer = client.kv_get(f"k{number}")
                assert answer.status == 404 or answer.body == b"needle-%06d" % number * 10
            pids = strato.pids()
            assert {name: pids.get(name) for name in workers} == workers


def test_scribbling_under_a_running_store_harms_no_worker():
    """The workers read what changes under them: they may answer anything sane, but must not die."""
    random = generator()
    with Strato({"memory": {"size": "4M"}}) as strato:
        client = strato.client()
        write_something(client, 200)
        workers = {n: p for n, p in strato.pids().items() if n.startswith("http")}
        pid = strato.kill("store-memory", signal.SIGSTOP)
        with open(arena_path(strato), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            for _ in range(300):
                for _ in range(200):
                    memory[random.randrange(len(memory))] = random.randrange(256)
                asker = strato.client(timeout=0.02)
                try:
                    asker.kv_get(f"k{random.randrange(200)}")
                except OSError:
                    pass  # it asks the store, which is stopped
                asker.close()
        os.kill(pid, signal.SIGKILL)
        strato.wait_restarted("store-memory", pid)
        until(lambda: client.kv_put("after", b"x").status == 204, "writes again")
        works(client)
        pids = strato.pids()
        assert {name: pids.get(name) for name in workers} == workers

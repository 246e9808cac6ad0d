"""Taking an arena over may take any time, as long as it goes on."""

import os
import subprocess
import time

import pytest
from strato import Strato, until

LONG = bool(os.environ.get("STRATO_LONG"))
RECORDS = int(os.environ.get("STRATO_RECORDS", "20000000"))

# A store that is silent for START_MS while it starts is killed. Each of the 13 pieces of an arena
# of 8 MiB is made to take PAUSE_MS, on at most two threads; so it takes longer than START_MS.
START_MS, PAUSE_MS = 1800, 400


def test_a_long_takeover_is_not_killed_and_reads_go_on():
    environment = {"STRATO_START_MS": str(START_MS), "STRATO_PAUSE_MS": str(PAUSE_MS)}
    with Strato({"memory": {"size": "8M"}, "strato": {"request_timeout": "30s"}},
                environment) as strato:
        client = strato.client()
        for number in range(500):
            assert client.kv_put(f"k{number}", b"%d" % number).status == 204
        start = time.monotonic()
        pid = strato.kill("store-memory")
        until(lambda: strato.pids().get("store-memory", pid) != pid, "the successor")
        reads = 0
        while time.monotonic() - start < START_MS / 1000:
            answer = client.kv_get(f"k{reads % 500}")
            assert answer.body == b"%d" % (reads % 500)
            reads += 1
        assert client.kv_put("after", b"x").status == 204  # waits for the store
        took = time.monotonic() - start
        log = strato.log()
        assert "has said nothing" not in log, log
        assert took > START_MS / 1000, f"the takeover took only {took:.1f} s: the test shows nothing"
        assert reads > 100
        assert client.kv_get("k499").body == b"499"


def fill(strato, first, last):
    """Puts the keys from first (to 64 beyond last or more)."""
    command = ["wrk", "-t", "1", "-c", "4", "-d", "3600", "--timeout", "60", "-s",
               os.path.join(os.path.dirname(__file__), "fill.lua"),
               f"http://127.0.0.1:{strato.http[1]}/", "--", str(first)]
    writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: strato.client().kv_get(f"{last:x}").status == 200, "the keys", 3600, 0.5)
    finally:
        writer.terminate()
        writer.wait()


@pytest.mark.skipif(not LONG, reason="at full size only: STRATO_LONG=1, STRATO_RECORDS=n")
def test_a_very_large_arena_is_taken_over():
    settings = {"memory": {"size": f"{RECORDS * 100 >> 20}M"},
                "strato": {"request_timeout": "120s"}}
    with Strato(settings) as strato:
        fill(strato, 0, RECORDS)
        client = strato.client()
        for kill in range(2):
            before, pid = len(strato.log()), strato.kill("store-memory")
            start = time.monotonic()
            until(lambda: strato.pids().get("store-memory", pid) != pid, "the successor")
            reads = 0
            while "took over the arena" not in strato.log()[before:]:
                assert client.kv_get(f"{reads % RECORDS:x}").body == b"v"
                reads += 1
            assert client.kv_put(f"after {kill}", b"x").status == 204
            print(f"\n{reads} reads meanwhile; the next write after "
                  f"{time.monotonic() - start:.1f} s", *strato.log()[before:].splitlines(), sep="\n")
            assert "has said nothing" not in strato.log()
            assert reads > 100
        assert client.kv_get(f"{RECORDS:x}").body == b"v"

"""Millions of cache entries that expire, in a small arena: reads do not notice.

STRATO_LONG=1 (make test-long) writes ten million; the ordinary run a part of that, at the same rate.
"""

import json
import os
import subprocess
import time

from strato import TEST_BIN, Strato, until

LONG = bool(os.environ.get("STRATO_LONG"))
ROUNDS = 5
COUNT = (10_000_000 if LONG else 800_000) // ROUNDS  # entries in each round
RATE = 20_000  # entries a second, so that the machine has time left for readers


def probe(strato, seconds):
    """Reads a hot key a thousand times a second over one connection (load/probe.c)."""
    done = subprocess.run(
        [os.path.join(TEST_BIN, "probe"), str(strato.http[1]), "/kv/hot", str(seconds)],
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def flood(strato):
    """Writes entries with a ttl of a second, evenly over COUNT / RATE seconds (load/flood.c)."""
    return subprocess.Popen(
        [os.path.join(TEST_BIN, "flood"), str(strato.http[1]), str(COUNT), "1", str(RATE)],
        stdout=subprocess.PIPE, text=True)


def test_expiry_does_not_stall_reads():
    """Quiet and busy spells take turns, because the machine's own speed drifts."""
    idle, busy = [], []
    with Strato({"memory": {"size": "16M"}}) as strato:
        client = strato.client()
        client.kv_put("hot", b"value")
        for _ in range(ROUNDS):
            idle.append(probe(strato, 3))
            writer = flood(strato)
            time.sleep(2)  # by then, as many expire as are written
            busy.append(probe(strato, COUNT / RATE - 2.5))
            written = json.loads(writer.communicate(timeout=1200)[0])
            assert written["failures"] == 0 and written["written"] == COUNT, written
            until(lambda: client.get(f"/cache/flood-{COUNT - 1}").status == 404, "expired")
            until(lambda: strato.metrics()[CACHE_RECORDS] == 0, "reclaimed")
        for spell in idle + busy:
            assert spell["failures"] == 0
        print("idle:", *idle, "busy:", *busy, sep="\n")
        # The least disturbed spell of each kind: what else runs on the machine shows in some of
        # them, a stall by expiry would show in every busy one.
        quiet, loud = (min(spell["p99_us"] for spell in spells) for spells in (idle, busy))
        assert loud < 3 * quiet, f"p99 {quiet} us when idle, {loud} us while entries expire"


CACHE_RECORDS = 'strato_arena_records{backend="memory",service="cache"}'

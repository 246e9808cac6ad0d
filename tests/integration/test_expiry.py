"""Millions of cache entries that expire, in a small arena: reads do not notice.

STRATO_LONG=1 (make test-long) writes ten million; the ordinary run a part of that, at the same rate.
"""

import json
import os
import subprocess
import time

from strato import TEST_BIN, Strato, until

LONG = bool(os.environ.get("STRATO_LONG"))
ROUNDS_LEAST, ROUNDS_MOST = 3, 4 if LONG else 8
COUNT = 10_000_000 // ROUNDS_LEAST if LONG else 160_000  # entries in each round
RATE = 20_000  # entries a second, so that the machine has time left for readers
SETTLE = 2  # seconds after which as many expire as are written
SPELL = COUNT / RATE - SETTLE - 0.5  # seconds for which reads are measured
CACHE_RECORDS = 'strato_arena_records{backend="memory",service="cache"}'


def probe(strato, seconds):
    """Reads a hot key a thousand times a second over one connection (load/probe.c)."""
    done = subprocess.run(
        [os.path.join(TEST_BIN, "probe"), str(strato.http[1]), "/kv/hot", str(seconds)],
        stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["failures"] == 0, figures
    return figures


def flood(strato):
    """Writes entries with a ttl of a second, evenly over COUNT / RATE seconds (load/flood.c). It is
    nice, because its own use of a core is not what is measured."""
    return subprocess.Popen(
        ["nice", "-n", "19", os.path.join(TEST_BIN, "flood"), str(strato.http[1]), str(COUNT), "1",
         str(RATE)], stdout=subprocess.PIPE, text=True)


def least(spells):
    """p99 of the least disturbed spell: whatever else runs on the machine shows in some of them,
    but a stall by expiry would show in every busy one."""
    return min(spell["p99_us"] for spell in spells)


def test_expiry_does_not_stall_reads():
    """Quiet and busy spells of one length take turns, because the machine's own speed drifts."""
    idle, busy = [], []
    with Strato({"memory": {"size": "16M"}}) as strato:
        strato.client().kv_put("hot", b"value")
        while len(busy) < ROUNDS_LEAST or \
                least(busy) >= 3 * least(idle) and len(busy) < ROUNDS_MOST:
            idle.append(probe(strato, SPELL))
            writer = flood(strato)
            time.sleep(SETTLE)
            busy.append(probe(strato, SPELL))
            print("idle:", idle[-1], "busy:", busy[-1], flush=True)
            written = json.loads(writer.communicate(timeout=1200)[0])
            assert written["failures"] == 0 and written["written"] == COUNT, written
            # A client of its own: the first one's connection has been idle for too long.
            until(lambda: strato.client().get(f"/cache/flood-{COUNT - 1}").status == 404, "expired")
            until(lambda: strato.metrics()[CACHE_RECORDS] == 0, "reclaimed")
        assert least(busy) < 3 * least(idle), "reads stall while entries expire"

"""Millions of cache entries that expire, in a small arena: reads do not notice.

STRATO_LONG=1 (make test-long) writes ten million; the ordinary run a part of that, at the same rate.
"""

import json
import os
import subprocess
import time

from strato import TEST_BIN, Strato, until

LONG = bool(os.environ.get("STRATO_LONG"))
COUNT = 10_000_000 if LONG else 600_000
RATE = 20_000  # entries a second, so that the machine has time left for readers


def probe(strato):
    """Starts reading a hot key a thousand times a second over one connection (load/probe.c)."""
    return subprocess.Popen(
        [os.path.join(TEST_BIN, "probe"), str(strato.http[1]), "/kv/hot", "3600"],
        stdout=subprocess.PIPE, text=True)


def figures(process):
    process.terminate()
    text, _ = process.communicate(timeout=60)
    return json.loads(text)


def test_expiry_does_not_stall_reads():
    with Strato({"memory": {"size": "64M"}}) as strato:
        client = strato.client()
        client.kv_put("hot", b"value")
        reader = probe(strato)
        time.sleep(5)
        idle = figures(reader)
        reader = probe(strato)
        flood = subprocess.run(
            [os.path.join(TEST_BIN, "flood"), str(strato.http[1]), str(COUNT), "1", str(RATE)],
            stdout=subprocess.PIPE, text=True, timeout=1200, check=True)
        busy = figures(reader)
        written = json.loads(flood.stdout)
        print("idle:", idle, "busy:", busy, "flood:", written)
        assert written["failures"] == 0 and written["written"] == COUNT
        assert busy["failures"] == 0
        assert busy["p99_us"] < 3 * idle["p99_us"], (idle, busy)
        until(lambda: client.get("/cache/flood-1").status == 404, "expired")

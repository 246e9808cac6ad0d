"""Taking an arena over may take any time, as long as it goes on."""

import time

from strato import Strato, until

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

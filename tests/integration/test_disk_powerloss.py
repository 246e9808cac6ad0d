"""The power fails at many points of a recording (powerloss/): what was acknowledged is there.

STRATO_POINTS: how many for sync = commit, 2000 unless said; a third of them for interval.
"""

import json
import os
import subprocess

import pytest
from strato import SANITIZED, TEST_BIN

POINTS = int(os.environ.get("STRATO_POINTS", "200" if SANITIZED else "2000"))


@pytest.mark.parametrize("sync, points", [("commit", POINTS), ("interval", POINTS // 3)])
def test_power_loss(sync, points):
    seed = os.environ.get("STRATO_SEED") or str(int.from_bytes(os.urandom(4), "big") | 1)
    print("STRATO_SEED =", seed)
    done = subprocess.run([os.path.join(TEST_BIN, "powerloss"), sync, str(points), seed],
                          capture_output=True, text=True, check=False, timeout=1200)
    print(done.stdout, done.stderr[-3000:])
    assert done.returncode == 0
    figures = json.loads(done.stdout)
    assert figures["wrong"] == 0 and figures["points"] == points
    assert sync == "commit" or figures["syncs_of_roots"] >= 5

"""How the programs are built and run: guarded stacks, checked copies, read-only tables."""

import glob
import os
import re
import subprocess

import pytest
from strato import BIN, SANITIZED

PROGRAMS = sorted(glob.glob(os.path.join(BIN, "strato*")) +
                  glob.glob(os.path.join(BIN, "..", "libexec", "strato", "strato-*")))
UNIT = os.path.join(os.path.dirname(__file__), "..", "..", "packaging", "systemd",
                    "strato.service")


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], capture_output=True, text=True,
                          check=True).stdout


def test_all_programs_are_there():
    assert len(PROGRAMS) >= 7, PROGRAMS


@pytest.mark.parametrize("path", PROGRAMS, ids=os.path.basename)
def test_programs_are_hard_to_use_for_others(path):
    assert re.search(r"Type:\s+DYN", readelf("-h", path)), "no random place (PIE)"
    segments = readelf("-l", path)
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK(\s+0x\w+){5}\s+RW\s", segments), "the stack is executable"
    assert re.search(r"FLAGS.*NOW", readelf("-d", path)), "BIND_NOW"
    symbols = readelf("--dyn-syms", path)
    assert "__stack_chk_fail" in symbols
    if not SANITIZED:
        assert re.search(r"__(mem|str|sn?printf|vsn?printf|fprintf|read)\w*_chk", symbols), "FORTIFY"


def test_the_unit_keeps_memory_to_itself_and_goes_on():
    with open(UNIT) as file:
        unit = dict(re.findall(r"(?m)^(\w+)=(.*)$", file.read()))
    assert unit["LimitCORE"] == "0" and unit["OOMPolicy"] == "continue"
    assert int(unit["OOMScoreAdjust"]) < 0

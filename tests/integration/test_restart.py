"""Planned restarts and reloads under load: nobody notices."""

import os
import re
import signal
import subprocess
import time

from client import Disconnected
from rpc_load import RpcLoad
from strato import SANITIZED, Strato, until
from support import Load
from test_control import ctl, status

ROUNDS = 20 if SANITIZED else 100


def judge(figures):
    print(figures)
    assert figures["wrong"] == 0 and figures["failures"] == 0, figures
    assert figures["disconnects"] == 0, figures


def test_rolling_restarts_of_everything():
    with Strato({"grpc": {"enabled": "yes"}}) as strato, Load(strato, clients=32) as load, \
            RpcLoad(strato) as rpc:
        before = strato.pids()
        took = []
        for _ in range(ROUNDS):
            start = time.monotonic()
            ctl(strato, "restart", "all")
            took.append(time.monotonic() - start)
        rpc.unnoticed()
        judge(load.finish())
        assert "not in order" not in strato.log()
        assert not set(before.values()) & set(strato.pids().values())
        print("restart all: median %.0f ms, longest %.0f ms" % (
            sorted(took)[len(took) // 2] * 1000, max(took) * 1000))


def test_reloads_of_good_and_bad_files():
    """Every way to change something, and errors between."""
    changes = [("http", "workers", "3"), ("http", "workers", "none"), ("http", "workers", "1"),
               ("strato", "request_timeout", "4s"), ("strato", "max_value", "2M"),
               ("strato", "log_level", "warn"), ("strato", "log_format", "xml"),
               ("http", "workers", "2"), ("strato", "request_timeout", "6s")]
    with Strato({"grpc": {"enabled": "yes"}}) as strato, Load(strato, clients=32) as load, \
            RpcLoad(strato) as rpc:
        good = {section: dict(keys) for section, keys in strato.settings.items()}
        for number in range(ROUNDS):
            section, key, value = changes[number % len(changes)]
            bad = value in ("none", "xml")
            strato.settings = {name: dict(keys) for name, keys in good.items()}
            strato.settings[section][key] = value
            if not bad:
                good = strato.settings
            strato.write_config()
            strato.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
            ctl(strato, "reload", code=1 if bad else 0)
        rpc.unnoticed()
        judge(load.finish())


def test_idle_connections_survive_or_are_closed_in_order():
    """One that sends nothing is closed after a while, and never within an answer."""
    with Strato() as strato:
        clients = [strato.client() for _ in range(20)]
        for client in clients:
            assert client.get("/ping").status == 200
        ctl(strato, "restart", "http")
        for client in clients:
            try:
                assert client.get("/ping").status == 200
            except Disconnected as gone:
                assert not gone.partial
                assert client.get("/ping").status == 200


def replace(path, old, new):
    """Puts the next release of a program in the place of this one, as dpkg does it: beside, then
    renamed over. They differ in what they say of themselves on the link."""
    with open(path, "rb") as file:
        program = file.read()
    assert old in program and len(old) == len(new)
    with open(path + ".new", "wb") as file:
        file.write(program.replace(old, new))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def met(strato):
    """{(worker, its release)} whom the store that runs now has met."""
    store = strato.pids()["store-memory"]
    return set(re.findall(
        rf"store-memory\[{store}\]: (\S+) is here \(channel \d+, release ([\d.]+)\)", strato.log()))


def test_data_survives_and_new_programs_are_taken_up(tmp_path):
    """An upgrade in place: new files, then a rolling restart. Old workers meet the new store on the
    way."""
    strato = Strato()
    tree = tmp_path / "build"
    root = os.path.dirname(os.path.dirname(strato.program))
    (tree / "bin").mkdir(parents=True)
    subprocess.run(["cp", "-r", os.path.join(root, "libexec"), str(tree)], check=True)
    subprocess.run(["cp", strato.program, str(tree / "bin")], check=True)
    strato.program = str(tree / "bin" / "stratod")
    libexec = str(tree / "libexec" / "strato")
    with strato, Load(strato, clients=8) as load:
        strato.client().kv_put("kept", b"value")
        release = status(strato)["stratod"]["release"]
        following = release[:-1] + "9"
        assert following != release
        for name in os.listdir(libexec):
            replace(os.path.join(libexec, name), release.encode() + b"\0",
                    following.encode() + b"\0")
        replaced = {name: os.readlink(f"/proc/{pid}/exe") for name, pid in strato.pids().items()}
        assert all(exe.endswith(" (deleted)") for exe in replaced.values())
        ctl(strato, "restart", "store")
        until(lambda: met(strato) >= {("http-0", release), ("http-1", release)}, "old met new")
        ctl(strato, "restart", "all")
        for pid in strato.pids().values():
            assert os.readlink(f"/proc/{pid}/exe").startswith(libexec + "/strato-")
            assert not os.readlink(f"/proc/{pid}/exe").endswith("(deleted)")
        assert strato.client().kv_get("kept").body == b"value"
        judge(load.finish())
        until(lambda: met(strato) >= {("http-0", following), ("http-1", following)}, "all new")

"""The control socket and what it does: who may speak, bounds, restart, reload; over fake children."""

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest
from faked import Faked
from strato import BIN, alive, until

CTL_CONNECTIONS = 16


def ctl(strato, *words, code=0, timeout=60):
    """Runs stratoctl and returns (standard output, standard error)."""
    done = subprocess.run(
        [os.path.join(BIN, "stratoctl"), "--socket", os.path.join(strato.run_dir, "ctl.sock"),
         *words], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def status(strato):
    """{name: row}"""
    return {row["name"]: row for row in json.loads(ctl(strato, "status", "--json")[0])}


def connect(strato):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(strato.run_dir, "ctl.sock"))  # waits while many do
    connection.settimeout(20)
    return connection


def answer(connection):
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass  # it did not read all that was sent
    connection.close()
    return [json.loads(line) for line in data.splitlines()]


# ---- Asking ----

def test_status_shows_every_process_and_the_last_reason():
    with Faked() as strato:
        old = strato.kill("http-1")
        new = strato.wait_restarted("http-1", old)
        strato.wait_log(rf"http-1\[{new}\] is ready")
        rows = status(strato)
        assert list(rows) == ["stratod", "store-memory", "http-0", "http-1"]
        assert rows["stratod"]["pid"] == strato.process.pid
        row = rows["http-1"]
        assert (row["pid"], row["state"], row["kind"], row["restarts"], row["deaths"]) == (
            new, "ready", "http", 1, 1)
        assert row["reason"].startswith("killed by signal 9 (Killed)")
        assert row["memory_bytes"] > 100000
        table = ctl(strato, "status")[0].splitlines()
        assert table[0].split()[:4] == ["NAME", "KIND", "PID", "STATE"]
        assert len(table) == 7 and table[6].startswith("HTTP on http://127.0.0.1:")


def test_words_that_mean_nothing():
    with Faked() as strato:
        assert "no process and no kind of process called http-9" in ctl(
            strato, "restart", "http-9", code=1)[1]
        for words in (["nonsense"], ["restart"], ["status", "http-0"], ["stop", "now"]):
            assert "try: stratoctl --help" in ctl(strato, *words, code=2)[1]
        assert "must be debug, info" in ctl(strato, "log-level", "loud", code=1)[1]
        with connect(strato) as connection:
            connection.send(b"status of everything\n")
            assert answer(connection) == [{"result": "error", "error": "unknown request"}]
    missing = ctl(strato, "status", code=1)[1]
    assert "no stratod is running here" in missing


def test_log_level_reaches_every_process():
    with Faked() as strato:
        ctl(strato, "log-level", "error")
        strato.wait_log("is ready", 3)
        before = len(strato.log())
        pid = strato.pids()["http-0"]
        ctl(strato, "restart", "http-0")  # a new one starts with it, and says nothing
        assert not alive(pid)
        assert strato.log()[before:] == "" or "http-0[" not in strato.log()[before:]
        ctl(strato, "log-level", "debug")
        ctl(strato, "restart", "http-0")
        strato.wait_log("this is debugging")


def test_check_asks_nobody(tmp_path):
    path = tmp_path / "bad.ini"
    path.write_text("[http]\nlissen = 1\n")
    for code, text in ((1, ":2: unknown key lissen"), (0, "no problems")):
        done = subprocess.run([os.path.join(BIN, "stratoctl"), "check", str(path)],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code and text in done.stdout
        path.write_text("[http]\nworkers = 3\n")


def test_stop():
    strato = Faked()
    strato.start()
    children = list(strato.pids().values())
    ctl(strato, "stop")
    assert not any(map(alive, children))
    with open(os.path.join(strato.run_dir, "lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert strato.process.wait(10) == 0
    assert not os.path.exists(os.path.join(strato.run_dir, "ctl.sock"))
    strato.remove()


# ---- Who may, and how much ----

def test_only_root_the_owner_and_the_group():
    with Faked() as strato:
        path = os.path.join(strato.run_dir, "ctl.sock")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        if os.geteuid() != 0:
            pytest.skip("only root can be somebody else")
        for directory in (strato.directory, strato.run_dir):
            os.chmod(directory, 0o755)
        os.chmod(path, 0o666)  # so that the kernel lets them through to our own check
        done = subprocess.run(
            ["/usr/bin/python3", "-c", "import os,socket,sys\nos.setgroups([]); os.setgid(65534); "
             "os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
             "print(s.recv(4096).decode())", path],
            capture_output=True, text=True, check=False)
        assert "only root" in done.stdout, (done.stdout, done.stderr)
        os.chmod(path, 0o660)
        assert status(strato)["stratod"]["state"] == "running"


def test_garbage_and_half_messages():
    with Faked() as strato:
        with connect(strato) as connection:
            connection.send(os.urandom(5000).replace(b"\n", b"x"))
            assert answer(connection)[0]["error"] == "the request is too long"
        with connect(strato) as connection:
            connection.send(b"\0\xff{}\n")
            assert answer(connection)[0]["error"] == "unknown request"
        for half in (b"", b"stat"):  # hung up within
            connection = connect(strato)
            connection.send(half)
            connection.close()
        with connect(strato) as connection:
            start = time.monotonic()
            connection.send(b"stat")
            assert answer(connection) == []  # its time was up
            assert 4 < time.monotonic() - start < 10
        assert status(strato)["stratod"]["state"] == "running"


def test_a_thousand_connections():
    with Faked() as strato:
        before = len(os.listdir(f"/proc/{strato.process.pid}/fd"))
        opened, turned_away = [], 0
        for _ in range(1000):
            connection = connect(strato)
            opened.append(connection)
        for connection in opened[CTL_CONNECTIONS:]:
            turned_away += answer(connection)[0]["error"] == "too many ask at once"
        assert turned_away == 1000 - CTL_CONNECTIONS
        assert len(os.listdir(f"/proc/{strato.process.pid}/fd")) <= before + CTL_CONNECTIONS
        for connection in opened:
            connection.close()
        until(lambda: subprocess.run(
            [os.path.join(BIN, "stratoctl"), "--socket", strato.run_dir + "/ctl.sock", "status"],
            capture_output=True, check=False).returncode == 0, "served again")
        assert strato.pids().keys() == {"store-memory", "http-0", "http-1"}


def test_one_that_takes_no_answer_is_dropped():
    with Faked() as strato:
        sleepers = [connect(strato) for _ in range(CTL_CONNECTIONS)]
        for connection in sleepers:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            connection.send(b"status\n")
        until(lambda: subprocess.run(
            [os.path.join(BIN, "stratoctl"), "--socket", strato.run_dir + "/ctl.sock", "status"],
            capture_output=True, check=False).returncode == 0, "served again", 15)


# ---- Restarting ----

def test_restart_of_one_of_a_kind_and_of_all():
    with Faked({"http": {"workers": "3"}}) as strato:
        before = strato.pids()
        ctl(strato, "restart", "http-1")
        after = strato.pids()
        assert {name for name in before if before[name] != after[name]} == {"http-1"}
        assert not alive(before["http-1"])
        strato.wait_log(r"http-1\[\d+\]: lane 1 channel 5")
        ctl(strato, "restart", "http")
        again = strato.pids()
        assert {name for name in again if again[name] != after[name]} == {"http-0", "http-1",
                                                                          "http-2"}
        ctl(strato, "restart", "all")
        assert not set(again.values()) & set(strato.pids().values())
        rows = status(strato)
        assert rows["http-1"]["restarts"] == 3 and rows["http-1"]["deaths"] == 0
        assert "ended" not in strato.log()


def test_successor_serves_before_the_predecessor_is_told():
    with Faked() as strato:
        ctl(strato, "restart", "http-0")
        log = strato.log()
        new = strato.pids()["http-0"]
        assert log.index(f"http-0[{new}] is ready") < log.index("]: stopping")


def test_a_successor_that_does_not_start_changes_nothing():
    with Faked() as strato:
        before = strato.pids()
        for action in ("fail", "refuse", "crash"):
            strato.do({"http-0": action})
            error = ctl(strato, "restart", "http", code=1)[1]
            assert "http-0: " in error
            assert strato.pids() == before
        strato.do({})
        ctl(strato, "restart", "http")
        assert not set(before.values()) - {before["store-memory"]} & set(strato.pids().values())


def test_a_store_that_does_not_come_back_is_said_and_tried_again():
    with Faked() as strato:
        strato.do({"store-memory": "fail"})
        assert "store-memory: exit code 1: told to fail" in ctl(strato, "restart", "all", code=1)[1]
        strato.do({})
        until(lambda: status(strato)["store-memory"]["state"] == "ready", "it came back")


def test_predecessor_that_does_not_drain_is_killed():
    with Faked({"strato": {"drain_timeout": "200ms"}}, actions={"http-0": "stubborn"}) as strato:
        old = strato.pids()["http-0"]
        strato.do({})
        start = time.monotonic()
        ctl(strato, "restart", "http-0")
        assert 1.1 < time.monotonic() - start < 6
        assert not alive(old)


def test_predecessor_that_dies_while_its_successor_starts():
    with Faked() as strato:
        for _ in range(5):
            old = status(strato)["http-0"]["pid"]
            asked = connect(strato)
            asked.send(b"restart http-0\n")
            try:
                os.kill(old, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was too quick for us
            assert answer(asked)[-1]["result"] == "ok"
            until(lambda: status(strato)["http-0"]["state"] == "ready", "http-0 ready")


def test_requests_take_turns():
    with Faked() as strato:
        before = strato.pids()
        asked = [connect(strato) for _ in range(8)]
        for connection in asked:
            connection.send(b"restart all\n")
        assert [answer(connection)[-1] for connection in asked] == [{"result": "ok"}] * 8
        assert status(strato)["http-1"]["restarts"] == 8
        assert not set(before.values()) & set(strato.pids().values())


def test_stop_while_restarting():
    strato = Faked(actions={"http-0": "stubborn"}, settings={"strato": {"drain_timeout": "1s"}})
    strato.start()
    strato.do({})
    asked = connect(strato)
    asked.send(b"restart all\n")
    strato.wait_log(r"http-0\[\d+\] is ready", 2)
    ctl(strato, "stop")
    assert answer(asked)[-1] == {"result": "error", "error": "everything is stopping"}
    assert strato.process.wait(10) == 0
    strato.remove()


def test_a_new_program_on_disk_is_taken_up():
    with Faked() as strato:
        path = os.path.join(strato.libexec, "strato-http-worker")
        os.rename(path, path + ".old")
        subprocess.run(["cp", path + ".old", path], check=True)
        ctl(strato, "restart", "http")
        for name in ("http-0", "http-1"):
            assert os.readlink(f"/proc/{strato.pids()[name]}/exe") == path


# ---- Reloading ----

def test_reload_refuses_a_bad_file():
    with Faked() as strato:
        before = strato.pids()
        strato.settings["http"]["workers"] = "none"
        strato.settings["strato"]["log_level"] = "debug"
        path = strato.write_config()
        out, err = ctl(strato, "reload", code=1)
        assert re.search(rf"{path}:\d+: workers must be auto", out) and "refused" in err
        assert strato.pids() == before


def test_reload_applies_what_it_can_and_says_what_it_cannot():
    with Faked() as strato:
        before = strato.pids()
        strato.settings["http"]["idle_timeout"] = "7s"
        strato.settings["memory"]["size"] = "32M"
        strato.write_config()
        for _ in range(2):
            out, err = ctl(strato, "reload", code=1)
            assert err.endswith("all is applied but what needs a restart of stratod\n")
            assert "[memory] size: 32M, was 64M; this needs a restart of stratod" in out
        after = strato.pids()
        assert before["store-memory"] == after["store-memory"]
        assert before["http-0"] != after["http-0"] and before["http-1"] != after["http-1"]
        config = open(f"/proc/{after['http-0']}/fd/3").read()
        assert "idle_timeout = 7s" in config and "size = 64M" in config
        strato.settings["memory"]["size"] = "64M"
        strato.write_config()
        assert ctl(strato, "reload")[0] == "nothing has changed\n"
        assert strato.pids() == after


def test_reload_changes_the_number_of_workers():
    with Faked() as strato:
        before = strato.pids()
        for count in (4, 1, 3, 2):
            strato.settings["http"]["workers"] = str(count)
            strato.write_config()
            ctl(strato, "reload")
            after = strato.pids()
            assert sorted(after) == sorted([f"http-{i}" for i in range(count)] + ["store-memory"])
            assert after["http-0"] == before["http-0"], "untouched workers go on"
            assert len(os.listdir(f"/proc/{after['store-memory']}/fd")) >= 8 + 2 * (4 * count - 2)
        assert "ended" not in strato.log()


def test_reload_listens_elsewhere():
    with Faked() as strato:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        strato.settings["http"]["listen"] = f"127.0.0.1:{port}"
        strato.write_config()
        old = strato.http[1]
        ctl(strato, "reload")
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", old))
        strato.settings["http"]["listen"] = f"0.0.0.0:{port}"  # overlaps with the one in use
        strato.write_config()
        assert f"itself listens on 127.0.0.1:{port}" in ctl(strato, "reload", code=1)[0]
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            strato.settings["http"]["listen"] = "127.0.0.1:%d" % taken.getsockname()[1]
            strato.write_config()
            before = strato.pids()
            assert "cannot listen on" in ctl(strato, "reload", code=1)[0]
            assert strato.pids() == before
        socket.create_connection(("127.0.0.1", port)).close()

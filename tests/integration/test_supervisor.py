"""The supervisor over fake children: the descriptors it hands out, restarts, stopping, refusals."""

import os
import re
import signal
import socket
import time

from faked import Faked
from strato import alive, children, until


def gone(*pids):
    until(lambda: not any(alive(pid) for pid in pids), "processes gone", 5)


# ---- Starting ----

def test_contract_of_descriptors():
    with Faked({"http": {"workers": "3"}}) as strato:
        log = strato.log()
        found = re.findall(r"^descriptors ([\d ]+)$", log, re.MULTILINE)
        # store: 0-7, two per channel, figures; worker: 0-7, three for its one store, roster, figures
        assert sorted(len(line.split()) for line in found) == [13, 13, 13, 9 + 2 * 10]
        for line in found:
            numbers = sorted(map(int, line.split()))
            far = [number for number in numbers if number in (32, 33)]
            assert numbers == list(range(len(numbers) - len(far))) + far
        for worker in range(3):
            assert re.search(rf"http-{worker}\[\d+\]: lane 0 channel {4 * worker}$", log,
                             re.MULTILINE)


def test_workers_start_after_the_store_is_ready():
    with Faked() as strato:
        log = strato.log()
        ready = re.search(r"store-memory\[\d+\] is ready", log)
        assert ready.start() < log.index("http-0[")
        assert log.index("strato is ready") > log.rindex("http-1[")
        assert "\ntry: curl " in log


def test_second_start_says_who_is_there():
    with Faked() as strato:
        second = Faked({"strato": {"run_dir": strato.run_dir}})
        code, log = second.fails()
        second.remove()
        assert code == 1
        assert f"run_dir {strato.run_dir} is in use by stratod, pid {strato.process.pid}\n" in log
        with open(os.path.join(strato.run_dir, "lock")) as lock:
            assert lock.read() == f"{strato.process.pid}\n"


def test_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        strato = Faked({"http": {"listen": address}})
        code, log = strato.fails()
        strato.remove()
    assert code == 1
    assert f"cannot listen on {address} ([http] listen): Address already in use\n" in log
    assert "descriptors" not in log


def test_run_dir_that_cannot_be_made():
    strato = Faked()
    strato.settings["strato"]["run_dir"] = "/proc/strato-run"
    strato.write_config()
    code, log = strato.fails()
    strato.remove()
    assert code == 1
    assert "cannot make run_dir /proc/strato-run: " in log


def test_run_dir_of_others_is_refused():
    strato = Faked()
    os.mkdir(strato.run_dir)
    os.chmod(strato.run_dir, 0o777)
    code, log = strato.fails()
    assert code == 1 and "may be written by others" in log
    os.rmdir(strato.run_dir)
    open(strato.run_dir, "w").close()
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and "is not a directory" in log


def test_failing_start_is_given_up():
    strato = Faked(actions={"store-memory": "fail"})
    code, log = strato.fails()
    strato.remove()
    assert code == 1
    assert len(re.findall("^descriptors", log, re.MULTILINE)) == 3
    assert "store-memory cannot be started: exit code 1: told to fail" in log
    assert log.count("starting it again") == 2, "said before it was given up"
    assert "strato is ready" not in log


def test_refused_configuration_is_given_up_at_once():
    strato = Faked(actions={"http-1": "refuse"})
    code, log = strato.fails()
    strato.remove()
    assert code == 1
    assert "http-1 cannot be started: exit code 78: told to refuse" in log
    assert "starting it again" not in log
    assert len(re.findall(r"http-1\[\d+\]: told to refuse", log)) == 1


def test_crash_while_starting_names_the_signal():
    strato = Faked(actions={"http-0": "crash"})
    code, log = strato.fails()
    strato.remove()
    assert code == 1
    assert "http-0 cannot be started: killed by signal 6 (Aborted)" in log


def test_missing_program():
    strato = Faked()
    os.remove(os.path.join(strato.libexec, "strato-http-worker"))
    code, log = strato.fails()
    strato.remove()
    assert code == 1
    assert f"cannot execute {strato.libexec}/strato-http-worker: No such file" in log


def test_stop_while_starting():
    strato = Faked(actions={"store-memory": "fail"})
    strato.spawn()
    strato.wait_log("^descriptors")
    strato.process.send_signal(signal.SIGTERM)
    assert strato.process.wait(10) in (0, 1)
    strato.remove()


# ---- Restarting ----

def test_killed_children_are_restarted():
    with Faked() as strato:
        for round_, name in enumerate(["http-0", "store-memory", "http-1", "store-memory"], 1):
            old = strato.kill(name)
            new = strato.wait_restarted(name, old)
            strato.wait_log(rf"{name}\[{new}\] is ready")
            assert len(re.findall(r"ended \(killed by signal 9 \(Killed\): ", strato.log())) == round_
        assert set(re.findall(r"http-0\[\d+\]: lane (\d+ channel \d+)", strato.log())) == {
            "0 channel 0"}
        assert strato.log().count("strato is ready") == 1


def test_first_restart_is_immediate():
    with Faked() as strato:
        strato.kill("http-0")
        strato.wait_log("http-0 ended .* starting it again in 0 ms")
        for restarts in range(1, 8):
            strato.wait_log(r"http-0\[\d+\] is ready", restarts + 1)
            strato.kill("http-0")
        strato.wait_log("http-0 ended", 8)
        delays = re.findall(r"http-0 ended .* starting it again in (\d+) ms", strato.log())
        assert max(map(int, delays)) <= 250


def test_failed_restarts_back_off_and_recover():
    with Faked() as strato:
        strato.do({"http-0": "refuse"})
        strato.kill("http-0")
        strato.wait_log("http-0 ended", 5)
        delays = [int(ms) for ms in
                  re.findall(r"http-0 ended .* starting it again in (\d+) ms", strato.log())]
        for delay, longest in zip(delays, [0, 100, 200, 400, 800]):
            assert longest // 2 <= delay <= longest
        strato.do({})
        strato.wait_log(r"http-0\[\d+\] is ready", 2)
        assert strato.process.poll() is None


def test_silent_and_stopped_children_are_killed():
    with Faked(actions={"http-1": "silent"}) as strato:
        silent = strato.pids()["http-1"]
        stopped = strato.kill("http-0", signal.SIGSTOP)
        strato.do({})
        until(lambda: not alive(silent) and not alive(stopped), "both killed", 45)
        strato.wait_restarted("http-0", stopped)
        strato.wait_restarted("http-1", silent)
        assert len(re.findall(r"http-\d\[\d+\] has said nothing for 3\d s: killed",
                              strato.log())) == 2
        assert "store-memory ended" not in strato.log()


def test_gossip_is_bounded():
    with Faked(actions={"http-0": "babble"}) as strato:
        strato.wait_log("http-0 says something unknown: nonsense")
        assert max(map(len, strato.log().splitlines())) < 3000


def test_stopped_supervisor_does_not_blame_its_children():
    with Faked() as strato:
        before = strato.pids()
        strato.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        strato.process.send_signal(signal.SIGCONT)
        strato.process.send_signal(signal.SIGUSR1)
        strato.wait_log("status: http-1 ")
        assert strato.pids() == before


# ---- Stopping ----

def test_ordered_stop():
    strato = Faked()
    strato.start()
    lock = os.path.join(strato.run_dir, "lock")
    strato.process.send_signal(signal.SIGTERM)
    assert strato.process.wait(10) == 0
    log = strato.log()
    order = re.findall(r"stratod\[\d+\]: (\S+)\[\d+\] stopped", log)
    assert sorted(order[:2]) == ["http-0", "http-1"] and order[2:] == ["store-memory"]
    assert log.index("store-memory[%s]: stopping" % re.search(r"store-memory\[(\d+)\]", log)[1]) > \
        log.index("] stopped")
    assert os.path.getsize(lock) == 0
    os.remove(strato.log_path)
    strato.start()  # and again, in the same run_dir
    strato.stop()


def test_interrupt_of_the_whole_group():
    strato = Faked()
    strato.start()
    os.killpg(strato.process.pid, signal.SIGINT)
    assert strato.process.wait(10) == 0
    assert "ended" not in strato.log()
    strato.remove()


def test_stubborn_worker_is_killed_in_the_end():
    strato = Faked({"strato": {"drain_timeout": "200ms"}}, actions={"http-0": "stubborn"})
    strato.start()
    began = time.monotonic()
    strato.process.send_signal(signal.SIGTERM)
    assert strato.process.wait(10) == 0
    assert 1.1 <= time.monotonic() - began < 6
    assert "http-0 did not stop in time: killed" in strato.log()
    strato.remove()


def test_second_signal_kills_at_once():
    strato = Faked(actions={"http-0": "stubborn", "store-memory": "stubborn"})
    strato.start()
    pids = strato.pids().values()
    strato.process.send_signal(signal.SIGTERM)
    strato.wait_log("SIGTERM: stopping")
    strato.process.send_signal(signal.SIGTERM)  # so soon, it is the same one
    time.sleep(0.6)
    assert strato.process.poll() is None
    strato.process.send_signal(signal.SIGINT)
    assert strato.process.wait(5) == 1
    gone(*pids)
    strato.remove()


def test_store_is_restarted_while_workers_drain():
    strato = Faked(actions={"http-0": "stubborn"}, settings={"strato": {"drain_timeout": "1s"}})
    strato.start()
    strato.process.send_signal(signal.SIGTERM)
    strato.wait_log(r"http-1\[\d+\] stopped")
    old = strato.kill("store-memory")
    strato.wait_restarted("store-memory", old)
    assert strato.process.wait(10) == 0
    strato.remove()


def test_nothing_outlives_a_killed_supervisor():
    strato = Faked(actions={"http-0": "stubborn", "store-memory": "stubborn"})
    strato.start()
    pids = list(strato.pids().values())
    assert len(pids) == 3
    strato.process.kill()
    strato.process.wait()
    gone(*pids)
    os.remove(strato.log_path)
    strato.do({})
    strato.start()  # the lock went with it
    strato.stop()


# ---- Asking and telling ----

def test_reload_checks_the_file_and_goes_on():
    with Faked() as strato:
        before = strato.pids()
        strato.process.send_signal(signal.SIGHUP)
        strato.wait_log("strato.ini is read again")
        strato.wait_log("nothing has changed")
        strato.settings["http"]["workers"] = "none"
        path = strato.write_config()
        strato.process.send_signal(signal.SIGHUP)
        strato.wait_log(rf"{re.escape(path)}:\d+: workers must be auto or")
        os.remove(path)
        strato.process.send_signal(signal.SIGHUP)
        strato.wait_log(rf"{re.escape(path)}: No such file")
        assert strato.pids() == before


def test_status():
    with Faked() as strato:
        old = strato.kill("http-1")
        new = strato.wait_restarted("http-1", old)
        strato.wait_log(rf"http-1\[{new}\] is ready")
        strato.process.send_signal(signal.SIGUSR1)
        strato.wait_log(r"status: store-memory pid \d+ ready, up \d+ s, 0 restarts, last end: none")
        strato.wait_log(rf"status: http-1 pid {new} ready, up \d+ s, 1 restarts, last end: killed "
                        r"by signal 9 \(Killed\)")


def test_systemd_is_told(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(10)
        with Faked(environment={"NOTIFY_SOCKET": path}) as strato:
            assert notify.recv(500) == b"FDSTORE=1\nFDNAME=strato-arena-memory"
            assert notify.recv(500) == b"STATUS=starting"
            assert notify.recv(500).startswith(b"READY=1\n")
            for pid in strato.pids().values():
                with open(f"/proc/{pid}/environ", "rb") as file:
                    assert b"NOTIFY_SOCKET" not in file.read()
        assert notify.recv(500).startswith(b"STOPPING=1\n")


def test_arena_of_workers_is_read_only():
    with Faked() as strato:
        pids = strato.pids()

        def mode(name, number):
            with open(f"/proc/{pids[name]}/fdinfo/{number}") as file:
                return int(re.search(r"flags:\s+(\d+)", file.read())[1], 8) & 3
        assert mode("store-memory", 7) == os.O_RDWR
        assert mode("http-0", 8) == os.O_RDONLY
        for name, pid in pids.items():
            where = 7 if name.startswith("store") else 8
            link = os.readlink(f"/proc/{pid}/fd/{where}")
            assert link.startswith("/memfd:strato-arena-memory")
        # the supervisor itself maps nothing of it
        with open(f"/proc/{strato.process.pid}/maps") as file:
            assert "strato-arena" not in file.read()
        assert children(strato.process.pid) == pids

"""A planned restart or a reload whose successor cannot start: what worked goes on, or comes back."""

import glob
import os
import shutil
import socket
import time

import pytest
from faked import Faked
from strato import BIN, Strato, alive, until
from support import Load
from test_control import ctl, status
from test_listen import free_port, get

BACK = "the configuration from before is in force again"


def config_of(pid):
    with open(f"/proc/{pid}/fd/3") as file:
        return file.read()


def all_ready(strato):
    return all(row["state"] in ("ready", "running") for row in status(strato).values())


def change(strato, **keys):
    strato.settings["strato"].update(keys)
    return strato.write_config()


# ---- Reloads ----

def test_a_store_that_refuses_the_new_configuration_comes_back_with_the_old_one():
    with Faked() as strato:
        before = strato.pids()
        strato.do({"store-memory": "dislike max_value = 2M"})
        change(strato, max_value="2M")
        out, err = ctl(strato, "reload", code=1)
        assert "max_value: 2M, was 1M" in out
        assert "store-memory: exit code 78: told to refuse" in err and BACK in err
        after = strato.pids()
        assert after["http-0"] == before["http-0"] and after["http-1"] == before["http-1"]
        assert all_ready(strato) and "max_value = 1M" in config_of(after["store-memory"])
        assert "going back" in strato.log()
        # What dies later is started with what works, too.
        for name in ("http-0", "store-memory"):
            new = strato.wait_restarted(name, strato.kill(name))
            strato.wait_log(rf"{name}\[{new}\] is ready")
            assert "max_value = 1M" in config_of(new)
        strato.do({})
        ctl(strato, "reload")
        assert all("max_value = 2M" in config_of(pid) for pid in strato.pids().values())


def test_a_worker_that_refuses_takes_the_others_back():
    port = free_port()
    with Faked({"http": {"workers": "3"}}) as strato:
        before = strato.pids()
        strato.do({"http-1": "dislike max_value = 2M"})
        old = strato.settings["http"]["listen"]
        strato.settings["http"]["listen"] = f"127.0.0.1:{port}"
        change(strato, max_value="2M")
        err = ctl(strato, "reload", code=1)[1]
        assert "http-1: exit code 78" in err and BACK in err
        after = strato.pids()
        assert after["http-1"] == before["http-1"] and after["http-2"] == before["http-2"]
        assert all_ready(strato)
        assert all("max_value = 1M" in config_of(pid) for pid in after.values())
        socket.create_connection(strato.http).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        strato.do({})
        strato.settings["http"]["listen"] = old
        ctl(strato, "reload")
        assert all("max_value = 2M" in config_of(pid) for pid in strato.pids().values())


@pytest.mark.parametrize("count", ["1", "4"])
def test_the_number_of_workers_goes_back_too(count):
    with Faked() as strato:
        strato.do({"http-0": "dislike max_value = 2M"})
        strato.settings["http"]["workers"] = count
        change(strato, max_value="2M")
        assert BACK in ctl(strato, "reload", code=1)[1]
        assert sorted(strato.pids()) == ["http-0", "http-1", "store-memory"]
        assert all_ready(strato)
        assert all("max_value = 1M" in config_of(pid) for pid in strato.pids().values())
        strato.do({})
        ctl(strato, "reload")
        assert len(strato.pids()) == 1 + int(count)


def test_a_reload_by_signal_goes_back_as_well():
    with Faked() as strato:
        strato.do({"store-memory": "dislike max_value = 2M"})
        change(strato, max_value="2M")
        os.kill(strato.process.pid, 1)
        strato.wait_log("the planned restart was given up: store-memory: .*" + BACK)
        until(lambda: all_ready(strato), "all ready")


def test_the_old_address_is_listened_on_until_the_new_workers_serve():
    """Connections made meanwhile are not refused."""
    port = free_port()
    with Faked() as strato:
        strato.do({"http-0": "fail"})
        strato.settings["http"]["listen"] = f"127.0.0.1:{port}"
        strato.write_config()
        ctl(strato, "reload", code=1)
        socket.create_connection(strato.http).close()


def test_stopping_while_a_reload_is_under_way():
    strato = Faked()
    strato.start()
    path = os.path.join(strato.directory, "http.sock")
    strato.settings["http"]["listen"] = f"unix:{path}"
    strato.write_config()
    os.kill(strato.process.pid, 1)
    strato.wait_log("is read again")
    strato.stop()
    assert not os.path.exists(path)


# ---- Restarts ----

def test_a_store_whose_new_program_does_not_start_runs_from_the_old_one():
    with Faked() as strato:
        path = os.path.join(strato.libexec, "strato-store")
        for broken in (None, b"", b"not a program"):
            os.rename(path, path + ".good")
            if broken is not None:
                with open(path, "wb") as file:
                    file.write(broken)
                os.chmod(path, 0o755)
            before = strato.pids()
            err = ctl(strato, "restart", "all", code=1)[1]
            assert "store-memory: " in err and "cannot execute" in err
            assert all_ready(strato)
            after = strato.pids()
            assert before["http-0"] == after["http-0"]
            strato.kill("store-memory")  # and again
            new = strato.wait_restarted("store-memory", after["store-memory"])
            strato.wait_log(rf"store-memory\[{new}\] is ready")
            os.rename(path + ".good", path)
            ctl(strato, "restart", "all")
            assert not set(after.values()) & set(strato.pids().values())


def test_a_worker_whose_predecessor_dies_after_a_failed_restart():
    with Faked() as strato:
        path = os.path.join(strato.libexec, "strato-http-worker")
        os.rename(path, path + ".good")
        old = strato.pids()["http-0"]
        assert "cannot execute" in ctl(strato, "restart", "http-0", code=1)[1]
        assert strato.pids()["http-0"] == old
        new = strato.wait_restarted("http-0", strato.kill("http-0"))
        strato.wait_log(rf"http-0\[{new}\] is ready")


def test_no_request_is_lost_when_a_store_cannot_be_replaced():
    """The real programs, copied, under load."""
    strato = Strato()
    for folder in ("bin", "libexec/strato"):
        os.makedirs(os.path.join(strato.directory, folder))
    for path in glob.glob(os.path.join(BIN, "..", "libexec", "strato", "*")):
        shutil.copy(path, os.path.join(strato.directory, "libexec", "strato"))
    strato.program = shutil.copy(strato.program, os.path.join(strato.directory, "bin"))
    store = os.path.join(strato.directory, "libexec", "strato", "strato-store")
    with strato, Load(strato, clients=4) as load:
        until(lambda: strato.metrics().get(
            'strato_store_submissions_total{backend="memory"}', 1) > 0, "load")
        time.sleep(0.2)
        with open(store + ".new", "w") as file:
            file.write("broken")
        os.chmod(store + ".new", 0o755)
        os.rename(store + ".new", store)
        for _ in range(3):
            assert "cannot execute" in ctl(strato, "restart", "store", code=1)[1]
        figures = load.finish()
        assert get(strato.http) == 200
        assert figures["wrong"] == 0 and figures["failures"] == 0, figures
        assert figures["writes"] > 0, figures


# ---- What is said ----

def test_nothing_is_started_again_that_cannot_be_started():
    strato = Faked(actions={"http-1": "refuse"})
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and "http-1 cannot be started" in log
    assert "starting it again" not in log
    strato = Faked(actions={"store-memory": "fail"})
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and log.count("starting it again") == 2
    assert log.rindex("starting it again") < log.index("told to fail", log.rindex("descriptors"))

"""run_dir: emptied while it runs, of somebody else, open to others; the data directory alike."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys

import pytest
from faked import Faked, Prepared
from strato import BIN, Strato, until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def stratoctl(strato, *words):
    return subprocess.run(
        [os.path.join(BIN, "stratoctl"), "--socket", os.path.join(strato.run_dir, "ctl.sock"),
         *words], capture_output=True, text=True, timeout=60, check=False)


def empty(path):
    for name in os.listdir(path):
        os.remove(os.path.join(path, name))


def serves(strato):
    return stratoctl(strato, "status").returncode == 0


# ---- Emptied ----

def remove_files(strato):
    empty(strato.run_dir)


def remove_all(strato):
    shutil.rmtree(strato.run_dir)


def replace(strato):
    shutil.rmtree(strato.run_dir)
    os.makedirs(strato.run_dir, 0o700, exist_ok=True)  # it may be there again


def move(strato):
    os.rename(strato.run_dir, strato.run_dir + ".moved")


def remove_socket(strato):
    os.remove(os.path.join(strato.run_dir, "ctl.sock"))


def remove_lock(strato):
    os.remove(os.path.join(strato.run_dir, "lock"))


@pytest.mark.parametrize("away", [remove_files, remove_all, replace, move, remove_socket,
                                  remove_lock])
def test_run_dir_is_made_anew(away):
    with Strato({"http": {"workers": "1"}}) as strato:
        before = strato.pids()
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        away(strato)
        lock = os.path.join(strato.run_dir, "lock")
        until(lambda: os.path.exists(lock) and serves(strato), "made anew")
        with open(lock) as file:
            assert file.read() == f"{strato.process.pid}\n"
        assert stat.S_IMODE(os.stat(strato.run_dir).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(strato.run_dir + "/ctl.sock").st_mode) == 0o660
        second = Faked({"strato": {"run_dir": strato.run_dir}})
        code, log = second.fails()
        second.remove()
        assert code == 1 and f"is in use by stratod, pid {strato.process.pid}\n" in log
        until(lambda: "store-memory.link" in os.listdir(strato.run_dir), "the link")
        assert strato.pids() == before and client.kv_get("a").body == b"b"
        client.close()  # else the old worker waits for it
        done = stratoctl(strato, "restart", "all")
        assert done.returncode == 0, done.stderr
        fresh = strato.client()
        assert fresh.kv_put("large", b"x" * 500000).status == 204  # over the link
        assert fresh.kv_get("large").body == b"x" * 500000
        stats = stratoctl(strato, "stats")
        assert stats.returncode == 0 and "KVPut" in stats.stdout


def test_hangup_has_it_made_anew_where_nothing_is_watched():
    """Without inotify: the signal does it at once, looking now and then does it later."""
    words = [sys.executable, os.path.join(os.path.dirname(__file__), "confine.py"), "EPERM",
             "inotify_init1"]
    with Prepared(words=words) as strato:
        for hang_up in (True, False):
            shutil.rmtree(strato.run_dir)
            os.mkdir(strato.run_dir, 0o700)
            if hang_up:
                strato.process.send_signal(signal.SIGHUP)
            until(lambda: serves(strato), "made anew")


def test_a_second_instance_on_an_emptied_directory_is_refused():
    """Stopped, so that it cannot make anything anew: the directory itself is locked."""
    with Faked() as strato:
        strato.process.send_signal(signal.SIGSTOP)
        empty(strato.run_dir)
        second = Faked({"strato": {"run_dir": strato.run_dir}})
        code, log = second.fails()
        second.remove()
        strato.process.send_signal(signal.SIGCONT)
        assert code == 1 and "is in use by stratod" in log
        until(lambda: serves(strato), "made anew")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_instance_on_the_same_data_is_refused_before_it_starts_anything(elsewhere):
    settings = {"strato": {"backend": "disk"}, "http": {"workers": "1"}}
    with Strato(settings) as strato:
        data = strato.settings["strato"]["data_dir"]
        second = Strato(settings)
        second.settings["strato"]["data_dir"] = data
        if elsewhere:
            second.settings["strato"]["data_dir"] = second.directory
            second.settings["disk"] = {"path": data + "/disk"}
        # The lock of the database is taken a few seconds after it was made.
        strato.process.send_signal(signal.SIGHUP)
        strato.wait_log = Faked.wait_log.__get__(strato)
        strato.wait_log("strato.ini is read again")
        second.spawn()
        assert second.process.wait(30) == 1
        assert f"the data in {data}/disk is in use by another Strato" in second.log()
        assert "store-disk" not in second.log()
        second.remove()


def test_the_place_of_another_is_left_alone():
    """A second instance in the same place (the first one was stopped): the first does not fight."""
    first = Faked()
    first.start()
    first.process.send_signal(signal.SIGSTOP)
    shutil.rmtree(first.run_dir)
    with Faked({"strato": {"run_dir": first.run_dir}}) as second:
        first.process.send_signal(signal.SIGCONT)
        first.wait_log("is in use by stratod, pid %d" % second.process.pid)
        assert json.loads(stratoctl(first, "status", "--json").stdout)[0]["pid"] == \
            second.process.pid
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(20) == 0
        assert serves(first)
    first.remove()


def test_stratoctl_says_what_it_finds(tmp_path):
    path = str(tmp_path / "ctl.sock")

    def says():
        done = subprocess.run([BIN + "/stratoctl", "--socket", path, "status"], timeout=30,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr
    assert "no stratod is running here" in says() and "removed" in says()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert "no stratod is running here" in says() and "removed" not in says()
    with Faked() as strato:
        strato.process.send_signal(signal.SIGSTOP)
        remove_socket(strato)
        error = stratoctl(strato, "status").stderr
        strato.process.send_signal(signal.SIGCONT)
        assert f"stratod, pid {strato.process.pid}, runs, but its socket was removed" in error
        until(lambda: serves(strato), "made anew")


# ---- Of somebody else, or open to others ----

@pytest.mark.parametrize("key, backend", [("run_dir", "memory"), ("data_dir", "disk"),
                                          ("disk", "disk")])
@pytest.mark.parametrize("wrong", ["mode", pytest.param("owner", marks=root_only)])
def test_directories_that_others_can_change_are_refused(key, backend, wrong):
    strato = Faked({"strato": {"backend": backend}})
    path = {"run_dir": strato.run_dir, "data_dir": strato.directory + "/data",
            "disk": strato.directory + "/data/disk"}[key]
    os.makedirs(path, 0o700)
    if wrong == "mode":
        os.chmod(path, 0o777)
    else:
        os.chown(path, 65534, 65534)
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and path in log and "descriptors" not in log
    if wrong == "mode":
        assert "may be written by others; run: chmod" in log
    else:
        assert "belongs to another user (uid 65534; this is uid 0)" in log


@root_only
def test_a_group_may_write_to_the_volume_of_the_data():
    """As Kubernetes hands it out with fsGroup."""
    strato = Faked({"strato": {"backend": "disk"}})
    os.mkdir(strato.directory + "/data")
    os.chown(strato.directory + "/data", 0, 999)
    os.chmod(strato.directory + "/data", 0o2775)
    strato.start()
    strato.stop()


def test_a_link_in_place_of_the_socket_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("left alone")
    before = os.stat(target)
    strato = Faked()
    os.mkdir(strato.run_dir, 0o700)
    os.symlink(target, strato.run_dir + "/ctl.sock")
    strato.start()
    assert stat.S_ISSOCK(os.lstat(strato.run_dir + "/ctl.sock").st_mode)
    strato.stop()
    assert target.read_text() == "left alone" and os.stat(target).st_gid == before.st_gid
    strato = Faked()
    os.mkdir(strato.run_dir, 0o700)
    os.symlink(target, strato.run_dir + "/lock")
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and "cannot open" in log and target.read_text() == "left alone"


# ---- A full disk below run_dir ----

@root_only
def test_a_full_file_system_below_run_dir_is_no_reason_not_to_start():
    strato = Faked()
    path = strato.write_config()
    lines = (f"mkdir -m 700 {strato.run_dir}; mount -t tmpfs -o size=64k,mode=700 none "
             f"{strato.run_dir}; head -c 1M /dev/zero >{strato.run_dir}/full 2>/dev/null; "
             f"exec {strato.program} --config {path}")
    with open(strato.log_path, "wb") as log:
        strato.process = subprocess.Popen(["unshare", "--mount", "/bin/sh", "-c", lines], stdout=log,
                                          stderr=log, cwd=strato.directory, env=strato.environment)
    strato.wait_log("^strato is ready")
    assert "lock does not hold our pid: No space left on device" in strato.log()
    strato.stop()

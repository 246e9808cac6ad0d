"""Started where something usual is missing: closed descriptors, calls of the kernel that are not
there or forbidden, limits of files, ignored signals, no umask."""

import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import confine
import pytest
from faked import Faked, Prepared
from strato import BIN, until

HERE = os.path.dirname(os.path.abspath(__file__))
BOTH = {"grpc": {"enabled": "yes", "workers": "1"}, "http": {"workers": "1"}}


def use(strato):
    with strato.client() as client:
        assert client.kv_put("a", b"b").status == 204
        assert client.kv_get("a").body == b"b"


# ---- Descriptors 0, 1, 2 ----

def standard(pid):
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_closed_standard_descriptors(closed):
    def close():
        for number in closed:
            os.close(int(number))

    strato = Faked()
    path = strato.write_config()
    strato.process = subprocess.Popen([strato.program, "--config", path], cwd=strato.directory,
                                      env=strato.environment, preexec_fn=close,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: os.path.exists(strato.run_dir + "/ctl.sock") and "http-1" in strato.pids(),
              "workers")
        assert standard(strato.process.pid) == ["/dev/null"] * 3
        with open(strato.run_dir + "/lock") as lock:
            assert lock.read() == f"{strato.process.pid}\n"
        done = subprocess.run([BIN + "/stratoctl", "--socket", strato.run_dir + "/ctl.sock",
                               "restart", "http"], preexec_fn=close, timeout=30, check=False)
        assert done.returncode == 0
        strato.stop()
    except BaseException:
        strato.abandon()
        raise


@pytest.mark.parametrize("program", ["strato-http", "strato-grpc"])
def test_closed_standard_descriptors_of_the_single_servers(program):
    port = 20000 + os.getpid() % 20000
    directory = tempfile.mkdtemp(prefix="strato-", dir="/tmp")  # short, for the sockets in it
    process = subprocess.Popen(
        [os.path.join(BIN, program), "--backend", "memory", "--port", str(port)], cwd=directory,
        preexec_fn=lambda: [os.close(number) for number in range(3)])
    lock = pathlib.Path(directory, "strato-run", f"{program.split('-')[1]}-{port}", "lock")
    try:
        until(lock.exists, "lock")
        until(lambda: lock.read_text() == f"{process.pid}\n", "only the pid in it")
        assert standard(process.pid) == ["/dev/null"] * 3
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(directory)


# ---- Signals that whoever started us had ignored ----

def test_ignored_signals_of_the_parent():
    def ignore():
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    with Prepared(prepare=ignore) as strato:
        old = strato.kill("http-0")
        strato.wait_restarted("http-0", old)
        use(strato)


# ---- Calls that the kernel does not have, or a filter forbids ----

# Needed by libraries: getrandom() by nng, and libc starts no thread when clone3() is forbidden
# (when it is missing it does).
NEWER = sorted(set(confine.CALLS) - {"clone3", "getrandom"})


@pytest.mark.parametrize("error, names", [("ENOSYS", NEWER + ["clone3"]), ("EPERM", NEWER)])
@pytest.mark.parametrize("backend", ["memory", "disk"])
def test_newer_calls_are_missing(error, names, backend):
    words = [sys.executable, os.path.join(HERE, "confine.py"), error, ",".join(names)]
    with Prepared(dict(BOTH, strato={"backend": backend}), words) as strato:
        use(strato)
        for name, pid in strato.pids().items():
            targets = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
            assert {3, 4, 5, 6} <= targets
            old = strato.kill(name)
            strato.wait_restarted(name, old)
        use(strato)


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EINVAL"])
def test_no_descriptor_is_handed_to_children_by_mistake(error):
    """Without close_range() too, and with something left open by a shell."""
    def leave_open():
        os.dup2(1, 50)
        os.set_inheritable(50, True)

    class Both(Prepared, Faked):
        pass

    words = [sys.executable, os.path.join(HERE, "confine.py"), error, "close_range"]
    with Both(words=words) as strato:
        strato.prepare = leave_open
    strato = Both(words=words, prepare=leave_open)
    strato.start()
    found = re.findall(r"^descriptors ([\d ]+)$", strato.log(), re.MULTILINE)
    assert len(found) == 3
    for line in found:
        assert "50" not in line.split()
    strato.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a pid namespace")
def test_a_system_that_forbids_memory_to_be_executed():
    setting = "/proc/sys/vm/memfd_noexec"
    if not os.path.exists(setting):
        pytest.skip("the kernel has no such setting")
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c",
         f"echo 2 > {setting} && cat {setting}"], capture_output=True, text=True, check=False)
    if done.stdout.strip() != "2":
        pytest.skip("no pid namespace")
    strato = Faked()
    path = strato.write_config()
    with open(strato.log_path, "ab") as log:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
             f"echo 2 > {setting}; exec {strato.program} --config {path}"], stdout=log, stderr=log,
            env=strato.environment, cwd=strato.directory)
    try:
        strato.wait_log("^strato is ready")
    finally:
        outer.kill()
        outer.wait()
        strato.remove()


# ---- Limits ----

def limit(kind, soft, hard=None):
    return lambda: resource.setrlimit(kind, (soft, soft if hard is None else hard))


def test_a_soft_limit_of_file_sizes_is_raised():
    with Prepared(prepare=limit(resource.RLIMIT_FSIZE, 4096, resource.RLIM_INFINITY)) as strato:
        use(strato)


def test_a_hard_limit_of_file_sizes_is_said():
    code, log = Prepared(prepare=limit(resource.RLIMIT_FSIZE, 8 << 20)).fails()
    assert code == 1
    assert "cannot make strato-arena-memory: File too large" in log and "ulimit -Hf" in log, log


@pytest.mark.parametrize("number", [16, 40, 64])
def test_too_few_files_are_said(number):
    settings = {"http": {"workers": "8", "max_connections": "16"}}
    code, log = Prepared(settings, prepare=limit(resource.RLIMIT_NOFILE, number)).fails()
    assert code == 1
    assert re.search(r"ulimit -Hn", log), log
    assert "exit code 1)" not in log, log


def test_few_files_are_enough_for_few_workers():
    settings = {"http": {"workers": "1", "max_connections": "16"}}
    with Prepared(settings, prepare=limit(resource.RLIMIT_NOFILE, 256)) as strato:
        use(strato)


# ---- Files for nobody else ----

def test_no_umask():
    settings = dict(BOTH, strato={"backend": "disk"})
    with Prepared(settings, prepare=lambda: os.umask(0)) as strato:
        use(strato)
        modes = {}
        for top in (strato.run_dir, strato.settings["strato"]["data_dir"]):
            for folder, folders, names in os.walk(top):
                for name in ["."] + names + folders:
                    path = os.path.join(folder, name)
                    modes[path] = stat.S_IMODE(os.lstat(path).st_mode)
        assert any(path.endswith("store-disk.link") for path in modes)
        wrong = {path: oct(mode) for path, mode in modes.items()
                 if mode & 0o077 and not path.endswith("ctl.sock")}
        assert not wrong
        assert modes[strato.run_dir + "/ctl.sock"] == 0o660

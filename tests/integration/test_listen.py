"""Where Strato listens: several addresses, unix sockets, sockets of systemd, addresses that come late."""

import contextlib
import grp
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest
from client import Client
from faked import run
from rpc import Rpc
from strato import BIN, Strato, until
from test_control import ctl, status
from test_systemd import Systemd


class UnixClient(Client):
    """A client over a unix socket; a path, or @name in the abstract namespace."""

    def __init__(self, path, timeout=20):
        super().__init__("localhost", 0, timeout)
        self.path = path

    def connect(self):
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(self.timeout)
            self.socket.connect("\0" + self.path[1:] if self.path[0] == "@" else self.path)
            self.pending = b""
        return self.socket


def get(address):
    """The status of GET /ping at a (host, port) or a path."""
    with UnixClient(address) if isinstance(address, str) else Client(*address) as client:
        return client.get("/ping").status


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_only(listen, **keys):
    return {"http": dict({"listen": listen, "workers": "1"}, **keys)}


class Both(Strato):
    """HTTP and gRPC on unix sockets in its directory, and on free ports."""

    def __init__(self, settings=None):
        super().__init__({"grpc": {"enabled": "yes", "workers": "1"}, "http": {"workers": "2"}})
        self.paths = [os.path.join(self.directory, name) for name in ("http.sock", "grpc.sock")]
        self.settings["http"]["listen"] = f"127.0.0.1:0, unix:{self.paths[0]}"
        self.settings["grpc"]["listen"] = f"unix:{self.paths[1]}  127.0.0.1:0"
        for section, keys in (settings or {}).items():
            self.settings[section].update(keys)


# ---- Several ----

def test_both_protocols_on_both_kinds_of_sockets():
    with Both() as strato:
        assert get(strato.http) == 204 or get(strato.http) == 200
        with UnixClient(strato.paths[0]) as client:
            assert client.kv_put("key", b"value" * 100000).status == 204
            assert client.kv_get("key").body == b"value" * 100000
        with Rpc(f"unix:{strato.paths[1]}") as rpc:
            assert rpc.kv_get("key") == b"value" * 100000
            rpc.kv_put("key", b"over gRPC")
        with Rpc(strato.grpc) as rpc:
            assert rpc.kv_get("key") == b"over gRPC"
        ready = re.search("strato is ready: (.*)", strato.log())[1]
        assert ready == (f"HTTP on http://127.0.0.1:{strato.http[1]} and unix:{strato.paths[0]}, "
                         f"gRPC on unix:{strato.paths[1]} and 127.0.0.1:{strato.grpc[1]}")
        assert status(strato)["stratod"]["listen"] == ready
        assert ready in ctl(strato, "status")[0]
    assert not any(map(os.path.exists, strato.paths))


def test_addresses_that_are_one_are_refused(tmp_path):
    for listen, code in (("127.0.0.1:81, 127.0.0.1:81", 1), ("0.0.0.0:81,127.0.0.1:81", 1),
                         ("0.0.0.0:81, [::]:81", 0), ("[::]:81 [::1]:81", 1),
                         ("unix:/a, unix:/a", 1), ("unix:/a unix:/b,127.0.0.1:81", 0),
                         ("unix:a", 1), ("unix:", 1), ("unix:/a/", 1), ("unix:~/a", 1),
                         ("unix:/" + "a" * 107, 1), ("unix:/" + "a" * 106, 0), (",", 1),
                         ("unix:/run/strato/ctl.sock", 1), ("unix:/run/strato/http.sock", 0),
                         ("unix:/run/strato/store-disk.link", 1),
                         (", ".join(f"127.0.0.1:{n}" for n in range(101, 118)), 1),
                         ("224.0.0.1:81", 1), ("239.255.255.255:81", 1), ("240.0.0.1:81", 0),
                         ("255.255.255.255:81", 1), ("[ff02::1]:81", 1),
                         ("[::ffff:224.0.0.1]:81", 1), ("[::ffff:127.0.0.1]:81", 0),
                         ("127.0.0.1:8080", 1), ("127.0.0.1:8081 # here", 1)):
        (tmp_path / "a.ini").write_text(f"[http]\nlisten = {listen}\n")
        found = run("stratod", "--config", "a.ini", "--check-config", cwd=tmp_path)
        assert found[0] == code, (listen, found)
        assert code == 0 or found[1].startswith("a.ini:2: "), (listen, found)


def test_everything_of_both_families():
    port = free_port()
    with Strato(http_only(f"0.0.0.0:{port}, [::]:{port}")):
        assert get(("127.0.0.1", port)) == get(("::1", port)) == 200


def answers_only(strato, address, count=100):
    """Whether every one of count connections is answered by this stratod, which has the key."""
    for _ in range(count):
        with Client(*address) as client:
            if client.kv_get("whose").body != strato.directory.encode():
                return False
    return True


@pytest.mark.parametrize("first, second", [
    ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"),
    ("127.0.0.1", "0.0.0.0"), ("[::1]", "[::1]"), ("[::]", "[::]"), ("[::]", "127.0.0.1")])
def test_a_second_stratod_on_the_same_port_is_refused(first, second):
    """They have different run_dirs, and one user: the port alone keeps them apart."""
    port = free_port()
    with Strato(http_only(f"{first}:{port}")) as strato:
        address = ("::1" if "[::1]" in first else "127.0.0.1", port)
        with Client(*address) as client:
            assert client.kv_put("whose", strato.directory.encode()).status == 204
        strato.settings["http"]["idle_timeout"] = "31s"
        strato.write_config()
        ctl(strato, "reload")
        code, log = refused(http_only(f"{second}:{port}"))
        assert code == 1 and (f"cannot listen on {second}:{port} ([http] listen): "
                              "Address already in use\n") in log
        assert answers_only(strato, address)


def refused(settings):
    second = Strato(settings)
    second.spawn()
    code, log = second.process.wait(20), second.log()
    second.remove()
    return code, log


def test_a_second_stratod_on_the_same_port_for_grpc_is_refused():
    port = free_port()
    grpc = {"listen": f"127.0.0.1:{port}", "enabled": "yes", "workers": "1"}
    with Strato({"http": {"workers": "1"}, "grpc": grpc}) as strato:
        code, log = refused({"grpc": grpc})
        assert code == 1 and f"127.0.0.1:{port} ([grpc] listen): Address already in use" in log
        code, log = refused(http_only(f"127.0.0.1:{port}"))
        assert code == 1 and "Address already in use" in log
        with Rpc(strato.grpc) as rpc:
            for _ in range(20):
                rpc.kv_put("key", b"value")


def test_a_second_strato_http_on_the_same_port_is_refused():
    port = next(port for port in iter(free_port, 0) if port <= 49151)  # as it demands
    with Strato(http_only(f"127.0.0.1:{port}")) as strato:
        done = subprocess.run(
            [os.path.join(BIN, "strato-http"), "--port", str(port), "--backend", "memory"],
            capture_output=True, text=True, timeout=20, check=False,
            env=dict(os.environ, XDG_RUNTIME_DIR=strato.directory, TMPDIR=strato.directory))
        assert done.returncode == 1 and "Address already in use" in done.stdout + done.stderr
        assert get(strato.http) == 200


# ---- Files of unix sockets ----

def test_permissions_and_group():
    if os.geteuid() != 0:
        pytest.skip("only root may give files to any group")
    group = next(group for group in grp.getgrall() if group.gr_gid > 1)
    strato = Both()
    strato.settings["http"].update(socket_mode="0606", socket_group=group.gr_name)
    with strato:
        http, grpc = map(os.stat, strato.paths)
        assert (stat.S_IMODE(http.st_mode), http.st_gid) == (0o606, group.gr_gid)
        assert (stat.S_IMODE(grpc.st_mode), grpc.st_gid) == (0o660, os.getegid())
        strato.settings["http"]["socket_mode"] = "0666"
        strato.write_config()
        pids = strato.pids()
        ctl(strato, "reload")
        assert stat.S_IMODE(os.stat(strato.paths[0]).st_mode) == 0o666
        assert strato.pids() == pids


def test_words_for_permissions_and_groups(tmp_path):
    for text in ("socket_mode = 660x", "socket_mode = 888", "socket_mode = 0007",
                 "socket_mode = 01777", "socket_group = no-such-group-here"):
        (tmp_path / "a.ini").write_text(f"[http]\n{text}\n")
        code, out, _ = run("stratod", "--config", "a.ini", "--check-config", cwd=tmp_path)
        assert code == 1 and out.startswith("a.ini:2: socket_"), (text, out)


def test_stale_files_are_replaced_and_others_are_not(tmp_path):
    path = str(tmp_path / "http.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    strato = Strato(http_only(f"unix:{path}"))
    with strato:  # nobody listened there any more
        assert get(path) == 200
        second = Strato(http_only(f"unix:{path}"))
        second.spawn()
        assert second.process.wait(20) == 1
        assert f"cannot listen on unix:{path} ([http] listen): Address already in use" in \
            second.log()
        second.remove()
        assert get(path) == 200
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as others:
            others.bind(path)
    assert os.path.exists(path)  # it was not ours any more
    os.unlink(path)
    with open(path, "w") as file:
        file.write("not a socket")
    strato = Strato(http_only(f"unix:{path}"))
    strato.spawn()
    assert strato.process.wait(20) == 1
    strato.remove()
    with open(path) as file:
        assert file.read() == "not a socket"


def test_a_killed_stratod_leaves_a_file_that_the_next_replaces(tmp_path):
    path = str(tmp_path / "http.sock")
    strato = Strato(http_only(f"unix:{path}"))
    strato.start()
    strato.process.kill()
    strato.process.wait()
    os.rename(strato.log_path, strato.log_path + ".old")
    strato.start()
    assert get(path) == 200
    strato.stop()
    assert not os.path.exists(path)


def test_abstract_names():
    name = f"@strato-test-{os.getpid()}"
    with Strato(http_only(f"unix:{name}")):
        assert get(name) == 200


# ---- Changing while it runs ----

def test_reload_touches_only_what_changes():
    with Both() as strato:
        third = os.path.join(strato.directory, "third.sock")
        before = os.stat(strato.paths[0]).st_ino
        strato.settings["http"]["listen"] += f", unix:{third}"
        strato.write_config()
        with Client(*strato.http) as old:
            assert old.get("/ping").status == 200
            ctl(strato, "reload")
        assert get(third) == get(strato.paths[0]) == get(strato.http) == 200
        assert os.stat(strato.paths[0]).st_ino == before
        strato.settings["http"]["listen"] = f"unix:{third}"
        strato.write_config()
        ctl(strato, "reload")
        assert get(third) == 200 and not os.path.exists(strato.paths[0])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(strato.http)
        os.unlink(third)  # somebody cleans up; a reload makes it anew
        ctl(strato, "reload")
        assert get(third) == 200
        with Rpc(f"unix:{strato.paths[1]}") as rpc:
            rpc.kv_put("key", b"value")


def test_a_port_moves_only_where_it_is_free():
    """Its own socket for all addresses serves until another could: both cannot be."""
    port = free_port()
    with Strato(http_only(f"0.0.0.0:{port}")) as strato:
        before = strato.pids()
        for listen in (f"127.0.0.1:{port}", f"[::]:{port}", f"127.0.0.1:0, 127.0.0.1:{port}"):
            strato.settings["http"]["listen"] = listen
            strato.write_config()
            err = ctl(strato, "reload", code=1)[1] + strato.log()
            assert (f"Address already in use; this stratod itself listens on 0.0.0.0:{port} "
                    "([http]) until the change is made: restart it for this change") in err
            assert get(("127.0.0.1", port)) == 200 and strato.pids() == before
        other = free_port()
        for there in (other, port, other):
            strato.settings["http"]["listen"] = f"127.0.0.1:{there}"
            strato.write_config()
            ctl(strato, "reload")
            assert get(("127.0.0.1", there)) == 200


@pytest.mark.parametrize("inside", [True, False])
def test_a_removed_file_is_made_anew_by_itself(inside):
    strato = Both()
    if inside:  # run_dir is watched, others are looked at now and then
        strato.paths = [os.path.join(strato.run_dir, name) for name in ("http.sock", "grpc.sock")]
        for section, path in zip(("http", "grpc"), strato.paths):
            strato.settings[section]["listen"] = f"unix:{path}, 127.0.0.1:0"
    with strato:
        addresses = strato.http, strato.grpc
        strato.settings["memory"]["size"] = "not read again"
        strato.write_config()
        for _ in range(2 if inside else 1):
            for path in strato.paths:
                os.unlink(path)
            until(lambda: all(map(os.path.exists, strato.paths)), "made anew")
            until(lambda: get(strato.paths[0]) == 200, "served")
            with Rpc(f"unix:{strato.paths[1]}") as rpc:
                rpc.kv_put("key", b"value")
        assert addresses == (strato.http, strato.grpc) and get(strato.http) == 200
        for section, path in zip(("http", "grpc"), strato.paths):
            assert f"[{section}] listen: unix:{path} was removed and is made anew" in strato.log()
        strato.settings["memory"]["size"] = "64M"
        strato.write_config()
        ctl(strato, "restart", "http")  # what is under way is at its end
        said = f"unix:{strato.paths[0]} was removed and is made anew\n"
        count = strato.log().count(said)
        os.unlink(strato.paths[0])
        out = ctl(strato, "reload")[0]
        assert said in out or inside and out == "nothing has changed\n"  # by itself just before
        assert strato.log().count(said) == count + 1 and get(strato.paths[0]) == 200
        assert ctl(strato, "reload")[0] == "nothing has changed\n"


def test_planned_restarts_lose_no_request_on_unix_sockets():
    with Both() as strato:
        stop, wrong, count = threading.Event(), [], [0]

        def ask():
            with UnixClient(strato.paths[0]) as client:
                while not stop.is_set():
                    answer = client.get("/ping")
                    count[0] += 1
                    if answer.status != 200:
                        wrong.append(answer.status)
                    if answer.headers.get("connection") == "close":
                        client.close()

        def call():
            with Rpc(f"unix:{strato.paths[1]}") as rpc:
                while not stop.is_set():
                    rpc.kv_put("key", b"value")
                    count[0] += 1

        def guarded(work):
            try:
                work()
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(error)
        threads = [threading.Thread(target=guarded, args=(work,)) for work in (ask, ask, call)]
        for thread in threads:
            thread.start()
        for kind in ("http", "grpc", "http", "grpc"):
            ctl(strato, "restart", kind)
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong and count[0] > 100, (wrong[:3], count)


# ---- Sockets of systemd ----

class Handed(Strato):
    """Started as systemd would, with sockets at descriptor 3 and on; [(name, socket)]."""

    def __init__(self, sockets, settings=None):
        super().__init__(settings)
        self.sockets = sockets

    def spawn(self):
        numbers = [handed.fileno() for _, handed in self.sockets]
        high = [os.dup2(number, 100 + i, inheritable=True) for i, number in enumerate(numbers)]
        moves = "".join(f"exec {3 + i}<&{number}; " for i, number in enumerate(high))
        environment = dict(self.environment, LISTEN_FDS=str(len(high)),
                           LISTEN_FDNAMES=":".join(name for name, _ in self.sockets))
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f"{moves}export LISTEN_PID=$$; exec \"$@\"", "-", self.program,
                 "--config", self.write_config()], pass_fds=high, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment, cwd=self.directory,
                start_new_session=True)
        for number in high:
            os.close(number)


def listening(address):
    family = (socket.AF_UNIX if isinstance(address, str)
              else socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


@pytest.mark.parametrize("form", ["strato-%s", "strato-%s.socket", "%s"])
def test_every_socket_of_a_unit_is_served(tmp_path, form):
    """Two ListenStream lines or more give descriptors of one name."""
    with contextlib.ExitStack() as stack:
        def made(address):
            return stack.enter_context(contextlib.closing(listening(address)))
        paths = [str(tmp_path / name) for name in ("http.sock", "grpc.sock")]
        http = [made(("127.0.0.1", 0)), made(("::1", 0)), made(paths[0])]
        grpc = [made(("::1", 0)), made(paths[1]), made(("127.0.0.1", 0))]
        mixed = [(form % name, one) for pair in zip(http, grpc)
                 for name, one in zip(("http", "grpc"), pair)]
        with Handed(mixed, {"grpc": {"enabled": "yes", "workers": "1"}}) as strato:
            for one in http:
                name = one.getsockname()
                assert get(name if isinstance(name, str) else name[:2]) == 200
            for target in ("[::1]:%d" % grpc[0].getsockname()[1], f"unix:{paths[1]}"):
                with Rpc(target) as rpc:
                    rpc.kv_put("key", b"value")
            with Rpc(grpc[2].getsockname()) as rpc:
                rpc.kv_put("key", b"value")
            strato.settings["http"]["listen"] = "127.0.0.1:0"
            strato.settings["http"]["idle_timeout"] = "30s"
            strato.write_config()
            ctl(strato, "reload")
            assert all(get(name if isinstance(name, str) else name[:2]) == 200
                       for name in (one.getsockname() for one in http))
        assert all(map(os.path.exists, paths))  # they are systemd's


def test_sockets_that_nobody_serves_are_said():
    with contextlib.closing(listening(("127.0.0.1", 0))) as one, \
            contextlib.closing(listening(("127.0.0.1", 0))) as other:
        with Handed([("strato-grpc", one), ("web", other)]) as strato:
            assert "a socket unit listens for [grpc], which is not enabled" in strato.log()
            assert "the socket that systemd calls web is not served" in strato.log()


# ---- Addresses that come late ----

LATE = """
import sys, os, time, socket, subprocess
sys.path[:0] = [os.path.dirname(sys.argv[1])]
from test_listen import get, http_only
from strato import Strato, until
from test_control import ctl, status
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with Strato(http_only("127.0.0.1:0, 10.9.8.7:8081, [fd00::7]:8081")) as strato:
    assert "no interface has the address of 10.9.8.7:8081 yet" in strato.log(), strato.log()
    assert get(strato.http) == 200
    assert "10.9.8.7:8081 (not there yet)" in status(strato)["stratod"]["listen"]
    subprocess.run(["ip", "addr", "add", "10.9.8.7/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "addr", "add", "fd00::7/128", "dev", "lo", "nodad"], check=True)
    assert get(("10.9.8.7", 8081)) == 200
    assert get(("fd00::7", 8081)) == 200
    until(lambda: strato.log().count("is there now") == 2, "said so")
    assert "not there" not in status(strato)["stratod"]["listen"]
print("fine")
"""


def test_an_address_that_comes_late():
    probe = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"],
                           capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no network namespace of our own can be had")
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", LATE, __file__],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("fine\n"), done.stdout + done.stderr


def test_the_unit_never_gives_up():
    path = os.path.join(os.path.dirname(__file__), "..", "..", "packaging/systemd/strato.service")
    with open(path) as file:
        text = file.read()
    assert re.search(r"^StartLimitIntervalSec=0$", text.split("[Service]")[0], re.MULTILINE)
    assert "Restart=always" in text

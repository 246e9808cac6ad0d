"""Text and answers of other processes: what stratod logs of its children, and what stratoctl does,
perhaps as root, with what it is answered."""

import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import pytest
from faked import Faked
from strato import BIN, SANITIZED

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
NOBODY = 65534


# ---- What children say ----

def is_plain(data):
    """No control but newlines, as UTF-8 or as bare bytes."""
    text = data.decode("utf-8", errors="surrogateescape")
    return not [c for c in text if (c != "\n" and ord(c) < 32) or 0x7f <= ord(c) < 0xa0
                or 0xdc80 <= ord(c) <= 0xdcff or c in "\u202e\u2066"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_that_a_child_says_reaches_a_terminal_as_a_control(log_format):
    with Faked({"strato": {"log_format": log_format}}) as strato:
        strato.do({"http-0": "paint"})
        strato.kill("http-0")
        strato.wait_log("http-0 ended .*failed red", 2)
        ctl = [os.path.join(BIN, "stratoctl"), "--socket", strato.run_dir + "/ctl.sock"]
        for words in (["status"], ["status", "--json"], ["restart", "http-0"]):
            done = subprocess.run(ctl + words, capture_output=True, timeout=60, check=False)
            assert b"failed red" in done.stdout + done.stderr
            assert is_plain(done.stdout) and is_plain(done.stderr), done
        with open(strato.log_path, "rb") as file:
            log = file.read()
        assert b"painted red" in log and b"something unknown" in log
        assert is_plain(log)
        strato.do({})


def test_a_configuration_is_shown_without_controls(tmp_path):
    path = tmp_path / "bad.ini"
    path.write_bytes(b"[strato]\nke\x1b]0;y\x9b31m\xc2\x9b = 1\nlog_level = \x1b[31mred\n")
    for words in (["stratod", "--check-config", "--config"], ["stratoctl", "check"],
                  ["stratod", "--config"]):
        done = subprocess.run([os.path.join(BIN, words[0]), *words[1:], str(path)],
                              capture_output=True, timeout=30, check=False)
        assert done.returncode == 1 and is_plain(done.stdout) and is_plain(done.stderr)
        assert len((done.stdout + done.stderr).splitlines()) >= 2


def test_a_child_that_floods_is_heard_in_part():
    with Faked(actions={"http-0": "flood"}) as strato:
        strato.do({})
        began, size = time.monotonic(), os.path.getsize(strato.log_path)
        strato.wait_log(r"http-0: \d+ log lines were dropped", 2)
        strato.wait_log(r"http-0: \d+ more words that mean nothing were dropped", 2)
        ctl = [os.path.join(BIN, "stratoctl"), "--socket", strato.run_dir + "/ctl.sock", "status"]
        assert subprocess.run(ctl, timeout=20, check=False, stdout=subprocess.DEVNULL).returncode == 0
        passed = time.monotonic() - began
        grown = os.path.getsize(strato.log_path) - size
        assert grown < (1 << 20) + passed * (300 << 10) + 65536, (grown, passed)
        strato.kill("http-0")


# ---- Whom stratoctl believes ----

class Impostor:
    """Answers on a control socket and on store-disk's link, as whoever has taken them over."""

    def __init__(self, directory, path):
        self.path = path  # what the answer calls the snapshot; {name} is the name asked for
        self.asked = []
        self.listeners = []
        for name, serve in (("ctl.sock", self.control), ("store-disk.link", self.link)):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(os.path.join(directory, name))
            os.chmod(os.path.join(directory, name), 0o777)
            listener.listen(16)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, serve), daemon=True).start()

    def accept(self, listener, serve):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def control(self, connection):
        self.asked.append(connection.recv(300))
        rows = [{"name": "stratod", "run_dir": "/nowhere", "backends": ["disk\x1b[31m"]},
                {"name": "store-disk", "pid": 0}, {"result": "ok"}]
        connection.sendall("".join(json.dumps(row) + "\n" for row in rows).encode())
        connection.close()

    def link(self, connection):
        """One request of nng's REQ protocol after the other: a header, then protobuf."""
        try:
            connection.sendall(b"\0SP\0" + struct.pack(">HH", 0x31, 0))
            self.read(connection, 8)
            while True:
                kind, size = struct.unpack(">BQ", self.read(connection, 9))
                header, body = self.read(connection, 4), self.read(connection, size - 4)
                identity, name = self.parse(body)
                answer = self.reply(identity, self.path.format(name=name))
                connection.sendall(struct.pack(">BQ", kind, 4 + len(answer)) + header + answer)
        except (OSError, EOFError):
            connection.close()

    @staticmethod
    def read(connection, size):
        data = b""
        while len(data) < size:
            piece = connection.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    @staticmethod
    def parse(body):
        """{1: id} and the name, the only string, of a Snapshot request."""
        assert body[0] == 0x08
        name = body[body.index(b"backup-"):]
        return body[1], name.decode()

    @staticmethod
    def reply(identity, path):
        text = path.encode()
        snapshot = b"\x08\x01\x12" + bytes([len(text)]) + text
        return b"\x08" + bytes([identity]) + b"\x3a" + bytes([len(snapshot)]) + snapshot

    def close(self):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def backup(run_dir, to, cwd=None):
    words = [os.path.join(BIN, "stratoctl")]
    if run_dir:
        words += ["--socket", os.path.join(run_dir, "ctl.sock")]
    return subprocess.run([*words, "backup", str(to)], capture_output=True, text=True, timeout=60,
                          cwd=cwd, check=False)


def make(path, owner=None):
    os.makedirs(path, 0o700)
    file = os.path.join(path, "data.mdb")
    with open(file, "w") as out:
        out.write("precious")
    os.chmod(file, 0o600)
    if owner is not None:
        os.chown(path, owner, owner)
        os.chown(file, owner, owner)
    return file


def test_a_backup_from_where_an_answer_says_is_neither_taken_nor_removed(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    victim = make(tmp_path / "victim")
    for place in (str(tmp_path / "victim"), str(tmp_path / "victim/."),
                  str(tmp_path / "victim/../victim"), "/etc", "", "{name}",
                  str(tmp_path) + "/snapshots/../victim"):
        impostor = Impostor(str(run_dir), place)
        done = backup(run_dir, tmp_path / "copy")
        impostor.close()
        assert done.returncode == 1, (place, done)
        assert "left alone" in done.stderr, (place, done.stderr)
        assert os.path.exists(victim) and not os.path.exists(tmp_path / "copy")
        for name in os.listdir(run_dir):
            os.remove(run_dir / name)


class Planted(Impostor):
    """Puts something where the snapshot should be, before it answers."""

    def __init__(self, directory, path, plant):
        self.plant = plant
        super().__init__(directory, path)

    def parse(self, body):
        identity, name = super().parse(body)
        self.plant(name)
        return identity, name


def plants(top, victim):
    def link_of_the_snapshot(name):
        os.symlink(top / "victim", top / "snapshots" / name)

    def link_of_the_file(name):
        (top / "snapshots" / name).mkdir(mode=0o700)
        os.symlink(victim, top / "snapshots" / name / "data.mdb")

    def hard_link(name):
        (top / "snapshots" / name).mkdir(mode=0o700)
        os.link(victim, top / "snapshots" / name / "data.mdb")

    def fifo(name):
        (top / "snapshots" / name).mkdir(mode=0o700)
        os.mkfifo(top / "snapshots" / name / "data.mdb", 0o600)

    def of_others(name):
        make(top / "snapshots" / name, NOBODY)

    def open_to_others(name):
        make(top / "snapshots" / name)
        os.chmod(top / "snapshots" / name, 0o777)
    return [link_of_the_snapshot, link_of_the_file, hard_link, fifo, open_to_others] + (
        [of_others] if os.geteuid() == 0 else [])


def test_what_is_planted_in_place_of_a_snapshot_is_left_alone(tmp_path):
    victim = make(tmp_path / "victim")
    for plant in plants(tmp_path, victim):
        run_dir = tmp_path / "run"
        run_dir.mkdir(mode=0o700)
        (tmp_path / "snapshots").mkdir(mode=0o700)
        impostor = Planted(str(run_dir), str(tmp_path) + "/snapshots/{name}", plant)
        done = backup(run_dir, tmp_path / "copy")
        impostor.close()
        assert done.returncode == 1 and not os.path.exists(tmp_path / "copy"), (plant, done)
        assert os.path.exists(victim)
        assert len(os.listdir(tmp_path / "snapshots")) == 1, plant
        shutil.rmtree(run_dir)
        shutil.rmtree(tmp_path / "snapshots")


def test_a_snapshot_as_it_should_be_is_taken_and_removed(tmp_path):
    """So that the tests above fail for the right reason."""
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    (tmp_path / "snapshots").mkdir(mode=0o700)
    impostor = Planted(str(run_dir), str(tmp_path) + "/snapshots/{name}",
                       lambda name: make(tmp_path / "snapshots" / name))
    done = backup(run_dir, tmp_path / "copy")
    impostor.close()
    assert done.returncode == 0, done
    assert (tmp_path / "copy").read_text() == "precious"
    assert stat.S_IMODE(os.stat(tmp_path / "copy").st_mode) == 0o600
    assert os.listdir(tmp_path / "snapshots") == []


@root_only
@pytest.mark.parametrize("how", ["owner", "mode", "link"])
def test_a_strato_run_of_others_is_not_asked(tmp_path, how):
    if os.path.exists("/run/strato/ctl.sock"):
        pytest.skip("a service is installed here")
    os.chmod(tmp_path, 0o777)
    real = tmp_path / ("elsewhere" if how == "link" else "strato-run")
    real.mkdir(mode=0o700)
    if how == "owner":
        os.chown(real, NOBODY, NOBODY)
    elif how == "mode":
        os.chmod(real, 0o777)
    else:
        os.symlink(real, tmp_path / "strato-run")
    impostor = Impostor(str(real), "/etc")
    done = subprocess.run([BIN + "/stratoctl", "status"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=30, check=False)
    impostor.close()
    assert done.returncode == 1 and impostor.asked == [], done


@root_only
def test_one_who_listens_in_the_directory_of_another_is_not_believed(tmp_path):
    """Somebody who can write to run_dir (a group may) is not therefore its owner."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        os.chmod(folder, 0o755)
    script = ("import os, socket, sys, time\ns = socket.socket(socket.AF_UNIX)\n"
              "s.bind(sys.argv[1])\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
              "s.listen()\nprint('listening', flush=True)\nc, _ = s.accept()\n"
              "print(c.recv(100))\n")
    process = subprocess.Popen([sys.executable, "-c", script, str(directory / "ctl.sock")],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "listening\n"
        done = subprocess.run(
            [BIN + "/stratoctl", "--socket", str(directory / "ctl.sock"), "stop"],
            capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1 and "neither root, nor you" in done.stderr
        assert process.stdout.read() == "b''\n", "it was asked"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_answer_without_end_is_not_kept(tmp_path):
    path = str(tmp_path / "ctl.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen([BIN + "/stratoctl", "--socket", path, "status"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        try:
            connection.settimeout(20)
            for _ in range(200):
                connection.sendall(b"x" * (1 << 20))
            with open(f"/proc/{process.pid}/status") as file:
                peak = int([line for line in file if line.startswith("VmHWM")][0].split()[1])
            assert SANITIZED or peak < 50 << 10
        finally:
            connection.close()
            out, err = process.communicate(timeout=30)
        assert process.returncode == 1 and b"before it had answered" in err


def test_a_crowd_is_waited_for():
    with Faked() as strato:
        path = strato.run_dir + "/ctl.sock"
        crowd = []
        for _ in range(16):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            crowd.append(connection)
        done = subprocess.run([BIN + "/stratoctl", "--socket", path, "status"], timeout=60,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for connection in crowd:
            connection.close()

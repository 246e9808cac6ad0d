"""What systemd sees: readiness, the watchdog, and the memory it keeps over a restart of the service.

A socket of our own stands in for systemd.
"""

import json
import os
import select
import signal
import socket
import subprocess

import pytest
from client import Client
from faked import Faked
from rpc import Rpc
from strato import Strato, until


class Systemd:
    """Receives notifications; keeps descriptors by name."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.kept, self.said = {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.forget()

    def forget(self):
        for descriptor in self.kept.values():
            os.close(descriptor)
        self.kept = {}

    def listen(self):
        """Takes what has come."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            except BlockingIOError:
                return self.said
            lines = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.said.append(lines)
            if "FDSTORE" in lines:
                self.kept[lines["FDNAME"]] = descriptors[0]

    def heard(self, key, count=1):
        return sum(key in lines for lines in self.listen()) >= count


class Service(Strato):
    """Started as systemd would: with what it kept at descriptor 3 and on."""

    def __init__(self, systemd, settings=None):
        super().__init__(settings, {"NOTIFY_SOCKET": systemd.path})
        self.systemd = systemd

    def spawn(self):
        names, numbers = list(self.systemd.kept), list(self.systemd.kept.values())
        moves = "".join(f"exec {3 + i}<&{number}; " for i, number in enumerate(numbers))
        environment = dict(self.environment, LISTEN_FDS=str(len(names)),
                           LISTEN_FDNAMES=":".join(names))
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f"{moves}export LISTEN_PID=$$; exec \"$@\"", "-", self.program,
                 "--config", self.write_config()], pass_fds=numbers, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment, cwd=self.directory,
                start_new_session=True)

    def restart(self):
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        os.rename(self.log_path, self.log_path + ".old")
        self.start()


def test_memory_outlives_a_restart_of_the_service(tmp_path):
    with Systemd(str(tmp_path)) as systemd, Service(systemd) as strato:
        until(lambda: systemd.heard("READY"), "READY=1")
        assert list(systemd.kept) == ["strato-arena-memory"]
        client = strato.client()
        for number in range(200):
            assert client.kv_put(f"key-{number}", b"value %d" % number).status == 204
        client.post("/counters/visits?increment=41")
        strato.restart()
        client = strato.client()
        for number in range(200):
            assert client.kv_get(f"key-{number}").body == b"value %d" % number
        assert client.post("/counters/visits?increment=1").json()["value"] == 42
        # Nothing of it is left open in a child, but for the two that it is meant for.
        for name, pid in strato.pids().items():
            arenas = [link for entry in os.listdir(f"/proc/{pid}/fd")
                      if "strato-arena" in (link := os.readlink(f"/proc/{pid}/fd/{entry}"))]
            assert len(arenas) == 1, (name, arenas)


def test_memory_of_another_size_is_not_taken_over(tmp_path):
    with Systemd(str(tmp_path)) as systemd, Service(systemd) as strato:
        until(lambda: systemd.heard("READY"), "READY=1")
        strato.client().kv_put("key", b"value")
        strato.settings["memory"]["size"] = "32M"
        strato.restart()
        assert "its data is not taken over" in strato.log()
        assert strato.client().kv_get("key").status == 404
        until(lambda: systemd.heard("FDSTOREREMOVE"), "the old one is given up")
        until(lambda: systemd.heard("FDSTORE", 2), "the new one is kept")


def test_sockets_that_systemd_opened(tmp_path):
    """Their address counts, and a connection made while the service is away waits for it."""
    with Systemd(str(tmp_path)) as systemd:
        for name in ("strato-http", "strato-grpc"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                systemd.kept[name] = os.dup(server.fileno())
                address = server.getsockname()
            if name == "strato-http":
                http = address
        with Service(systemd, {"grpc": {"enabled": "yes"}}) as strato:
            assert strato.http == http and strato.grpc == address
            assert strato.client().kv_put("key", b"value").status == 204
            until(lambda: "strato-arena-memory" in (systemd.listen() and systemd.kept), "kept")
            strato.process.send_signal(signal.SIGTERM)
            assert strato.process.wait(20) == 0
            with Client(*http) as waiting:
                os.rename(strato.log_path, strato.log_path + ".old")
                strato.start()
                assert waiting.kv_get("key").body == b"value"
            with Rpc(strato.grpc) as rpc:
                assert rpc.kv_get("key") == b"value"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_journal_is_told_levels(log_format):
    """Each line begins with its level, the supervisor's own and the children's."""
    strato = Strato({"strato": {"log_format": log_format}})
    with open(strato.log_path, "ab") as log:
        info = os.fstat(log.fileno())
    strato.environment["JOURNAL_STREAM"] = f"{info.st_dev}:{info.st_ino}"
    with strato:
        strato.wait_restarted("store-memory", strato.kill("store-memory"))
        until(lambda: "took over the arena" in strato.log(), "the store's line")
        lines = [line for line in strato.log().splitlines()
                 if not line.startswith(("strato is ready", "try: "))]
        warnings = [line for line in lines if line.startswith("<4>")]
        assert len(warnings) == 1 and "store-memory ended" in warnings[0]
        assert all(line.startswith("<6>") for line in lines if line not in warnings)
        if log_format == "json":
            assert all(json.loads(line[3:]) for line in lines)


def test_the_watchdog_is_fed_by_a_loop_that_works(tmp_path):
    with Systemd(str(tmp_path)) as systemd, Faked(
            environment={"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "400000"}) as strato:
        until(lambda: systemd.heard("WATCHDOG", 5), "WATCHDOG=1 every 200 ms")
        strato.process.send_signal(signal.SIGSTOP)
        systemd.listen()
        count = sum("WATCHDOG" in lines for lines in systemd.said)
        try:
            select.select([], [], [systemd.socket], 1)  # for 1 s: it does not come
            assert sum("WATCHDOG" in lines for lines in systemd.listen()) <= count + 1
        finally:
            strato.process.send_signal(signal.SIGCONT)
        until(lambda: systemd.heard("WATCHDOG", count + 3), "fed again")
        for pid in strato.pids().values():
            with open(f"/proc/{pid}/environ", "rb") as file:
                assert b"WATCHDOG" not in file.read()

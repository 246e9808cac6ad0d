"""The harness: one Strato of its own per test, in a temporary directory, on a free port.

    with Strato({"memory": {"size": "16M"}}) as strato:
        client = strato.client()
        client.put("/kv/a", b'{"content":"b"}')

Leaving the block stops it and checks that it ended cleanly: exit status 0, no child left behind,
nothing from a sanitizer in the log. When the block raises, the end of the log is shown instead.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from client import Client

BIN = os.environ.get("STRATO_BIN") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "dev", "bin")
TEST_BIN = os.environ.get("STRATO_TEST_BIN") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "dev", "tests")
SANITIZED = bool(os.environ.get("STRATO_SANITIZE"))
# Sanitized programs start and run several times slower.
PATIENCE = 30 if SANITIZED else 10

TROUBLE = re.compile(r"runtime error:|(Address|Leak|Thread|UndefinedBehavior)Sanitizer|panic")


def until(condition, what, timeout=PATIENCE, pause=0.005):
    """Polls condition until it is true and returns its value; fails after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


def children(pid):
    """{name: pid} of the Strato processes whose parent is pid; a name as in `ps` (http-0)."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if int(fields[1]) != pid or fields[0] == "Z":
                continue
            child = int(path.split("/")[2])
            with open(f"/proc/{child}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]).startswith("strato-") and len(words) > 1:
            found[words[1]] = child
    return found


def alive(pid):
    """Whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Strato:
    """One running stratod. settings: {section: {key: value}} over the harness's own defaults."""

    def __init__(self, settings=None, environment=None, program="stratod", wrapper=()):
        self.directory = tempfile.mkdtemp(prefix="strato-", dir="/tmp")
        self.run_dir = os.path.join(self.directory, "run")
        self.log_path = os.path.join(self.directory, "log")
        self.settings = {
            "strato": {"run_dir": self.run_dir, "data_dir": os.path.join(self.directory, "data"),
                       "backend": "memory"},
            "http": {"listen": "127.0.0.1:0", "workers": "2"},
            "grpc": {"enabled": "no", "listen": "127.0.0.1:0", "workers": "2"},
            "memory": {"size": "64M"},
        }
        for section, keys in (settings or {}).items():
            self.settings.setdefault(section, {}).update(keys)
        self.environment = dict(os.environ, **(environment or {}))
        self.program = os.path.join(BIN, program)
        self.wrapper = list(wrapper)  # a command that ends in becoming the program
        self.process = None
        self.seen = {}  # every child pid ever seen, so that none is left behind
        self.clients = []

    # ---- Starting and stopping ----

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.abandon()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.abandon()
        else:
            self.stop()

    def write_config(self):
        path = os.path.join(self.directory, "strato.ini")
        with open(path, "w") as file:
            for section, keys in self.settings.items():
                file.write(f"[{section}]\n")
                for key, value in keys.items():
                    file.write(f"{key} = {value}\n")
        return path

    def spawn(self):
        """Starts the supervisor without waiting for anything."""
        path = self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, self.program, "--config", path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.directory, env=self.environment, start_new_session=True)

    def start(self):
        self.spawn()
        until(self.ready, "stratod ready")
        self.pids()

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"stratod ended with {self.process.returncode}")
        line = re.search(r"strato is ready:.*\n", self.log())
        if line:
            self.http = self.listening("http", line.group())
            self.grpc = self.listening("grpc", line.group())
        return line

    @staticmethod
    def listening(protocol, line):
        """(address, port) as stratod printed them when it was ready, or None."""
        found = re.search(r"\b%s on (?:[^,]*? )??(?:http://)?([\d.]+):(\d+)" % protocol, line,
                          re.IGNORECASE)
        return (found.group(1), int(found.group(2))) if found else None

    def stop(self, timeout=30):
        """Stops it as an operator would, and checks that nothing is left."""
        for client in self.clients:
            client.close()
        try:
            self.pids()
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(timeout)
            assert code == 0, f"stratod ended with {code}"
            until(lambda: not self.left(), "children gone", 5)
            self.check_log()
        except BaseException:
            self.abandon()
            raise
        self.remove()

    def left(self):
        return [name for pid, name in self.seen.items() if self.is_ours(pid)]

    def is_ours(self, pid):
        """Guards against a pid used again by some other program."""
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return alive(pid) and b"strato" in file.read()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def abandon(self):
        """Ends everything at once after a failure and shows the end of the log."""
        if self.process:
            self.pids()
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for pid in list(self.seen):
                if self.is_ours(pid):
                    os.kill(pid, signal.SIGKILL)
        text = self.log()
        sys.stderr.write(f"---- log of {self.directory} (its end)\n{text[-6000:]}\n----\n")
        self.remove()

    def remove(self):
        for client in self.clients:
            client.close()
        if not os.environ.get("STRATO_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- Looking and acting ----

    def log(self):
        try:
            with open(self.log_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def check_log(self):
        bad = [line for line in self.log().splitlines() if TROUBLE.search(line)]
        assert not bad, "trouble in the log:\n" + "\n".join(bad[:20])

    def pids(self):
        found = children(self.process.pid)
        self.seen.update({pid: name for name, pid in found.items()})
        return found

    def kill(self, name, number=signal.SIGKILL):
        """Sends a signal to a child and returns its pid."""
        pid = until(lambda: self.pids().get(name), f"a process {name}")
        os.kill(pid, number)
        return pid

    def wait_restarted(self, name, old, timeout=PATIENCE):
        """Waits until another process has the name and is ready, and returns its pid."""
        def other():
            pid = self.pids().get(name)
            return pid if pid and pid != old else None
        return until(other, f"{name} restarted", timeout)

    def client(self, **options):
        """A connection of its own; closed when the Strato stops."""
        client = Client(*self.http, **options)
        self.clients.append(client)
        return client

    def metrics(self):
        """{name with labels: value} from /metrics."""
        with Client(*self.http) as client:
            response = client.get("/metrics")
        assert response.status == 200
        values = {}
        for line in response.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

"""Redis servers of a test's own, in temporary directories, on free ports of 127.0.0.1.

    with Redis() as redis, Strato(redis.settings()) as strato: ...
    with Cluster() as cluster, Strato(cluster.settings()) as strato: ...
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from urllib.parse import quote

from strato import until

BASE = {"strato": {"backend": "redis"}}


def free_port(above=0):
    """A port that nobody listens on; for a cluster also the one 10,000 above it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if not above or port + above < 65536:
            return port


class Redis:
    """One redis-server. It keeps what it acknowledged when it is killed, for the kernel has it
    then. (With appendfsync = everysec Redis may write up to two seconds late.)"""

    def __init__(self, options=(), port=None, login=None, address="127.0.0.1", wrapper=()):
        self.wrapper = list(wrapper)  # a command that ends in becoming the server
        self.address = address
        self.directory = tempfile.mkdtemp(prefix="strato-redis-", dir="/tmp")
        self.port = port or free_port()
        self.options = [str(option) for option in options]
        self.login = login  # (user, password); the user may be empty
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def spawn(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, "redis-server", "--port", str(self.port), "--bind", self.address, "--dir",
                 self.directory, "--save", "", "--appendonly", "yes", "--appendfsync", "no",
                 "--loglevel", "notice", "--repl-diskless-sync-delay", "0", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        self.spawn()
        until(self.answers, f"redis-server on {self.port}", 20)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def answers(self):
        assert self.process.poll() is None, self.log()
        return b"PONG" in self.run("PING", check=False)

    def log(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as file:
            return file.read()[-3000:]

    def run(self, *words, check=True, database=0, arguments=()):
        """redis-cli: its output as bytes, without the newline at its end."""
        login = []
        if self.login:
            user, password = self.login
            login = (["--user", user] if user else []) + ["--pass", password, "--no-auth-warning"]
        done = subprocess.run(
            ["redis-cli", "-h", self.address, "-p", str(self.port), "-n", str(database), "--raw", *login, *arguments,
             *words], capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
        if check:
            assert done.returncode == 0, done
        return done.stdout[:-1]

    def cli(self, database, *words):
        return self.run(*words, database=database)

    def url(self, login=None):
        user = ":".join(quote(word, safe="") for word in login) + "@" if login else ""
        return f"redis://{user}{self.address}:{self.port}"

    def settings(self, **redis):
        return {**BASE, "redis": {"url": self.url(self.login), **redis}}


class Cluster:
    """Three masters and three replicas."""

    def __init__(self, masters=3, replicas=1, node_timeout=1000):
        self.replicas = replicas
        self.nodes = []
        for _ in range(masters * (1 + replicas)):
            self.nodes.append(Redis(port=free_port(10000), options=[
                "--cluster-enabled", "yes", "--cluster-node-timeout", node_timeout,
                "--cluster-replica-validity-factor", 0, "--repl-diskless-sync-delay", 0]))

    def __enter__(self):
        try:
            for node in self.nodes:
                node.spawn()
            for node in self.nodes:
                until(node.answers, f"redis-server on {node.port}", 20)
            self.create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.__exit__()

    def create(self):
        subprocess.run(["redis-cli", "--cluster", "create",
                        *[f"127.0.0.1:{node.port}" for node in self.nodes],
                        "--cluster-replicas", str(self.replicas), "--cluster-yes"],
                       check=True, capture_output=True, timeout=60)
        until(self.settled, "the cluster is whole", 30)

    def settled(self):
        return all(self.ok(node) and self.linked(node) for node in self.nodes if self.up(node))

    @staticmethod
    def up(node):
        return node.process.poll() is None

    @staticmethod
    def ok(node):
        return b"cluster_state:ok" in node.run("CLUSTER", "INFO")

    @staticmethod
    def linked(node):
        """A replica that follows its master, or a master."""
        info = node.run("INFO", "replication")
        return b"role:master" in info or b"master_link_status:up" in info

    def cli(self, *words):
        """A command sent to whichever node has its key."""
        node = next(node for node in self.nodes if self.up(node))
        return node.run(*words, arguments=["-c"])

    def masters(self):
        return [node for node in self.nodes
                if self.up(node) and b"role:master" in node.run("INFO", "replication")]

    def fail_over(self):
        """As an operator would: a replica takes its master's place, with all that it had. Redis gives
        an attempt up after 5 s."""
        replica = next(node for node in self.nodes if node not in self.masters())
        for _ in range(5):
            replica.run("CLUSTER", "FAILOVER")
            end = time.monotonic() + 6
            while time.monotonic() < end:
                if replica in self.masters():
                    return
                time.sleep(0.05)
        raise AssertionError(replica.log())

    @staticmethod
    def identity(node):
        return node.run("CLUSTER", "MYID").decode()

    def reshard(self, source, target, slots):
        """Moves so many slots, with what is in them, while all goes on."""
        until(self.agreed, "the nodes agree", 30, 0.1)
        done = subprocess.run(
            ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-from",
             self.identity(source), "--cluster-to", self.identity(target), "--cluster-slots",
             str(slots), "--cluster-yes"], capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr

    def agreed(self):
        node = next(node for node in self.nodes if self.up(node))
        return subprocess.run(["redis-cli", "--cluster", "check", f"127.0.0.1:{node.port}"],
                              capture_output=True, timeout=60, check=False).returncode == 0

    def settings(self, **redis):
        url = f"redis://127.0.0.1:{self.nodes[0].port}"
        return {**BASE, "redis": {"url": url, "cluster": "yes", **redis}}



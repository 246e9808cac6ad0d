"""What several integration tests share: load under way, and looking into running processes."""

import json
import os
import random
import signal
import subprocess

from strato import TEST_BIN, until


def settled(strato):
    """All figures, with what store-redis has counted until now: it writes its own down a few times a
    second, so one more request must show."""
    name = 'strato_store_submissions_total{backend="redis"}'
    before = strato.metrics()[name]
    with strato.client() as client:
        client.kv_get("settled")
    return until(lambda: [now for now in [strato.metrics()] if now[name] > before], "counted")[0]


class Load:
    """Clients that write all the time (load/load.c); finish() gives its figures."""

    def __init__(self, strato, clients=8, seconds=600, prefix=""):
        self.process = subprocess.Popen(
            [os.path.join(TEST_BIN, "load"), str(strato.http[1]), str(clients), str(seconds),
             prefix], stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.wait()

    def finish(self):
        """Ends the writing, lets it check everything, and returns what it measured."""
        self.process.send_signal(signal.SIGTERM)
        text, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, f"load ended with {self.process.returncode}"
        figures = json.loads(text)
        print("load:", figures)
        return figures


def percentile(values, share):
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def connections(pid):
    """The sockets (inode numbers) that a process holds."""
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{entry}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def accepted(port):
    """{client's port: inode} of the server's ends of established connections to a port."""
    found = {}
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            local, remote, state = words[1], words[2], words[3]
            if state == "01" and int(local.split(":")[1], 16) == port:
                found[int(remote.split(":")[1], 16)] = int(words[9])
    return found


def worker_of(strato, client):
    """The name of the worker that serves a client's connection; it must be in use."""
    inode = accepted(strato.http[1]).get(client.socket.getsockname()[1])
    for name, pid in strato.pids().items():
        if name.startswith("http-") and inode in connections(pid):
            return name
    return None


def connections_of(strato, name):
    """How many client connections a worker has now."""
    return len(connections(strato.pids()[name]) & set(accepted(strato.http[1]).values()))


def generator():
    """Random, with its seed shown when a test fails."""
    seed = int(os.environ.get("STRATO_SEED") or random.randrange(1 << 32))
    print("STRATO_SEED =", seed)
    return random.Random(seed)

"""Strato's gRPC beside a bare server on the gRPC C core (minimal_grpc.c) and beside etcd, in one run.

    make bench-grpc                           (or bench_grpc.py [--runs N] [--seconds S] [--check])

Each figure is the median of runs that take turns, each of Strato's beside its yardstick. --check
ends with status 1 when a figure is short of what is required.
"""

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
import urllib.request

from bench import HERE, VALUE, Rivals, Row, Verdicts, accepts, free_port, show_speed

from strato import Strato, until


class GrpcRow(Row):
    """h2load on one method; every answer must be a message of at least so many bytes."""

    def __init__(self, name, port, path, request, streams, least, required=None):
        self.port, self.path, self.request = port, path, request
        self.streams, self.least = streams, least
        super().__init__(name, None, required)

    def prepare(self, directory, seconds):
        data = os.path.join(directory, self.path.replace("/", "-"))
        with open(data, "wb") as file:
            file.write(b"\0" + struct.pack(">I", len(self.request)) + self.request)
        self.command = ["h2load", "-t1", "-c8", f"-m{self.streams}", f"-D{seconds}", "-d", data,
                        "-H", "content-type: application/grpc", "-H", "te: trailers",
                        f"http://127.0.0.1:{self.port}{self.path}"]

    def measure(self):
        text = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
        done = int(re.search(r"(\d+) 2xx", text).group(1))
        data = int(re.search(r"\((\d+)\) data", text).group(1))
        if done == 0 or data < self.least * done * 0.99:
            raise SystemExit(f"{self.name}: requests failed\n{text}")
        self.rates.append(float(re.search(r"([\d.]+) req/s", text).group(1)))


class GrpcRivals(Rivals):
    """minimal_grpc with as many threads as Strato has workers, and etcd."""

    def __init__(self, threads):
        self.threads = threads

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="strato-bench-")
        self.processes = []
        program = os.path.join(self.directory, "minimal_grpc")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu17",
                        os.path.join(HERE, "minimal_grpc.c"), "-o", program, "-lgrpc", "-lgpr",
                        "-lpthread"], check=True)
        # Each in a session of its own, as Strato is, because the kernel shares the processors
        # between sessions.
        self.processes.append(subprocess.Popen([program, "0", str(self.threads)], text=True,
                                               stdout=subprocess.PIPE, start_new_session=True))
        self.minimal = int(self.processes[0].stdout.readline())
        self.etcd, peer = free_port(), free_port()
        self.processes.append(subprocess.Popen(
            ["etcd", "--data-dir", os.path.join(self.directory, "etcd"),
             "--listen-client-urls", f"http://127.0.0.1:{self.etcd}",
             "--advertise-client-urls", f"http://127.0.0.1:{self.etcd}",
             "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        until(lambda: accepts(self.etcd) and self.healthy(), "etcd", 60)
        return self

    def healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.etcd}/health", timeout=1) as page:
                return b"true" in page.read()
        except OSError:
            return False


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def rows(rivals, port):
    key, value = b"hot", VALUE.encode()
    get, put = field(1, key), field(1, field(1, key)) + field(2, field(1, value))
    etcd_get, etcd_put = field(1, key), field(1, key) + field(2, value)
    return [
        GrpcRow("etcd Put, -m 32", rivals.etcd, "/etcdserverpb.KV/Put", etcd_put, 32, 5),
        GrpcRow("etcd Range, -m 32", rivals.etcd, "/etcdserverpb.KV/Range", etcd_get, 32,
                5 + len(value)),
        GrpcRow("minimal KVPut, -m 32", rivals.minimal, "/proto.KV/KVPut", put, 32, 5),
        GrpcRow("strato KVPut, -m 32", port, "/proto.KV/KVPut", put, 32, 5,
                {"minimal KVPut, -m 32": 0.70, "etcd Put, -m 32": 2}),
        GrpcRow("minimal KVGet, -m 32", rivals.minimal, "/proto.KV/KVGet", get, 32,
                5 + len(value)),
        GrpcRow("strato KVGet, -m 32", port, "/proto.KV/KVGet", get, 32, 5 + len(value),
                {"minimal KVGet, -m 32": 0.90, "etcd Range, -m 32": 5}),
        GrpcRow("minimal KVGet, -m 1", rivals.minimal, "/proto.KV/KVGet", get, 1,
                5 + len(value)),
        GrpcRow("strato KVGet, -m 1", port, "/proto.KV/KVGet", get, 1, 5 + len(value),
                {"minimal KVGet, -m 1": 0.85}),
        GrpcRow("strato KVPut, -m 1", port, "/proto.KV/KVPut", put, 1, 5),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    verdicts = Verdicts()
    settings = {"grpc": {"enabled": "yes", "workers": options.workers}, "http": {"workers": 1}}
    with GrpcRivals(options.workers) as rivals, Strato(settings) as strato:
        table = rows(rivals, strato.grpc[1])
        for row in table:
            row.prepare(rivals.directory, options.seconds)
        for _ in range(options.runs):
            for row in table:
                row.measure()
        show_speed(table, verdicts)
    return 1 if options.check and verdicts.short else 0


if __name__ == "__main__":
    sys.exit(main())

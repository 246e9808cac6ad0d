"""Strato beside a bare epoll loop (floor.c) and beside webdis + Redis, in one run.

    make bench                                (or bench.py [--runs N] [--seconds S] [--check])

Each figure is the median of runs that take turns, because the machine's speed drifts. --check ends
with status 1 when a figure is short of what is required.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
os.environ.setdefault("STRATO_BIN", os.path.join(ROOT, "build", "bin"))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
sys.dont_write_bytecode = True

from strato import Strato, until  # noqa: E402

VALUE = "v" * 52  # {"value":"..."} is then 64 bytes long, as is the floor's answer


class Row:
    """One measurement: who, how, and the ratios it must reach: {yardstick's name: ratio}."""

    def __init__(self, name, command, required=None):
        self.name = name
        self.command = command
        self.required = required or {}
        self.rates = []

    def measure(self):
        text = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in text or "Socket errors" in text:
            raise SystemExit(f"{self.name}: requests failed\n{text}")
        self.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)))

    def rate(self):
        return statistics.median(self.rates)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Rivals:
    """floor, redis-server and webdis on ports of their own."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="strato-bench-")
        self.processes = []
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        floor = os.path.join(self.directory, "floor")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-D_GNU_SOURCE",
                        os.path.join(HERE, "floor.c"), "-o", floor], check=True)
        process = subprocess.Popen([floor, "0"], stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        self.floor = int(process.stdout.readline())
        redis, self.webdis = free_port(), free_port()
        self.processes.append(subprocess.Popen(
            ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no"], cwd=self.directory, **quiet))
        until(lambda: accepts(redis), "redis-server")
        config = os.path.join(self.directory, "webdis.json")
        with open(config, "w") as file:
            json.dump({"redis_host": "127.0.0.1", "redis_port": redis, "http_host": "127.0.0.1",
                       "http_port": self.webdis, "threads": 2, "pool_size": 20, "database": 0,
                       "daemonize": False, "verbosity": 0,
                       "logfile": os.path.join(self.directory, "webdis.log")}, file)
        self.processes.append(subprocess.Popen(["webdis", config], cwd=self.directory, **quiet))
        until(lambda: accepts(self.webdis), "webdis")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def wrk(seconds, connections, port, path, script=None):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if script:
        command += ["-s", os.path.join(HERE, script)]
    return command + [f"http://127.0.0.1:{port}{path}"]


def rows(seconds, rivals, port):
    get, put, floor, webdis = "/kv/hot", "/kv/hot", rivals.floor, rivals.webdis
    return [
        Row("floor, 32 connections", wrk(seconds, 32, floor, get)),
        Row("webdis GET, 32", wrk(seconds, 32, webdis, "/GET/hot")),
        Row("webdis SET, 32", wrk(seconds, 32, webdis, f"/SET/hot/{VALUE}")),
        Row("strato GET, 32", wrk(seconds, 32, port, get),
            {"floor, 32 connections": 0.80, "webdis GET, 32": 1.8}),
        Row("strato PUT, 32", wrk(seconds, 32, port, put, "put.lua"),
            {"floor, 32 connections": 0.60, "webdis SET, 32": 1.5}),
        Row("floor, 1 connection", wrk(seconds, 1, floor, get)),
        Row("strato GET, 1", wrk(seconds, 1, port, get), {"floor, 1 connection": 0.70}),
        Row("strato PUT, 1", wrk(seconds, 1, port, put, "put.lua"), {"floor, 1 connection": 0.50}),
    ]


class Verdicts:
    short = 0

    def say(self, good):
        self.short += not good
        return "PASS" if good else "SHORT"


def show_speed(table, verdicts):
    rates = {row.name: row.rate() for row in table}
    print(f"{'requests per second, median':30}{'rate':>9}   {'least..most':>17}   ratios")
    for row in table:
        ratios = []
        for yardstick, least in row.required.items():
            ratio = rates[row.name] / rates[yardstick]
            ratios.append(f"{ratio:.2f} of {yardstick.split(',')[0]}"
                          f" (at least {least:.2f}: {verdicts.say(ratio >= least)})")
        spread = f"{min(row.rates):.0f}..{max(row.rates):.0f}"
        print(f"{row.name:30}{rates[row.name]:9.0f}   {spread:>17}   {', '.join(ratios)}")


def put_many(strato, first, count, batch=256):
    """Pipelined PUTs of records with key+value = 64 bytes; how many were taken before a refusal."""
    client = strato.client(timeout=120)
    taken = 0
    for start in range(first, first + count, batch):
        numbers = range(start, min(start + batch, first + count))
        client.send(b"".join(
            b"PUT /kv/%016d HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 48\r\n\r\n%048d" % (number, number) for number in numbers))
        for _ in numbers:
            status = client.receive("PUT").status
            if status != 204:
                return taken
            taken += 1
    return taken


def show_overhead(verdicts, megabytes=64):
    with Strato({"memory": {"size": f"{megabytes}M"}}) as strato:
        count = put_many(strato, 0, 10_000_000)
        size = megabytes << 20
        overhead = size / count - 64
        print(f"overhead of a record of 64 bytes: {overhead:.1f} bytes, {count} records in "
              f"{megabytes} MiB (at most 48: {verdicts.say(overhead <= 48)})")


def show_rebuild(verdicts, records=1_000_000):
    with Strato({"memory": {"size": "256M"}}) as strato:
        assert put_many(strato, 0, records) == records, "no room for the records"
        client = strato.client()
        client.kv_get("warm")
        before = len(strato.log())
        strato.kill("store-memory")
        start = time.monotonic()
        assert client.kv_put("after", b"x").status == 204
        outage = time.monotonic() - start
        assert client.kv_get("%016d" % (records - 1)).body == b"%048d" % (records - 1)
        print(f"{records} records after kill -9: the next write took {outage:.2f} s "
              f"(at most 1: {verdicts.say(outage <= 1)})")
        for line in strato.log()[before:].splitlines():
            if "store-memory" in line and "records" in line:
                print("   ", line)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--workers", default="auto", help="as [http] workers")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    verdicts = Verdicts()
    with Rivals() as rivals, Strato({"http": {"workers": options.workers}}) as strato:
        client = strato.client()
        body = b'{"content":"%s"}' % VALUE.encode()
        assert client.put("/kv/hot", body, content_type="application/json").status == 204
        table = rows(options.seconds, rivals, strato.http[1])
        for _ in range(options.runs):
            for row in table:
                row.measure()
        show_speed(table, verdicts)
    show_overhead(verdicts)
    show_rebuild(verdicts)
    return 1 if options.check and verdicts.short else 0


if __name__ == "__main__":
    sys.exit(main())

"""Instructions that a request costs in the processes that serve it, counted by callgrind.

    make bench-instructions        (or bench_instructions.py [--bin DIR] [--write] [--check])

Counts do not depend on how busy the machine is, so they show what times on a shared machine cannot:
whether a change made the road of a request longer. instructions.json holds the counts of 0.2.0,
measured in the same way; --check ends with status 1 when a request costs more than its bound allows,
and --write makes the file anew (of the build in --bin). It needs valgrind.
"""

import argparse
import json
import os
import re
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile

from bench import HERE, ROOT

import strato  # noqa: E402
from client import Client  # noqa: E402
from rpc import Rpc  # noqa: E402

BASELINE = os.path.join(HERE, "instructions.json")
REQUESTS, BATCHES = 1000, 5
MARGIN = 1.02  # of the counts themselves, between two runs of one build
# What a request may cost beside 0.2.0. gRPC's frames are looked at before its library sees them now,
# which costs two per cent; and the database's name before each commit, which on disk costs a PUT that
# is alone in its round six.
BOUNDS = {"http get": 1.01, "http put": 1.05, "grpc get": 1.03, "grpc put": 1.07,
          "http put disk": 1.08, "grpc put disk": 1.07}
VALUE = b"v" * 52

WRAPPER = """#!/bin/sh
export LD_PRELOAD={out}/../epoll_pwait2.so
exec valgrind --tool=callgrind --callgrind-out-file={out}/"$1".%p --log-file={out}/"$1".%p.log \\
    {program} "$@"
"""


def wrap(build, directory):
    """A copy of the programs in which every child runs under callgrind."""
    out, bin_directory = os.path.join(directory, "out"), os.path.join(directory, "bin")
    libexec = os.path.join(directory, "libexec", "strato")
    for made in (out, libexec):
        os.makedirs(made)
    shutil.copytree(build, bin_directory)
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC",
                    os.path.join(HERE, "epoll_pwait2.c"), "-o",
                    os.path.join(directory, "epoll_pwait2.so")], check=True)
    programs = os.path.join(build, "..", "libexec", "strato")
    for name in os.listdir(programs):
        path = os.path.join(libexec, name)
        with open(path, "w") as file:
            file.write(WRAPPER.format(out=out, program=os.path.abspath(
                os.path.join(programs, name))))
        os.chmod(path, stat.S_IRWXU)
    return bin_directory, out


class Counted(strato.Strato):
    """A Strato whose children run under callgrind."""

    def __init__(self, out, settings):
        self.out = out
        super().__init__(settings)

    def processes(self):
        """{name: pid} of the children; under valgrind their command lines do not show it."""
        found = {}
        for name in os.listdir(self.out):
            matched = re.fullmatch(r"([\w-]+)\.(\d+)\.log", name)
            if matched and strato.alive(int(matched.group(2))):
                found[matched.group(1)] = int(matched.group(2))
        return found

    def tell(self, command):
        for pid in self.processes().values():
            subprocess.run(["vgdb", f"--pid={pid}", "--wait=20", command], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def dumped(self):
        """{file: instructions} of everything dumped so far."""
        found = {}
        for name in os.listdir(self.out):
            if name.endswith(".log"):
                continue
            with open(os.path.join(self.out, name)) as file:
                total = re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)
            found[name] = int(total[-1]) if total else 0
        return found

    def count(self, request):
        """Instructions per request, of all children together; the median of some batches."""
        figures = []
        for _ in range(BATCHES):
            self.tell("zero")
            before = self.dumped()
            for _ in range(REQUESTS):
                request()
            self.tell("dump")
            after = self.dumped()
            figures.append(sum(count for name, count in after.items() if name not in before)
                           / REQUESTS)
        return statistics.median(figures)


def http_requests(running):
    client = Client(*running.http)

    def get():
        assert client.get("/kv/hot").status == 200

    def put():
        assert client.put("/kv/hot", b'{"content":"%s"}' % VALUE).status == 204

    put()
    return {"get": get, "put": put}


def grpc_requests(running):
    rpc = Rpc(running.grpc)

    def get():
        rpc.ask("/proto.KV/KVGet", key="hot")

    def put():
        rpc.ask("/proto.KV/KVPut", location={"key": "hot"}, value={"content": VALUE})

    put()
    return {"get": get, "put": put}


PROTOCOLS = {"http": http_requests, "grpc": grpc_requests}


def measure(build):
    """{"http get memory": instructions}."""
    figures = {}
    for backend in ("memory", "disk"):
        for protocol, requests in PROTOCOLS.items():
            with tempfile.TemporaryDirectory(prefix="strato-instructions-") as directory:
                strato.BIN, out = wrap(build, directory)
                settings = {name: {"enabled": "yes" if name == protocol else "no", "workers": "1"}
                            for name in PROTOCOLS}
                settings["strato"] = {"backend": backend, "request_timeout": "60s"}
                settings["disk"] = {"sync": "off", "map_size": "1G"}
                with Counted(out, settings) as running:
                    for name, request in requests(running).items():
                        for _ in range(REQUESTS):
                            request()
                        figures[f"{protocol} {name} {backend}"] = running.count(request)
    return figures


def compare(figures, baseline):
    """Prints both; whether all are within their bounds."""
    good = True
    for name, count in figures.items():
        ratio = count / baseline[name]
        bound = BOUNDS.get(name) or BOUNDS[name.rsplit(" ", 1)[0]]
        within = ratio <= bound * MARGIN
        good = good and within
        print(f"{name:18} {count:9.0f} instructions, {ratio:.3f} of 0.2.0 (at most {bound})"
              f"{'' if within else '   TOO MANY'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "bin"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    figures = measure(os.path.abspath(options.bin))
    if options.write:
        with open(BASELINE, "w") as file:
            json.dump({name: round(count) for name, count in figures.items()}, file, indent=4)
            file.write("\n")
    with open(BASELINE) as file:
        good = compare(figures, json.load(file))
    sys.exit(options.check and not good)


if __name__ == "__main__":
    main()

"""Strato in front of Redis beside webdis and redis-benchmark on the same Redis, in one run; then one,
two and three instances of Strato on one Redis Cluster.

    make bench-redis                          (or bench_redis.py [--runs N] [--seconds S] [--check])

Each figure is the median of runs that take turns. --check ends with status 1 when a figure is short
of what is required.
"""

import argparse
import collections
import contextlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from bench import VALUE, Row, Verdicts, accepts, free_port, show_speed, wrk

from redis_servers import Cluster, Redis
from strato import Strato, until

PLAIN = ["--appendonly", "no"]  # as the rival has it: no disk
CONNECTIONS = 32  # to each of one, two or three instances


class NativeRow(Row):
    """redis-benchmark without pipelining, on the database where Strato's kv is."""

    def __init__(self, name, port, test, seconds):
        super().__init__(name, ["redis-benchmark", "-p", str(port), "-c", "32", "-d",
                                str(len(VALUE)), "--dbnum", "3", "-t", test, "--csv", "-n",
                                str(40000 * seconds)])
        self.test = test

    def measure(self):
        text = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
        self.rates.append(float(re.search(rf'"{self.test.upper()}","([\d.]+)"', text).group(1)))


@contextlib.contextmanager
def webdis(redis):
    with tempfile.TemporaryDirectory(prefix="strato-bench-") as directory:
        port = free_port()
        config = os.path.join(directory, "webdis.json")
        with open(config, "w") as file:
            json.dump({"redis_host": "127.0.0.1", "redis_port": redis.port, "database": 3,
                       "http_host": "127.0.0.1", "http_port": port, "threads": 2, "pool_size": 20,
                       "daemonize": False, "verbosity": 0,
                       "logfile": os.path.join(directory, "webdis.log")}, file)
        process = subprocess.Popen(["webdis", config], cwd=directory, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            until(lambda: accepts(port), "webdis")
            yield port
        finally:
            process.terminate()
            process.wait()


def rows(seconds, redis, webdis_port, port):
    return [
        NativeRow("redis-benchmark GET, 32", redis.port, "get", seconds),
        NativeRow("redis-benchmark SET, 32", redis.port, "set", seconds),
        Row("webdis GET, 32", wrk(seconds, 32, webdis_port, "/GET/hot")),
        Row("webdis SET, 32", wrk(seconds, 32, webdis_port, f"/SET/hot/{VALUE}")),
        Row("strato GET, 32", wrk(seconds, 32, port, "/kv/hot"),
            {"webdis GET, 32": 1.3, "redis-benchmark GET, 32": 0.5}),
        Row("strato PUT, 32", wrk(seconds, 32, port, "/kv/hot", "put.lua"),
            {"webdis SET, 32": 1.3, "redis-benchmark SET, 32": 0.5}),
    ]


def one_server(options, verdicts):
    with Redis(PLAIN) as redis, webdis(redis) as webdis_port, \
            Strato(redis.settings()) as strato:
        body = b'{"content":"%s"}' % VALUE.encode()
        assert strato.client().put("/kv/hot", body, content_type="application/json").status == 204
        table = rows(options.seconds, redis, webdis_port, strato.http[1])
        for _ in range(options.runs):
            for row in table:
                row.measure()
        show_speed(table, verdicts)


# ---- Several instances on a cluster ----

def processor_seconds(cluster, instances):
    """What each kind of process has used so far."""
    used = collections.Counter()
    pids = [("redis", node.process.pid) for node in cluster.nodes]
    for strato in instances:
        pids += [(name.split("-")[0], pid) for name, pid in strato.pids().items()]
    for kind, pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        used[kind] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["wrk"] = ended.ru_utime + ended.ru_stime
    return used


def together(instances, seconds, script):
    """Requests per second of all instances at once, each asked by a wrk of its own."""
    processes = []
    for strato in instances:
        command = wrk(seconds, CONNECTIONS, strato.http[1], "/kv/hot", script)
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    texts = [process.communicate()[0] for process in processes]
    assert not any("Non-2xx" in text for text in texts), texts
    return sum(float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)) for text in texts)


def several_instances(options, verdicts):
    """Each with one worker, since they share this machine's processors."""
    with Cluster(node_timeout=5000) as cluster, contextlib.ExitStack() as stack:
        settings = cluster.settings() | {"http": {"workers": 1}}
        instances = [stack.enter_context(Strato(settings)) for _ in range(3)]
        assert instances[0].client().kv_put("hot", VALUE.encode()).status == 204
        rates, spent, elapsed = {}, {}, collections.Counter()
        for _ in range(options.runs):
            for count in (1, 2, 3):
                before, start = processor_seconds(cluster, instances), time.monotonic()
                for script in (None, "put.lua"):
                    rate = together(instances[:count], options.seconds, script)
                    rates.setdefault((count, script), []).append(rate)
                elapsed[count] += time.monotonic() - start
                used = processor_seconds(cluster, instances)
                used.subtract(before)
                spent[count] = spent.get(count, collections.Counter()) + used
    show_instances({key: statistics.median(seen) for key, seen in rates.items()}, spent, elapsed,
                   verdicts)


def show_instances(rates, spent, elapsed, verdicts):
    print(f"\n{'instances on a cluster of 3 masters':36}{'GET':>8}{'PUT':>8}   processors in use, of "
          f"{len(os.sched_getaffinity(0))}")
    for count in (1, 2, 3):
        shares = ", ".join(f"{kind} {seconds / elapsed[count]:.2f}"
                           for kind, seconds in sorted(spent[count].items()))
        print(f"{count:<36}{rates[count, None]:8.0f}{rates[count, 'put.lua']:8.0f}   {shares}, all "
              f"{sum(spent[count].values()) / elapsed[count]:.2f}")
    for script, name in ((None, "GET"), ("put.lua", "PUT")):
        ratio = min(rates[2, script], rates[3, script]) / rates[1, script]
        print(f"{name}: two and three instances reach {ratio:.2f} of one (at least 0.90: "
              f"{verdicts.say(ratio >= 0.9)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    verdicts = Verdicts()
    one_server(options, verdicts)
    several_instances(options, verdicts)
    return 1 if options.check and verdicts.short else 0


if __name__ == "__main__":
    sys.exit(main())

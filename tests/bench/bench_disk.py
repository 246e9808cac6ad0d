"""The disk backend beside bare LMDB, beside itself without syncs, and beside the memory backend.

    bench_disk.py [--runs N] [--seconds S] [--keys N] [--check]

Each figure is the median of runs that take turns. The cold reads are of as many keys as --keys,
each as likely, with an arena that holds few of them. Everything is on the file system of TMPDIR.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

from bench import HERE, VALUE, Row, Strato, Verdicts, show_speed, until, wrk


BODY = b'{"content":"%s"}' % VALUE.encode()


def settings(backend, sync="commit", **sections):
    return {"strato": {"backend": backend}, "disk": {"sync": sync}, **sections}


def write_rows(seconds, naive, memory, commit, interval, off):
    def put(strato, connections):
        return wrk(seconds, connections, strato.http[1], "/kv/hot", "put.lua")
    return [
        Row("LMDB, a synced commit per put", naive),
        Row("PUT 256, off", put(off, 256)),
        Row("PUT 256, interval", put(interval, 256)),
        Row("PUT 256, commit", put(commit, 256),
            {"LMDB, a synced commit per put": 8, "PUT 256, off": 0.5}),
        Row("PUT 32, memory", put(memory, 32)),
        Row("PUT 32, off", put(off, 32), {"PUT 32, memory": 0.7}),
        Row("PUT 32, commit", put(commit, 32)),
    ]


class TurnsRow(Row):
    """The same question to several instances in turn: the kernel may place one of them better than
    another for all its life, by more than is asked about here."""

    def __init__(self, name, commands, required=None):
        super().__init__(name, commands[0], required)
        self.commands = commands

    def measure(self):
        self.command = self.commands[len(self.rates) % len(self.commands)]
        super().measure()


def hot_row(name, instances, required=None):
    for strato in instances:
        strato.client().put("/kv/hot", BODY, content_type="application/json")
    return TurnsRow(name, [wrk(1, 32, strato.http[1], "/kv/hot") for strato in instances],
                    required)


def measure(table, runs):
    for _ in range(runs):
        for row in table:
            row.measure()


def show_writes(options, verdicts):
    directory = tempfile.mkdtemp(prefix="strato-lmdb-")
    program = os.path.join(directory, "lmdb_put")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-D_GNU_SOURCE",
                    os.path.join(HERE, "lmdb_put.c"), "-o", program, "-llmdb"], check=True)
    naive = [program, directory, str(options.seconds)]
    try:
        with Strato(settings("memory")) as memory, Strato(settings("disk")) as commit, \
                Strato(settings("disk", "interval")) as interval, \
                Strato(settings("disk", "off")) as off:
            for strato in (memory, commit, interval, off):
                assert strato.client().put("/kv/hot", BODY,
                                           content_type="application/json").status == 204
            table = write_rows(options.seconds, naive, memory, commit, interval, off)
            measure(table, options.runs)
            show_speed(table, verdicts)
    finally:
        shutil.rmtree(directory)


def show_hot_reads(options, verdicts):
    """5 % can be told from noise only in many short runs, in any order: three minutes of them."""
    os.sync()
    with Strato(settings("memory")) as first, Strato(settings("disk")) as second, \
            Strato(settings("disk")) as third, Strato(settings("memory")) as fourth:
        table = [hot_row("GET 32 hot, memory", [first, fourth]),
                 hot_row("GET 32 hot, disk", [second, third], {"GET 32 hot, memory": 0.95})]
        for _ in range(16 * options.runs):
            for row in random.sample(table, len(table)):
                row.measure()
        show_speed(table, verdicts)


def load(strato, keys):
    """Puts that many keys and more."""
    command = wrk(3600, 128, strato.http[1], "/", "load.lua")
    writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: strato.metrics()['strato_disk_changes_total{backend="disk"}'] > keys + 128,
              "the keys", timeout=3600, pause=0.5)
    finally:
        writer.terminate()
        writer.wait()


def show_reads(options, verdicts):
    patient = settings("disk", "off", memory={"size": "16M"})
    patient["strato"]["request_timeout"] = "60s"  # no key shall be missing
    with Strato(patient) as strato:
        load(strato, options.keys)
        strato.client().put("/kv/hot", BODY, content_type="application/json")
        port = strato.http[1]
        cold = wrk(options.seconds, 32, port, "/", "cold.lua") + ["--", str(options.keys)]
        table = [Row("GET 32 hot", wrk(options.seconds, 32, port, "/kv/hot")),
                 Row("GET 32 cold", cold, {"GET 32 hot": 0.4})]
        Row("warm-up", cold).measure()
        measure(table, options.runs)
        size = os.stat(os.path.join(strato.directory, "data", "disk", "data.mdb")).st_size
        print(f"{options.keys} keys and more, {size >> 20} MiB")
        show_speed(table, verdicts)
        before = len(strato.log())
        strato.wait_restarted("store-disk", strato.kill("store-disk"))
        took = until(lambda: re.search(r"store-disk\[\d+\] is ready after (\d+) ms",
                                       strato.log()[before:]), "ready again")
        print(f"ready after kill -9: {took[1]} ms (at most 1000: "
              f"{verdicts.say(int(took[1]) <= 1000)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    verdicts = Verdicts()
    show_writes(options, verdicts)
    show_hot_reads(options, verdicts)
    show_reads(options, verdicts)
    return 1 if options.check and verdicts.short else 0


if __name__ == "__main__":
    sys.exit(main())

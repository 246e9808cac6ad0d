"""strato-inspect beside a live Strato, under load, with requests waiting, and on what is left after
everything was killed. It must see what is there, change nothing and never take a live store's work
for damage."""

import json
import os
import signal
import subprocess

import pytest
from strato import BIN, Strato, until
from support import Load, generator

DISK = {"strato": {"backend": "disk"}, "services": {"cache": "memory"}, "http": {"workers": "2"}}


def inspect(*words, expect=0):
    """What it prints as JSON."""
    ran = subprocess.run([os.path.join(BIN, "strato-inspect"), "--json", *words],
                         capture_output=True, text=True, timeout=60)
    assert ran.returncode == expect, (words, ran.returncode, ran.stdout[-2000:], ran.stderr)
    return json.loads(ran.stdout) if expect < 2 else ran.stderr


def row(rows, **wanted):
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, rows)
    return found[0]


def test_shows_a_live_strato():
    with Strato(DISK) as strato:
        client = strato.client()
        for number in range(100):
            assert client.kv_put(f"k{number}", b"value").status == 204
        assert client.post("/counters/visits?increment=-7").status == 200
        assert client.put("/sets/colours?item=re%0Ad").status == 200
        assert client.put("/cache/token?value=abc&ttl=600").status == 204
        at = ("--in", strato.run_dir)
        names = {(each["what"], each["name"]) for each in inspect(*at, "list")["shared memory"]}
        assert {("arena", "disk"), ("arena", "memory"), ("channel", "disk-0")} <= names
        assert row(inspect(*at, "arena", "memory")["records"], service="cache")["expiring"] == 1
        assert inspect(*at, "arena", "memory", "cache", "token")["record"]["value"] == "abc"
        disk = inspect(*at, "--check", "disk")
        assert row(disk["tables"], table="kv")["found"] == 100
        assert sum(each["applied"] for each in disk["channels"]) >= 100
        assert row(disk["formats"], of="all")["format"] == 1
        assert row(disk["formats"], of="kv")["written by release"] != ""
        assert inspect(*at, "disk", "counter", "visits")["record"]["number"] == -7
        assert inspect(*at, "disk", "set", "colours")["first items"] == [{"item": "re\\x0ad"}]
        # The same through a child, and by the path that the list shows.
        child = inspect("--in", str(strato.pids()["store-disk"]), "channel", "disk-0")
        path = row(inspect(*at, "list")["shared memory"], what="channel", name="disk-0")["path"]
        assert inspect("channel", path)["positions"] == child["positions"]


def test_shows_what_waits():
    """With the store stopped, what is submitted stays in the ring and shows there."""
    with Strato(DISK) as strato:
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        os.kill(strato.process.pid, signal.SIGSTOP)  # or it would replace a store that is silent
        store = strato.pids()["store-disk"]
        os.kill(store, signal.SIGSTOP)
        try:
            client.send(b"PUT /kv/held HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n"
                        b'{"content":"c"}')

            def waiting():
                for name in channels:
                    for each in inspect(*at, "channel", name)["submissions"]:
                        if each["operation"] == "KVPut" and each["key"] == "held":
                            return each
                return None
            at = ("--in", str(strato.process.pid))
            channels = [each["name"] for each in inspect(*at, "list")["shared memory"]
                        if each["what"] == "channel" and each["name"].startswith("disk-")]
            assert until(waiting, "the submission in a ring")["value bytes"] == 1
        finally:
            os.kill(store, signal.SIGCONT)
            os.kill(strato.process.pid, signal.SIGCONT)
        assert client.receive().status == 204


def applied(at):
    """How many requests the disk backend has carried out."""
    return sum(each["applied"] for each in inspect(*at, "disk")["channels"])


def test_no_false_alarm_under_load():
    """Everything is looked at again and again while eight clients write."""
    with Strato(DISK) as strato, Load(strato) as load:
        at = ("--in", strato.run_dir)
        channels = [each["name"] for each in inspect(*at, "list")["shared memory"]
                    if each["what"] == "channel"]
        until(lambda: applied(at) > 1000, "some load", 60)
        begin, rounds = applied(at), 0
        while rounds < 20 or (applied(at) < begin + 2000 and rounds < 1000):
            rounds += 1
            inspect(*at, "--check", "arena", "disk")
            inspect(*at, "--check", "arena", "memory")
            inspect(*at, "--all", "disk")
            for name in channels:
                inspect(*at, "--all", "channel", name)
        load.finish()
        inspect(*at, "--check", "disk")


def test_after_everything_was_killed():
    """The data directory of a Strato that was killed at any instant makes sense, and looking at it
    leaves every byte as it was."""
    strato = Strato(DISK)
    strato.start()
    try:
        client = strato.client()
        for number in range(200):
            assert client.kv_put(f"k{number}", b"v" * number * 40).status == 204
        for pid in [strato.process.pid, *strato.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        strato.process.wait()
        directory = os.path.join(strato.directory, "data", "disk")

        def contents():
            found = {}
            for name in sorted(os.listdir(directory)):
                path = os.path.join(directory, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[name] = (os.stat(path).st_mtime_ns, file.read())
            return found
        before = contents()
        assert row(inspect("--check", "disk", directory)["tables"], table="kv")["found"] == 200
        assert inspect("disk", directory, "kv", "k199")["record"]["value bytes"] == 199 * 40
        assert contents() == before
    finally:
        strato.abandon()


def shred(random_, path, size):
    """Overwrites a few runs of bytes."""
    with open(path, "r+b") as file:
        for _ in range(random_.randrange(1, 30)):
            file.seek(random_.randrange(size))
            file.write(random_.randbytes(random_.randrange(1, 200)))


def test_damaged_copies():
    """Random damage is never worse than a message."""
    random_ = generator()
    with Strato(DISK) as strato:
        client = strato.client()
        for number in range(200):
            assert client.kv_put(f"k{number}", b"v" * 300).status == 204
        shared = inspect("--in", strato.run_dir, "list")
        files = {"disk": os.path.join(shared["database"], "data.mdb"),
                 "arena": row(shared["shared memory"], what="arena", name="disk")["path"],
                 "channel": row(shared["shared memory"], what="channel", name="disk-0")["path"]}
        for kind, source in files.items():
            copy = os.path.join(strato.directory, kind)
            for _ in range(15):
                subprocess.run(["cp", "--sparse=always", source, copy], check=True)  # has holes
                # The beginning is what most of it depends on.
                shred(random_, copy, random_.choice([4096, 200000, os.path.getsize(copy)]))
                ran = subprocess.run([os.path.join(BIN, "strato-inspect"), "--check", kind, copy],
                                     capture_output=True, timeout=60)
                assert ran.returncode in (0, 1), (kind, ran.returncode, ran.stderr)
                assert (ran.returncode == 1) == (b"trouble:" in ran.stdout)
                assert all(byte in b"\n" or 32 <= byte < 127 for byte in ran.stdout)


@pytest.mark.parametrize("words, said", [
    ([], "say what to look at"),
    (["teapot"], "there is no teapot"),
    (["list"], "list takes --in"),
    (["channel"], "channel takes one name"),
    (["arena", "/dev/null"], "neither a file nor a memfd"),
    (["arena", "/nonexistent"], "No such file"),
    (["disk", ".", "kv"], "SERVICE and KEY"),
    (["disk", ".", "kw", "a"], "there are cache, counter, flag, kv, set"),
    (["disk", ".", "kv", "\\q"], "\\x5c"),
    (["disk", ".", "kv", "k" * 481], "1 to 480 bytes"),
    (["--in", "/nonexistent", "list"], "neither a pid nor a run_dir"),
    (["--in", "1", "channel", "x-1", "y"], "channel takes one name"),
])
def test_command_lines(words, said):
    assert said in inspect(*words, expect=2)

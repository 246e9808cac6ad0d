"""The disk backend over HTTP: what outlives a restart, a full or failing disk, mixed backends,
snapshots, and a database of many keys (STRATO_KEYS; 5 million with STRATO_LONG=1)."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from strato import BIN, SANITIZED, TEST_BIN, Strato, until
from support import Load

LONG = bool(os.environ.get("STRATO_LONG"))
KEYS = int(os.environ.get("STRATO_KEYS", "5000000" if LONG else "200000"))


def disk(**sections):
    settings = {"strato": {"backend": "disk"}, "memory": {"size": "16M"}}
    for section, keys in sections.items():
        settings.setdefault(section, {}).update(keys)
    return Strato(settings)


def restart(strato):
    """Stops all in order, keeps the directory, and starts again."""
    for client in strato.clients:
        client.close()
    strato.process.send_signal(signal.SIGTERM)
    assert strato.process.wait(30) == 0
    strato.check_log()
    os.remove(strato.log_path)
    strato.start()


def data(strato):
    return os.path.join(strato.directory, "data", "disk")


def refused(response):
    assert response.status == 507 and response.json()["error"], response


@pytest.mark.parametrize("sync", ["commit", "interval", "off"])
def test_all_is_there_after_a_restart(sync):
    with disk(disk={"sync": sync}) as strato:
        client = strato.client()
        client.kv_put("key", b"\0value")
        client.kv_put("large", b"x" * 1000000)
        client.put("/cache/key?value=cached&ttl=600")
        client.put("/counters/key?increment=7")
        client.put("/flags/key?value=true")
        client.put("/sets/key?item=one")
        restart(strato)
        client = strato.client()
        assert client.kv_get("key").body == b"\0value"
        assert client.kv_get("large").body == b"x" * 1000000
        assert client.get("/cache/key").json() == {"value": "cached"}
        assert client.get("/counters/key").json()["value"] == 7
        assert client.get("/flags/key").json()["value"] is True
        assert client.get("/sets/key").json()["items"] == ["one"]
        assert os.path.exists(os.path.join(data(strato), "unsynced")) == (sync != "commit")


def test_a_cold_read_warms_the_arena():
    with disk() as strato:
        strato.client().kv_put("key", b"value")
        restart(strato)
        client = strato.client()
        assert client.kv_get("key").body == b"value"
        pid = strato.kill("store-disk", signal.SIGSTOP)
        try:
            assert client.kv_get("key").body == b"value"
        finally:
            os.kill(pid, signal.SIGCONT)


def test_more_data_than_arena():
    """All of it can be read, and what is read often stays fast."""
    with disk(memory={"size": "4M"}) as strato:
        client = strato.client()
        for number in range(3000):
            assert client.kv_put(f"k{number}", b"%04d" % number * 1000).status == 204
        for number in list(range(0, 3000, 7)) + [0, 2999]:
            assert client.kv_get(f"k{number}").body == b"%04d" % number * 1000


def test_a_large_set():
    """Adding one item to many writes little."""
    with disk() as strato:
        client = strato.client()
        count = 2000
        batch = b"".join(b"PUT /sets/s?item=item-%06d HTTP/1.1\r\nHost: x\r\n\r\n" % number
                         for number in range(count))
        client.send(batch)
        for _ in range(count):
            assert client.receive().status == 200
        before = os.stat(os.path.join(data(strato), "data.mdb")).st_blocks
        answer = client.put("/sets/s?item=one-more")
        assert len(answer.json()["items"]) == count + 1
        answer = client.delete("/sets/s?item=item-000500")
        assert len(answer.json()["items"]) == count
        assert os.stat(os.path.join(data(strato), "data.mdb")).st_blocks - before < 1000
        strato.kill("store-disk")
        items = client.get("/sets/s").json()["items"]
        assert len(items) == len(set(items)) == count and "one-more" in items


def test_mixed_backends():
    with disk(services={"cache": "memory"}) as strato:
        assert {"store-disk", "store-memory"} <= set(strato.pids())
        client = strato.client()
        client.kv_put("key", b"kept")
        client.put("/cache/key?value=lost&ttl=600")
        for name in ("store-disk", "store-memory"):
            old = strato.kill(name)
            strato.wait_restarted(name, old)
        assert client.kv_get("key").body == b"kept"
        assert client.get("/cache/key").json() == {"value": "lost"}
        until(lambda: strato.metrics()[
            'strato_arena_records{backend="memory",service="cache"}'] == 1, "counted")
        restart(strato)
        client = strato.client()
        assert client.kv_get("key").body == b"kept"
        assert client.get("/cache/key").status == 404


# ---- Full and failing ----

def fill(client, size):
    for number in range(1000000):
        response = client.kv_put(f"fill-{size}-{number}", b"x" * size)
        if response.status != 204:
            refused(response)
            return number
    raise AssertionError("never full")


def test_a_full_map():
    with disk(disk={"map_size": "16M"}) as strato:
        client = strato.client()
        client.put("/counters/old?increment=7")
        client.put("/flags/old?value=true")
        large, small = fill(client, 20000), fill(client, 100)
        assert large * 20000 > 8 << 20, (large, small)
        refused(client.put("/counters/new?increment=1"))
        refused(client.kv_put("fill-100-0", b"y" * 20000))
        refused(client.put("/sets/new?item=a"))
        assert client.get("/counters/old").json()["value"] == 7
        for number in range(300):  # what does not grow goes on
            assert client.put("/counters/old?increment=1").status == 204
            assert client.put("/flags/old?value=%s" % ("tf"[number % 2])).status == 204
            assert client.kv_put("fill-100-1", b"%0100d" % number).status == 204
            assert client.kv_put("fill-20000-1", b"%020000d" % number).status == 204
        assert client.get("/counters/old").json()["value"] == 307
        assert client.kv_get("fill-20000-1").body == b"%020000d" % 299
        assert client.kv_get("fill-20000-0").body == b"x" * 20000
        assert client.get("/readyz").status == 200
        for number in range(large):
            assert client.delete(f"/kv/fill-20000-{number}").status == 204
        assert client.put("/counters/new?increment=1").status == 204
        assert client.kv_put("again", b"y" * 20000).status == 204
        assert "no more room in" in strato.log()


@pytest.fixture
def small_disk():
    """A file system of 32 MB; only root can make one."""
    path = tempfile.mkdtemp(prefix="strato-disk-", dir="/tmp")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32M", "none", path],
                             capture_output=True, check=False).returncode == 0
    try:
        if not mounted:
            pytest.skip("cannot mount a tmpfs here; test_no_space has the same with a library")
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", "-l", path], check=True)
        os.rmdir(path)


def check_full(client, make_room):
    """A disk that fills up, and has room again."""
    client.kv_put("kept", b"kept")
    large, small = fill(client, 50000), fill(client, 100)
    assert large > 10 and small > 0, (large, small)
    assert client.kv_get("kept").body == b"kept"
    assert client.get("/readyz").status == 200
    for number in range(0, large, 2):
        assert client.delete(f"/kv/fill-50000-{number}").status == 204
    assert client.kv_put("small", b"x").status == 204
    fill(client, 50001)
    make_room()
    for number in range(20):
        assert client.kv_put(f"new-{number}", b"z" * 50000).status == 204
    assert client.kv_get("kept").body == b"kept"


def test_a_full_disk(small_disk):
    stuffing = os.path.join(small_disk, "stuffing")
    with open(stuffing, "wb") as file:
        file.write(b"x" * (16 << 20))
    with disk(disk={"path": os.path.join(small_disk, "disk")}) as strato:
        check_full(strato.client(), lambda: os.remove(stuffing))
        pid = strato.pids()["store-disk"]
        assert "store-disk ended" not in strato.log() and pid


class Faulty(Strato):
    """Its store's writes fail as told; see fault.c."""

    def __init__(self, **sections):
        super().__init__({"strato": {"backend": "disk"}, **sections})
        self.fault = os.path.join(self.directory, "fault")
        self.environment["STRATO_FAULT"] = self.fault
        self.environment["LD_PRELOAD"] = os.path.join(TEST_BIN, "libfault.so")

    def set(self, text):
        with open(self.fault + ".new", "w") as file:
            file.write(text)
        os.rename(self.fault + ".new", self.fault)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
def test_no_space():
    with Faulty() as strato:
        strato.set(f"space {16 << 20}")
        check_full(strato.client(), lambda: strato.set("fine"))
        assert "store-disk ended" not in strato.log()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
@pytest.mark.parametrize("call, sync, words", [
    ("write", "commit", "commit to"), ("sync", "commit", "commit to"), ("sync", "interval", "sync")])
def test_an_io_error(call, sync, words):
    """The store ends and is started again; nothing acknowledged is lost, nothing goes unanswered."""
    with Faulty(disk={"sync": sync}) as strato, Load(strato, clients=4) as load:
        client = strato.client()
        client.kv_put("before", b"1")
        for _ in range(3):
            time.sleep(0.5)
            before = len(strato.log())
            strato.set(call)
            until(lambda: "; ending" in strato.log()[before:], "the store ended")
            strato.set("fine")
            until(lambda: client.kv_put("after", b"2").status == 204, "writes again")
        figures = load.finish()
        assert figures["wrong"] == 0 and figures["disconnects"] == 0, figures
        assert figures["failures"] == 0, figures
        assert client.kv_get("before").body == b"1"
        assert re.search(rf"cannot {words} .*/disk: Input/output error; ending", strato.log())


# ---- The data directory ----

def test_a_foreign_directory():
    strato = disk()
    try:
        os.makedirs(data(strato))
        with open(os.path.join(data(strato), "letters.txt"), "w") as file:
            file.write("dear reader")
        strato.spawn()
        assert strato.process.wait(30) != 0
        assert "holds letters.txt but no database of Strato" in strato.log()
    finally:
        strato.abandon()


@pytest.mark.parametrize("path", [".", "./", "disk/", "./a//b/.", "a/../b"])
def test_a_path_that_is_not_plain(path):
    with disk(disk={"path": path}) as strato:
        assert strato.client().kv_put("a", b"b").status == 204
        restart(strato)
        assert strato.client().kv_get("a").body == b"b"
        assert os.path.exists(os.path.join(strato.directory, "data", path, "data.mdb"))


def test_a_second_instance():
    with disk() as strato:
        other = disk(disk={"path": data(strato)})
        try:
            other.spawn()
            assert other.process.wait(30) != 0
            assert "is in use by another Strato" in other.log()
        finally:
            other.abandon()
        assert strato.client().kv_put("a", b"b").status == 204


# ---- Snapshots ----

def begin_backup(strato, path):
    return subprocess.Popen(
        [os.path.join(BIN, "stratoctl"), "--socket", os.path.join(strato.run_dir, "ctl.sock"),
         "backup", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def backup(strato, name):
    """Makes one: (exit code, path, standard error)."""
    path = os.path.join(strato.directory, name)
    process = begin_backup(strato, path)
    text, error = process.communicate(timeout=60)
    assert process.returncode != 0 or text.startswith(path)
    return process.returncode, path, error


def restored(strato, path):
    """A data directory with that backup as its database."""
    directory = path + ".data"
    os.mkdir(directory, 0o700)
    shutil.copy(path, os.path.join(directory, "data.mdb"))
    return directory


def snapshots(strato):
    path = os.path.join(data(strato), "snapshots")
    return os.listdir(path) if os.path.isdir(path) else []


def is_refused(client, word):
    """Neither a write nor readiness; the write says why."""
    put, ready = client.kv_put("k", b"new"), client.get("/readyz")
    if put.status == ready.status == 503:
        assert "removed or replaced" in put.json()["error"], put
        return word in ready.body.decode()
    return False


@pytest.mark.parametrize("sync", ["commit", "interval"])
@pytest.mark.parametrize("how", ["removed", "replaced", "renamed", "directory removed"])
def test_a_database_that_goes_away_while_it_is_used(how, sync):
    with disk(disk={"sync": sync}) as strato:
        client, path = strato.client(), os.path.join(data(strato), "data.mdb")
        assert client.kv_put("k", b"old").status == 204
        if how == "replaced":
            shutil.copy(path, path + ".copy")
            os.rename(path + ".copy", path)
        elif how == "renamed":
            os.rename(path, path + ".away")
        elif how == "removed":
            os.remove(path)
        else:
            shutil.rmtree(data(strato))
            os.mkdir(data(strato), 0o700)
        refused_put = client.kv_put("k", b"not to be kept")
        assert refused_put.status == 503, refused_put
        until(lambda: is_refused(client, "removed or replaced"), "readiness to fail")
        assert client.put("/counters/c?increment=1").status == 503
        assert client.kv_get("k").body == b"old"
        assert strato.log().count("while it is in use") == 1
        if how == "renamed":
            os.rename(path + ".away", path)
            until(lambda: client.get("/readyz").status == 200, "readiness")
            assert client.kv_put("k", b"new").status == 204
            assert "is back" in strato.log()
            return
        code, copy, error = backup(strato, "saved")
        assert code == 0, error
        with disk(disk={"path": restored(strato, copy)}) as second:
            assert second.client().kv_get("k").body == b"old"


def test_a_quiet_database_that_goes_away_is_noticed():
    with disk() as strato:
        client = strato.client()
        os.remove(os.path.join(data(strato), "data.mdb"))
        until(lambda: client.get("/readyz").status == 503, "readiness to fail")


def test_a_start_without_the_database_that_was_there():
    strato = disk()
    try:
        os.makedirs(data(strato), 0o700)
        with open(os.path.join(data(strato), "clock"), "w"):
            pass
        strato.spawn()
        assert strato.process.wait(30) != 0
        assert "data.mdb is gone from" in strato.log()
    finally:
        strato.abandon()


def test_a_backup_is_one_moment():
    """Made under load, it holds what was acknowledged before it, and can be started from."""
    with disk() as strato, Load(strato, clients=4) as load:
        client = strato.client()
        client.kv_put("before", b"1")
        time.sleep(0.5)
        # Two counters that go up in turn differ by one at most, at any one moment.
        paths = []
        for name in ("one", "two"):
            for number in range(50):
                client.put("/counters/a?increment=1")
                client.put("/counters/b?increment=1")
            code, path, error = backup(strato, name)
            assert code == 0, error
            paths.append(path)
        assert snapshots(strato) == []
        client.kv_put("after", b"2")
        figures = load.finish()
        assert figures["wrong"] == figures["failures"] == 0, figures
        with disk(disk={"path": restored(strato, paths[1])}) as second:
            client = second.client()
            assert client.kv_get("before").body == b"1"
            assert client.kv_get("after").status == 404
            values = [client.get(f"/counters/{name}").json()["value"] for name in "ab"]
            assert values == [100, 100]
            assert client.kv_put("after", b"3").status == 204
        with disk(disk={"path": restored(strato, paths[0])}) as third:
            assert third.client().get("/counters/a").json()["value"] == 50


def test_a_backup_replaces_an_older_one_or_leaves_it():
    with disk() as strato:
        strato.client().kv_put("k", b"1")
        code, path, error = backup(strato, "file")
        assert code == 0, error
        size = os.stat(path).st_size
        assert os.stat(path).st_mode & 0o777 == 0o600
        os.mkdir(path + ".unfinished")
        os.symlink(path, path + ".link")
        for bad, why in (("file", "unfinished"), ("file.link", "only a file is replaced"),
                         ("absent/file", "No such file or directory"),
                         ("file/", "the name of a file"), (".", "only a file is replaced")):
            code, _, error = backup(strato, bad)
            assert code == 1 and why in error, error
        assert os.stat(path).st_size == size and snapshots(strato) == []
        os.rmdir(path + ".unfinished")
        strato.client().kv_put("k", b"x" * 1000000)
        assert backup(strato, "file")[0] == 0
        assert os.stat(path).st_size > size + 1000000


def test_a_backup_replaces_nothing_but_a_backup():
    with disk() as strato:
        strato.client().kv_put("k", b"v")
        here, sub = strato.directory, os.path.join(data(strato), "sub")
        os.mkdir(sub)
        os.symlink(data(strato), os.path.join(here, "link"))
        stopped = os.path.join(here, "stopped")  # the data of a Strato that does not run
        os.mkdir(stopped)
        assert backup(strato, "copy")[0] == 0
        shutil.copy(os.path.join(here, "copy"), os.path.join(stopped, "data.mdb"))
        for name, text in (("s.ini", "[strato]\n"), ("empty", ""), ("stopped/lock", ""),
                           ("b.unfinished", "of another program, and long enough")):
            with open(os.path.join(here, name), "w") as file:
                file.write(text)
        for name, why in (("s.ini", "is no backup"), ("empty", "is no backup"),
                          ("stopped/lock", "is no backup"), ("b", "is no backup"),
                          ("stopped/data.mdb", "the database of a Strato"),
                          ("data/disk/data.mdb", "[disk] path"), ("data/disk/new", "[disk] path"),
                          ("data/disk/lock.mdb", "[disk] path"), ("link/data.mdb", "[disk] path"),
                          ("data/disk/sub/new", "[disk] path"), ("data/disk/sub/../x", "[disk] path"),
                          ("run/lock", "run_dir"), ("run/new", "run_dir"),
                          ("data/new", "data_dir")):
            path = os.path.join(here, name)
            before = os.stat(path).st_ino if os.path.exists(path) else None
            code, path, error = backup(strato, name)
            assert code == 1 and why in error, (name, error)
            assert before == (os.stat(path).st_ino if os.path.exists(path) else None), name
            assert name == "b" or not os.path.exists(path + ".unfinished"), name
        with open(os.path.join(here, "b.unfinished")) as file:
            assert file.read() == "of another program, and long enough"
        assert backup(strato, "copy")[0] == 0  # an older backup
        os.mkdir(os.path.join(here, "data", "backups"))
        assert backup(strato, "data/backups/new")[0] == 0


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no other file system")
def test_a_backup_to_another_file_system():
    with disk() as strato, tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        strato.client().kv_put("k", b"value")
        code, path, error = backup(strato, os.path.join(directory, "file"))
        assert code == 0, error
        with disk(disk={"path": restored(strato, path)}) as second:
            assert second.client().kv_get("k").body == b"value"


def test_a_store_stops_at_once_while_it_makes_a_backup():
    with disk() as strato:
        put_megabytes(strato, 60)
        path = os.path.join(strato.directory, "file")
        for _ in range(10):
            making = begin_backup(strato, path)
            until(lambda: snapshots(strato), "begun")
            old = strato.kill("store-disk", signal.SIGTERM)
            strato.wait_restarted("store-disk", old)
            assert strato.client().kv_put("k", b"v").status == 204
            making.communicate(timeout=60)
        assert "did not stop in time" not in strato.log()
        assert "is given up" in strato.log()


def test_only_the_disk_backend_has_backups():
    with Strato() as strato:
        code, path, error = backup(strato, "file")
        assert code == 1 and "no service has the disk backend" in error
        assert not os.path.exists(path)


def put_megabytes(strato, count):
    client = strato.client()
    for number in range(count):
        assert client.kv_put(f"k{number}", b"x" * 1000000).status == 204


def test_a_store_killed_while_it_makes_a_backup():
    """It is asked again, and what it had begun is removed."""
    with disk() as strato:
        put_megabytes(strato, 30)
        path = os.path.join(strato.directory, "file")
        making = begin_backup(strato, path)
        until(lambda: os.path.isdir(os.path.join(data(strato), "snapshots")), "begun")
        old = strato.kill("store-disk")
        strato.wait_restarted("store-disk", old)
        error = making.communicate(timeout=60)[1]
        assert making.returncode == 0 or "No such file" in error, error
        assert os.path.exists(path) == (making.returncode == 0)
        code, _, error = backup(strato, "other")
        assert code == 0, error
        assert snapshots(strato) == []


def test_an_interrupted_backup_leaves_nothing():
    with disk() as strato:
        put_megabytes(strato, 30)
        path = os.path.join(strato.directory, "file")
        for number in range(20):
            making = begin_backup(strato, path)
            time.sleep(0.005 * number)
            making.send_signal(signal.SIGINT)
            making.communicate(timeout=60)
            assert os.path.exists(path) == (making.returncode == 0)
            assert not os.path.exists(path + ".unfinished")
            if making.returncode == 0:
                os.unlink(path)
        assert backup(strato, "other")[0] == 0
        assert snapshots(strato) == []


# ---- Many keys ----

def put_many(strato, count, connections=32, batch=64):
    """A connection's requests are carried out one by one, so there are many of them."""
    clients = [strato.client(timeout=120) for _ in range(connections)]
    for start in range(0, count, connections * batch):
        pending = []
        for client in clients:
            first = start + batch * len(pending)
            numbers = range(first, min(first + batch, count))
            client.send(b"".join(
                b"PUT /kv/key-%012d HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                b"Content-Length: 48\r\n\r\n%048d" % (number, number) for number in numbers))
            pending.append(numbers)
        for client, numbers in zip(clients, pending):
            for _ in numbers:
                assert client.receive("PUT").status == 204


def private_memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1])


def test_many_keys_start_fast():
    with disk(disk={"sync": "off"}, memory={"size": "64M"}) as strato:
        put_many(strato, KEYS)
        restart(strato)
        took = int(re.search(r"store-disk\[\d+\] is ready after (\d+) ms", strato.log())[1])
        client = strato.client()
        for number in range(0, KEYS, KEYS // 100):
            assert client.kv_get("key-%012d" % number).body == b"%048d" % number
        memory = private_memory(strato.pids()["store-disk"])
        print(f"{KEYS} keys: ready after {took} ms, {memory} kB of its own")
        if not SANITIZED:
            assert took <= 1000
            assert memory < 64 * 1024

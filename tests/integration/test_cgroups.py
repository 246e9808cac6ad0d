"""Limits of cgroups: what is auto follows them, what does not fit is refused. Real cgroups, as root."""

import os
import re
import subprocess

import pytest
from faked import run
from strato import SANITIZED, Strato, until

MEMORY = 256 << 20


class Cgroup:
    """A cgroup with half a CPU and 256 MB, of version 1 or 2, that processes are started in."""

    def __init__(self):
        self.name = f"strato-test-{os.getpid()}"
        self.directories = []

    def __enter__(self):
        try:
            if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
                self.make("/sys/fs/cgroup", {"cpu.max": "50000 100000", "memory.max": MEMORY})
            else:
                self.make("/sys/fs/cgroup/memory", {"memory.limit_in_bytes": MEMORY})
                self.make("/sys/fs/cgroup/cpu", {"cpu.cfs_quota_us": 50000})
        except OSError as error:
            self.remove()
            pytest.skip(f"no cgroup can be made here: {error}")
        return self

    def __exit__(self, *_):
        self.remove()

    def make(self, top, files):
        directory = os.path.join(top, self.name)
        os.mkdir(directory)
        self.directories.append(directory)
        for name, value in files.items():
            with open(os.path.join(directory, name), "w") as file:
                file.write(str(value))

    def remove(self):
        for directory in self.directories:
            until(lambda path=directory: self.gone(path), "the cgroup is empty")

    @staticmethod
    def gone(directory):
        try:
            os.rmdir(directory)
        except OSError:  # the last process is on its way out
            return False
        return True

    def command(self, *words):
        """Words that are run within."""
        entering = "".join(f"echo $$ > {directory}/cgroup.procs && "
                           for directory in self.directories)
        return ["sh", "-c", entering + 'exec "$@"', "-", *words]


def check(cgroup, path):
    done = subprocess.run(cgroup.command(os.path.join(Strato().program), "--config", path,
                                         "--check-config"),
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "a.ini"
    with Cgroup() as cgroup:
        for text, code, words in (
                ("[strato]\nbackend = memory\n[memory]\nsize = 1G\n", 1,
                 r"a.ini:4: size is 1024M, and the memory limit is 256M \(/sys/fs/cgroup/.*\): a "
                 r"quarter .* at most 192M\n"),
                ("[services]\nkv = memory\n[memory]\nsize = 128M\n", 1, "at most 96M .memory and"),
                ("[services]\nkv = memory\n[memory]\nsize = 96M\n", 0, "no problems"),
                ("[strato]\nbackend = redis\n[memory]\nsize = 300M\n", 0, "no problems"),
                ("", 0, r"note: \[http\] workers = auto is 1: the CPU limit is 0.500 \(/sys"),
                ("", 0, r"note: \[memory\] size = auto is 64M: the memory limit is 256M \(/sys")):
            path.write_text(text)
            found = check(cgroup, str(path))
            assert found[0] == code and re.search(words, found[1]), (text, found)
    path.write_text("[strato]\nbackend = memory\n[memory]\nsize = 1G\n")
    assert run("stratod", "--config", str(path), "--check-config")[0] == 0


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes several times the memory")
@pytest.mark.parametrize("size", ["auto", "192M"])
def test_what_fits_survives_being_filled(size):
    with Cgroup() as cgroup:
        strato = Strato({"strato": {"backend": "memory"}, "http": {"workers": "auto"},
                         "memory": {"size": size}, "grpc": {"enabled": "yes", "workers": "auto"}})
        strato.wrapper = cgroup.command()
        with strato:
            assert sorted(strato.pids()) == ["grpc-0", "http-0", "store-memory"]
            assert size != "auto" or "[memory] size = auto is 64M" in strato.log()
            client = strato.client()
            value, status = os.urandom(1 << 19), 204
            for number in range(500):
                status = client.kv_put(f"key-{number}", value).status
                if status != 204:
                    break
            assert status == 507
            assert client.kv_get("key-0").body == value
            assert "ended" not in strato.log()

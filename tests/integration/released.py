"""An earlier release, built from the project's own history, and replacing its programs as a package
upgrade does.

It is built once, into the build directory. Where its commit is not there (a clone without history,
an unpacked tarball) every test that needs it is skipped, and says so.
"""

import fcntl
import glob
import os
import shutil
import subprocess
import sys

import pytest
from strato import BIN

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
RELEASES = {"0.2.0": "235c605d594859cb04783c8687e10ae27dab3dd4"}
PROGRAMS = ["stratod", "strato-store", "strato-http-worker", "strato-grpc-worker"]


def git(*words, **options):
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, check=False, **options)


def build(release):
    """The build directory of an earlier release, with the instants at which tests kill a process."""
    directory = os.path.join(BIN, "..", "released", release)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = os.path.join(directory, "done")
        if not os.path.exists(done):
            source = os.path.join(directory, "source")
            unpack(release, source)
            compile_programs(source, os.path.join(directory, "build"))
            shutil.rmtree(source)
            open(done, "w").close()
    return os.path.join(directory, "build")


def unpack(release, directory):
    archive = git("archive", "--format=tar", RELEASES[release])
    if archive.returncode != 0:
        reason = (f"RELEASE {release} IS NOT TESTED: its commit {RELEASES[release][:7]} is not in "
                  "this clone (git fetch --unshallow)")
        print(reason, file=sys.__stderr__)
        pytest.skip(reason, allow_module_level=True)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    subprocess.run(["tar", "x", "-C", directory], input=archive.stdout, check=True)


def compile_programs(source, directory):
    commands = [["cmake", "-G", "Ninja", "-S", source, "-B", directory, "-DSTRATO_TESTS=OFF",
                 "-DCMAKE_BUILD_TYPE=Release", "-DSTRATO_FAILPOINTS=ON"],
                ["cmake", "--build", directory, "--target", *PROGRAMS]]
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        assert done.returncode == 0, done.stdout[-5000:]


def install(strato, build_directory=None):
    """Puts a release's programs (this one's by default) in the place of those that a Strato is
    started from, as dpkg does it: beside, then renamed over."""
    tree = os.path.join(strato.directory, "programs")
    build_directory = build_directory or os.path.join(BIN, "..")
    for folder, names in (("bin", ["stratod"]), ("libexec/strato", ["*"])):
        os.makedirs(os.path.join(tree, folder), exist_ok=True)
        for name in names:
            for path in glob.glob(os.path.join(build_directory, folder, name)):
                there = os.path.join(tree, folder, os.path.basename(path))
                shutil.copy(path, there + ".new")
                os.rename(there + ".new", there)
    strato.program = os.path.join(tree, "bin", "stratod")

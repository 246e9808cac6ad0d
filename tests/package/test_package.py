"""The .deb and the .rpm as people meet them: installed, upgraded, removed, purged, in a fresh root.

The service is run there from the installed files, as its own user. STRATO_PACKAGES is where
`make package` put the packages; STRATO_ROOT a tar file of a root made before, to save time.
"""

import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
from client import Client  # noqa: E402
from strato import alive, until  # noqa: E402

PACKAGES = os.environ.get("STRATO_PACKAGES", "")
DEBS = sorted(glob.glob(os.path.join(PACKAGES, "*.deb")))
RPMS = sorted(glob.glob(os.path.join(PACKAGES, "*.rpm")))
SOURCE = os.path.join(os.path.dirname(__file__), "..", "..")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a root file system needs root"),
    pytest.mark.skipif(not DEBS or not RPMS, reason="no packages: run make package"),
]


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=600)
    assert not check or done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Root:
    """A Debian with what the package depends on, and nothing that starts services."""

    def __init__(self, path):
        self.path = str(path)
        depends = re.search(r"^ ?Depends: (.*)$", run("dpkg-deb", "-I", DEBS[0]), re.MULTILINE)[1]
        libraries = re.findall(r"\blib[a-z0-9.+-]+", depends)
        made = os.environ.get("STRATO_ROOT")
        if made:
            run("mkdir", "-p", self.path)
            run("tar", "-xf", made, "-C", self.path)
        else:
            run("mmdebstrap", "--variant=minbase", "--include=" + ",".join(
                libraries + ["systemd-standalone-sysusers", "systemd-standalone-tmpfiles"]),
                "bookworm", self.path)
        with open(self.at("/usr/sbin/policy-rc.d"), "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(file.name, 0o755)
        run("mount", "-t", "proc", "proc", self.at("/proc"))

    def at(self, path):
        return self.path + path

    def run(self, *words, check=True):
        return run("chroot", self.path, *words, check=check)

    def install(self, deb):
        shutil.copy(deb, self.at("/tmp/strato.deb"))
        return self.run("dpkg", "--force-confdef", "--force-confold", "-i", "/tmp/strato.deb")

    def state(self):
        return self.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "strato", check=False)

    def close(self):
        run("umount", "-l", self.at("/proc"), check=False)
        shutil.rmtree(self.path, ignore_errors=True)


@pytest.fixture
def root(tmp_path):
    made = Root(tmp_path / "root")
    yield made
    made.close()


def newer(tmp_path):
    """The same package with a higher version and a changed default configuration."""
    tree = str(tmp_path / "newer")
    run("dpkg-deb", "-R", DEBS[0], tree)
    with open(tree + "/DEBIAN/control") as file:
        control = re.sub(r"(?m)^Version: .*$", "Version: 99.0", file.read())
    with open(tree + "/DEBIAN/control", "w") as file:
        file.write(control)
    with open(tree + "/etc/strato/strato.ini", "a") as file:
        file.write("; a new default\n")
    deb = str(tmp_path / "newer.deb")
    run("dpkg-deb", "--root-owner-group", "-b", tree, deb)
    return deb


def service_words(root):
    """What the unit would run, as whom."""
    with open(root.at("/lib/systemd/system/strato.service")) as file:
        unit = dict(re.findall(r"(?m)^(User|ExecStart)=(.*)$", file.read()))
    return ["chroot", "--userspec=" + unit["User"] + ":strato", root.path,
            *unit["ExecStart"].split()]


def status(root):
    rows = json.loads(root.run("stratoctl", "status", "--json"))
    return {row["name"]: row for row in rows}


def test_deb_from_install_to_purge(root, tmp_path):
    port = free_port()
    root.install(DEBS[0])
    ini = os.stat(root.at("/etc/strato/strato.ini"))
    gid = int(re.search(r"(?m)^strato:x:(\d+):", open(root.at("/etc/group")).read())[1])
    assert ini.st_mode & 0o777 == 0o640 and ini.st_gid == gid
    assert "no problems" in root.run("stratod", "--check-config", "--config",
                                     "/etc/strato/strato.ini")
    with open(root.at("/etc/strato/conf.d/10-local.ini"), "w") as file:
        file.write(f"[strato]\nbackend = memory\n[http]\nlisten = 127.0.0.1:{port}\n"
                   "workers = 2\n[grpc]\nenabled = no\n")
    with open(root.at("/etc/strato/strato.ini"), "a") as file:
        file.write("; edited here\n")
    with open(tmp_path / "log", "wb") as log:
        service = subprocess.Popen(service_words(root), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL)
    try:
        until(lambda: "strato is ready" in (tmp_path / "log").read_text(), "the service", 30)
        with Client("127.0.0.1", port) as client:
            assert client.kv_put("kept", b"value").status == 204
            before = status(root)
            assert before["store-memory"]["state"] == "ready"
            root.install(newer(tmp_path))
            after = status(root)
            for name in ("store-memory", "http-0", "http-1"):
                assert before[name]["pid"] != after[name]["pid"], "not restarted by the upgrade"
        with Client("127.0.0.1", port) as client:
            assert client.kv_get("kept").body == b"value"
        with open(root.at("/etc/strato/strato.ini")) as file:
            assert file.read().endswith("; edited here\n")
        root.run("dpkg", "-r", "strato")
        assert service.wait(20) == 0, "removing stops it"
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()
    assert root.state() == "config-files"
    assert os.path.exists(root.at("/etc/strato/conf.d/10-local.ini"))
    assert not os.path.exists(root.at("/usr/sbin/stratod"))
    os.remove(root.at("/etc/strato/conf.d/10-local.ini"))
    root.run("dpkg", "-P", "strato")
    for path in ("/etc/strato", "/var/lib/strato", "/run/strato"):
        assert not os.path.exists(root.at(path)), path
    assert not alive(service.pid)


def test_deb_is_clean():
    assert run("lintian", "--allow-root", DEBS[0], check=False) == ""


def test_rpm(tmp_path):
    root = str(tmp_path / "root")
    run("rpm", "--root", root, "--initdb")
    run("rpm", "--root", root, "-i", "--nodeps", "--noscripts", RPMS[0])
    assert run("rpm", "--root", root, "-V", "--nodeps", "strato") == ""
    config = run("rpm", "--root", root, "-q", "--configfiles", "strato").split()
    assert config == ["/etc/strato/strato.ini"]
    with open(root + "/etc/strato/strato.ini", "a") as file:
        file.write("; edited here\n")
    for path in ("/usr/sbin/stratod", "/usr/bin/stratoctl", "/usr/libexec/strato/strato-store"):
        assert os.access(root + path, os.X_OK)
    assert "stratod " in run(root + "/usr/sbin/stratod", "--version")
    run("rpm", "--root", root, "-U", "--nodeps", "--noscripts", "--force", RPMS[0])
    assert open(root + "/etc/strato/strato.ini").read().endswith("; edited here\n")
    run("rpm", "--root", root, "-e", "--nodeps", "--noscripts", "strato")
    assert not os.path.exists(root + "/usr/sbin/stratod")


def test_units_are_sound(tmp_path):
    """systemd-analyze says what is wrong, and yet ends with 0."""
    run("dpkg-deb", "-x", DEBS[0], str(tmp_path))
    units = tmp_path / "lib/systemd/system"
    ours = sorted(os.listdir(units))
    assert ours == ["strato-grpc.socket", "strato-http.socket", "strato.service"]
    for pattern in ("*.target", "*.slice", "*.socket"):  # what every unit depends on
        for path in glob.glob("/lib/systemd/system/" + pattern):
            shutil.copy(path, units, follow_symlinks=False)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--root", str(tmp_path), *ours],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit = str(units / "strato.service")
    security = run("systemd-analyze", "security", "--offline=true", unit)
    level = float(re.search(r"exposure level for strato.service: ([\d.]+)", security)[1])
    assert level <= 1.5, security


def test_pages_and_completion(tmp_path):
    run("dpkg-deb", "-x", DEBS[0], str(tmp_path))
    pages = glob.glob(str(tmp_path / "usr/share/man/man*/*"))
    assert sorted(map(os.path.basename, pages)) == [
        "strato-grpc.1.gz", "strato-http.1.gz", "strato-inspect.1.gz", "strato.7.gz",
        "strato.ini.5.gz", "stratoctl.1.gz", "stratod.8.gz"]
    completion = str(tmp_path / "usr/share/bash-completion/completions/stratoctl")
    words = run("bash", "-c", f". {completion}; COMP_WORDS=(stratoctl re); COMP_CWORD=1; "
                              "_stratoctl; echo ${COMPREPLY[*]}")
    assert words == "restart reload\n"

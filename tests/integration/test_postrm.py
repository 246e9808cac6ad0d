"""What purging the package does to directories that are mount points, links or protected. In a mount
namespace whose /var/lib and /run are its own."""

import os
import shutil
import subprocess

import pytest

SCRIPT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "packaging", "debian",
                                      "postrm"))
TOOLS = ["find", "ls", "mkdir", "mount", "readlink", "rm", "rmdir", "touch", "ln", "cat"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def purge(tmp_path, prepare):
    """Runs it after the shell lines of prepare; what is left of /data, /var/lib and /run."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:  # and nothing that touches this machine's services
        os.symlink(shutil.which(tool), tools / tool)
    lines = f"""set -e
PATH={tools}
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
mkdir -p /var/lib/strato/disk /run/strato /var/lib/data/disk
touch /var/lib/data/disk/data.mdb
{prepare}
touch /var/lib/strato/disk/data.mdb /run/strato/lock
/bin/sh {SCRIPT} purge
echo "exit $?"
find /var/lib /run -mindepth 1
"""
    done = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", lines], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    said, left = done.stdout.split("exit 0\n")
    return said, set(left.splitlines()) - {
        "/var/lib/data", "/var/lib/data/disk", "/run/mount", "/run/mount/utab"}


DATA = "/var/lib/data/disk/data.mdb"


def test_purge_of_plain_directories(tmp_path):
    assert purge(tmp_path, "") == ("", {DATA})


@pytest.mark.parametrize("where", ["/var/lib/strato", "/run/strato"])
def test_purge_of_a_mount_point_empties_it(tmp_path, where):
    said, left = purge(tmp_path, f"mount -t tmpfs none {where}; mkdir -p {where}/disk")
    assert left == {DATA, where} and f"{where} is left" in said


def test_purge_leaves_what_is_mounted_inside(tmp_path):
    said, left = purge(tmp_path, "mount --bind /var/lib/data/disk /var/lib/strato/disk")
    assert left == {DATA, "/var/lib/strato", "/var/lib/strato/disk",
                    "/var/lib/strato/disk/data.mdb"}
    assert "/var/lib/strato is left" in said


def test_purge_takes_a_link_and_not_what_it_leads_to(tmp_path):
    said, left = purge(tmp_path, "rm -r /var/lib/strato; ln -s /var/lib/data /var/lib/strato")
    assert left == {DATA} and "/var/lib/data, is left" in said


def test_purge_of_what_is_read_only(tmp_path):
    said, left = purge(tmp_path, "touch /var/lib/strato/disk/data.mdb /run/strato/lock; "
                       "mount --bind /run/strato /run/strato; "
                       "mount -o remount,bind,ro /run/strato; touch() { :; }")
    assert "/run/strato/lock" in left and "/run/strato is left" in said

"""A supervisor on its own: the real stratod over fake children (fake_child.c)."""

import os
import re
import shutil
import subprocess

from strato import BIN, TEST_BIN, Strato, until


class Faked(Strato):
    """actions: {"http-0": "fail"}; see fake_child.c. do() changes them while it runs."""

    def __init__(self, settings=None, actions=None, program="stratod", environment=None):
        super().__init__(settings, environment)
        self.actions = os.path.join(self.directory, "actions")
        self.environment["STRATO_FAKE"] = self.actions
        self.libexec = os.path.join(self.directory, "libexec", "strato")
        os.makedirs(self.libexec)
        os.makedirs(os.path.join(self.directory, "bin"))
        for name in ("strato-store", "strato-http-worker"):
            shutil.copy(os.path.join(TEST_BIN, "fake_child"), os.path.join(self.libexec, name))
        # Copied, because programs are looked for beside the place of the supervisor's own file.
        self.program = shutil.copy(os.path.join(BIN, program), os.path.join(self.directory, "bin"))
        self.do(actions or {})

    def do(self, actions):
        with open(self.actions + ".new", "w") as file:
            file.writelines(f"{name} {action}\n" for name, action in actions.items())
        os.rename(self.actions + ".new", self.actions)

    def fails(self, timeout=30):
        """Starts it, expects that it gives up, and returns its exit code and log."""
        self.spawn()
        code = self.process.wait(timeout)
        assert not self.left()
        return code, self.log()

    def wait_log(self, pattern, count=1, timeout=30):
        """Waits until a pattern is in the log so often."""
        def often():
            return len(re.findall(pattern, self.log(), re.MULTILINE)) >= count
        until(often, f"{count} x {pattern} in the log", timeout)


class Prepared(Strato):
    """Started after prepare() was called in the new process, or through words before the command."""

    def __init__(self, settings=None, words=(), prepare=None, **options):
        super().__init__(settings, **options)
        self.words, self.prepare = list(words), prepare

    def spawn(self):
        path = self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.words, self.program, "--config", path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.directory, env=self.environment,
                preexec_fn=self.prepare, start_new_session=True)

    def fails(self, timeout=30):
        self.spawn()
        code = self.process.wait(timeout)
        log = self.log()
        self.remove()
        return code, log


def run(program, *arguments, **options):
    """Runs a program to its end: (exit code, standard output, standard error)."""
    done = subprocess.run([os.path.join(BIN, program), *arguments], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=30, check=False, **options)
    return done.returncode, done.stdout, done.stderr

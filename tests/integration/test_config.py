"""--check-config, the command lines of stratod and strato-http, and what they say."""

import json
import os
import re
import resource
import signal
import socket
import subprocess

import pytest
from faked import Faked, run
from strato import until

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..")


def check(directory, text):
    path = os.path.join(directory, "test.ini")
    with open(path, "w") as file:
        file.write(text)
    return run("stratod", "--config", "test.ini", "--check-config", cwd=directory)


def test_good_file(tmp_path):
    assert check(tmp_path, "[http]\nlisten = 127.0.0.1:9999 ; here\n") == (
        0, "test.ini: no problems\n", "")


def test_defaults_and_sample():
    assert run("stratod", "--check-config") == (0, "built-in defaults: no problems\n", "")
    code, out, _ = run("stratod", "--check-config", "--config", "etc/strato.ini", cwd=SOURCE)
    assert (code, out) == (0, "etc/strato.ini: no problems\n")


def test_every_problem_with_its_line(tmp_path):
    code, out, err = check(tmp_path, "[htpp]\n[http]\nlissen = 1\nworkers = 99\n\n[strato]\n"
                                     "backend = disc\nrequest_timeout = 5\n")
    assert (code, err) == (1, "")
    assert out == (
        "test.ini:1: unknown section [htpp]; did you mean [http]?\n"
        "test.ini:3: unknown key lissen in [http]; did you mean listen?\n"
        "test.ini:4: workers must be auto or a number from 1 to 32\n"
        "test.ini:7: backend must be memory, disk or redis\n"
        "test.ini:8: request_timeout must be a time with its unit (ms, s, m or h) from 1ms to 1h\n")


@pytest.mark.parametrize("path", ["/run", "/run/", "//./run/.", "/data/../run", "../run", "/link"])
def test_a_database_in_run_dir(tmp_path, path):
    full = f"{tmp_path}{path}" if path.startswith("/") else path
    if path == "/link":
        (tmp_path / "run").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "run")
    text = f"[strato]\nbackend = disk\nrun_dir = {tmp_path}/run\ndata_dir = {tmp_path}/data\n"
    code, out, err = check(tmp_path, f"{text}[disk]\npath = {full}\n")
    assert code != 0 and "test.ini:6: path is the same directory as run_dir" in out + err
    code, out, err = check(tmp_path, f"{text}[disk]\npath = {full}/disk\n")
    assert code == 0, out + err


def test_problem_in_an_included_file(tmp_path):
    os.mkdir(tmp_path / "conf.d")
    (tmp_path / "conf.d" / "10-size.ini").write_text("[memory]\n\nsize = lots\n")
    code, out, _ = check(tmp_path, "[strato]\ninclude = conf.d/*.ini\n")
    assert code == 1
    assert out.startswith("./conf.d/10-size.ini:3: size must be auto or a size ")


LETTERS = [
    ("strato", "data_dir", '"/var/lib/strato"', "without quotes"),
    ("strato", "data_dir", "'/var/lib/strato'", "without quotes"),
    ("strato", "data_dir", "/var/lib/strato # data", "a remark behind a value begins with ;"),
    ("strato", "data_dir", "/var/lib/strato // data", "a remark behind a value begins with ;"),
    ("strato", "data_dir", "~/strato", "${HOME}"),
    ("strato", "run_dir", "$HOME/strato", "${NAME} is taken from the environment"),
    ("strato", "run_dir", "/run/$(id -u)/strato", "${NAME} is taken from the environment"),
    ("strato", "run_dir", "/run/{{ name }}", "a template was not filled in"),
    ("strato", "run_dir", "/run/<name>", "the value itself"),
    ("strato", "run_dir", "/run/%N", "specifiers"),
    ("strato", "data_dir", "data", "must begin with /; for a directory below the current one"),
    ("strato", "data_dir", "remark", "write ./remark"),
    ("disk", "path", '"/x"', "without quotes"),
    ("disk", "path", "~/x", "${HOME}"),
    ("disk", "path", "/x/*", "a path is no pattern"),
    ("strato", "include", '"conf.d/*.ini"', "without quotes"),
    ("strato", "include", "conf.d/*.ini # more", "a remark behind a value begins with ;"),
    ("strato", "include", "~/conf.d/*.ini", "${HOME}"),
    ("strato", "include", "conf.d/*.ini more.d/*.ini", "no such file"),
    ("strato", "backend", '"disk"', "without quotes"),
    ("http", "workers", "4 # four", "a remark behind a value begins with ;"),
    ("http", "listen", '"127.0.0.1:8081"', "without quotes"),
    ("redis", "url", '"redis://h:6379"', "without quotes"),
    ("redis", "url", "redis://h:6379 # here", "a remark behind a value begins with ;"),
    ("redis", "url", "redis://{{ host }}:6379", "must be redis://"),
    ("redis", "url", "redis://$HOST:6379", "must be redis://"),
    ("redis", "url", "redis://:$REDIS_PASSWORD@h:6379", "taken by the letter"),
    ("redis", "url", "redis://:100%sure@h:6379", "written as %25"),
]


@pytest.mark.parametrize("section,key,value,advice", LETTERS)
def test_values_that_are_hardly_meant(tmp_path, section, key, value, advice):
    code, out, _ = check(tmp_path, f"[{section}]\n{key} = {value}\n")
    assert code == 1
    assert out.startswith("test.ini:2: ") and advice in out and out.count("\n") == 1, out
    assert "sure" not in out and "PASSWORD" not in out
    assert os.listdir(tmp_path) == ["test.ini"]


@pytest.mark.parametrize("value", ["/srv/a b", "/srv/o'brien", "/srv/x#1", "./data", "../data",
                                   "/srv/$${x}", "/srv/100%", "/srv/${STRATO_TEST_DIR}"])
def test_values_that_can_be_meant(tmp_path, value):
    (tmp_path / "test.ini").write_text(f"[strato]\ndata_dir = {value}\n")
    assert run("stratod", "--config", "test.ini", "--check-config", cwd=tmp_path,
               env=dict(os.environ, STRATO_TEST_DIR="here")) == (0, "test.ini: no problems\n", "")


def test_what_the_environment_brings_is_checked_too(tmp_path):
    (tmp_path / "test.ini").write_text("[strato]\ndata_dir = ${STRATO_TEST_DIR}\n")
    code, out, _ = run("stratod", "--config", "test.ini", "--check-config", cwd=tmp_path,
                       env=dict(os.environ, STRATO_TEST_DIR='"/var/lib/strato"'))
    assert code == 1 and "without quotes" in out


def test_rules_of_two_keys_name_the_file_that_broke_them(tmp_path):
    os.mkdir(tmp_path / "conf.d")
    for text, problem in (
            ("[http]\nlisten = 127.0.0.1:8080\n",
             "2: listen: [http] (127.0.0.1:8080) and [grpc] (127.0.0.1:8080) have one address"),
            ("[disk]\nmap_size = 16M\n[strato]\n", "2: max_value must be at most a quarter of")):
        (tmp_path / "conf.d" / "10.ini").write_text(text)
        value = "max_value = 8M\n" if "map_size" in text else ""
        where = "test.ini:" if value else "./conf.d/10.ini:"
        code, out, _ = check(tmp_path, f"[strato]\n{value}include = conf.d/*.ini\n")
        assert code == 1 and out.startswith(where) and problem in out, out


def test_run_dir_leaves_room_for_the_names_in_it(tmp_path):
    """The check counts as the link does that makes the sockets."""
    for length, code in ((77, 0), (78, 1)):
        path = "/" + "r" * (length - 1)
        assert check(tmp_path, f"[strato]\nrun_dir = {path}\n")[0] == code


def test_unset_variable_and_missing_file(tmp_path):
    code, out, _ = check(tmp_path, "[redis]\nurl = ${STRATO_NO_SUCH}\n")
    assert code == 1
    assert out == ("test.ini:2: url needs the environment variable STRATO_NO_SUCH, which is not "
                   "set\n")
    assert run("stratod", "--config", "/none.ini", "--check-config") == (
        1, "/none.ini: No such file or directory\n", "")


def test_a_bad_file_starts_nothing(tmp_path):
    (tmp_path / "bad.ini").write_text("[strato]\nrun_dir = ./run\nmax_value = 0\n")
    code, out, err = run("stratod", "--config", "bad.ini", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("bad.ini:3: max_value must be ")
    assert not os.path.exists(tmp_path / "run")


def test_command_line():
    for program in ("stratod", "strato-http"):
        code, out, _ = run(program, "--version")
        assert code == 0 and re.fullmatch(program + r" \d+\.\d+\.\d+\n", out)
        code, out, err = run(program, "--help")
        assert (code, err) == (0, "") and out.startswith("usage: " + program)
        code, out, err = run(program, "--nonsense")
        assert (code, out) == (2, "") and f"try: {program} --help" in err
        assert run(program, "extra")[0] == 2


# ---- Limits of the system ----

def limited(count):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def test_few_descriptors_are_said(tmp_path):
    """Too few for the processes: refused with both numbers; too few for the connections: fewer."""
    (tmp_path / "a.ini").write_text("[strato]\nbackend = memory\n[http]\nworkers = 1\n"
                                    "[grpc]\nworkers = 1\n")
    check_it = ("stratod", "--config", "a.ini", "--check-config")
    code, out, _ = run(*check_it, cwd=tmp_path, preexec_fn=limited(128))
    assert code == 1 and re.search(r"at least \d+ descriptors are needed .* is 128\n$", out), out
    code, out, _ = run(*check_it, cwd=tmp_path, preexec_fn=limited(1024))
    assert code == 0 and "note: [http] max_connections is 832, not 10000" in out
    assert "note: [grpc] max_connections is 832" in out and out.endswith("a.ini: no problems\n")
    strato = Faked()
    strato.wrapper = ["prlimit", "--nofile=128:128"]
    code, log = strato.fails()
    strato.remove()
    assert code == 1 and "descriptors are needed" in log and "is 128" in log
    strato = Faked()
    strato.wrapper = ["prlimit", "--nofile=400:400"]
    with strato:
        assert "[http] max_connections is 208, not 10000" in strato.log()
        with open(f"/proc/{strato.pids()['http-0']}/fd/3") as file:
            assert "max_connections = 208" in file.read()


def test_json_is_all_there_is(tmp_path):
    """With log_format = json every line is JSON, the ready line and failures too."""
    with Faked({"strato": {"log_format": "json", "log_level": "error"}}) as strato:
        lines = [line for line in strato.log().splitlines() if not line.startswith("descriptors")]
        assert [json.loads(line)["message"] for line in lines] == [
            f"strato is ready: HTTP on http://127.0.0.1:{strato.http[1]}"]
        second = Faked({"strato": {"log_format": "json", "run_dir": strato.run_dir}})
        assert second.fails()[0] == 1
        messages = [json.loads(line)["message"] for line in second.log().splitlines()]
        assert any("is in use by stratod" in message for message in messages)
        second.remove()


# ---- strato-http ----

@pytest.mark.parametrize("port", ["80", "1023", "49152", "65536", "-1", "0", "", "8081x", "x"])
def test_bad_ports(port):
    error = "port must be between 1024 and 49151\n"
    assert run("strato-http", "--port", port) == (1, "", error)
    assert run("strato-http", "-p", port) == (1, "", error)
    if port:
        assert run("strato-http", env=dict(os.environ, STRATO_HTTP_PORT=port)) == (1, "", error)


def test_bad_values():
    assert run("strato-http", "--backend", "mongo") == (1, "", "backend key not recognized\n")
    assert run("strato-http", env=dict(os.environ, STRATO_HTTP_BACKEND="Memory")) == (
        1, "", "backend key not recognized\n")
    assert run("strato-http", "--redis-url", "nowhere") == (
        1, "", "--redis-url: must be redis://[user:password@]host:port\n")
    assert run("strato-http", env=dict(os.environ, STRATO_HTTP_DEBUG="perhaps")) == (
        1, "", "STRATO_HTTP_DEBUG: must be true or false\n")


def free_port():
    """A port that strato-http takes and nobody uses just now."""
    for port in range(20000 + os.getpid() % 10000, 40000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


class Front(Faked):
    """strato-http over fake children; arguments in place of a file."""

    def __init__(self, arguments, environment=None, directory=None):
        super().__init__(program="strato-http", environment=environment)
        self.arguments = arguments
        self.where = directory or self.directory

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.program, *self.arguments], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=self.where,
                                            env=self.environment, start_new_session=True)


def test_flag_beats_environment_beats_default():
    port, other = free_port(), free_port() + 1
    with Front(["--port", str(port), "--debug"], {"STRATO_HTTP_PORT": str(other)}) as front:
        assert f"HTTP on http://127.0.0.1:{port}\n" in front.log()
        assert "this is debugging" in front.log()
        assert os.path.exists(os.path.join(front.directory, f"strato-run/http-{port}/lock"))
        assert set(front.pids()) >= {"store-disk", "http-0"}
    with Front([], {"STRATO_HTTP_PORT": str(port), "STRATO_HTTP_DEBUG": "f",
                    "STRATO_HTTP_BACKEND": "memory", "STRATO_HTTP_REDIS_URL": ""}) as front:
        assert f"HTTP on http://127.0.0.1:{port}\n" in front.log()
        assert "this is debugging" not in front.log()
        front.process.send_signal(signal.SIGHUP)
        front.wait_log("there is no configuration file to read again")


def test_two_side_by_side():
    first_port = free_port()
    with Front(["-p", str(first_port)]) as first:
        second_port = free_port()
        with Front(["-p", str(second_port)], directory=first.directory) as second:
            assert until(lambda: first.pids() and second.pids(), "both run")
        third = Front(["-p", str(first_port)], directory=first.directory)
        code, log = third.fails()
        third.remove()
        assert code == 1
        assert (f"strato-run/http-{first_port} is in use by stratod, pid {first.process.pid}\n"
                in log)

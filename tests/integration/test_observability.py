"""Metrics, alert rules, the dashboard and the manifests agree with what Strato really says."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from faked import run
from strato import Strato, until

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..")
MONITORING = os.path.join(SOURCE, "packaging", "monitoring")


def promtool(*words, text=None):
    if not shutil.which("promtool"):
        pytest.skip("promtool is in Debian's package prometheus")
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_metrics_are_as_prometheus_wants_them():
    with Strato() as strato:
        client = strato.client()
        client.kv_put("key", b"value")
        client.kv_get("key")
        assert promtool("check", "metrics", text=client.get("/metrics").body.decode()) == ""


def figures(strato, name):
    """{process: value}"""
    return {re.search(r'process="([^"]+)"', key)[1]: value
            for key, value in strato.metrics().items() if key.startswith(name + "{")}


def test_every_process_has_figures_on_any_worker():
    with Strato({"grpc": {"enabled": "yes"}}) as strato:
        everyone = {"stratod", *strato.pids()}
        assert len(everyone) == 6
        old = strato.kill("store-memory")
        strato.wait_restarted("store-memory", old)
        strato.wait_restarted("grpc-1", strato.kill("grpc-1", signal.SIGTERM))
        until(lambda: sum(figures(strato, "strato_process_ready").values()) == 6, "ready")
        expected = dict.fromkeys(everyone, 0)
        for _ in range(10):  # each over a new connection, so at some worker
            assert figures(strato, "strato_process_deaths_total")["store-memory"] == 1
            assert figures(strato, "strato_process_restarts_total") == \
                expected | {"store-memory": 1, "grpc-1": 1}
        for name in ("cpu_seconds_total", "resident_memory_bytes", "start_time_seconds"):
            seen = figures(strato, "strato_process_" + name)
            assert seen.keys() == everyone and min(seen.values()) >= 0
        assert min(figures(strato, "strato_process_resident_memory_bytes").values()) > 500_000
        started = figures(strato, "strato_process_start_time_seconds")
        assert all(abs(time.time() - at) < 120 for at in started.values())
        assert started["store-memory"] > started["stratod"]


def counted(strato, *names):
    """The sum of all samples of these names."""
    return sum(value for key, value in strato.metrics().items() if key.startswith(names))


def test_figures_outlive_their_process():
    """What died is shown as it was; its successor, on either lane, goes on counting."""
    with Strato({"http": {"workers": "1"}}) as strato:
        requests = 'strato_requests_total{process="http-0",op="KVPut"}'
        for number in range(5):
            assert strato.client().kv_put(f"k{number}", b"v").status == 204
        until(lambda: strato.metrics()['strato_arena_records{backend="memory",service="kv"}'] == 5,
              "the store's figures")
        strato.wait_restarted("http-0", strato.kill("http-0"))
        assert strato.metrics()[requests] == 5
        strato.wait_restarted("http-0", strato.kill("http-0", signal.SIGTERM))
        assert run("stratoctl", "--socket", os.path.join(strato.run_dir, "ctl.sock"), "restart",
                   "http")[0] == 0
        assert strato.client().kv_put("more", b"v").status == 204
        assert strato.metrics()[requests] == 6
        pid = strato.pids()["store-memory"]
        os.kill(pid, signal.SIGSTOP)  # it can say nothing
        try:
            until(lambda: counted(strato, "strato_arena_records{") >= 5, "without the store")
            code, out, _ = run("stratoctl", "--socket", os.path.join(strato.run_dir, "ctl.sock"),
                               "stats")
            assert code == 0 and re.search(r"KVPut +6\n", out), out
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_request_has_one_name_in_worker_and_store():
    with Strato({"strato": {"log_level": "debug"}}) as strato:
        client = strato.client()
        client.kv_put("some key", b"value")
        client.kv_put("large", b"x" * 200000)
        assert client.kv_get("some key").body == b"value"
        name = until(lambda: re.search(
            r"http-\d\[\d+\]: request (\d+\.\d+): KVPut some key: ok after \d+ us",
            strato.log()), "the worker's line")[1]
        assert re.search(rf"store-memory\[\d+\]: request {name}: KVPut some key\n", strato.log())
        assert re.search(rf"store-memory\[\d+\]: request {name}: ok\n", strato.log())
        assert re.search(r"request \d+\.\d+: KVPut large: ok after", strato.log())
        until(lambda: re.search(r"request \d+\.local: KVGet some key: ok", strato.log()), "local")
        assert "value" not in strato.log()


def test_rules():
    promtool("check", "rules", os.path.join(MONITORING, "alerts.yml"))


def test_every_figure_that_is_shown_exists():
    """Those of backends that are not running here are looked for in their rows."""
    with Strato() as strato:
        known = strato.client().get("/metrics").body.decode()
    with open(os.path.join(SOURCE, "proto", "figures", "figures.def")) as file:
        known += file.read()
    with open(os.path.join(MONITORING, "grafana.json")) as file:
        board = file.read()
    with open(os.path.join(MONITORING, "alerts.yml")) as file:
        names = set(re.findall(r"\bstrato_\w+", board + file.read()))
    assert len(names) > 15
    assert [name for name in sorted(names) if name not in known] == []
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"])
              for panel in json.loads(board)["panels"]]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", ["redis.yaml", "disk.yaml"])
def test_configuration_in_the_manifests(name, tmp_path):
    with open(os.path.join(SOURCE, "packaging", "kubernetes", name)) as file:
        block = re.search(r"00-container\.ini: \|\n((?:    .*\n)+)", file.read())[1]
    path = tmp_path / "container.ini"
    path.write_text(re.sub(r"(?m)^    ", "", block))
    code, out, _ = run("stratod", "--check-config", "--config", str(path),
                       env=dict(os.environ, STRATO_REDIS="redis://redis:6379"))
    assert code == 0 and "no problems" in out, out

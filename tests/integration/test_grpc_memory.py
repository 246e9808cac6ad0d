"""A gRPC worker does not grow with the calls that it has served."""

import os
import re
import struct
import subprocess

from rpc import Rpc, messages
from strato import Strato
from test_grpc_http2 import resident

REQUESTS = {
    "/proto.KV/KVGet": messages.Location(key="k"),
    "/proto.KV/KVPut": messages.PutRequest(location=messages.Location(key="k"),
                                           value=messages.Value(content=b"x" * 50)),
    "/proto.Counter/IncrementCounter": messages.IncrementCounterRequest(key="k", amount=1),
    "/proto.Cache/CacheGet": messages.CacheGetRequest(key="missing"),
    "/proto.Set/SetAdd": messages.ModifySetRequest(set="k", item="item"),
}


def load(strato, path, request, calls, at_once=32):
    """So many calls over 8 connections; h2load ends when all are answered."""
    name = os.path.join(strato.directory, "request")
    data = request.SerializeToString()
    with open(name, "wb") as file:
        file.write(b"\0" + struct.pack(">I", len(data)) + data)
    text = subprocess.run(
        ["h2load", "-t1", "-c8", f"-m{at_once}", f"-n{calls}", "-d", name, "-H",
         "content-type: application/grpc", "-H", "te: trailers",
         "http://%s:%d%s" % (*strato.grpc, path)], stdout=subprocess.PIPE, check=True).stdout
    done = re.search(r"(\d+) succeeded", text.decode())
    assert done and int(done.group(1)) == calls, text.decode()


def test_memory_after_a_million_calls():
    with Strato({"grpc": {"enabled": "yes", "workers": "1"}}) as strato, Rpc(strato.grpc) as rpc:
        rpc.kv_put("k", b"v")
        pid, sizes = strato.pids()["grpc-0"], []
        for path, request in REQUESTS.items():  # what many calls at once need is kept, once
            load(strato, path, request, 10000, at_once=256)
        for _ in range(10):
            for path, request in REQUESTS.items():
                load(strato, path, request, 100000 // len(REQUESTS))
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes.append(int(re.search(r"^Rss: +(\d+)", file.read(), re.MULTILINE).group(1)))
        print("KiB after each 100,000 calls:", sizes)
        assert strato.pids()["grpc-0"] == pid
        assert sizes[-1] <= sizes[0] * 1.05
        assert rpc.ask("/proto.Counter/CounterGet", key="k").value == 210000
        assert resident(pid) < 100

"""Which protocol and which backend the suite runs over: STRATO_PROTOCOL and STRATO_BACKEND."""

import contextlib
import itertools
import os

import pytest

from over_grpc import GrpcOperations
from over_http import HttpOperations
from redis_servers import Cluster, Redis
from strato import Strato

PROTOCOLS = {"http": HttpOperations, "grpc": GrpcOperations}
MAX_VALUE = 1 << 20
MAX_SET = 64 << 10  # below the default, so that a test can reach it


@contextlib.contextmanager
def beside(servers):
    """The settings for servers that are started first."""
    with servers() as running:
        yield running.settings()


# Each gives a context whose value is the settings.
BACKENDS = {"memory": lambda: contextlib.nullcontext({"strato": {"backend": "memory"}}),
            "disk": lambda: contextlib.nullcontext({"strato": {"backend": "disk"}}),
            "redis": lambda: beside(Redis),
            "cluster": lambda: beside(Cluster)}


@pytest.fixture(scope="session")
def strato():
    with BACKENDS[os.environ.get("STRATO_BACKEND", "memory")]() as settings, \
            Strato({**settings, "grpc": {"enabled": "yes"},
                    "strato": {**settings["strato"], "max_set": str(MAX_SET)}}) as running:
        yield running


@pytest.fixture(scope="module")
def ops(strato):
    operations = PROTOCOLS[os.environ.get("STRATO_PROTOCOL", "http")](strato)
    yield operations
    operations.close()


@pytest.fixture(scope="module")
def new_ops(strato):
    """Makes further connections."""
    made = []

    def make():
        made.append(PROTOCOLS[os.environ.get("STRATO_PROTOCOL", "http")](strato))
        return made[-1]
    yield make
    for operations in made:
        operations.close()


@pytest.fixture
def client(strato):
    """A bare HTTP connection."""
    with strato.client() as connection:
        yield connection


_numbers = itertools.count()


@pytest.fixture
def key():
    """A key that no other test uses."""
    return b"key-%d" % next(_numbers)

"""The rows of proto/api/operations.def, so that what the suite expects of routes follows from them."""

import os
import re

with open(os.path.join(os.path.dirname(__file__), "..", "..", "proto", "api",
                       "operations.def")) as _file:
    _TEXT = _file.read()


def _rows(macro):
    """The columns of each row, without quotes."""
    rows = re.findall(rf"^{macro}\((\w.*?)\)$", _TEXT, re.MULTILINE | re.DOTALL)
    return [[column.strip().strip('"') for column in row.split(",")] for row in rows]


SYMBOLS = {row[4]: row[2] for row in _rows("OPERATION")}  # "KVPut": "KV_PUT"
ROUTES = _rows("ROUTE")  # [operation, method, path, prepare, shape]
METHODS = _rows("METHOD")  # [operation, path, decode, encode]


def methods_of(path):
    """Those that a path takes, in the order in which Allow has them."""
    methods = []
    for _, method, start, *_ in ROUTES:
        if path.startswith(start) and method not in methods:
            methods += ["GET", "HEAD"] if method == "GET" else [method]
    return methods


def route_of(operation):
    """(method, path) of an operation, by its name."""
    return next((method, path) for symbol, method, path, *_ in ROUTES
                if symbol == SYMBOLS[operation])


def method_of(operation):
    """The gRPC path of an operation, by its name."""
    return next(path for symbol, path, *_ in METHODS if symbol == SYMBOLS[operation])

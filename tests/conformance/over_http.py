"""The operations over HTTP."""

import base64
import json

from client import Client, escape
from operations import (DEADLINE, FULL, INVALID, NOT_FOUND, OUT_OF_RANGE, TOO_LARGE, UNAVAILABLE,
                        UNEXPECTED, UNSUPPORTED, Operations, Refused)
from rows import route_of

CODES = {400: INVALID, 404: NOT_FOUND, 409: OUT_OF_RANGE, 413: TOO_LARGE, 414: TOO_LARGE,
         501: UNSUPPORTED, 503: UNAVAILABLE, 504: DEADLINE, 507: FULL}


def value_of(document):
    """The bytes of a JSON answer's value, which are base64 when they are no UTF-8."""
    if "value_base64" in document:
        return base64.b64decode(document["value_base64"], validate=True)
    return document["value"].encode()


def to_json(value):
    """(suffix of the name, value) as a JSON body has it."""
    if isinstance(value, dict):
        return "", dict((name + to_json(inner)[0], to_json(inner)[1])
                        for name, inner in value.items())
    if not isinstance(value, bytes):
        return "", value
    try:
        return "", value.decode()
    except UnicodeDecodeError:
        return "_base64", base64.b64encode(value).decode()


class HttpOperations(Operations):
    cache_value_max = 2000  # it travels in the query, percent-encoded

    def __init__(self, strato):
        self.client = Client(*strato.http)
        self.done = 0

    def close(self):
        self.client.close()

    def ask(self, method, path, key, query="", status=200, **options):
        response = self.client.request(method, f"/{path}/{escape(key)}{query}", **options)
        if response.status in (status if isinstance(status, tuple) else (status,)):
            return response
        code = CODES.get(response.status, UNEXPECTED)
        raise Refused(code, response.json()["error"])

    def do(self, operation, key, **fields):
        """A value alone is sent raw every second time."""
        method, path = route_of(operation)
        self.done += 1
        if list(fields) == ["value"] and self.done % 2:
            body, form = fields["value"], "application/octet-stream"
        else:
            body, form = json.dumps(to_json(fields)[1]).encode(), "application/json"
        response = self.ask(method, path.strip("/"), key, body=body, status=(200, 204),
                            headers={"Content-Type": form})
        return response.json() if response.status == 200 else {}

    def cache_get(self, key):
        return value_of(self.ask("GET", "cache", key).json())

    def cache_set(self, key, value, ttl=None):
        query = f"?value={escape(value)}" + ("" if ttl is None else f"&ttl={ttl}")
        self.ask("PUT", "cache", key, query, 204)

    def counter_get(self, key):
        return self.ask("GET", "counters", key).json()["value"]

    def counter_increment(self, key, amount):
        return self.ask("POST", "counters", key, f"?increment={amount}").json()["value"]

    def flag_get(self, key):
        return self.ask("GET", "flags", key).json()["value"]

    def flag_set(self, key, value):
        self.ask("PUT", "flags", key, f"?value={'true' if value else 'false'}", 204)

    def kv_get(self, key):
        return self.ask("GET", "kv", key, headers={"Accept": "application/octet-stream"}).body

    def kv_put(self, key, value):
        self.ask("PUT", "kv", key, status=204, body=value,
                 headers={"Content-Type": "application/octet-stream"})

    def kv_delete(self, key):
        self.ask("DELETE", "kv", key, status=204)

    def set_get(self, key):
        return self.items(self.ask("GET", "sets", key))

    def set_add(self, key, item):
        return self.items(self.ask("PUT", "sets", key, f"?item={escape(item)}"))

    def set_remove(self, key, item):
        return self.items(self.ask("DELETE", "sets", key, f"?item={escape(item)}"))

    @staticmethod
    def items(response):
        return [item.encode() for item in response.json()["items"]]

"""The contract's operations as one interface, whatever protocol carries them.

Keys, items and values are bytes. A refusal raises Refused with one of the codes below, so that the
suite can say which refusal it expects without knowing the protocol's own numbers.
"""

INVALID, NOT_FOUND, OUT_OF_RANGE, TOO_LARGE, FULL, UNAVAILABLE, DEADLINE, UNSUPPORTED, UNEXPECTED = (
    "invalid", "not found", "out of range", "too large", "full", "unavailable", "deadline",
    "unsupported", "unexpected")


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Operations:
    """What each protocol implements. Every method blocks and raises Refused."""

    binary_keys = True  # may a key, an item or a cache value be no UTF-8?
    cache_value_max = 1 << 20  # longest cache value that the protocol can carry

    def do(self, operation, key, **fields):
        """An operation of strato.v1 by its name in operations.def: the fields of its answer."""
        raise NotImplementedError

    def cache_get(self, key):
        raise NotImplementedError

    def cache_set(self, key, value, ttl=None):
        raise NotImplementedError

    def counter_get(self, key):
        raise NotImplementedError

    def counter_increment(self, key, amount):
        raise NotImplementedError

    def flag_get(self, key):
        raise NotImplementedError

    def flag_set(self, key, value):
        raise NotImplementedError

    def kv_get(self, key):
        raise NotImplementedError

    def kv_put(self, key, value):
        raise NotImplementedError

    def kv_delete(self, key):
        raise NotImplementedError

    def set_get(self, key):
        raise NotImplementedError

    def set_add(self, key, item):
        raise NotImplementedError

    def set_remove(self, key, item):
        raise NotImplementedError

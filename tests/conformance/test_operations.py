"""What every operation means, on every protocol and backend alike."""

import random
import threading
import time

import pytest
from conftest import MAX_SET, MAX_VALUE
from operations import INVALID, NOT_FOUND, OUT_OF_RANGE, TOO_LARGE, Refused

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
SERVICES = ["cache", "counter", "flag", "kv", "set"]


def refuses(code, function, *arguments):
    with pytest.raises(Refused) as caught:
        function(*arguments)
    assert caught.value.code == code, caught.value


def touch(ops, service, key):
    """Writes something under the key in a service."""
    {"cache": lambda: ops.cache_set(key, b"v", 60),
     "counter": lambda: ops.counter_increment(key, 1),
     "flag": lambda: ops.flag_set(key, True),
     "kv": lambda: ops.kv_put(key, b"v"),
     "set": lambda: ops.set_add(key, b"v")}[service]()


def look(ops, service, key):
    return {"cache": ops.cache_get, "counter": ops.counter_get, "flag": ops.flag_get,
            "kv": ops.kv_get, "set": ops.set_get}[service](key)


UNTOUCHED = {"counter": 0, "flag": False, "set": []}
TOUCHED = {"cache": b"v", "counter": 1, "flag": True, "kv": b"v", "set": [b"v"]}

# ---- Keys, the same in every service ----

TEXT_KEYS = [b"a", b" ", b"a b", b"a+b", b"a%2Fb", b"a/b", b"/", b"//a/", b"..", b"../a", b"a?b=c",
             b"a#b", b"a&b", b"%", b"%zz", b"\x01\x1f\x7f", b"\0", b"a\0b", b"'\"\\<>",
             "ключ".encode(), "鍵🔑".encode(), "é".encode(), "e\u0301".encode(), b"A"]
BINARY_KEYS = [b"\xff", b"\x80\x81", b"\xc3", b"\xed\xa0\x80", bytes(range(256))]


@pytest.mark.parametrize("service", SERVICES)
def test_a_key_is_any_bytes(ops, service, key):
    keys = TEXT_KEYS + (BINARY_KEYS if ops.binary_keys else [])
    keys = [key + b"." + name for name in keys] + [name + b"." + key for name in keys]
    for name in keys:
        if service in UNTOUCHED:
            assert look(ops, service, name) == UNTOUCHED[service], name
        else:
            refuses(NOT_FOUND, look, ops, service, name)
        touch(ops, service, name)
        assert look(ops, service, name) == TOUCHED[service], name


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("length", [1, 2, 8, 63, 64, 255, 256, 479, 480])
def test_key_length(ops, service, length):
    name = b"k" * length
    touch(ops, service, name)
    assert look(ops, service, name) == TOUCHED[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_key_too_long_is_refused(ops, service, key):
    for length in (481, 500, 1000):
        name = key.ljust(length, b"k")
        refuses(INVALID, touch, ops, service, name)
        refuses(INVALID, look, ops, service, name)
    if service == "kv":
        refuses(INVALID, ops.kv_delete, key.ljust(481, b"k"))


@pytest.mark.parametrize("service", SERVICES)
def test_an_empty_key_is_refused(ops, service):
    for act in (touch, look):
        with pytest.raises(Refused) as caught:
            act(ops, service, b"")
        assert caught.value.code in (INVALID, NOT_FOUND)


def test_the_services_are_separate_key_spaces(ops, key):
    for number, service in enumerate(SERVICES):
        touch(ops, service, key)
        for other in SERVICES[number + 1:]:
            if other in UNTOUCHED:
                assert look(ops, other, key) == UNTOUCHED[other]
            else:
                refuses(NOT_FOUND, look, ops, other, key)
    ops.kv_delete(key)
    refuses(NOT_FOUND, ops.kv_get, key)
    for service in SERVICES:
        if service != "kv":
            assert look(ops, service, key) == TOUCHED[service]


# ---- KV ----

def test_kv_put_get_overwrite_delete(ops, key):
    refuses(NOT_FOUND, ops.kv_get, key)
    ops.kv_put(key, b"one")
    assert ops.kv_get(key) == b"one"
    ops.kv_put(key, b"two")
    assert ops.kv_get(key) == b"two"
    ops.kv_delete(key)
    refuses(NOT_FOUND, ops.kv_get, key)
    refuses(NOT_FOUND, ops.kv_delete, key)
    ops.kv_put(key, b"three")
    assert ops.kv_get(key) == b"three"


def test_kv_an_empty_value_is_a_value(ops, key):
    ops.kv_put(key, b"")
    assert ops.kv_get(key) == b""
    ops.kv_delete(key)
    refuses(NOT_FOUND, ops.kv_get, key)


def test_kv_every_byte_survives(ops, key):
    value = bytes(range(256)) * 3
    ops.kv_put(key, value)
    assert ops.kv_get(key) == value


# Around the sizes at which a value changes its way: inline in a ring slot, staged in chunks.
SIZES = [1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 500, 900, *range(960, 1030, 3), 2047, 2048, 4096,
         16384, 65519, 65536, 65537, 100000, 262143, 262144, 262145, 524288, MAX_VALUE - 1,
         MAX_VALUE]


def test_kv_value_sizes(ops, key):
    generator = random.Random(1)
    for size in SIZES:
        value = generator.randbytes(size)
        ops.kv_put(key, value)
        assert ops.kv_get(key) == value, size
    for size in reversed(SIZES):
        value = generator.randbytes(size)
        ops.kv_put(key + b"-%d" % size, value)
        assert ops.kv_get(key + b"-%d" % size) == value, size
        ops.kv_delete(key + b"-%d" % size)


def test_kv_sizes_with_the_longest_key(ops):
    generator = random.Random(2)
    key = b"L" * 480
    for size in [0, 1, *range(470, 540), 984, 992]:
        value = generator.randbytes(size)
        ops.kv_put(key, value)
        assert ops.kv_get(key) == value, size


def test_kv_a_value_too_large_changes_nothing(ops, key):
    ops.kv_put(key, b"before")
    refuses(TOO_LARGE, ops.kv_put, key, b"x" * (MAX_VALUE + 1))
    assert ops.kv_get(key) == b"before"


def test_kv_many_keys(ops, key):
    names = [key + b"-%d" % number for number in range(3000)]
    for name in names:
        ops.kv_put(name, name * 2)
    for name in names[::2]:
        ops.kv_delete(name)
    for name in names[1::2]:
        assert ops.kv_get(name) == name * 2
    for name in names[::2]:
        refuses(NOT_FOUND, ops.kv_get, name)


def test_kv_append(ops, key):
    assert ops.do("KVAppend", key, value=b"ab") == {"length": 2}
    assert ops.do("KVAppend", key, value=b"\xff\0") == {"length": 4}
    assert ops.kv_get(key) == b"ab\xff\0"
    ops.do("KVAppend", key, value=b"x" * (MAX_VALUE - 4))
    refuses(TOO_LARGE, lambda: ops.do("KVAppend", key, value=b"x"))
    assert len(ops.kv_get(key)) == MAX_VALUE


# ---- Cache ----

def test_cache_set_and_get(ops, key):
    refuses(NOT_FOUND, ops.cache_get, key)
    ops.cache_set(key, b"one", 60)
    assert ops.cache_get(key) == b"one"
    ops.cache_set(key, b"two", 2147483647)
    assert ops.cache_get(key) == b"two"


def test_cache_values(ops, key):
    values = [b"x", b"a+b c&d=e%20", "è🔑".encode(), b"v" * min(ops.cache_value_max, 1 << 20)]
    if ops.binary_keys:
        values += [b"\0\xff", bytes(range(256))]
    for value in values:
        ops.cache_set(key, value, 60)
        assert ops.cache_get(key) == value


def test_cache_refuses_an_empty_value_and_a_negative_ttl(ops, key):
    refuses(INVALID, ops.cache_set, key, b"", 60)
    refuses(INVALID, ops.cache_set, key, b"v", -1)
    refuses(NOT_FOUND, ops.cache_get, key)
    ops.cache_set(key, b"before", 60)
    refuses(INVALID, ops.cache_set, key, b"", 1)
    refuses(INVALID, ops.cache_set, key, b"v", -2147483648)
    assert ops.cache_get(key) == b"before"


def there(ops, key):
    try:
        ops.cache_get(key)
        return True
    except Refused as refused:
        assert refused.code == NOT_FOUND
        return False


def test_cache_ttl(ops, key):
    """Each entry lives as long as its ttl says: not less, and not half a second more."""
    plans = {b"none": [None], b"zero": [0], b"one": [1], b"two": [2], b"long": [60],
             b"longer": [1, 60], b"shorter": [60, 1], b"default": [60, None]}
    lives = {None: 5, 0: 5}
    written = {}
    for name, ttls in plans.items():
        for ttl in ttls:
            before = time.time()
            ops.cache_set(key + name, b"v", ttl)
        written[name] = (before, time.time(), lives.get(ttls[-1], ttls[-1]))
    start = time.time()
    while time.time() < start + 5.8:
        for name, (before, after, life) in written.items():
            asked = time.time()
            present = there(ops, key + name)
            answered = time.time()
            if present:
                assert asked < after + life + 0.5, f"{name} outlives its ttl of {life}"
            else:
                assert answered >= before + life - 0.002, f"{name} died before its ttl of {life}"
        time.sleep(0.02)
    assert there(ops, key + b"long") and there(ops, key + b"longer")
    assert not there(ops, key + b"none")
    ops.cache_set(key + b"none", b"again", 60)
    assert ops.cache_get(key + b"none") == b"again"


# ---- Counters ----

def test_counter_adds_and_subtracts(ops, key):
    assert ops.counter_get(key) == 0
    assert ops.counter_increment(key, 5) == 5
    assert ops.counter_increment(key, -7) == -2
    assert ops.counter_increment(key, 0) == -2
    assert ops.counter_get(key) == -2


def test_counter_bounds(ops, key):
    assert ops.counter_increment(key, INT64_MAX) == INT64_MAX
    refuses(OUT_OF_RANGE, ops.counter_increment, key, 1)
    refuses(OUT_OF_RANGE, ops.counter_increment, key, INT64_MAX)
    assert ops.counter_get(key) == INT64_MAX
    assert ops.counter_increment(key, INT64_MIN) == -1
    assert ops.counter_increment(key, -INT64_MAX) == INT64_MIN
    refuses(OUT_OF_RANGE, ops.counter_increment, key, -1)
    refuses(OUT_OF_RANGE, ops.counter_increment, key, INT64_MIN)
    assert ops.counter_get(key) == INT64_MIN
    assert ops.counter_increment(key, INT64_MAX) == -1
    assert ops.counter_increment(key + b"-low", INT64_MIN) == INT64_MIN


def test_counter_of_many_clients_is_exact(ops, new_ops, key):
    clients = [new_ops() for _ in range(8)]
    results = [[] for _ in clients]

    def work(client, seen):
        for _ in range(200):
            seen.append(client.counter_increment(key, 1))
    threads = [threading.Thread(target=work, args=pair) for pair in zip(clients, results)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ops.counter_get(key) == 1600
    # Every increment saw a value of its own: none was lost or applied twice.
    assert sorted(value for seen in results for value in seen) == list(range(1, 1601))


# ---- Flags ----

def test_flag(ops, key):
    assert ops.flag_get(key) is False
    ops.flag_set(key, True)
    assert ops.flag_get(key) is True
    ops.flag_set(key, True)
    assert ops.flag_get(key) is True
    ops.flag_set(key, False)
    assert ops.flag_get(key) is False


# ---- Sets ----

def test_set_add_and_remove(ops, key):
    assert ops.set_get(key) == []
    assert ops.set_add(key, b"a") == [b"a"]
    assert sorted(ops.set_add(key, b"b")) == [b"a", b"b"]
    assert sorted(ops.set_add(key, b"a")) == [b"a", b"b"]
    assert sorted(ops.set_get(key)) == [b"a", b"b"]
    assert sorted(ops.set_remove(key, b"missing")) == [b"a", b"b"]
    assert ops.set_remove(key, b"a") == [b"b"]
    assert ops.set_remove(key, b"b") == []
    assert ops.set_get(key) == []
    assert ops.set_remove(key, b"b") == []
    assert ops.set_add(key, b"again") == [b"again"]


def test_set_remove_from_a_missing_set(ops, key):
    assert ops.set_remove(key, b"a") == []
    assert ops.set_get(key) == []


def test_set_items_of_every_kind_once_each(ops, key):
    items = [item for item in TEXT_KEYS] + [b"i", b"i" * 480, b"i" * 479, b"ii"]
    for _ in range(2):
        for item in items:
            ops.set_add(key, item)
    assert sorted(ops.set_get(key)) == sorted(items)
    for item in items[::2]:
        ops.set_remove(key, item)
    assert sorted(ops.set_get(key)) == sorted(items[1::2])


def test_set_refuses_an_impossible_item(ops, key):
    for item in (b"", b"i" * 481):
        refuses(INVALID, ops.set_add, key, item)
        refuses(INVALID, ops.set_remove, key, item)
    assert ops.set_get(key) == []


def test_set_grows_past_what_travels_in_one_piece(ops, key):
    """Through the sizes at which its record, its way and its answer change, up and down again."""
    items = [b"item-%04d-" % number + b"x" * (number % 50) for number in range(1200)]
    for number, item in enumerate(items):
        got = ops.set_add(key, item)
        assert len(got) == number + 1
    assert sorted(ops.set_get(key)) == sorted(items)
    for number, item in enumerate(items[:-1]):
        assert len(ops.set_remove(key, item)) == len(items) - number - 1
    assert ops.set_get(key) == items[-1:]


def test_set_grows_up_to_max_set_and_no_further(ops, key):
    """Each item counts its bytes and two more, to the byte."""
    items = [b"%03d" % number + b"i" * 477 for number in range(MAX_SET // 482)]
    last = b"l" * (MAX_SET - 482 * len(items) - 2)
    for item in items:
        ops.set_add(key, item)
    refuses(TOO_LARGE, ops.set_add, key, last + b"x")
    refuses(TOO_LARGE, ops.set_add, key, b"i" * 480)
    assert sorted(ops.set_get(key)) == items
    assert sorted(ops.set_add(key, last)) == sorted(items + [last])
    refuses(TOO_LARGE, ops.set_add, key, b"x")
    assert len(ops.set_add(key, items[0])) == len(items) + 1  # it is in it already
    assert len(ops.set_remove(key, items[0])) == len(items)
    assert len(ops.set_remove(key, b"x")) == len(items)
    assert sorted(ops.set_add(key, b"x" * 480)) == sorted(items[1:] + [last, b"x" * 480])
    refuses(TOO_LARGE, ops.set_add, key, b"y")


# ---- Between clients ----

def test_an_acknowledged_write_is_seen_by_everyone_at_once(ops, new_ops, key):
    clients = [new_ops() for _ in range(6)]
    for number in range(300):
        writer, reader = clients[number % 6], clients[(number * 5 + 1) % 6]
        value = b"%d" % number * (1 + number % 40 * 10)
        writer.kv_put(key, value)
        assert reader.kv_get(key) == value
        assert writer.counter_increment(key, 1) == number + 1
        assert reader.counter_get(key) == number + 1
        writer.flag_set(key, number % 2)
        assert reader.flag_get(key) == bool(number % 2)
        writer.cache_set(key, b"%d" % number, 60)
        assert reader.cache_get(key) == b"%d" % number
    ops.kv_delete(key)
    for client in clients:
        refuses(NOT_FOUND, client.kv_get, key)


def test_a_reader_never_sees_half_a_write(new_ops, key):
    """Values of one repeated byte and changing length, read while they are replaced."""
    writer, stop, wrong = new_ops(), threading.Event(), []

    def read(client):
        while not stop.is_set():
            value = client.kv_get(key)
            if value != value[:1] * len(value) or len(value) != 1 + value[0] * 37:
                wrong.append(value)
    writer.kv_put(key, b"\1" * 38)
    readers = [threading.Thread(target=read, args=(new_ops(),)) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1500):
        byte = number % 200
        writer.kv_put(key, bytes([byte]) * (1 + byte * 37))
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong, wrong[0]

"""Data of every service in every size that is kept in its own way, and whether all of it is there."""

from client import escape

LARGEST = 2 ** 63 - 1


class Stored:
    """fill() through one release; check() and change() through another."""

    def __init__(self):
        self.kv = {b"a": b"v", b"empty": b"", b"k" * 480: b"key of 480", bytes(range(1, 256)): b"\0",
                   b"in a slot": b"s" * 900, b"above a slot": b"\xff" * 5000,
                   b"large": b"0123456789" * 100000}
        self.kv.update({b"many-%d" % number: b"%d" % number * (number % 60)
                        for number in range(500)})
        self.counters = {b"a": 7, b"negative": -5, b"largest": LARGEST, b"least": -LARGEST - 1}
        self.flags = {b"a": True, b"no": False}
        self.cache = {b"a": b"cached", b"above a slot": b"c" * 3000}
        self.sets = {b"a": {b"one"}, b"above a slot": {b"item %d" % n for n in range(200)},
                     b"large": {b"%0480d" % number for number in range(500)}}

    def fill(self, client):
        for key, value in self.kv.items():
            assert client.kv_put(key, value).status == 204
        for key, value in self.cache.items():
            assert client.put(f"/cache/{escape(key)}?ttl=3600&value={escape(value)}").status == 204
        assert client.put("/cache/short?ttl=1&value=x").status == 204
        for key, value in self.counters.items():
            assert client.put(f"/counters/{escape(key)}?increment={value}").status == 204
        for key, value in self.flags.items():
            assert client.put(f"/flags/{escape(key)}?value={str(value).lower()}").status == 204
        for key, items in self.sets.items():
            for item in items:
                assert client.put(f"/sets/{escape(key)}?item={escape(item)}").status == 200
        assert client.kv_put("gone", b"x").status == 204
        assert client.delete("/kv/gone").status == 204
        assert client.put("/sets/gone?item=x").status == 200
        assert client.delete("/sets/gone?item=x").status == 200

    def check(self, client):
        for key, value in self.kv.items():
            answer = client.kv_get(key)
            assert (answer.status, answer.body) == (200, value), key
        for key, value in self.cache.items():
            assert client.get("/cache/" + escape(key)).json() == {"value": value.decode()}
        for key, value in self.counters.items():
            assert client.get("/counters/" + escape(key)).json()["value"] == value
        for key, value in self.flags.items():
            assert client.get("/flags/" + escape(key)).json() == {"value": value}
        for key, items in self.sets.items():
            found = client.get("/sets/" + escape(key)).json()["items"]
            assert len(found) == len(items) and {item.encode() for item in found} == items, key
        assert client.kv_get("gone").status == 404
        assert client.get("/sets/gone").json()["items"] == []

    def change(self, client):
        """Some of everything, so that what was stored is written again."""
        for key in list(self.kv)[::3]:
            self.kv[key] += b"+"
            assert client.kv_put(key, self.kv[key]).status == 204
        for key in list(self.kv)[2::50]:
            del self.kv[key]
            assert client.delete("/kv/" + escape(key)).status == 204
        for key, value in self.cache.items():
            self.cache[key] = value + b"+"
            assert client.put(f"/cache/{escape(key)}?ttl=3600&value={escape(value)}%2B").status == 204
        for key, value in self.counters.items():
            step = 1 if value < 0 else -1
            self.counters[key] += step
            answer = client.post(f"/counters/{escape(key)}?increment={step}")
            assert answer.json()["value"] == value + step
        assert client.post("/counters/largest?increment=2").status == 409
        for key, value in self.flags.items():
            self.flags[key] = not value
            assert client.put(f"/flags/{escape(key)}?value={int(not value)}").status == 204
        for key, items in self.sets.items():
            removed = min(items)
            items.remove(removed)
            items.add(b"new")
            assert client.put(f"/sets/{escape(key)}?item=new").status == 200
            answer = client.delete(f"/sets/{escape(key)}?item={escape(removed)}")
            assert {item.encode() for item in answer.json()["items"]} == items

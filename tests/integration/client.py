"""A small HTTP/1.1 client that hides nothing: it sends any bytes and keeps every header."""

import json
import socket
from urllib.parse import quote_from_bytes


def escape(text):
    """Percent-encodes a key, an item or a value, given as str or bytes, for a path or a query."""
    return quote_from_bytes(text.encode() if isinstance(text, str) else bytes(text), safe="")


class Response:
    def __init__(self, status, reason, headers, body):
        self.status = status
        self.reason = reason
        self.headers = headers  # lower-case names
        self.body = body

    def json(self):
        return json.loads(self.body.decode())

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Disconnected(Exception):
    """The server closed the connection; partial says whether within an answer."""

    def __init__(self, partial):
        super().__init__("closed within an answer" if partial else "closed")
        self.partial = partial


class Client:
    """One keep-alive connection, made when first used and again after the server closed it."""

    def __init__(self, host, port, timeout=20):
        self.address = (host, port)
        self.timeout = timeout
        self.socket = None
        self.pending = b""
        self.interim = []  # 1xx statuses seen since the last request

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        if self.socket is None:
            self.socket = socket.create_connection(self.address, self.timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pending = b""
        return self.socket

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    # ---- Bytes ----

    def send(self, data):
        self.connect().sendall(data)

    def fill(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            partial = bool(self.pending)
            self.close()
            raise Disconnected(partial)
        self.pending += data

    def take(self, count):
        parts = [self.pending]
        have = len(self.pending)
        while have < count:
            self.pending = b""
            self.fill()
            parts.append(self.pending)
            have += len(self.pending)
        data = b"".join(parts)
        self.pending = data[count:]
        return data[:count]

    def line(self):
        while b"\r\n" not in self.pending:
            self.fill()
        line, self.pending = self.pending.split(b"\r\n", 1)
        return line

    def closed(self):
        """Whether the server closes the connection now, without sending more."""
        try:
            self.fill()
        except Disconnected as gone:
            return not gone.partial
        return False

    # ---- Messages ----

    def receive(self, method="GET"):
        """The next answer; method is that of its request, because a HEAD's has no body."""
        while True:
            version, status, reason = (self.line().decode("latin-1") + " ").split(" ", 2)
            assert version == "HTTP/1.1", version
            headers = {}
            while line := self.line().decode("latin-1"):
                name, value = line.split(":", 1)
                assert name.lower() not in headers, f"{name} twice"
                headers[name.lower()] = value.strip()
            if not status.startswith("1"):
                break
            self.interim.append(int(status))
        body = b""
        if method != "HEAD" and status not in ("204", "304"):
            assert "content-length" in headers, f"an answer without a length: {headers}"
            body = self.take(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Response(int(status), reason.strip(), headers, body)

    def request(self, method, target, body=None, headers=None):
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{self.address[1]}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.interim = []
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return self.receive(method)

    def get(self, target, **headers):
        return self.request("GET", target, headers=_names(headers))

    def put(self, target, body=None, **headers):
        return self.request("PUT", target, body, _names(headers))

    def post(self, target, body=None, **headers):
        return self.request("POST", target, body, _names(headers))

    def delete(self, target, **headers):
        return self.request("DELETE", target, headers=_names(headers))

    def raw(self, data, method="GET"):
        """Sends bytes as they are and returns the next answer."""
        self.send(data)
        return self.receive(method)

    # ---- Shorthands that most tests need ----

    def kv_put(self, key, value):
        return self.put("/kv/" + escape(key), value, content_type="application/octet-stream")

    def kv_get(self, key):
        return self.get("/kv/" + escape(key), accept="application/octet-stream")


def _names(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}

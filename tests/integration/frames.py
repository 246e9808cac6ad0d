"""HTTP/2 by hand: any frames in any order, to see what a gRPC server makes of them."""

import socket
import struct
import threading

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = \
    range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) \
        + payload


def settings(**values):
    names = {"header_table_size": 1, "max_streams": 3, "initial_window": 4, "max_frame": 5}
    return frame(SETTINGS, payload=b"".join(
        struct.pack(">HI", names[name], value) for name, value in values.items()))


def headers(path, extra=()):
    """A header block that leaves no trace in the decoder's table, so that it can be sent again."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
              ("te", "trailers"), ("content-type", "application/grpc"), *extra]
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def message(data):
    """A gRPC message within DATA."""
    return b"\0" + struct.pack(">I", len(data)) + data


class Frames:
    """A connection whose answers are read and counted by kind in the background."""

    def __init__(self, address, preface=True, read=True, timeout=60, **values):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counts = [0] * 256
        self.goaways = []  # (last stream, error, debug text)
        self.statuses = {}  # stream: (gRPC status, text)
        self.begun = {}  # stream: how its message begins
        self.decoder = hpack.Decoder()
        self.ended = threading.Event()
        self.reader = None
        if preface:
            self.send(PREFACE + settings(**values))
        if read:
            self.reader = threading.Thread(target=self.read, daemon=True)
            self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self.reader:
            self.reader.join()
        self.socket.close()

    def send(self, data):
        """False once the server has closed the connection."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            return False

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return data

    def note(self, stream, block):
        fields = dict(self.decoder.decode(block))
        if "grpc-status" in fields:
            self.statuses[stream] = (int(fields["grpc-status"]), fields.get("grpc-message", ""))

    def read(self):
        try:
            while True:
                head = self.exactly(9)
                payload = self.exactly(int.from_bytes(head[:3], "big"))
                self.counts[head[3]] += 1
                if head[3] == HEADERS:
                    self.note(int.from_bytes(head[5:], "big"), payload)
                if head[3] == DATA:
                    self.begun.setdefault(int.from_bytes(head[5:], "big"), payload[:64])
                if head[3] == GOAWAY:
                    self.goaways.append((*struct.unpack(">II", payload[:8]), payload[8:]))
                if head[3] == SETTINGS and not head[4] & ACK:
                    self.send(frame(SETTINGS, ACK))
        except OSError:
            self.ended.set()

"""HTTP/2 frames towards a gRPC port, byte by byte: what no honest client library would send."""
import socket
import struct
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS = 3


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(body, compressed=False):
    return bytes([compressed]) + struct.pack(">I", len(body)) + body


def headers(path, **metadata):
    """A header block of literals without an index; names with _ for -."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
              ("content-type", "application/grpc"), *((key.replace("_", "-"), value) for key, value in metadata.items())]
    block = b""
    for text in fields:
        block += b"\0" + b"".join(bytes([len(part)]) + part.encode() for part in text)
    return block


class Connection:
    def __init__(self, address, tls=None, source=""):
        """`tls`: an ssl.SSLContext; `source`: the address to come from."""
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) +
                            frame(WINDOW_UPDATE, payload=struct.pack(">I", 1 << 30)))
        self.buffer = b""

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def frames(self, until, seconds=60):
        """Those that come, up to the first for which `until` is true; fails when none is."""
        end = time.monotonic() + seconds
        seen = []
        while True:
            while len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], "big"):
                size = int.from_bytes(self.buffer[:3], "big")
                got = (self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + size])
                self.buffer = self.buffer[9 + size:]
                seen.append(got)
                if until(got):
                    return seen
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError(f"closed after {[kind for kind, *_ in seen]}")
            self.buffer += data

    def send_data(self, stream, data):
        """In pieces, as the peer's windows allow."""
        connection_window = stream_window = 65535
        while data:
            piece = data[:min(16384, connection_window, stream_window)]
            if piece:
                data = data[len(piece):]
                self.send(frame(DATA, 0 if data else END_STREAM, stream, piece))
                connection_window -= len(piece)
                stream_window -= len(piece)
                continue
            got = self.frames(lambda f: f[0] in (WINDOW_UPDATE, RST_STREAM, HEADERS))[-1]
            if got[0] != WINDOW_UPDATE:
                return
            more = struct.unpack(">I", got[3])[0]
            if got[2] == 0:
                connection_window += more
            else:
                stream_window += more

    def show_token(self, token, stream=1):
        """By a call without a message. What a connection that has shown none may send is little."""
        self.send(frame(HEADERS, END_HEADERS, stream, headers("/llava.v1.ChatService/Chat", authorization=f"Bearer {token}")),
                  frame(DATA, END_STREAM, stream))
        self.frames(lambda f: f[0] == HEADERS and f[2] == stream and f[1] & END_STREAM)

    def ping(self):
        """Waits until the peer has seen what was sent before."""
        self.send(frame(PING, payload=b"12345678"))
        return self.frames(lambda f: f[0] == PING and f[1] & ACK)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

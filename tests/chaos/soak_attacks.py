"""What soak_test does to a daemon that nobody should do: bad requests, and attacks by strangers and by holders of a token.
Each takes the Target; refused, it may fail with OSError or grpc.RpcError."""
import json
import os
import random
import socket
import struct
import sys
import zlib
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import http2  # noqa: E402

CHAT = "/llava.v1.ChatService/Chat"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class Target:
    """Where a daemon listens."""

    def __init__(self, daemon):
        self.grpc = daemon.addresses["grpc"]
        self.http = daemon.addresses["http"].split("//")[1]

    @staticmethod
    def connect(address):
        host, port = address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=20)

    def say(self, data, who="mallory", path="/v1/chat/completions", *headers):
        """A POST of these bytes. RuntimeError when the daemon takes what is wrong with it for its own fault."""
        head = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Authorization: Bearer {who}",
                f"Content-Length: {len(data)}", *(headers or ["Content-Type: application/json"])]
        with self.connect(self.http) as connection:
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            status = connection.makefile("rb").readline().split()
        if status and status[1] == b"500":
            raise RuntimeError("500")

    def call(self, method, data, who="mallory", **more):
        with grpc.insecure_channel(self.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            return channel.unary_unary(method)(data, metadata=[("authorization", f"Bearer {who}")], timeout=20, **more)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data, depth=8, colour=2):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def progressive_jpeg(width, height, scans):
    """Of zeros: a few bytes for each pass over all blocks."""
    def segment(marker, data):
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    one_code = bytes([1] + [0] * 15)
    data = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    data += segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    data += segment(0xC4, b"\0" + one_code + b"\0") + segment(0xC4, b"\x10" + one_code + b"\xe0")
    data += segment(0xDA, b"\1\1\0\0\0\0") + bytes((blocks + 7) // 8)
    bits = "".join("0" + format(min(32767, left) - 16384, "014b") for left in range(blocks, 0, -32767) if left >= 16384)
    bits += "1" * (-len(bits) % 8)
    passes = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    for i in range(scans):
        data += segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10 if i else 0x01])) + passes
    return data + b"\xff\xd9"


def with_picture(data):
    import base64
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return json.dumps({"max_tokens": 1, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}}]}]}).encode()


def chat(**more):
    return json.dumps({"max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()


def bad_requests(golden_png):
    """[(what it is, what does it to a Target)]"""
    return [
        ("no JSON", lambda t: t.say(b"{\"messages\": [")),
        ("deep JSON", lambda t: t.say(b"[" * 100_000)),
        ("a name a hundred thousand times", lambda t: t.say(b"{" + b'"n": 1, ' * 100_000 + b'"n": 1}')),
        ("a lone surrogate", lambda t: t.say(chat().replace(b"Hello", b"\\ud800 Hello"))),
        ("broken UTF-8", lambda t: t.say(chat().replace(b"Hello", b"\xff\xfe"))),
        ("numbers out of range", lambda t: t.say(chat(temperature=1e308, top_p=-1, n=10**9))),
        ("a hundred thousand messages", lambda t: t.say(chat(messages=[{"role": "user", "content": "x"}] * 100_000))),
        ("millions of stop tokens", lambda t: t.say(chat(stop_token_ids=list(range(1_000_000))))),
        ("a form of many parts", lambda t: t.say(b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n" * 100_000 + b"--b--\r\n",
                                                 "mallory", "/v1/chat/completions", "Content-Type: multipart/form-data; boundary=b")),
        ("half a picture", lambda t: t.say(with_picture(golden_png[:len(golden_png) // 2]))),
        ("no base64", lambda t: t.say(with_picture(golden_png).replace(b"base64,", b"base64,*&"))),
        ("a URL that is not allowed", lambda t: t.say(with_picture(b"").replace(b"data:image/png;base64,", b"http://127.0.0.1:1/x"))),
        ("somebody else's name", lambda t: t.say(chat(), "mallory", "/v1/chat/completions", "Content-Type: application/json", "X-Tenant: alice")),
        ("random protobuf", lambda t: t.call(CHAT, random.Random(7).randbytes(4096))),
        ("a method that is not there", lambda t: t.call("/llava.v1.ChatService/No", b"")),
        ("no administrator", lambda t: t.call("/llava.v1.ModelService/Unload", b"")),
        ("a guessed token", lambda t: t.call(CHAT, b"", "guess")),
        ("not HTTP", lambda t: send_all(t.http, b"\x16\x03\x01 hello\r\n\r\n")),
        ("not HTTP/2", lambda t: send_all(t.grpc, b"GET / HTTP/1.1\r\n\r\n")),
        ("two lengths", lambda t: send_all(t.http, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")),
        ("a coding that is not there", lambda t: send_all(t.http, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, x\r\n\r\n")),
    ]


def send_all(address, data):
    """And reads until the daemon closes."""
    with Target.connect(address) as connection:
        connection.sendall(data)
        while connection.recv(65536):
            pass


def gzip_bomb(t):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    for token in ({}, {"authorization": "Bearer mallory"}):
        with http2.Connection(t.grpc) as client:
            client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.headers(CHAT, grpc_encoding="gzip", **token)))
            client.send_data(1, http2.message(bomb, compressed=True))
            client.ping()


def many_objects(t):
    for who in ("mallory", "guess"):
        try:
            t.call(CHAT, b"\x12\x00" * (2 << 20), who)
        except grpc.RpcError:
            continue


def watchers(t):
    with http2.Connection(t.grpc) as client:
        client.show_token("mallory")
        for i in range(1, 1000):
            client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, http2.headers(WATCH)),
                        http2.frame(http2.DATA, http2.END_STREAM, 2 * i + 1, http2.message(b"")))
            if i % 100 == 99:
                client.ping()


def rapid_reset(t):
    with http2.Connection(t.grpc) as client:
        for i in range(500):
            client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, http2.headers(CHAT)),
                        http2.frame(http2.RST_STREAM, 0, 2 * i + 1, b"\0\0\0\x08"))
        client.ping()


def messages_that_do_not_come(t):
    with http2.Connection(t.grpc) as client:
        for i in range(100):
            client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, http2.headers(CHAT, authorization="Bearer mallory")),
                        http2.frame(http2.DATA, 0, 2 * i + 1, http2.message(b"\0" * 1000)[:100]))
        client.ping()


def idle_connections(t):
    held = [t.connect(address) for address in (t.http, t.grpc) for _ in range(100)]
    for connection in held[::2]:
        connection.close()
    for connection in held[1::2]:
        connection.close()


def half_sent(t):
    """In the middle of each part of a request."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mallory\r\n"
    clients = []
    for said in (b"PO", head, head + b"Content-Length: 1000000\r\n\r\n{", head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
                 head + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"):
        clients.append(t.connect(t.http))
        clients[-1].sendall(said)
    for client in clients:  # until the daemon has had enough
        while client.recv(65536):
            pass
        client.close()


def dear_pictures(t):
    surplus = zlib.compress(bytes(64 * (1 + 64 * 3)) + bytes(16 << 20), 9)
    flat = zlib.compress(bytes(5000 * 626), 9)
    for picture in (progressive_jpeg(1200, 1200, 99), png(64, 64, surplus), png(5000, 5000, flat, 1, 0),
                    png(60000, 60000, flat, 1, 0)):
        t.say(with_picture(picture))


def dear_text(t):
    for text in ("a" * 60_000, "\u6771" * 20_000, " " * 60_000):
        t.say(json.dumps({"prompt": text}).encode(), "mallory", "/tokenize")


def reflection(t):
    for who in ("mallory", "guess"):
        with grpc.insecure_channel(t.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.stream_stream(REFLECTION)
            try:
                list(call(iter([b"\x3a\x01*"] * 50), metadata=[("authorization", f"Bearer {who}")], timeout=20))
            except grpc.RpcError:
                continue


def names_of_tenants(t):
    for i in range(20):
        t.say(chat(), "mallory", "/v1/chat/completions", "Content-Type: application/json", f"X-Tenant: tenant-{i}")


ATTACKS = [gzip_bomb, many_objects, watchers, rapid_reset, messages_that_do_not_come, idle_connections, half_sent,
           dear_pictures, dear_text, reflection, names_of_tenants]


def hostile_folders(published):
    """Things that a publisher should not name; each is rejected."""
    def torn():
        folder, _ = published.write()
        (folder / "model.safetensors").write_bytes(b"torn")
        return folder

    def pipe():
        folder = published.root / f"pipe-{published.count}"
        folder.mkdir(exist_ok=True)
        if not (folder / "manifest.json").exists():
            os.mkfifo(folder / "manifest.json")
        return folder

    def circle():
        folder = published.root / f"circle-{published.count}"
        if not folder.is_symlink():
            folder.symlink_to(folder.name)
        return folder
    return [torn, pipe, circle]

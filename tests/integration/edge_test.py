"""The proxy that stands between strangers and llavad (deploy/edge), as it is shipped, with the attacks that it is for."""
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import grpc

import http2
from daemon_process import ROOT, Daemon, generated_client, make_certificates, wait_until

pb, pb_grpc = generated_client()
CHAT = "/llava.v1.ChatService/Chat"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
STRANGER = "127.0.0.2"  # on Linux all of 127/8 is this machine
CONFIGURATION = ROOT / "deploy/edge/haproxy.cfg"


def free_ports(count):
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in with_ports]
    for listener in with_ports:
        listener.close()
    return ports


def request(text, max_tokens=4):
    message = pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text=text)])
    return pb.ChatRequest(messages=[message], sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True))


@unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
class EdgeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        make_certificates(folder.name)
        self.folder = Path(folder.name)
        both = self.folder / "both.pem"
        both.write_text((self.folder / "server.pem").read_text() + (self.folder / "server.key").read_text())
        tokens = self.folder / "tokens"
        tokens.write_text("alice chat sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\n")
        self.daemon = Daemon("--step-ms", "2", config=f"tokens_file: {tokens}\ngrpc_max_connections_per_address: 4096\n")
        self.addCleanup(self.daemon.log.close)
        self.addCleanup(self.daemon.stop)
        grpc_port, http_port = free_ports(2)
        self.grpc, self.http = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"
        self.environment = {**os.environ, "EDGE_GRPC": self.grpc, "EDGE_HTTP": self.http, "EDGE_CERTIFICATE": str(both),
                            "LLAVA_GRPC": self.daemon.addresses["grpc"],
                            "LLAVA_HTTP": self.daemon.addresses["http"].split("//")[1]}
        self.h2 = ssl.create_default_context(cafile=self.folder / "ca.pem")
        self.h2.set_alpn_protocols(["h2"])
        self.h1 = ssl.create_default_context(cafile=self.folder / "ca.pem")

    def start(self, **settings):
        log = tempfile.TemporaryFile()
        self.addCleanup(log.close)
        proxy = subprocess.Popen(["haproxy", "-db", "-f", CONFIGURATION], env={**self.environment, **settings}, stderr=log)
        self.addCleanup(proxy.wait)
        self.addCleanup(proxy.terminate)
        wait_until(lambda: self.ask_http("Hello")[0] == 200, lambda: os.pread(log.fileno(), 1 << 16, 0).decode())

    def channel(self):
        credentials = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes())
        return grpc.secure_channel(self.grpc, credentials, [("grpc.ssl_target_name_override", "localhost"),
                                                            ("grpc.use_local_subchannel_pool", 1)])

    def call(self, method, body=b"", token="alice", **more):
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with self.channel() as channel:
            try:
                channel.unary_unary(method)(body, metadata=metadata, timeout=60, **more)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()

    def ask_http(self, text, path="/v1/chat/completions", token="alice"):
        body = json.dumps({**ASK, "messages": [{"role": "user", "content": text}]}).encode() if "chat" in path else None
        asked = urllib.request.Request(f"https://{self.http}{path}", body,
                                       {"Content-Type": "application/json", "Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(asked, timeout=60, context=self.h1) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 0, str(error)

    def resident(self):
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) >> 10

    def connect(self, address, tls):
        host, port = address.rsplit(":", 1)
        return tls.wrap_socket(socket.create_connection((host, int(port)), timeout=120), server_hostname="localhost")

    def assert_honest_clients_are_served(self):
        self.assertEqual(self.call(CHAT, request("Hello").SerializeToString()), grpc.StatusCode.OK)
        self.assertEqual(self.ask_http("Hello")[0], 200)

    def test_lets_through_what_clients_need_and_nothing_else(self):
        self.start()
        self.assert_honest_clients_are_served()
        with self.channel() as channel:
            answer = pb_grpc.ChatServiceStub(channel).ChatStream(pb.ChatStreamRequest(request=request("Go on", 200)),
                                                                metadata=[("authorization", "Bearer alice")])
            self.assertGreater(sum(1 for _ in answer), 10)
        self.assertEqual(self.call(CHECK, token=""), grpc.StatusCode.OK)
        for method in (WATCH, "/llava.v1.ModelService/Load", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
            self.assertEqual(self.call(method), grpc.StatusCode.UNIMPLEMENTED, method)
        self.assertEqual(self.call(CHAT, token=""), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.call(CHAT, request("Hello").SerializeToString(), compression=grpc.Compression.Gzip),
                         grpc.StatusCode.INTERNAL)  # 400
        self.assertEqual([self.ask_http("", path)[0] for path in ("/metrics", "/readyz", "/v1/models", "/healthz")], [404, 404, 200, 200])
        self.assertEqual(self.ask_http("Hello", token="mallory")[0], 401)

    def test_streams_that_are_reset_at_once(self):
        """CVE-2023-44487. What comes through is bounded; another address does not notice."""
        self.start(EDGE_REQUESTS="100")
        head = http2.headers(CHAT, authorization="Bearer mallory")
        before = self.resident()
        for _ in range(4):
            try:
                with http2.Connection(self.grpc, self.h2, STRANGER) as client:
                    for i in range(0, 5000, 100):
                        client.send(*(frame for stream in range(2 * i + 1, 2 * i + 201, 2) for frame in
                                      (http2.frame(http2.HEADERS, http2.END_HEADERS, stream, head),
                                       http2.frame(http2.RST_STREAM, 0, stream, b"\0\0\0\x08"))))
                    client.ping()
            except (OSError, AssertionError):
                pass  # it may have been thrown out, or not be let in again
        self.assert_honest_clients_are_served()
        self.assertLess(self.resident() - before, 32)

    def test_a_client_that_opens_streams_and_reads_nothing(self):
        """What waits for it waits in the proxy, bounded, and not in llavad's gRPC."""
        self.start(EDGE_REQUESTS="100000", EDGE_CLIENT_TIMEOUT="2s")
        before = self.resident()
        clients = [http2.Connection(self.grpc, self.h2, STRANGER) for _ in range(4)]
        for client in clients:
            client.socket.settimeout(1)
            try:
                for i in range(8000):
                    client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, http2.headers(CHECK)),
                                http2.frame(http2.DATA, http2.END_STREAM, 2 * i + 1, http2.message(b"")))
            except OSError:
                pass  # the proxy takes no more
        self.assert_honest_clients_are_served()
        self.assertLess(self.resident() - before, 32)
        for client in clients:
            client.close()

    def test_a_header_without_end(self):
        """CVE-2023-33953: fields for the table of header fields, in continuations that do not end."""
        self.start()
        before = self.resident()
        with http2.Connection(self.grpc, self.h2, STRANGER) as client:
            with self.assertRaises((OSError, AssertionError)):
                for i in range(2000):
                    field = b"\x40\x04" + b"%04d" % i + b"\x7f\x81\x1e" + b"v" * 4000
                    client.send(http2.frame(http2.CONTINUATION if i else http2.HEADERS, 0, 1, field))
                client.ping()
        self.assert_honest_clients_are_served()
        self.assertLess(self.resident() - before, 32)

    def test_connections_without_end(self):
        self.start(EDGE_CONNECTIONS="16", EDGE_CONNECTS="1000")
        for address, tls in ((self.grpc, self.h2), (self.http, self.h1)):
            with self.subTest(address):
                held, refused = [], 0
                for _ in range(40):
                    try:
                        held.append(self.connect(address, tls))
                    except OSError:
                        refused += 1
                self.assertGreaterEqual(refused, 40 - 16)
                for connection in held:
                    connection.close()
        wait_until(lambda: self.call(CHAT, request("Hello").SerializeToString()) == grpc.StatusCode.OK, "there is room again")
        self.assert_honest_clients_are_served()

    def test_too_many_requests_are_told_when_to_come_again(self):
        self.start(EDGE_REQUESTS="20")
        answers = {self.ask_http("", "/healthz")[0] for _ in range(60)}
        self.assertEqual(answers, {200, 429})

    def test_slow_clients_in_each_phase(self):
        self.start(EDGE_HEADER_TIMEOUT="1s", EDGE_IDLE_TIMEOUT="1s", EDGE_CLIENT_TIMEOUT="1s")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
        with socket.create_connection(("127.0.0.1", int(self.http.split(":")[1])), timeout=120) as silent:  # before TLS
            self.assertEqual(silent.recv(1), b"")
        for said in (b"", b"POST /v1/ch", head, head + b"Content-Length: 1000\r\n\r\n{"):
            with self.subTest(said), self.connect(self.http, self.h1) as connection:
                connection.sendall(said)
                self.assertNotIn(b"200 OK", connection.recv(4096))
        with http2.Connection(self.grpc, self.h2) as client:  # says hello and no more
            with self.assertRaises((OSError, AssertionError)):
                client.frames(lambda _: False, seconds=30)
        with http2.Connection(self.grpc, self.h2) as client:  # a message that does not come
            client.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.headers(CHAT, authorization="Bearer alice")))
            client.frames(lambda f: f[2] == 1 and f[0] in (http2.HEADERS, http2.RST_STREAM), seconds=30)
        self.assert_honest_clients_are_served()

    def test_a_body_that_is_too_large_does_not_come_through(self):
        self.start(EDGE_MAX_BODY="1000")
        self.assertEqual(self.ask_http("x" * 2000)[0], 413)


if __name__ == "__main__":
    unittest.main(verbosity=2)

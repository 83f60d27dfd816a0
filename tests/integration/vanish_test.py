"""Clients that go away in the middle of their answer, by HTTP and gRPC, wherever their request is: the engine begins at
most one more step before their KV blocks are free, as it counts itself (llava_cancel_steps)."""
import contextlib
import os
import socket
import struct
import subprocess
import unittest

import grpc

from daemon_process import Daemon, generated_client, wait_until
from http_requests import CHAT, connect, post

pb, pb_grpc = generated_client()
# Prompts take many steps, and the third request waits.
FEW = "max_batch_tokens: 16\nmax_running: 2\nprefix_cache: false\n"
LONG = "word " * 150


def http_body(text, **options):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 400, "ignore_eos": True, **options}


def grpc_request(text):
    return pb.ChatStreamRequest(request=pb.ChatRequest(
        messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text=text)])],
        sampling=pb.SamplingOptions(max_tokens=400, ignore_eos=True)))


class HttpClient:
    def __init__(self, daemon, text, **options):
        self.connection = connect(daemon)
        self.connection.sendall(post(CHAT, http_body(text, **options)))

    def read_a_token(self):
        received = b""
        while b"data:" not in received:
            received += self.connection.recv(4096)

    def vanish(self, reset=False):
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class GrpcClient:
    def __init__(self, daemon, text, *options):
        self.channel = grpc.insecure_channel(daemon.addresses["grpc"], [("grpc.use_local_subchannel_pool", 1), *options])
        self.call = pb_grpc.ChatServiceStub(self.channel).ChatStream(grpc_request(text))

    def read_a_token(self):
        next(self.call)

    def vanish(self):
        self.call.cancel()
        self.channel.close()


class VanishTest(unittest.TestCase):
    @contextlib.contextmanager
    def daemon(self, vanished, step_ms=20, config=FEW):
        """Afterwards `vanished` clients have gone, and none of them held a step up."""
        with Daemon("--step-ms", str(step_ms), config=config) as daemon:
            yield daemon
            wait_until(lambda: daemon.counted_requests() == vanished, "all have ended")
            self.assertEqual(daemon.counted_requests('status="CANCELLED"'), vanished)
            metrics = daemon.metrics()
            self.assertEqual(metrics["llava_cancel_steps_count"], vanished)
            self.assertEqual(metrics['llava_cancel_steps_bucket{le="1"}'], vanished)
            self.assertEqual(metrics['llava_kv_blocks{state="used"}'], 0)
            self.assertEqual(daemon.stop(), 0)

    def requests(self, daemon):
        metrics = daemon.metrics()
        return metrics["llava_requests_running"], metrics["llava_requests_waiting"]

    def test_http(self):
        with self.daemon(6) as daemon:
            for options, reset in [(dict(stream=True), False), (dict(stream=True), True), (dict(), False)]:
                decoding = HttpClient(daemon, "Go on", **options)
                if options:
                    decoding.read_a_token()
                wait_until(lambda: self.requests(daemon) == (1, 0), "it runs")
                decoding.vanish(reset)
                wait_until(lambda: self.requests(daemon) == (0, 0), "it is gone")
            first, prefilling = HttpClient(daemon, LONG, stream=True), HttpClient(daemon, LONG)
            wait_until(lambda: self.requests(daemon) == (2, 0), "both prompts are computed")
            waiting = HttpClient(daemon, "Go on")
            wait_until(lambda: self.requests(daemon) == (2, 1), "it waits")
            waiting.vanish()
            wait_until(lambda: self.requests(daemon) == (2, 0), "it is gone")
            prefilling.vanish()
            wait_until(lambda: self.requests(daemon) == (1, 0), "it is gone")
            first.vanish()

    def test_grpc(self):
        with self.daemon(5) as daemon:
            decoding = GrpcClient(daemon, "Go on")
            decoding.read_a_token()
            decoding.vanish()
            program = subprocess.Popen([os.environ["LLAVA"], "chat", "--server", daemon.addresses["grpc"], "--max-tokens",
                                        "400", "Go on"], stdout=subprocess.PIPE)
            program.stdout.read(1)
            program.kill()  # its connection breaks
            program.communicate()
            wait_until(lambda: self.requests(daemon) == (0, 0), "both are gone")
            first, prefilling = GrpcClient(daemon, LONG), GrpcClient(daemon, LONG)
            wait_until(lambda: self.requests(daemon) == (2, 0), "both prompts are computed")
            waiting = GrpcClient(daemon, "Go on")
            wait_until(lambda: self.requests(daemon) == (2, 1), "it waits")
            for client, left in ((waiting, (2, 0)), (prefilling, (1, 0)), (first, (0, 0))):
                client.vanish()
                wait_until(lambda: self.requests(daemon) == left, "it is gone")

    def test_slow_readers_that_go_away(self):
        def paused(number):
            return lambda: daemon.metrics()["llava_requests_paused"] == number
        with self.daemon(2, step_ms=1, config="") as daemon:
            slow = GrpcClient(daemon, "Go on", ("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0))
            wait_until(paused(1), "it pauses")
            slow.vanish()
            wait_until(paused(0), "it is gone")
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                host, port = daemon.addresses["http"].split("//")[1].split(":")
                connection.connect((host, int(port)))
                connection.sendall(post(CHAT, http_body("Go on", stream=True, logprobs=True, top_logprobs=20, n=8)))
                wait_until(paused(1), "it pauses")


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""What docs/operating.md promises of a machine's troubles: signals, the log of a stop, files, a clock that jumps, names."""
import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import tempfile
import threading
import unittest
from unittest import mock

import grpc

from daemon_process import Daemon, generated_client, wait_until

pb, pb_grpc = generated_client()


def ask(text, max_tokens=8):
    parts = [pb.MessagePart(text=text)]
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], return_token_ids=True,
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True))


def stream(stub, request, **options):
    return stub.ChatStream(pb.ChatStreamRequest(request=request), **options)


def last_line(daemon):
    return json.loads(daemon.logged().splitlines()[-1])


def stand_still(daemon, seconds):
    """As a paused virtual machine does, in the middle of whatever it does."""
    daemon.process.send_signal(signal.SIGSTOP)
    threading.Event().wait(seconds)
    daemon.process.send_signal(signal.SIGCONT)


class OperatingTest(unittest.TestCase):
    def test_a_machine_that_stood_still_serves_requests_with_deadlines_again(self):
        with Daemon("--step-ms", "20") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            stub.Chat(ask("What do steps cost?", 16))
            # The device is not idle meanwhile: what is believed decides.
            busy = stream(stub, ask("Go on.", 400))
            next(busy)
            stand_still(daemon, 4)
            for _ in range(3):
                next(busy)
            for i in range(4):
                try:
                    stub.Chat(ask(f"Short question {i}?"), timeout=2)
                except grpc.RpcError as error:  # a busy machine may be late, but it must have tried
                    self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, error.details())
            busy.cancel()

    def test_a_hang_up_ends_nothing(self):
        with Daemon("--step-ms", "5") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            answer = stream(stub, ask("Go on.", 60))
            next(answer)
            for times in (1, 2):
                daemon.process.send_signal(signal.SIGHUP)
                wait_until(lambda: daemon.logged().count('"read again","what":"tokens"') == times, "the hang-up is told")
            self.assertEqual(sum(len(event.token_ids) for event in answer), 59)
            self.assertEqual(len(stub.Chat(ask("Still there?", 3)).choices), 1)
            self.assertEqual(daemon.stop(), 0)

    def test_systemd_is_told_that_it_serves_progresses_and_stops(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{folder}/notify")
            manager.settimeout(60)
            told = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "100000"}
            with mock.patch.dict(os.environ, told), Daemon("--step-ms", "5") as daemon:
                self.assertEqual(manager.recv(100), b"READY=1")
                self.assertEqual([manager.recv(100) for _ in range(3)], [b"WATCHDOG=1"] * 3)
                daemon.terminate()
                said = b"WATCHDOG=1"
                while said == b"WATCHDOG=1":
                    said = manager.recv(100)
                self.assertEqual(said, b"STOPPING=1")
                self.assertEqual(daemon.stop(), 0)

    def test_the_log_and_the_exit_code_of_a_stop_agree(self):
        with Daemon("--step-ms", "20") as daemon, daemon.channel() as channel:
            answer = stream(pb_grpc.ChatServiceStub(channel), ask("Go on.", 60))
            next(answer)
            daemon.terminate()
            self.assertEqual(sum(len(event.token_ids) for event in answer), 59)
            self.assertEqual(daemon.stop(), 0)
            stopped = last_line(daemon)
            self.assertEqual((stopped["event"], stopped["all_answered"]), ("stopped", True))
            self.assertGreater(stopped["drain_seconds"], 0)
            self.assertGreaterEqual(stopped["stop_seconds"], 0)
            self.assertIn('"drained"', daemon.logged())
        with Daemon("--step-ms", "20", config="drain_timeout: 200ms\n") as daemon, daemon.channel() as channel:
            answer = stream(pb_grpc.ChatServiceStub(channel), ask("Go on for long.", 400))
            next(answer)
            self.assertEqual(daemon.stop(), 1)
            stopped = last_line(daemon)
            self.assertEqual((stopped["event"], stopped["all_answered"]), ("stopped", False))
            self.assertGreaterEqual(stopped["drain_seconds"], 0.2)
            self.assertIn("requests are cut off", daemon.logged())

    def test_a_machine_that_stands_still_in_its_drain_says_what_came_of_it(self):
        with Daemon("--step-ms", "20", config="drain_timeout: 500ms\n") as daemon, daemon.channel() as channel:
            answer = stream(pb_grpc.ChatServiceStub(channel), ask("Go on for long.", 400))
            next(answer)
            daemon.terminate()
            wait_until(lambda: '"draining"' in daemon.logged(), "the drain begins")
            stand_still(daemon, 2)
            code = daemon.stop()
            stopped = last_line(daemon)
            self.assertEqual(stopped["all_answered"], code == 0)
            self.assertGreater(stopped["drain_seconds"], 1)

    def test_the_metrics_port_answers_while_http_and_grpc_have_all_their_connections(self):
        half_a_request = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        for files, said in ((256, b""), (256, half_a_request), (96, half_a_request)):
            def few_files():
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            with self.subTest(files=files, said=said), contextlib.ExitStack() as held:
                daemon = held.enter_context(Daemon(preexec=few_files))
                for address in (daemon.addresses["http"].removeprefix("http://"), daemon.addresses["grpc"]):
                    host, port = address.split(":")
                    for _ in range(400):
                        connection = held.enter_context(socket.create_connection((host, int(port))))
                        try:
                            connection.sendall(said)
                        except OSError:  # there was no room for it
                            pass
                for _ in range(3):
                    metrics = daemon.metrics()
                    self.assertEqual(metrics["llava_ready"], 1)
                    self.assertEqual(metrics["process_max_fds"], files)
                    self.assertLess(metrics["process_open_fds"], files)

    def test_the_name_of_a_tenant_is_text(self):
        with Daemon() as daemon:
            host, port = daemon.addresses["http"].removeprefix("http://").split(":")
            body = json.dumps({"model": "golden", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]})
            for tenant, status in ((b"team 7", 200), ("東".encode(), 200), (b"a\xff", 400), (b"\xed\xa0\x80", 400),
                                   (b"x" * 257, 400)):
                with self.subTest(tenant=tenant):
                    connection = http.client.HTTPConnection(host, int(port))
                    connection.request("POST", "/v1/chat/completions", body,
                                       {"Content-Type": "application/json", "X-Tenant": tenant})
                    answer = connection.getresponse()
                    said = answer.read().decode()  # UTF-8, whatever came
                    self.assertEqual(answer.status, status, said)
                    if status == 400:
                        self.assertIn("X-Tenant", said)
            with open(f"/proc/self/fd/{daemon.log.fileno()}", "rb") as log:
                for line in log.read().decode().splitlines():
                    json.loads(line)
            self.assertEqual(daemon.metrics()['llava_tenant_tokens_total{kind="generated",tenant="東"}'], 2)


if __name__ == "__main__":
    unittest.main()

"""Python's grpcio against the daemon: TLS, tokens, cancels, signals."""
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from daemon_process import CHECKPOINT, IMAGES, Daemon, generated_client, make_certificates, wait_until

pb, pb_grpc = generated_client()


def ask(text, max_tokens=8, image=None):
    parts = [pb.MessagePart(image=(IMAGES / image).read_bytes())] if image else []
    parts.append(pb.MessagePart(text=text))
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], return_token_ids=True,
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True))


def stream(stub, request, **options):
    return stub.ChatStream(pb.ChatStreamRequest(request=request), **options)


def is_idle(daemon):
    m = daemon.metrics()
    return (m["llava_requests_running"] == m["llava_requests_waiting"] == m["llava_requests_preparing"] == 0
            and m['llava_kv_blocks{state="used"}'] == 0)


class GrpcClientsTest(unittest.TestCase):
    def test_a_generated_client_gets_answers(self):
        with Daemon() as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            whole = stub.Chat(ask("What is this?", 12, "landscape.png"))
            events = list(stream(stub, ask("What is this?", 12, "landscape.png")))
            self.assertEqual("".join(e.text_delta for e in events), whole.choices[0].text)
            self.assertEqual(whole.usage.image_tokens, 16)
            self.assertEqual(events[-1].usage.cached_images, 1)
            self.assertEqual(daemon.stop(), 0)

    def test_what_cannot_be_read_is_invalid(self):
        good = ask("Hello").SerializeToString()
        with Daemon() as daemon, daemon.channel() as channel:
            for request in (b"\xff\xff\xff", good[:-1], good.replace(b"Hello", b"H\xffllo")):
                for method, wrapped in (("Chat", request), ("ChatStream", b"\x0a" + bytes([len(request)]) + request)):
                    with self.subTest(request=request, method=method), self.assertRaises(grpc.RpcError) as refused:
                        list(channel.unary_stream("/llava.v1.ChatService/" + method)(wrapped))
                    self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                    self.assertIn("cannot be read", refused.exception.details())
            with self.assertRaises(grpc.RpcError) as unknown:
                channel.unary_unary("/llava.v1.ChatService/Nothing")(b"")
            self.assertEqual(unknown.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_the_request_id_comes_back_and_is_logged(self):
        with Daemon() as daemon, daemon.channel() as channel:
            call = stream(pb_grpc.ChatServiceStub(channel), ask("secret words"),
                          metadata=[("x-request-id", "my-id-7"), ("x-tenant", "alice")])
            self.assertEqual(dict(call.initial_metadata())["x-request-id"], "my-id-7")
            list(call)
            self.assertEqual(daemon.stop(), 0)
            self.assertIn('"my-id-7"', daemon.logged())
            self.assertIn('"alice"', daemon.logged())
            self.assertNotIn("secret", daemon.logged())

    def test_tls_mutual_tls_and_tokens(self):
        with tempfile.TemporaryDirectory() as folder:
            make_certificates(folder)
            pem = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
            tokens = Path(folder) / "tokens"
            tokens.write_text("".join(f"{who} {roles} sha256:{hashlib.sha256(who.encode()).hexdigest()}\n"
                                      for who, roles in (("alice", "chat"), ("root", "admin"))))
            config = (f"tls_certificate: {folder}/server.pem\ntls_key: {folder}/server.key\n"
                      f"tls_client_ca: {folder}/ca.pem\ntokens_file: {tokens}\n")
            with Daemon(config=config) as daemon:
                def code(token=None, **credentials):
                    metadata = [("authorization", f"Bearer {token}")] if token else []
                    with daemon.channel(**credentials) as channel:
                        try:
                            pb_grpc.ChatServiceStub(channel).Chat(ask("hi"), metadata=metadata, timeout=120)
                        except grpc.RpcError as error:
                            return error.code()
                    return grpc.StatusCode.OK
                mutual = dict(root_certificates=pem["ca.pem"], private_key=pem["client.key"],
                              certificate_chain=pem["client.pem"])
                self.assertEqual(code("alice", **mutual), grpc.StatusCode.OK)
                self.assertEqual(code("root", **mutual), grpc.StatusCode.PERMISSION_DENIED)
                self.assertEqual(code("mallory", **mutual), grpc.StatusCode.UNAUTHENTICATED)
                self.assertEqual(code(None, **mutual), grpc.StatusCode.UNAUTHENTICATED)
                self.assertEqual(code("alice", root_certificates=pem["ca.pem"]), grpc.StatusCode.UNAVAILABLE)
                self.assertEqual(code("alice"), grpc.StatusCode.UNAVAILABLE)

    def test_random_cancels_and_deadlines_leave_nothing_behind(self):
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print("SEED", seed)
        rng = random.Random(seed)
        with Daemon("--step-ms", "1", config="queue_requests: 64\n") as daemon:
            def one(stub, kind, tokens, after, image):
                try:
                    call = stream(stub, ask("Go on.", tokens, image), timeout=after / 50 if kind == "deadline" else None)
                    for number, _ in enumerate(call):
                        if kind == "cancel" and number >= after:
                            call.cancel()
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            def wave(requests):
                plans = [(rng.choice(["finish", "cancel", "deadline"]), rng.randint(1, 60), rng.randint(0, 20),
                          rng.choice([None, "gray.png", "portrait.jpg"])) for _ in range(requests)]
                with daemon.channel() as channel, ThreadPoolExecutor(48) as pool:
                    stub = pb_grpc.ChatServiceStub(channel)
                    codes = list(pool.map(lambda plan: one(stub, *plan), plans))
                wait_until(lambda: is_idle(daemon), "no request left")
                return codes

            before = daemon.threads_and_files()
            codes = wave(1000)
            known = {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
                     grpc.StatusCode.RESOURCE_EXHAUSTED}
            self.assertLessEqual(set(codes), known)
            self.assertGreater(codes.count(grpc.StatusCode.OK), 100)
            self.assertGreater(codes.count(grpc.StatusCode.CANCELLED), 50)
            wait_until(lambda: daemon.has_no_more_than(before), f"no more threads and files than before: {before}")
            self.assertEqual(daemon.stop(), 0)

    def test_sigterm_under_load_loses_no_accepted_request(self):
        with Daemon("--step-ms", "3") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            begun = threading.Semaphore(0)

            def one(_):
                tokens = 0
                for event in stream(stub, ask("Go on.", 120)):
                    tokens += len(event.token_ids)
                    begun.release()
                return tokens
            with ThreadPoolExecutor(32) as pool:
                answers = [pool.submit(one, i) for i in range(32)]
                for _ in range(32):
                    begun.acquire()
                wait_until(lambda: daemon.metrics()["llava_requests_running"] == 32, "all of them run")
                daemon.terminate()
                wait_until(lambda: '"draining"' in daemon.logged(), "the drain begins")
                with self.assertRaises(grpc.RpcError) as refused:
                    stub.Chat(ask("Me too?"))
                self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)
                self.assertEqual([a.result() for a in answers], [120] * 32)
            self.assertEqual(daemon.stop(), 0)

    def test_a_second_signal_ends_it_at_once(self):
        with Daemon("--step-ms", "20") as daemon, daemon.channel() as channel:
            call = stream(pb_grpc.ChatServiceStub(channel), ask("Go on for long.", 400))
            next(call)
            daemon.terminate()
            wait_until(lambda: '"draining"' in daemon.logged(), "the drain begins")
            daemon.terminate()
            self.assertEqual(daemon.process.wait(timeout=120), -signal.SIGTERM)

    def test_what_does_not_fit_within_the_drain_timeout_is_cut_off_and_said(self):
        with Daemon("--step-ms", "20", config="drain_timeout: 200ms\n") as daemon, daemon.channel() as channel:
            call = stream(pb_grpc.ChatServiceStub(channel), ask("Go on for long.", 400))
            next(call)
            self.assertEqual(daemon.stop(), 1)
            with self.assertRaises(grpc.RpcError) as cut:
                list(call)
            self.assertEqual(cut.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_the_health_service_follows(self):
        check = "/grpc.health.v1.Health/Check"
        with Daemon() as daemon, daemon.channel() as channel:
            for service in ("", "llava.v1.ChatService"):
                request = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
                self.assertEqual(channel.unary_unary(check)(request), b"\x08\x01")  # SERVING

    def test_a_client_that_pings_too_often_is_disconnected(self):
        def frame(kind, payload, flags=0):
            return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload
        ping, go_away, settings = 6, 7, 4
        with Daemon(config="keepalive_min_interval: 1m\n") as daemon:
            host, port = daemon.addresses["grpc"].split(":")
            with socket.create_connection((host, int(port)), timeout=120) as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, b""))
                connection.sendall(b"".join(frame(ping, bytes([i] * 8)) for i in range(8)))
                received = b""
                while piece := connection.recv(4096):
                    received += piece
            self.assertIn(b"too_many_pings", received)
            frames, at = [], 0
            while at + 9 <= len(received):
                frames.append(received[at + 3])
                at += 9 + int.from_bytes(received[at:at + 3], "big")
            self.assertIn(go_away, frames)

    def test_health_while_draining(self):
        check = "/grpc.health.v1.Health/Check"
        with Daemon("--step-ms", "20") as daemon, daemon.channel() as channel:
            call = stream(pb_grpc.ChatServiceStub(channel), ask("Go on.", 60))
            next(call)
            daemon.terminate()
            service = b"llava.v1.ChatService"
            request = b"\x0a" + bytes([len(service)]) + service
            wait_until(lambda: channel.unary_unary(check)(request) == b"\x08\x02", "NOT_SERVING")
            self.assertEqual(sum(len(event.token_ids) for event in call), 59)
            self.assertEqual(daemon.stop(), 0)

    def test_the_command_line(self):
        program = os.environ["LLAVAD"]
        def run(*args):
            return subprocess.run([program, *args], capture_output=True, text=True, timeout=60)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("log_content: true\nthread: 3\n")
            file.flush()
            wrong = run("--config", file.name)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn(f"{file.name}:2: thread: unknown key; did you mean threads?", wrong.stderr)
        printed = run("--print-config", "--listen", "0.0.0.0:1")
        self.assertIn('\nlisten: "0.0.0.0:1"\n', printed.stdout)
        self.assertIn("\n# Auto: cpu: chosen when a model is loaded, because now there is no checkpoint", printed.stdout)
        self.assertIn("\n# max_batch_tokens: auto\n", printed.stdout)
        self.assertEqual(run("--check", "--checkpoint", "/nowhere").returncode, 2)
        for option, value in (("listen", "x"), ("http", "[host]:1"), ("metrics", "host:99999"), ("otlp-endpoint", "x"),
                              ("image-url-hosts", "a b"), ("image-url-networks", "10.0.0.0"), ("cors-origins", "example.org")):
            with self.subTest(option=option):
                wrong = run("--check", f"--{option}", value)
                self.assertEqual(wrong.returncode, 2)
                self.assertIn(option.replace("-", "_"), wrong.stderr)
                self.assertIn(value, wrong.stderr)
        self.assertEqual(run("--check", "--otlp-endpoint", "collector.example:4317").stdout, "ok\n")

    def test_a_check_opens_the_weights(self):
        def check(folder):
            return subprocess.run([os.environ["LLAVAD"], "--check", "--checkpoint", str(folder)], capture_output=True, text=True, timeout=60)
        with tempfile.TemporaryDirectory() as folder:
            for file in Path(CHECKPOINT).iterdir():
                if file.is_file():
                    (Path(folder) / file.name).symlink_to(file.resolve())
            self.assertEqual(check(folder).stdout, "ok\n")
            weights = Path(folder) / "model.safetensors"
            whole = weights.resolve()
            weights.unlink()
            self.assertIn("no weights", check(folder).stderr)
            weights.symlink_to("/nowhere/weights")
            done = check(folder)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{weights}: is a link to '/nowhere/weights', which is not there", done.stderr)
            weights.unlink()
            weights.write_bytes(whole.read_bytes()[:-1])
            self.assertIn(str(weights), check(folder).stderr)
            shard = weights.rename(Path(folder) / "shard.safetensors")
            shard.unlink()
            shard.symlink_to("/nowhere/shard")
            (Path(folder) / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.weight": "shard.safetensors"}}')
            self.assertIn(f"{shard}: is a link to '/nowhere/shard', which is not there", check(folder).stderr)

    def test_the_configuration_says_what_auto_is_on_a_device(self):
        """Devices of three sizes, with a model of the size of LLaVA-1.5-7B: 13.2 GiB of weights, 8 MiB a KV block."""
        gib = 1 << 30
        for size, least, most, second in ((24, 9, 10, False), (80, 47, 49, True), (141, 103, 105, True)):
            with self.subTest(size=size):
                printed = subprocess.run(
                    [os.environ["LLAVAD"], "--print-config", "--device", "cuda:0", "--checkpoint", str(CHECKPOINT),
                     "--device-memory", str(size * gib), "--model-memory", str(int(13.2 * gib)), "--block-bytes", str(8 << 20)],
                    capture_output=True, text=True, timeout=60, check=True).stdout
                notes = " ".join(re.findall(r"# Auto: (.*)", printed))
                chosen = int(re.search(r"cuda:0: (\d+), 92 % of", notes)[1])
                self.assertTrue(least * gib <= chosen <= most * gib, chosen)
                self.assertEqual("GiB for a second version" in notes, second, notes)
                self.assertEqual("only `reload: swap` will work" in notes, not second, notes)
                self.assertIn("\n# kv_cache_bytes: auto\n", printed)


if __name__ == "__main__":
    unittest.main(verbosity=2)

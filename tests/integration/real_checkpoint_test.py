"""llavad itself, LibTorch and all, on the golden checkpoint over real sockets."""
import json
import os
import random
import resource
import shutil
import struct
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from daemon_process import CHECKPOINT, IMAGES, Daemon, generated_client, wait_until

pb, pb_grpc = generated_client()
PICTURES = ["landscape.png", "portrait.jpg", "rgba.png", "gray.png"]
FP32 = "dtype: float32\n"
BAD_WORD, BAD_TOKEN = "\u2603", 3 + 0xE2  # no word of the vocabulary: its bytes, of which this is the first


def ask(text, max_tokens=8, images=()):
    parts = [pb.MessagePart(image=(IMAGES / image).read_bytes()) for image in images]
    parts.append(pb.MessagePart(text=text))
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], return_token_ids=True,
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True))


def stream(stub, request, **options):
    return stub.ChatStream(pb.ChatStreamRequest(request=request), **options)


def token_ids(stub, request):
    return [token for event in stream(stub, request) for token in event.token_ids]


def together(stub, requests):
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: token_ids(stub, request), requests))


def is_idle(daemon):
    m = daemon.metrics()
    return (m["llava_requests_running"] == m["llava_requests_waiting"] == m["llava_requests_preparing"] == 0
            and m['llava_kv_blocks{state="used"}'] == 0)


def resident_bytes(daemon):
    return daemon.metrics()["process_resident_memory_bytes"]


def edited_checkpoint(folder, change):
    """The golden checkpoint in `folder` with change(name, shape, bytes) -> (shape, bytes[, dtype]) for every tensor."""
    shutil.copytree(CHECKPOINT, folder, dirs_exist_ok=True)
    data = (CHECKPOINT / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body, parts = json.loads(data[8:8 + length]), data[8 + length:], []
    at = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        entry["shape"], tensor, *dtype = change(name, entry["shape"], body[begin:end])
        entry["dtype"] = dtype[0] if dtype else entry["dtype"]
        entry["data_offsets"] = [at, at + len(tensor)]
        at += len(tensor)
        parts.append(tensor)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (Path(folder) / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return Path(folder)


class RealCheckpointTest(unittest.TestCase):
    def test_the_same_greedy_ids_alone_together_chunked_preempted_cached_and_on_two_engines(self):
        rng = random.Random(4)
        requests = [ask(f"Question {i}: " + " ".join(rng.choice(["what", "is", "this", "colour"]) for _ in range(i)),
                        40, rng.sample(PICTURES, i % 3)) for i in range(32)]
        with Daemon(config=FP32 + "prefix_cache: false\n") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            alone = [token_ids(stub, request) for request in requests]
            self.assertEqual([len(ids) for ids in alone], [40] * 32)
            self.assertGreater(len({tuple(ids) for ids in alone}), 16)  # they do depend on the question
            self.assertEqual(together(stub, requests), alone)

        def check(what, config, kv_cache="16MiB", flags=()):
            with self.subTest(what), Daemon(*flags, config=FP32 + config, kv_cache=kv_cache) as daemon, \
                    daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                self.assertEqual(together(stub, requests), alone)
                self.assertEqual(together(stub, requests), alone)  # from the prefix cache, if there is one
                return daemon.metrics()
            return {}
        cached = check("cached", "")
        self.assertGreater(cached["llava_prefix_cache_hit_tokens_total"], 1000)
        chunked = check("chunked", "max_batch_tokens: 19\nmax_running: 19\n")
        self.assertGreater(chunked['llava_step_tokens_count'], 200)
        preempted = check("preempted", "max_running: 64\n", kv_cache="1MiB")
        self.assertGreater(preempted["llava_preemptions_total"], 0)
        two = check("two engines", "", flags=("--device", "cpu,cpu"))
        self.assertGreater(two["llava_prefix_cache_hit_tokens_total"], 1000)  # the second time where it was the first

    def test_a_device_that_is_not_there_is_named(self):
        for device, said in (("cuda:99", 'llavad: loading: devices: "cuda:99"'), ("gpu", "llavad: devices: has 'gpu', expected cpu")):
            with self.subTest(device), self.assertRaisesRegex(AssertionError, said):
                Daemon("--device", device)

    def test_64_streams_with_pictures_answer_as_if_alone(self):
        requests = [ask(f"Question {i % 8}", 24, [PICTURES[i % 4]]) for i in range(64)]
        with Daemon(config=FP32) as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            alone = {i: token_ids(stub, requests[i]) for i in range(8)}
            answers = together(stub, requests)
            self.assertEqual(answers, [alone[i % 8] for i in range(64)])
            wait_until(lambda: is_idle(daemon), "no request left")
            self.assertEqual(daemon.stop(), 0)

    def test_a_thousand_requests_with_random_cancels_and_deadlines_leave_nothing_behind(self):
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print("SEED", seed)
        rng = random.Random(seed)
        with Daemon(config="queue_requests: 64\n") as daemon:
            def one(stub, plan):
                kind, tokens, after, images, text = plan
                try:
                    call = stream(stub, ask(text, tokens, images), timeout=after / 50 if kind == "deadline" else None)
                    for number, _ in enumerate(call):
                        if kind == "cancel" and number >= after:
                            call.cancel()
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            def wave(requests):
                plans = [(rng.choice(["finish", "cancel", "deadline"]), rng.randint(1, 60), rng.randint(0, 20),
                          rng.sample(PICTURES, rng.randint(0, 2)), f"Go on {rng.randint(0, 99)}.") for _ in range(requests)]
                with daemon.channel() as channel, ThreadPoolExecutor(48) as pool:
                    stub = pb_grpc.ChatServiceStub(channel)
                    codes = list(pool.map(lambda plan: one(stub, plan), plans))
                wait_until(lambda: is_idle(daemon), "no request left")
                return codes

            wave(300)
            before = daemon.threads_and_files()
            memory = resident_bytes(daemon)
            codes = wave(1000)
            known = {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
                     grpc.StatusCode.RESOURCE_EXHAUSTED}
            self.assertLessEqual(set(codes), known)
            self.assertGreater(codes.count(grpc.StatusCode.OK), 100)
            self.assertGreater(codes.count(grpc.StatusCode.CANCELLED), 50)
            wait_until(lambda: daemon.has_no_more_than(before),
                       lambda: f"no more threads and files than before: {before}, now {daemon.threads_and_files()}")
            grown = resident_bytes(daemon) - memory
            print("grown by", grown)
            if not daemon.keeps_freed_memory():
                self.assertLess(grown, 24 << 20)
            self.assertEqual(daemon.stop(), 0)

    def test_sigterm_under_load_loses_no_accepted_request(self):
        with Daemon(config="max_running: 8\ndrain_timeout: 10m\n") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            begun = threading.Semaphore(0)

            def one(i):
                tokens = 0
                for event in stream(stub, ask(f"Go on {i}.", 300, [PICTURES[i % 4]])):
                    tokens += len(event.token_ids)
                    begun.release()
                return tokens
            with ThreadPoolExecutor(32) as pool:
                answers = [pool.submit(one, i) for i in range(32)]
                for _ in range(8):
                    begun.acquire()
                wait_until(lambda: sum(daemon.metrics()[f"llava_requests_{name}"] for name in
                                       ("preparing", "running", "waiting")) + sum(a.done() for a in answers) >= 32,
                           "all of them are in")
                daemon.terminate()
                self.assertEqual([a.result() for a in answers], [300] * 32)
            self.assertEqual(daemon.stop(), 0)

    def test_a_step_that_fails_ends_its_requests_alone(self):
        def one_word_is_too_large(name, shape, data):
            """Finite in the file, as verification wants it, and infinite as it is served."""
            if name != "language_model.model.embed_tokens.weight":
                return shape, data
            values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
            values.reshape(shape)[BAD_TOKEN] = 1e300
            return shape, values.tobytes(), "F64"
        with tempfile.TemporaryDirectory() as folder, \
                Daemon(config=FP32, checkpoint=edited_checkpoint(folder, one_word_is_too_large)) as daemon, \
                daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            good = ask("What is this?", 20, ["gray.png"])
            before = token_ids(stub, good)
            with self.assertRaises(grpc.RpcError) as failed:
                token_ids(stub, ask(BAD_WORD, 20))
            self.assertEqual(failed.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertIn("a step with this request failed", failed.exception.details())
            self.assertEqual(token_ids(stub, good), before)
            wait_until(lambda: is_idle(daemon), "no request left")
            self.assertEqual(daemon.metrics()["llava_failed_steps_total"], 1)
            self.assertEqual(daemon.stop(), 0)

    def test_short_memory_makes_smaller_steps_instead_of_an_end(self):
        wide, narrow = 1 << 16, 192

        def widened(name, shape, data):
            """Layers with many more inner columns, all of them 0: expensive, and the same answers."""
            if "language_model" not in name or ".mlp." not in name:
                return shape, data
            if shape[0] == narrow:  # gate and up
                return [wide, shape[1]], data + bytes((wide - narrow) * shape[1] * 2)
            row = narrow * 2
            return [shape[0], wide], b"".join(data[i * row:(i + 1) * row] + bytes((wide - narrow) * 2)
                                              for i in range(shape[0]))
        question = ask("word " * 60, 8, PICTURES[:2])
        with Daemon(config=FP32) as daemon, daemon.channel() as channel:
            expected = token_ids(pb_grpc.ChatServiceStub(channel), question)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = edited_checkpoint(folder, widened)
            config = checkpoint / "config.json"
            config.write_text(config.read_text().replace(f'"intermediate_size": {narrow}', f'"intermediate_size": {wide}'))
            with Daemon(config=FP32 + "prefix_cache: false\n", checkpoint=checkpoint) as daemon, \
                    daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                self.assertEqual(token_ids(stub, question), expected)
                pid = daemon.process.pid
                size = int((Path(f"/proc/{pid}") / "statm").read_text().split()[0]) * resource.getpagesize()
                no_limit = resource.prlimit(pid, resource.RLIMIT_AS, (size + (48 << 20), resource.RLIM_INFINITY))
                self.assertEqual(token_ids(stub, question), expected)
                self.assertGreater(daemon.metrics()["llava_failed_steps_total"], 0)
                resource.prlimit(pid, resource.RLIMIT_AS, no_limit)
                self.assertEqual(token_ids(stub, question), expected)
                self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

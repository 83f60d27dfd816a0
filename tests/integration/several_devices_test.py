"""One model on several devices (tensor parallelism): `devices: [cpu+cpu]` gives what one device gives, in every way that leads
through the layers, and says what cannot be dealt out."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import adapters_test
import families_test
from daemon_process import CHECKPOINT, PROGRAM, Daemon
from families_test import FAMILIES, hub_folder
from http_requests import CHAT, http
from published import Published, rolled
from real_checkpoint_test import PICTURES, ask, pb_grpc, together, token_ids
from reload_daemon import Llavad, Load, pb
from reload_test import AT_ONCE

FP32 = "dtype: float32\n"
ONE, TWO = "devices: [cpu]\n", "devices: [cpu+cpu]\n"
# Those whose heads two devices can share, of every kind of layer among them.
SHARED = ["llava_linear_beyond", "llava_llama3_rope", "llava_mistral", "llava_qwen2", "next_mistral", "onevision", "vipllava"]


def questions():
    asked = []
    for i in range(24):
        request = ask(f"Question {i}: " + "what is this? " * (i % 7), 24, PICTURES[i % 4:i % 4 + i % 3])
        if i % 2:
            request.sampling.temperature, request.sampling.top_p, request.sampling.seed = 0.8, 0.9, i
        asked.append(request)
    return asked


class SeveralDevicesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def refusal(self, *flags, checkpoint=CHECKPOINT):
        with self.assertRaises(AssertionError) as refused:
            Daemon(*flags, checkpoint=checkpoint)
        return str(refused.exception)

    def test_every_family_has_the_tokens_of_transformers(self):
        for name in SHARED:
            cases = json.loads((FAMILIES / name / "golden.json").read_text())["cases"]
            folder = hub_folder(self.root, name)
            config = FP32 + TWO + "max_batch_tokens: 64\nmax_images_per_step: 2\n"
            with self.subTest(name), Daemon(checkpoint=folder, config=config, kv_cache="8MiB") as daemon:
                families_test.serves(self, daemon, name, cases)

    def test_greedy_and_seeded_answers_are_those_of_one_device(self):
        requests = questions()
        with Daemon(config=FP32 + ONE) as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            alone = [token_ids(stub, request) for request in requests]
        self.assertGreater(len({tuple(ids) for ids in alone}), 12)
        for config, kv_cache in (("", "16MiB"), ("max_batch_tokens: 19\nmax_running: 19\n", "16MiB"), ("", "1MiB")):
            with self.subTest(config, kv_cache=kv_cache), Daemon(config=FP32 + TWO + config, kv_cache=kv_cache) as daemon, \
                    daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                self.assertEqual([token_ids(stub, request) for request in requests], alone)
                self.assertEqual(together(stub, requests), alone)
                self.assertEqual(together(stub, requests), alone)  # from the prefix cache
                self.assertGreater(daemon.metrics()["llava_prefix_cache_hit_tokens_total"], 0)
                self.assertEqual(daemon.stop(), 0)

    def test_guesses_change_nothing(self):
        body = {"messages": [{"role": "user", "content": "apple pear apple pear apple pear apple"}], "max_tokens": 48,
                "temperature": 0, "ignore_eos": True, "logit_bias": {"300": 20, "301": 19.5}}
        answers = []
        for drafts in (0, 8):
            with Daemon(config=FP32 + TWO + f"draft_tokens: {drafts}\n") as daemon:
                for _ in range(10):
                    status, _, answer = http(daemon, CHAT, body)
                    self.assertEqual(status, 200, answer)
                    answers.append(json.loads(answer)["choices"][0]["message"]["content"])
        self.assertEqual(len(set(answers)), 1)

    def test_other_number_formats_serve(self):
        requests = questions()[:8]
        for config in ("dtype: bfloat16\n", "weights: int8\n", "weights: int4\n", FP32 + "kv_cache: int8\n"):
            with self.subTest(config), Daemon(config=config + TWO) as daemon, daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                alone = [token_ids(stub, request) for request in requests]
                self.assertEqual({len(ids) for ids in alone}, {24})
                self.assertEqual(together(stub, requests), alone)

    def test_adapters_give_the_tokens_of_the_merged_model(self):
        self.setting = lambda family: adapters_test.Adapters.setting(self, family)
        for family in ("llava_qwen2", "next_mistral"):
            served = adapters_test.Adapters.served(self, family, adapters_test.CONFIG + TWO)
            expected = {("", case["name"]): case["answer_ids"] for case in adapters_test.base_cases(family)}
            for name, cases in adapters_test.golden(family).items():
                expected |= {(name, case["name"]): case["answer_ids"] for case in cases}
            self.assertEqual(served, expected)

    def test_versions_come_and_go_under_load(self):
        published = Published(str(self.root / "models"))
        versions = [published.publish()[1]]
        config = f"watch: {published.root}\nkeep_previous: false\n" + AT_ONCE + TWO
        with Llavad(config).wait_ready() as daemon, Load(daemon) as load:
            for rows in (1, 2):
                load.wait_answers(5)
                versions.append(published.publish(rolled(rows))[1])
                daemon.wait_state(versions[-1], "live")
                self.assertEqual(daemon.ask()[0], versions[-1])
                load.wait_answers(5, versions[-1])
            daemon.wait_state(versions[1], "freed")
        load.check(self)
        self.assertEqual({answer[0] for answer in load.answers}, set(versions))
        self.assertEqual(daemon.process.returncode, 0)

    def test_a_drain_ends_what_was_accepted(self):
        with Daemon(config=FP32 + TWO) as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            calls = [stub.ChatStream(pb.ChatStreamRequest(request=ask(f"Say {i}.", 60))) for i in range(6)]
            firsts = [next(call) for call in calls]
            daemon.terminate()
            counts = [len(first.token_ids) + sum(len(event.token_ids) for event in call)
                      for first, call in zip(firsts, calls)]
            self.assertEqual(counts, [60] * 6)
            self.assertEqual(daemon.stop(), 0)

    def test_settings_say_what_each_device_has(self):
        printed = subprocess.run([PROGRAM, "--print-config", "--device", "cpu+cpu", "--checkpoint", str(CHECKPOINT)],
                                 stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertIn("for each of 2 devices", " ".join(printed.replace("#", " ").split()))

    def test_what_cannot_be_dealt_out_is_refused(self):
        folder = hub_folder(self.root, "llava_phi3")
        self.assertIn("num_attention_heads of the language model is 3, expected a multiple of 2",
                      self.refusal("--device", "cpu+cpu", checkpoint=folder))
        self.assertIn("num_key_value_heads of the language model is 2, expected a multiple of 4",
                      self.refusal("--device", "cpu+cpu+cpu+cpu"))

    def test_sums_that_are_none_are_refused(self):
        for device, why in (("cpu+cuda:0", "adds up devices of two kinds, expected CPUs alone or GPUs alone"),
                            ("cuda:1+cuda:1", "has cuda:1 twice, expected different GPUs"),
                            ("cuda+cuda:0", "has cuda:0 twice, expected different GPUs"),
                            ("cpu+", "devices: has 'cpu+', expected cpu, cuda, cuda:N or a sum of such"),
                            ("cuda:98+cuda:99", 'devices: "cuda:98+cuda:99"')):
            with self.subTest(device):
                self.assertIn(why, self.refusal("--device", device))


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Weights of 8 and 4 bits: llavad with `weights`, and with a folder that `llava-train quantize` wrote, over gRPC and HTTP."""
import base64
import concurrent.futures
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import CHECKPOINT, IMAGES, PROGRAM, Daemon, generated_client
from http_requests import CHAT, http

TRAIN = os.environ["LLAVA_TRAIN"]
QUESTIONS = [("What is in the picture?", ["landscape.png"]), ("Say something.", []), ("And these?", ["rgba.png", "landscape.png"])]
TOKENS = 12
pb, pb_grpc = generated_client()


def generated(folder, question, images, *flags, dtype="bfloat16"):
    command = [PROGRAM, "generate", folder, "--prompt", question, "--json", "--ignore-eos", "--max-tokens", str(TOKENS),
               "--dtype", dtype, *flags]
    for image in images:
        command += ["--image", IMAGES / image]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["answer_ids"]


def over_grpc(stub, question, images):
    parts = [pb.MessagePart(image=(IMAGES / image).read_bytes()) for image in images]
    parts.append(pb.MessagePart(text=question))
    answer = stub.Chat(pb.ChatRequest(
        return_token_ids=True, messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)],
        sampling=pb.SamplingOptions(max_tokens=TOKENS, temperature=0, ignore_eos=True)))
    return list(answer.choices[0].token_ids), answer.choices[0].text


def over_http(daemon, question, images):
    content = [{"type": "image_url", "image_url": {
        "url": "data:image/png;base64," + base64.b64encode((IMAGES / image).read_bytes()).decode()}} for image in images]
    content.append({"type": "text", "text": question})
    status, _, body = http(daemon, CHAT, {"messages": [{"role": "user", "content": content}], "temperature": 0,
                                          "max_tokens": TOKENS, "ignore_eos": True})
    assert status == 200, body
    return json.loads(body)["choices"][0]["message"]["content"]


class WeightsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def stored(self, format):
        out = Path(self.folder.name) / format
        subprocess.run([TRAIN, "quantize", CHECKPOINT, "--format", format, "--out", out], check=True)
        return out

    def served(self, **daemon_arguments):
        """The answers' ids: the same alone and in a batch, over both protocols."""
        with Daemon(kv_cache="8MiB", **daemon_arguments) as daemon, daemon.channel() as channel, \
                concurrent.futures.ThreadPoolExecutor(8) as pool:
            stub = pb_grpc.ChatServiceStub(channel)
            alone = [over_grpc(stub, *question) for question in QUESTIONS]
            again = [(pool.submit(over_grpc, stub, *question), pool.submit(over_http, daemon, *question))
                     for question in QUESTIONS * 2]
            for (ids, text), (of_grpc, of_http) in zip(alone * 2, again):
                self.assertEqual(of_grpc.result(), (ids, text))
                self.assertEqual(of_http.result(), text)
            return [ids for ids, _ in alone]

    def check(self, format):
        """(Answers of the daemon, of `llavad generate`): those of the stored format are those of the setting."""
        served = self.served(config=f"weights: {format}\ndtype: bfloat16\nmax_batch_tokens: 64\nprefix_cache: false\n")
        by_command = [generated(CHECKPOINT, *question, "--weights", format) for question in QUESTIONS]
        stored = self.stored(format)
        self.assertEqual([generated(stored, *question) for question in QUESTIONS], by_command)
        self.assertEqual(self.served(checkpoint=stored, config="dtype: bfloat16\nmax_batch_tokens: 64\n"), served)
        return served, by_command

    def test_int8(self):
        served, by_command = self.check("int8")
        self.assertEqual(served, by_command)

    def test_int4(self):
        """The command attends with other kernels: what differs in a last bit there may round to another byte here."""
        served, by_command = self.check("int4")
        plain = [generated(CHECKPOINT, *question) for question in QUESTIONS]
        self.assertNotEqual(served, plain)  # else the setting would not be seen to do anything
        self.assertNotEqual(by_command, plain)

    def blocks_and_format(self, config):
        """KV blocks of a daemon, and the number format that its answers name."""
        with Daemon(kv_cache="8MiB", config=config) as daemon:
            status, _, body = http(daemon, CHAT, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
            self.assertEqual(status, 200, body)
            blocks = sum(value for name, value in daemon.metrics().items() if name.startswith("llava_kv_blocks{"))
            return blocks, json.loads(body)["system_fingerprint"].replace("-dirty-", "-").split("-", 2)[2]

    def test_kv_cache_of_int8(self):
        """Answers do not depend on the batch, the chunks and the prefix cache, and the same memory has more tokens."""
        config = "kv_cache: int8\ndtype: bfloat16\n"
        served = self.served(config=config + "max_batch_tokens: 64\nprefix_cache: false\n")
        self.assertEqual(self.served(config=config), served)
        self.assertEqual(self.served(config=config + "max_batch_tokens: 17\n"), served)
        blocks, format = self.blocks_and_format(config + "weights: int4\n")
        self.assertEqual(format, "int4-kv_int8")
        plain, format = self.blocks_and_format("dtype: bfloat16\n")
        self.assertEqual(format, "bfloat16")
        self.assertGreater(blocks, 1.5 * plain)

    def test_calibrated(self):
        rows = Path(self.folder.name) / "rows.jsonl"
        rows.write_text("".join(json.dumps({"id": str(number), "image": "landscape.png", "conversations": [
            {"from": "human", "value": "<image>\n" + question}, {"from": "gpt", "value": "A landscape."}]}) + "\n"
            for number, (question, _) in enumerate(QUESTIONS)))
        out = Path(self.folder.name) / "calibrated"
        calibrate = ["--calibrate", rows, "--images", IMAGES, "--rows", "2"]
        subprocess.run([TRAIN, "quantize", CHECKPOINT, "--format", "int4", *calibrate, "--out", out], check=True)
        said = subprocess.run([PROGRAM, "inspect", out, "--verify"], text=True, stdout=subprocess.PIPE, check=True).stdout
        self.assertRegex(said, r"served +weights as stored, int4, \d")
        self.assertNotEqual((out / "model.safetensors").read_bytes(), (self.stored("int4") / "model.safetensors").read_bytes())
        self.assertEqual(self.served(checkpoint=out, config="dtype: bfloat16\nmax_batch_tokens: 64\n"),
                         self.served(checkpoint=out, config="dtype: bfloat16\n"))
        refused = subprocess.run([TRAIN, "quantize", CHECKPOINT, "--format", "int8", *calibrate, "--out", out], text=True,
                                 stderr=subprocess.PIPE)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--calibrate is for --format int4", refused.stderr)

    def test_a_stored_format_is_no_other(self):
        stored = self.stored("int8")
        result = subprocess.run([PROGRAM, "generate", stored, "--prompt", "x", "--weights", "int4"], text=True,
                                stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn("stored as int8", result.stderr)

    def test_what_a_device_does_not_serve_is_refused_before_anything_is_loaded(self):
        for device, option, format in (("cpu", "weights", "fp8"), ("cuda:0", "weights", "int4"),
                                       ("cpu", "kv_cache", "fp8"), ("cuda:0", "kv_cache", "int8")):
            with self.subTest(device, option=option):
                flag = "--" + option.replace("_", "-")
                refused = subprocess.run([PROGRAM, "--check", "--checkpoint", CHECKPOINT, "--device", device, flag, format],
                                         text=True, stderr=subprocess.PIPE)
                self.assertEqual(refused.returncode, 2)
                self.assertIn(f"{option}: {format} is not served on the device {device}", refused.stderr)

    def test_the_plan_has_gpus_in_their_formats(self):
        said = subprocess.run([PROGRAM, "inspect", CHECKPOINT, "--plan", "--gpu-gib", "24"], text=True, stdout=subprocess.PIPE,
                              check=True).stdout
        rows = re.findall(r"\ncuda +24\.00 (\w+) +\d+\.\d+ (\w+) +(\d+\.\d+) +(\d+) ", said)
        formats = [(weights, kv_cache) for weights in ("auto", "int8", "fp8") for kv_cache in ("auto", "fp8")]
        self.assertEqual([(weights, kv_cache) for weights, kv_cache, _, _ in rows], formats)
        tokens = [int(tokens) / float(gib) for _, _, gib, tokens in rows]
        for plain, fp8 in zip(tokens[::2], tokens[1::2]):
            self.assertAlmostEqual(fp8 / plain, 2, delta=0.02)  # of bfloat16

    def test_inspect_says_the_memory_of_each(self):
        said = subprocess.run([PROGRAM, "inspect", CHECKPOINT], text=True, stdout=subprocess.PIPE, check=True).stdout
        self.assertRegex(said, r"served +weights auto \(bfloat16\) \d.*, int8 \d.*, int4 \d.*; on GPUs int8 \d.*, fp8 \d")
        stored = subprocess.run([PROGRAM, "inspect", self.stored("int4"), "--verify"], text=True, stdout=subprocess.PIPE, check=True)
        self.assertRegex(stored.stdout, r"served +weights as stored, int4, \d")


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Adapters that are trained beside codes (QLoRA): the losses of a base of the numbers that the codes stand for, a run that is stopped
and goes on, and what is published, which is the checkpoint's own numbers with the adapters."""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
from published import read_tensors
from training_parts_test import IMAGES, WRAPPED, read_fp32, widened, write_base_and_rows, write_fp32

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
STAGES = """\
stages:
  - {name: align, train: [projector], steps: 2, batch: 2, rate: 1.0e-2}
  - {name: tune, train: [projector, decoder], lora: {r: 4, alpha: 8}, steps: 4, batch: 2, rate: 3.0e-2}
"""
GROUPS = {"int8": 128, "int4": 64}


def read_all(path):
    """{name: array} of a safetensors file of codes and bfloat16."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    kinds = {"I8": np.int8, "U8": np.uint8, "F32": np.float32, "BF16": np.uint16}
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[8 + size + begin:8 + size + end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def numbers(codes, scales, columns):
    group = GROUPS["int8"]
    if codes.dtype == np.uint8:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)[:, :columns].astype(np.int32) - 8
        group = GROUPS["int4"]
    return codes.astype(np.float32) * np.repeat(scales, group, axis=1)[:, :columns]


class CodesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        write_base_and_rows(cls.folder)

    def call(self, *arguments, code=0):
        done = subprocess.run([LLAVA_TRAIN, *arguments], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def recipe(self, name, model, stages=STAGES):
        recipe = self.folder / f"{name}.yaml"
        recipe.write_text(f"name: codes\noutput: {name}\nmodel: {{{model}}}\nsave: {{every_steps: 1}}\n"
                          f"data: {{files: [rows.json], images: {IMAGES}, workers: 1, template: mistral}}\n{stages}")
        return recipe

    def steps(self, name):
        return [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]

    def decoded(self, weights):
        """The base with the numbers of the decoder's codes in it."""
        coded, decoded = self.folder / f"coded-{weights}", self.folder / f"decoded-{weights}"
        self.call("quantize", self.folder / "base", "--format", weights, "--out", coded)
        shutil.copytree(self.folder / "base", decoded)
        arrays = read_all(coded / "model.safetensors")
        tensors = {name: widened(words) for name, words in read_tensors(self.folder / "base/model.safetensors").items()}
        replaced = 0
        for name, codes in arrays.items():
            if ".layers." in name and name.startswith("language_model.") and name + "_scale" in arrays:
                tensors[name] = numbers(codes, arrays[name + "_scale"], tensors[name].shape[1])
                replaced += 1
        self.assertEqual(replaced, 2 * 7)
        write_fp32(decoded / "model.safetensors", tensors)
        return decoded.name

    def test_losses_are_those_of_the_numbers_that_the_codes_stand_for(self):
        for weights in ("int8", "int4"):
            with self.subTest(weights):
                self.call("run", self.recipe(f"codes-{weights}", f"checkpoint: base, weights: {weights}"))
                self.call("run", self.recipe(f"numbers-{weights}", f"checkpoint: {self.decoded(weights)}"))
                ours, theirs = self.steps(f"codes-{weights}"), self.steps(f"numbers-{weights}")
                self.assertEqual(len(ours), 6)
                for one, other in zip(ours, theirs, strict=True):
                    for key in ("loss", "grad_norm"):
                        self.assertAlmostEqual(one[key] / other[key], 1, delta=1e-5, msg=key)
                self.assertNotAlmostEqual(ours[0]["loss"], ours[-1]["loss"], delta=1e-2)
                learned, expected = (read_fp32(self.folder / f"{name}-{weights}/adapters/stage-1.safetensors")
                                     for name in ("codes", "numbers"))
                self.assertEqual(learned.keys(), expected.keys())
                for name, tensor in learned.items():
                    np.testing.assert_allclose(tensor, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)

    def test_what_is_published_is_the_checkpoint_with_the_adapters(self):
        self.call("run", self.recipe("run", "checkpoint: base, weights: int4"))
        recipe = self.folder / "run.yaml"
        self.call("export", recipe, "--peft", self.folder / "adapter")
        self.call("export", recipe, "--out", self.folder / "whole")
        manifest = json.loads((self.folder / "adapter/manifest.json").read_text())
        self.assertIn("weights: int4", manifest["recipe"])
        adapter = read_fp32(self.folder / "adapter/adapter_model.safetensors")
        base = read_tensors(self.folder / "base/model.safetensors")
        published = read_tensors((self.folder / "run/published/latest").resolve() / "model.safetensors")
        whole = read_tensors(self.folder / "whole/model.safetensors")
        adapted = 0
        for name, words in published.items():
            np.testing.assert_array_equal(words, whole[name], err_msg=name)
            layer = name.removeprefix("language_model.model.").removesuffix(".weight")
            layer = f"{WRAPPED}language_model.{layer}"
            if layer + ".lora_A.weight" not in adapter:
                continue
            expected = widened(base[name]) + 2 * adapter[layer + ".lora_B.weight"] @ adapter[layer + ".lora_A.weight"]
            np.testing.assert_allclose(widened(words), expected, rtol=2 ** -8, atol=1e-6, err_msg=name)
            adapted += 1
        self.assertEqual(adapted, 2 * 7)

    def test_what_is_saved_while_it_runs_is_no_code(self):
        two = STAGES.replace("steps: 4", "steps: 9999")
        recipe = self.recipe("stopped", "checkpoint: base, weights: int4", two)
        process = subprocess.Popen([LLAVA_TRAIN, "run", recipe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   env={**os.environ, "OMP_NUM_THREADS": "1"})
        for line in process.stdout:
            if line.startswith("{") and json.loads(line)["total_step"] == 5:
                break
        process.terminate()
        process.stdout.read()
        process.wait()
        self.call("export", recipe, "--out", self.folder / "middle")
        middle = read_tensors(self.folder / "middle/model.safetensors")
        base = read_tensors(self.folder / "base/model.safetensors")
        changed = [name for name in base if name.startswith("language_model.") and not np.array_equal(middle[name], base[name])]
        self.assertEqual(len(changed), 2 * 7)

    def test_what_codes_cannot_be_trained_with_is_refused(self):
        full = STAGES.replace("lora: {r: 4, alpha: 8}, ", "")
        refusal = self.call("run", self.recipe("full", "checkpoint: base, weights: int8", full), code=1)
        self.assertIn("stage 'tune'", refusal)


if __name__ == "__main__":
    unittest.main(verbosity=2)

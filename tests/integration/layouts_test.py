"""`llava-train convert` there and back and `llava-train delta`, by what llavad answers with what
they wrote."""
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
from assemble_test import take_apart
from published import GOLDEN, read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
LLAVAD = Path(os.environ["LLAVAD"]).resolve()
PICTURE = ROOT / "tests/golden/data/images/gray.png"
PIECES = 1000


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def widened(words):
    return (words.astype(np.uint32) << 16).view(np.float32)


class LayoutsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def train(self, *command):
        done = run(LLAVA_TRAIN, *command)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def answer(self, checkpoint, prompt, *more):
        done = run(LLAVAD, "generate", checkpoint, "--prompt", prompt, "--json", "--ignore-eos", "--dtype", "float32",
                   "--max-tokens", 12, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        return answer["prompt_ids"], answer["answer_ids"]

    def test_the_original_layout_answers_alike_and_comes_back(self):
        original, back = self.folder / "llava-v1.5-tiny", self.folder / "back"
        self.train("convert", GOLDEN, "--to", "original", "--out", original)
        self.train("convert", original, "--out", back)
        for prompt in ("What is it?", "the keyword of the class"):
            expected = self.answer(GOLDEN, prompt)
            self.assertEqual(self.answer(original, prompt), expected)
            self.assertEqual(self.answer(back, prompt), expected)
            pictured = self.answer(GOLDEN, prompt, "--image", PICTURE)
            self.assertEqual(self.answer(original, prompt, "--image", PICTURE)[1], pictured[1])
            self.assertEqual(len(self.answer(back, prompt, "--image", PICTURE)[1]), 12)
        done = run(LLAVA_TRAIN, "convert", original, "--to", "original", "--out", self.folder / "again")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is in the original layout already", done.stderr)

    def test_a_delta_and_its_base_are_the_checkpoint(self):
        take_apart(GOLDEN, self.folder)
        base, delta, again = self.folder / "language", self.folder / "delta", self.folder / "again"
        tensors = read_tensors(base / "model.safetensors")
        tensors["lm_head.weight"] = np.roll(tensors["lm_head.weight"], 1, axis=0)[:PIECES]
        write_tensors(base / "model.safetensors", tensors)
        said = self.train("delta", "make", base, GOLDEN, "--out", delta)
        inexact, numbers = map(int, re.search(r"(\d+) of (\d+) numbers do not come back exactly", said).groups())
        self.assertEqual(numbers, sum(tensor.size for tensor in tensors.values()))
        self.assertLess(0, inexact)
        self.assertLess(inexact, tensors["lm_head.weight"].size)
        self.train("delta", "apply", base, delta, "--out", again)
        golden, applied = read_tensors(GOLDEN / "model.safetensors"), read_tensors(again / "model.safetensors")
        self.assertEqual(applied.keys(), golden.keys())
        head = "language_model.lm_head.weight"
        for name in golden:
            if name != head:
                np.testing.assert_array_equal(applied[name], golden[name], name)
        wanted, found = widened(golden[head])[:PIECES], widened(applied[head])[:PIECES]
        difference = np.abs(wanted - widened(tensors["lm_head.weight"]))
        self.assertEqual(np.count_nonzero(wanted != found), inexact)
        self.assertTrue((np.abs(wanted - found) <= (difference + np.abs(wanted) + np.abs(found)) / 256).all())
        np.testing.assert_array_equal(applied[head][PIECES:], golden[head][PIECES:])
        self.answer(again, "What is it?", "--image", PICTURE)

        tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :32]
        write_tensors(base / "model.safetensors", tensors)
        done = run(LLAVA_TRAIN, "delta", "apply", base, delta, "--out", self.folder / "other")
        self.assertEqual(done.returncode, 1)
        self.assertIn('"lm_head.weight" [1000, 32]', done.stderr)
        self.assertFalse((self.folder / "other").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)

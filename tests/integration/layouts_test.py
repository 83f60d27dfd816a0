"""`llava-train convert` there and back and `llava-train delta`, by what llavad answers with what
they wrote."""
import json
import os
import re
import shutil
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
ORIGINAL_IMAGE = -200
# Whole prompts: how many pictures they have.
RAW = {"USER: <image>\nWhat is it? ASSISTANT:": 1, "<image> the <image>\nof</s>USER: <image>the</s> keyword": 3,
       "</s>the <s>of": 0, " the": 0}



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
        return [PIECES if id == ORIGINAL_IMAGE else id for id in answer["prompt_ids"]], answer["answer_ids"]

    def raw_answers(self, checkpoint):
        return {prompt: self.answer(checkpoint, prompt, "--raw", *["--image", PICTURE] * pictures)
                for prompt, pictures in RAW.items()}

    def test_the_original_layout_answers_alike_and_comes_back(self):
        original, back = self.folder / "llava-v1.5-tiny", self.folder / "back"
        self.train("convert", GOLDEN, "--to", "original", "--out", original)
        self.train("convert", original, "--out", back)
        for prompt in ("What is it?", "the keyword of the class"):
            expected = self.answer(GOLDEN, prompt)
            self.assertEqual(self.answer(original, prompt), expected)
            self.assertEqual(self.answer(back, prompt), expected)
            pictured = self.answer(GOLDEN, prompt, "--image", PICTURE)
            self.assertEqual(self.answer(original, prompt, "--image", PICTURE), pictured)
            self.assertEqual(self.answer(back, prompt, "--image", PICTURE), pictured)
        golden = {prompt: ids for prompt, (ids, _) in self.raw_answers(GOLDEN).items()}
        for folder in (original, back):  # whose answers have none of the golden checkpoint's rows behind its pieces
            self.assertEqual({prompt: ids for prompt, (ids, _) in self.raw_answers(folder).items()}, golden)
        done = run(LLAVA_TRAIN, "convert", original, "--to", "original", "--out", self.folder / "again")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is in the original layout already", done.stderr)

    def test_prompts_have_the_ids_of_the_source_there_and_back_and_twice(self):
        """By both rules of the original's tokenizer, and by transformers, where it is."""
        original = self.folder / "llava-v1.5-tiny"
        self.train("convert", GOLDEN, "--to", "original", "--out", original)
        settings = json.loads((original / "tokenizer_config.json").read_text())
        for legacy in (True, False):
            (original / "tokenizer_config.json").write_text(json.dumps({**settings, "legacy": legacy}))
            expected = self.raw_answers(original)
            at = original
            for way, layout in enumerate(("huggingface", "original", "huggingface")):
                with self.subTest(legacy=legacy, way=way):
                    to = self.folder / f"llava-{legacy}-{way}"
                    self.assertIn("the same token ids", self.train("convert", at, "--to", layout, "--out", to))
                    self.assertEqual(self.raw_answers(to), expected)
                    if layout == "huggingface":
                        self.assert_transformers_agrees(to, {prompt: ids for prompt, (ids, _) in expected.items()})
                    at = to
        # The other of the two begins what follows "</s>" without a mark.
        self.assertNotEqual(expected["</s>the <s>of"][0], self.raw_answers(GOLDEN)["</s>the <s>of"][0])

    def assert_transformers_agrees(self, checkpoint, expected):
        python = os.environ.get("PARITY_PYTHON") or ROOT / ".deps/parity-venv/bin/python"
        if not Path(python).exists():
            print("no transformers here (scripts/parity makes its environment): not compared with it")
            return
        program = ("import json, sys\nfrom transformers import AutoTokenizer\n"
                   "t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
                   "print(json.dumps([t(p).input_ids for p in json.loads(sys.argv[2])]))")
        done = run(python, "-c", program, checkpoint, json.dumps(list(expected)))
        self.assertEqual(done.returncode, 0, done.stderr)
        for (prompt, ids), found in zip(expected.items(), json.loads(done.stdout.splitlines()[-1])):
            once = [id for at, id in enumerate(ids) if id != PIECES or ids[at - 1] != PIECES]
            self.assertEqual(found, once, prompt)

    def test_what_the_original_code_does_otherwise_is_said(self):
        checkpoint = self.folder / "metaspace"
        shutil.copytree(GOLDEN, checkpoint)
        tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
        tokenizer |= {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581",
                                                            "prepend_scheme": "first", "split": False}}
        (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
        said = self.train("convert", checkpoint, "--to", "original", "--out", self.folder / "llava-original")
        self.assertIn("behind each picture", said)
        prompt = "the<image>\nof"
        here = self.answer(checkpoint, prompt, "--raw", "--image", PICTURE)[0]
        there = self.answer(self.folder / "llava-original", prompt, "--raw", "--image", PICTURE)[0]
        behind = len(here) - here[::-1].index(PIECES)
        self.assertEqual(there, here[:behind] + [there[behind]] + here[behind:])

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

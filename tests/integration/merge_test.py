"""`llava-train merge`: the tokens of the adapter beside its base, which are those of the model that PEFT merged."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import PROGRAM
from families_test import FAMILIES, generate_command, hub_folder

TRAIN = os.environ["LLAVA_TRAIN"]


class MergeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def merge(self, base, adapter, out, *more):
        return subprocess.run([TRAIN, "merge", base, "--adapter", adapter, "--out", out, *more], capture_output=True,
                              text=True, check=False)

    def answer(self, folder, case, *more):
        command = generate_command(folder, case) + list(more)
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["answer_ids"]

    def check(self, family):
        base = hub_folder(self.root, family)
        files = [FAMILIES / family / "adapters" / file for file in ("golden.json", "merged.json")]
        adapters = {}
        for file in files:
            adapters |= json.loads(file.read_text()) if file.exists() else {}
        for name, cases in adapters.items():
            adapter = FAMILIES / family / "adapters" / name
            out = self.root / f"{family}-{name}"
            done = self.merge(base, adapter, out)
            self.assertEqual(done.returncode, 0, done.stderr)
            version = done.stdout.split()[-1]
            manifest = json.loads((out / "manifest.json").read_text())
            self.assertEqual(len(manifest["adapter"]), 64)
            self.assertEqual(len(version), 64)
            self.assertEqual(subprocess.run([PROGRAM, "inspect", out], stdout=subprocess.PIPE).returncode, 0)
            was, merged = (json.loads((folder / "config.json").read_text()) for folder in (base, out))
            self.assertEqual(merged, {**was, "dtype": "float32"})
            for case in cases:
                with self.subTest(family, adapter=name, case=case["name"]):
                    self.assertEqual(self.answer(out, case), case["answer_ids"])

    def test_with_tied_embeddings(self):
        self.check("llava_qwen2")

    def test_with_tiles(self):
        self.check("next_mistral")

    def test_with_fused_matrices(self):
        self.check("llava_phi3")

    def test_what_is_refused(self):
        base = hub_folder(self.root, "llava_qwen2")
        adapter = FAMILIES / "llava_qwen2/adapters/attention"
        out = self.root / "out"
        done = self.merge(base, self.root / "nowhere", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nowhere", done.stderr)
        done = self.merge(hub_folder(self.root, "llava_qwen3"), adapter, out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the model's is", done.stderr)
        self.assertFalse(out.exists())
        self.assertNotEqual(self.merge(base, adapter, out, "--dtype", "int8").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""`llava-train check --memory`: the table of a recipe, from config.json alone."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()

# LLaVA-1.5-7B, as transformers' defaults leave it out.
CONFIG = {
    "model_type": "llava", "image_token_index": 32000, "pad_token_id": 32001,
    "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                      "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768},
}

RECIPE = """\
name: seven
output: run
precision: bf16
model: {{checkpoint: model}}
distributed: {{shard: true}}
data: {{files: [rows.json], images: pictures}}
stages:
  - {{name: align, train: [projector], epochs: 1, batch: 256, micro_batch: 32, gradient_checkpointing: true, rate: 1.0e-3}}
  - {{name: tune, train: [projector, decoder], epochs: 1, batch: 128, gradient_checkpointing: {checkpointing}, rate: 2.0e-5}}
"""


class MemoryTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "model").mkdir()
        (self.folder / "model" / "config.json").write_text(json.dumps(CONFIG))
        self.write("true")

    def write(self, checkpointing):
        (self.folder / "recipe.yaml").write_text(RECIPE.format(checkpointing=checkpointing))

    def check(self, *options):
        return subprocess.run([LLAVA_TRAIN, "check", "--memory", self.folder / "recipe.yaml", *options], capture_output=True,
                              text=True, timeout=120)

    def test_the_table_of_a_model_that_is_a_config_alone(self):
        done = self.check("--ranks", "8", "--device-memory", "80GiB", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        table = json.loads(done.stdout)
        self.assertTrue(table["fits"])
        self.assertEqual(table["device_bytes"], 80 << 30)
        align, tune = table["stages"]
        memory = {row["what"]: row["bytes"] for row in tune["memory"]}
        self.assertAlmostEqual(memory["weights"] / 14.1e9, 1, delta=0.02)
        self.assertAlmostEqual(memory["optimizer state"] / 6.76e9, 1, delta=0.02)
        self.assertEqual(sum(memory.values()), tune["bytes"])
        self.assertLess(align["bytes"], tune["bytes"])
        self.assertEqual((tune["rows"], tune["tokens"], tune["passes"]), (16, 16 * 2048, 1))
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"model", "recipe.yaml"}, "nothing is made")

    def test_what_does_not_fit_exits_with_1_and_says_what_to_change(self):
        self.write("false")
        done = self.check("--ranks", "8", "--device-memory", "80GiB")
        self.assertEqual(done.returncode, 1)
        self.assertIn("stage tune, on each of 8 ranks 1 passes a step, of at most 16 rows, 32768 tokens", done.stdout)
        self.assertRegex(done.stderr, r"stage tune needs \d+\.\d\d GiB, more than the 76\.00 GiB that are counted on of 80\.00 GiB: "
                                      r"it fits with gradient_checkpointing: true \(\d+\.\d\d GiB\)")
        self.write("true")
        self.assertEqual(self.check("--ranks", "8", "--device-memory", "80GiB").returncode, 0)
        alone = self.check("--device-memory", "80GiB")
        self.assertEqual(alone.returncode, 1)
        self.assertIn("lora: {r: 64}", alone.stderr)

    def test_shorter_rows_need_less(self):
        need = {tokens: json.loads(self.check("--ranks", "8", "--device-memory", "80GiB", "--json", "--row-tokens", str(tokens)).stdout)
                ["stages"][1]["bytes"] for tokens in (900, 2048)}
        self.assertLess(need[900], need[2048])

    def test_without_a_size_it_is_this_machine(self):
        done = self.check("--json")
        table = json.loads(done.stdout)
        self.assertGreater(table["device_bytes"], 1 << 20)
        self.assertEqual(done.returncode, 0 if table["fits"] else 1)

    def test_what_cannot_be_read_exits_with_2(self):
        (self.folder / "model" / "config.json").unlink()
        done = self.check("--device-memory", "80GiB")
        self.assertEqual(done.returncode, 2)
        self.assertIn("config.json", done.stderr)
        self.assertNotEqual(subprocess.run([LLAVA_TRAIN, "check", "rows.json", "--ranks", "2"], capture_output=True).returncode, 0)

    def test_a_recipe_among_data_is_called_one(self):
        done = subprocess.run([LLAVA_TRAIN, "check", self.folder / "recipe.yaml"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("recipe.yaml: is a recipe by its name, expected instruction data; --memory", done.stderr)

    def test_sizes_and_counts_are_positive(self):
        for option, value in (("--device-memory", "-5"), ("--device-memory", "0GiB"), ("--ranks", "0"), ("--row-tokens", "-1")):
            with self.subTest(option, value=value):
                done = self.check(f"{option}={value}")
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(option, done.stderr)
                self.assertIn(value.removesuffix("GiB"), done.stderr)
                self.assertNotIn("{", done.stdout)
        for command in (["check", "rows.json", "--max-length=-1"], ["check", "rows.json", "--max-length=0"],
                        ["scenes", "--out", "none", "--count=-3"], ["scenes", "--out", "none", "--count=1", "--turns=-1"],
                        ["scenes", "--out", "none", "--count=1", "--comparisons=-1"], ["scenes", "--out", "none", "--count=1", "--patch=0"],
                        ["evaluate", "rows", "--limit=-1"], ["evaluate", "rows", "--max-tokens=-1"], ["evaluate", "rows", "--in-flight=0"]):
            with self.subTest(command):
                done = subprocess.run([LLAVA_TRAIN, *command], cwd=self.folder, capture_output=True, text=True)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(command[-1].split("=")[0] + ":", done.stderr)
                self.assertFalse((self.folder / "none").exists())


if __name__ == "__main__":
    unittest.main()

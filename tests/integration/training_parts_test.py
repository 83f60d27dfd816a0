"""What a run has learned, in parts: adapters that PEFT loads over the base model, and a projector that the original code loads."""
import hashlib
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

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
FAMILY = ROOT / "tests/golden/data/families/llava_mistral/checkpoint"
IMAGES = ROOT / "tests/golden/data/families/images"
WRAPPED = "base_model.model.model."

RECIPE = f"""\
name: parts
output: run
model: {{checkpoint: base}}
data: {{files: [rows.json], images: {IMAGES}, workers: 1, template: mistral}}
stages:
  - {{name: align, train: [projector], steps: 2, batch: 2, rate: 1.0e-2}}
  - {{name: tune, train: [projector, decoder], lora: {{r: 4, alpha: 8, targets: [q_proj, down_proj], use_dora: false}}, steps: 4, batch: 2, rate: 3.0e-2}}
"""


def read_fp32(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[8 + size + e["data_offsets"][0]:8 + size + e["data_offsets"][1]], np.float32)
            .reshape(e["shape"]) for name, e in header.items()}


def write_fp32(path, tensors):
    header, at = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))


def widened(words):
    return (words.astype(np.uint32) << 16).view(np.float32)


def write_base_and_rows(folder):
    """base/, a checkpoint to train, and rows.json, four rows about one picture."""
    shutil.copytree(FAMILY, folder / "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "tests/golden/data/checkpoint" / name, folder / "base")
    (folder / "rows.json").write_text(json.dumps([{"id": str(i), "image": "square.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a red square"}]} for i in range(4)]))


class PartsTest(unittest.TestCase):
    recipe_text = RECIPE

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        write_base_and_rows(cls.folder)
        cls.recipe = cls.folder / "recipe.yaml"
        cls.recipe.write_text(cls.recipe_text)
        cls.call("run", cls.recipe)
        cls.call("export", cls.recipe, "--peft", cls.folder / "adapter")
        cls.call("export", cls.recipe, "--out", cls.folder / "whole")
        cls.call("export", cls.recipe, "--projector", cls.folder / "mm_projector.bin")

    @classmethod
    def call(cls, *arguments):
        done = subprocess.run([LLAVA_TRAIN, *arguments], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_base_and_adapters_are_the_merged_weights(self):
        config = json.loads((self.folder / "adapter/adapter_config.json").read_text())
        self.assertEqual(config["base_model_name_or_path"], str((self.folder / "base").resolve()))
        adapter = read_fp32(self.folder / "adapter/adapter_model.safetensors")
        base = read_tensors(self.folder / "base/model.safetensors")
        whole = read_tensors(self.folder / "whole/model.safetensors")
        scale = config["lora_alpha"] / config["r"]
        adapted = 0
        for name, words in whole.items():
            layer = WRAPPED + name.removeprefix("language_model.model.").removesuffix(".weight")
            layer = layer.replace(WRAPPED, WRAPPED + "language_model.")
            # The base has the tower's names of newer versions of transformers.
            expected = widened(base[name if name in base else name.replace("vision_tower.vision_model.", "vision_tower.")])
            if layer + ".lora_A.weight" in adapter:
                expected = expected + scale * adapter[layer + ".lora_B.weight"] @ adapter[layer + ".lora_A.weight"]
                if config["use_dora"]:
                    lengths = np.linalg.norm(expected, axis=1)
                    magnitudes = adapter[layer + ".lora_magnitude_vector"]
                    self.assertGreater(np.abs(magnitudes / lengths - 1).max(), 0.01)
                    expected = expected * (magnitudes / lengths)[:, None]
                adapted += 1
            elif WRAPPED + name in adapter:  # the projector
                expected = adapter[WRAPPED + name]
                self.assertFalse(np.array_equal(words, base[name]), name)
            np.testing.assert_allclose(widened(words), expected, rtol=2 ** -8, atol=1e-6, err_msg=name)
        self.assertEqual(adapted, 2 * 2)
        self.assertEqual(len(adapter), (3 if config["use_dora"] else 2) * adapted + 4)

    def test_the_manifest_of_an_adapter_says_what_it_is(self):
        manifest = json.loads((self.folder / "adapter/manifest.json").read_text())
        self.assertEqual({f["path"] for f in manifest["files"]}, {"adapter_config.json", "adapter_model.safetensors"})
        for file in manifest["files"]:
            self.assertEqual(hashlib.sha256((self.folder / "adapter" / file["path"]).read_bytes()).hexdigest(), file["sha256"])
        self.assertEqual((manifest["step"], manifest["recipe"]), (6, self.recipe_text))
        self.assertEqual(manifest["data_fingerprint"], hashlib.sha256((self.folder / "rows.json").read_bytes()).hexdigest())

    def test_the_projector_is_a_zip_as_torch_writes_it(self):
        self.assertEqual((self.folder / "mm_projector.bin").read_bytes()[:2], b"PK")

    def test_peft_gives_the_logits_of_the_merged_model(self):
        python = os.environ.get("PARITY_PYTHON") or ROOT / ".deps/parity-venv/bin/python"
        if not Path(python).exists() or subprocess.run([python, "-c", "import peft"], capture_output=True).returncode != 0:
            self.skipTest("no Python with transformers and PEFT here (PARITY_PYTHON)")
        done = subprocess.run([python, "-c", SCRIPT, self.folder / "base", self.folder / "adapter", self.folder / "whole",
                               self.folder / "mm_projector.bin"], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)


class DoraPartsTest(PartsTest):
    recipe_text = RECIPE.replace("use_dora: false", "use_dora: true")

    def test_merge_gives_the_weights_of_the_run(self):
        self.call("merge", self.folder / "base", "--adapter", self.adapter_alone(), "--out", self.folder / "merged")
        merged = read_fp32(self.folder / "merged/model.safetensors")
        whole = read_tensors(self.folder / "whole/model.safetensors")
        layers = [name for name in whole if name.startswith("language_model.model.layers.")]
        self.assertGreater(len(layers), 2)
        for name in layers:
            np.testing.assert_allclose(widened(whole[name]), merged[name], rtol=2 ** -8, atol=1e-6, err_msg=name)

    def adapter_alone(self):
        """Without the projector, which is a module saved as a whole."""
        folder = self.folder / "alone"
        shutil.copytree(self.folder / "adapter", folder)
        (folder / "manifest.json").unlink()
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": None}))
        tensors = {name: value for name, value in read_fp32(folder / "adapter_model.safetensors").items()
                   if "multi_modal_projector" not in name}
        write_fp32(folder / "adapter_model.safetensors", tensors)
        return folder


SCRIPT = """
import sys
import torch
from peft import PeftModel
from transformers import LlavaForConditionalGeneration as Llava
base, adapter, whole, projector = sys.argv[1:]
plain = Llava.from_pretrained(base, dtype=torch.float32)
tuned = PeftModel.from_pretrained(Llava.from_pretrained(base, dtype=torch.float32), adapter).eval()
merged = Llava.from_pretrained(whole, dtype=torch.float32).eval()
image, side = merged.config.image_token_id, merged.config.vision_config.image_size
count = (side // merged.config.vision_config.patch_size) ** 2
torch.manual_seed(1)
inputs = {"input_ids": torch.tensor([[1] + [image] * count + [5, 6, 7, 8]]), "pixel_values": torch.randn(1, 3, side, side)}
with torch.no_grad():
    ours, theirs, before = (model(**inputs).logits for model in (merged, tuned, plain.eval()))
# The merged weights are rounded to bf16.
assert (ours - theirs).abs().max() < 0.05 * (before - theirs).abs().max(), ((ours - theirs).abs().max(), (before - theirs).abs().max())
loaded = torch.load(projector, weights_only=True)
assert sorted(loaded) == ["model.mm_projector.0.bias", "model.mm_projector.0.weight", "model.mm_projector.2.bias", "model.mm_projector.2.weight"]
state = tuned.state_dict()
name = [key for key in state if key.endswith("multi_modal_projector.modules_to_save.default.linear_2.bias")]
assert torch.equal(state[name[0]], loaded["model.mm_projector.2.bias"]), name
"""


if __name__ == "__main__":
    unittest.main(verbosity=2)

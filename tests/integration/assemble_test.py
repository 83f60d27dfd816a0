"""llava-train assemble: the LLaVA that transformers makes of the same parts, which trains with the papers' recipes."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
from published import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
LLAVAD = Path(os.environ["LLAVAD"]).resolve()
GOLDEN = ROOT / "tests/golden/data"
FAMILIES = GOLDEN / "families"
PROJECTOR = "multi_modal_projector."
TOKENIZER = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def take_apart(checkpoint, folder):
    """A checkpoint's language model, tower and projector, as the hub has them alone."""
    config = json.loads((checkpoint / "config.json").read_text())
    parts = {"language": {}, "tower": {}, "projector": {}}
    for name, tensor in read_tensors(checkpoint / "model.safetensors").items():
        if name.startswith("language_model."):
            parts["language"][name.removeprefix("language_model.")] = tensor
        elif name.startswith("vision_tower."):
            parts["tower"][name.removeprefix("vision_tower.")] = tensor
        else:
            parts["projector"][name] = tensor
    for part, tensors in parts.items():
        (folder / part).mkdir()
        write_tensors(folder / part / "model.safetensors", tensors)
    text = config["text_config"]
    classes = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    text = {**text, "architectures": [classes[text["model_type"]]], "dtype": "bfloat16"}
    (folder / "language" / "config.json").write_text(json.dumps(text))
    (folder / "tower" / "config.json").write_text(json.dumps(config["vision_config"]))
    preprocessor = json.loads((checkpoint / "preprocessor_config.json").read_text())
    preprocessor.pop("image_grid_pinpoints", None)  # a tower knows no tiles
    (folder / "tower" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    tokenizer = checkpoint if (checkpoint / "tokenizer.json").exists() else GOLDEN / "checkpoint"
    for name in TOKENIZER:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder / "language")
    return config


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


class AssembleTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def assemble(self, *options, out="out"):
        done = run(LLAVA_TRAIN, "assemble", "--language-model", self.folder / "language", "--vision-tower",
                   self.folder / "tower", "--out", self.folder / out, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.folder / out

    def test_the_parts_of_a_family_answer_as_the_whole_did(self):
        for family in ("llava_mistral", "llava_qwen2"):
            with self.subTest(family):
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                whole = FAMILIES / family / "checkpoint"
                config = take_apart(whole, self.folder)
                out = self.assemble("--projector-weights", self.folder / "projector" / "model.safetensors",
                                    "--feature-layer", config["vision_feature_layer"])
                shutil.copy(whole / "chat_template.jinja", out)
                for case in json.loads((FAMILIES / family / "golden.json").read_text())["cases"]:
                    command = [LLAVAD, "generate", out, "--prompt", case["question"], "--json", "--ignore-eos",
                               "--dtype", "float32", "--max-tokens", len(case["answer_ids"])]
                    for image in case["images"]:
                        command += ["--image", FAMILIES / "images" / image]
                    answer = run(*command)
                    self.assertEqual(answer.returncode, 0, answer.stderr)
                    self.assertEqual(json.loads(answer.stdout)["prompt_ids"], case["prompt_ids"])
                    self.assertEqual(json.loads(answer.stdout)["answer_ids"], case["answer_ids"])

    def trains(self, family, template, *options):
        take_apart(FAMILIES / family / "checkpoint", self.folder)
        self.assemble(*options)
        rows = [{"id": str(number), "image": ("square.png", "landscape.png")[number % 2], "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a red square"}]}
            for number in range(8)]
        (self.folder / "rows.json").write_text(json.dumps(rows))
        (self.folder / "recipe.yaml").write_text(f"""
name: two-stages
output: run
model: {{checkpoint: out}}
data: {{files: [rows.json], images: {FAMILIES / "images"}, workers: 1}}
stages:
  - {{name: pretrain, train: [projector], data: {{template: plain}}, steps: 2, batch: 4, rate: 1.0e-3}}
  - {{name: finetune, train: [projector, decoder], data: {{template: {template}}}, steps: 10, batch: 4, rate: 3.0e-3}}
""")
        done = run(LLAVA_TRAIN, "run", self.folder / "recipe.yaml")
        self.assertEqual(done.returncode, 0, done.stderr)
        steps = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertLess(steps[-1]["loss"], steps[2]["loss"])
        self.assertTrue(all(step["masked"] == 0 for step in steps), steps)
        answer = run(LLAVAD, "generate", self.folder / "run/published/latest", "--prompt", "What is it?", "--image",
                     FAMILIES / "images" / "square.png", "--max-tokens", 4)
        self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_a_mistral_trains_in_two_stages_and_answers(self):
        self.trains("llava_mistral", "mistral")

    def test_a_qwen_trains_in_two_stages_and_answers(self):
        self.trains("llava_qwen2", "chatml")

    def test_models_with_tiles_train_in_two_stages_and_answer(self):
        for family, template, name in (("next_mistral", "mistral", "llava_next"), ("onevision", "chatml", "llava_onevision")):
            with self.subTest(family):
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                self.trains(family, template, "--family", name)
                config = json.loads((self.folder / "run/published/latest/config.json").read_text())
                self.assertEqual(config["model_type"], name)

    def test_what_does_not_fit_is_refused_by_name(self):
        take_apart(FAMILIES / "llava_mistral" / "checkpoint", self.folder)
        config = self.folder / "language" / "config.json"
        text = json.loads(config.read_text())
        config.write_text(json.dumps({**text, "model_type": "gpt_neox"}))
        done = run(LLAVA_TRAIN, "assemble", "--language-model", self.folder / "language", "--vision-tower",
                   self.folder / "tower", "--out", self.folder / "out")
        self.assertEqual(done.returncode, 1)
        self.assertIn("config.json: model_type", done.stderr)
        self.assertIn("gpt_neox", done.stderr)
        self.assertFalse((self.folder / "out").exists())

    def test_transformers_makes_the_same(self):
        python = os.environ.get("PARITY_PYTHON") or ROOT / ".deps/parity-venv/bin/python"
        if not Path(python).exists():
            self.skipTest("scripts/parity has made no environment with transformers here")
        for family in ("llava_mistral", "llava_qwen2"):
            with self.subTest(family):
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                take_apart(FAMILIES / family / "checkpoint", self.folder)
                self.forget_image_tokens(self.folder / "language")
                out = self.assemble()
                done = run(python, ROOT / "tests/integration/assemble_transformers.py", self.folder / "language",
                           self.folder / "tower", out)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def forget_image_tokens(self, language):
        """The tokenizer and the tables as they were before a LLaVA was made of them."""
        path = language / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        new = {token["id"] for token in tokenizer["added_tokens"] if token["content"] in ("<image>", "<pad>")}
        first = min(new)
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] not in new]
        path.write_text(json.dumps(tokenizer))
        path = language / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        for key in ("image_token", "extra_special_tokens", "chat_template"):
            settings.pop(key, None)
        if settings.get("pad_token") == "<pad>":
            del settings["pad_token"]
        for number in new:
            settings.get("added_tokens_decoder", {}).pop(str(number), None)
        path.write_text(json.dumps(settings))
        (language / "special_tokens_map.json").unlink(missing_ok=True)
        tensors = read_tensors(language / "model.safetensors")
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            if name in tensors:
                tensors[name] = np.ascontiguousarray(tensors[name][:first])
        write_tensors(language / "model.safetensors", tensors)
        path = language / "config.json"
        config = json.loads(path.read_text())
        config["vocab_size"] = first
        if config.get("pad_token_id", 0) is not None and config.get("pad_token_id", 0) >= first:
            del config["pad_token_id"]
        path.write_text(json.dumps(config))


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Each family through `llava-train`: rows with pictures of many tiles, losses of transformers, and what is published in the
family's own layout, which answers in llavad and in transformers alike."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
from daemon_process import Daemon
from families_test import FAMILIES, over_grpc, pb_grpc
from published import read_tensors

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
LLAVAD = Path(os.environ["LLAVAD"]).resolve()
GOLDEN = ROOT / "tests/golden/data"
IMAGES = FAMILIES / "images"
TEMPLATES = {"llava_mistral": "mistral", "llava_qwen2": "chatml", "llava_qwen3": "chatml", "llava_phi3": "v1", "vipllava": "v1", "next_mistral": "mistral",
             "next_llama_yarn": "v1", "onevision": "chatml"}
TILED = ("next_mistral", "next_llama_yarn", "onevision")
CARRIED = ("preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
           "generation_config.json")
COMPARED = ("text", "landscape", "two")
PARITY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import parity
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["parity", *arguments]
    print(arguments[2], flush=True)
    if parity.main() != 0:
        sys.exit(1)
"""
HEADER = """\
name: family
output: {output}
precision: fp32
model: {{checkpoint: base}}
data: {{files: [rows.json], images: {images}, workers: 1, template: serving}}
stages:
"""
ALL = "train: [vision_tower, projector, decoder]"


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def captions():
    return [{"id": name, "image": f"{name}.png", "conversations": turns("<image>", f"a {name}")}
            for name in ("square", "portrait", "landscape", "panorama", "large", "line")]


def conversations(rows):
    """The rows, and one of two turns whose second shows another picture."""
    return rows + [{"id": "turns", "image": ["square.png", "line.png"], "conversations": turns(
        "<image>\nWhat is it?", "a red square", "<image>\nAnd this?", "one pixel")}]


class TrainingFamiliesTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def base(self, family):
        """The checkpoint, with the tokenizer that families share."""
        base = self.folder / "base"
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(FAMILIES / family / "checkpoint", base)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if not (base / name).exists():
                shutil.copy(GOLDEN / "checkpoint" / name, base)
        return base

    def golden(self, family):
        golden = json.loads((FAMILIES / family / "training.json").read_text())
        (self.folder / "rows.json").write_text(json.dumps(golden["rows"]))
        (self.folder / "captions.json").write_text(json.dumps(captions()))
        (self.folder / "conversations.json").write_text(json.dumps(conversations(golden["rows"])))
        return golden

    def call(self, *arguments, code=0):
        done = subprocess.run([LLAVA_TRAIN, *arguments], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def run_stages(self, output, *stages):
        """(the lines of its steps, the folder of the published version)"""
        recipe = self.folder / f"{output}.yaml"
        recipe.write_text(HEADER.format(output=output, images=IMAGES) + "".join(f"  - {{{stage}}}\n" for stage in stages))
        self.call("run", recipe)
        lines = (self.folder / output / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], (self.folder / output / "published/latest").resolve()

    def check_kept(self, base, published):
        """All that the base says of itself; its weights alone are others."""
        self.assertEqual(json.loads((published / "config.json").read_text()), json.loads((base / "config.json").read_text()))
        for name in CARRIED:
            self.assertEqual((base / name).exists(), (published / name).exists(), name)
            if not (base / name).exists():
                continue
            if name == "generation_config.json":
                self.assertEqual(json.loads((published / name).read_text()), json.loads((base / name).read_text()))
            else:
                self.assertEqual((published / name).read_bytes(), (base / name).read_bytes(), name)

    def test_the_first_step_has_the_loss_and_the_gradient_of_transformers(self):
        for family in TEMPLATES:
            with self.subTest(family):
                self.base(family)
                golden = self.golden(family)
                steps, _ = self.run_stages(f"{family}-step", f"name: tune, {ALL}, steps: 1, batch: {len(golden['rows'])}, "
                                           "rate: 1.0e-3, clip_norm: 0")
                self.assertEqual(steps[0]["targets"], golden["targets"])
                self.assertEqual(steps[0]["tokens"], golden["tokens"])
                self.assertLess(abs(steps[0]["loss"] / golden["loss"] - 1), 3e-6)
                norm = np.sqrt(sum(norm ** 2 for norm, _ in golden["gradients"].values()))
                self.assertLess(abs(steps[0]["grad_norm"] / norm - 1), 1e-5)

    def test_check_counts_the_tokens_of_every_tile(self):
        for family in TEMPLATES:
            with self.subTest(family):
                base, golden = self.base(family), self.golden(family)
                said = self.call("check", self.folder / "rows.json", "--images", IMAGES, "--checkpoint", base,
                                 "--template", "serving")
                self.assertIn(f"tokens      {golden['tokens']}, of which {golden['targets']} are learnt", said)
                self.assertIn("truncated   0 rows, 0 of them inside a picture", said)

    def test_check_says_what_is_cut_inside_a_picture(self):
        base = self.base("next_mistral")
        self.golden("next_mistral")
        arguments = ["check", self.folder / "captions.json", "--checkpoint", base, "--template", "plain"]
        said = self.call(*arguments, "--images", IMAGES, "--max-length", "44")
        self.assertIn("row 'square': is cut at 44 tokens, inside a picture of 88", said)
        self.assertIn("truncated   5 rows, 4 of them inside a picture", said)  # one in its caption
        self.assertIn("masked      4 rows teach nothing", said)
        self.assertIn("give the folder of the pictures (--images)", self.call(*arguments, code=2))

    def test_both_stages_learn_and_the_end_of_rows_with_the_decoder_alone(self):
        for family, template in TEMPLATES.items():
            with self.subTest(family):
                base = self.base(family)
                self.golden(family)
                def first(aspect):
                    return (f"name: align, train: [projector], data: {{files: [captions.json], template: plain, aspect: {aspect}}}, "
                            "steps: 8, batch: 3, rate: 1.0e-2")
                steps, aligned = self.run_stages(f"{family}-align", first("model"))
                self.learns(steps, 2)
                was, now = (read_tensors(folder / "model.safetensors") for folder in (base, aligned))
                changed = self.changed(was, now)
                self.assertTrue(changed and all(name.startswith("multi_modal_projector.") for name in changed), changed)
                second = (f"name: tune, {ALL}, data: {{files: [conversations.json], template: {template}, group_by_length: true}}, "
                          "steps: 12, batch: 4, micro_batch: 2, rate: 3.0e-3, vision_tower_rate: 1.0e-3")
                steps, tuned = self.run_stages(f"{family}-both", first("crop"), second)  # one tile, then all of them
                self.assertEqual(sum(step["bad"] + step["masked"] for step in steps), 0)
                self.learns(steps[8:], 3)
                changed = self.changed(was, read_tensors(tuned / "model.safetensors"))
                self.assertEqual("image_newline" in changed, family in TILED)
                self.assertTrue(any(name.startswith("vision_tower.") for name in changed))
                self.assertEqual((tuned / "preprocessor_config.json").read_bytes(), (base / "preprocessor_config.json").read_bytes())
                self.answers(tuned, family)

    def test_adapters_learn_and_leave_the_base_as_it_was_until_their_end(self):
        for family, products in (("next_mistral", 7), ("onevision", 7), ("llava_phi3", 4)):
            with self.subTest(family):
                base = self.base(family)
                self.golden(family)
                steps, published = self.run_stages(
                    f"{family}-lora", "name: tune, train: [projector, decoder], lora: {r: 4, alpha: 8}, "
                    "data: {files: [conversations.json]}, steps: 12, batch: 5, rate: 2.0e-2")
                self.learns(steps, 2)
                changed = self.changed(*(read_tensors(folder / "model.safetensors") for folder in (base, published)))
                self.assertEqual(len([name for name in changed if "_proj." in name]), 2 * products, changed)
                self.assertNotIn("image_newline", changed)
                self.check_kept(base, published)
                self.answers(published, family)
                self.call("export", self.folder / f"{family}-lora.yaml", "--peft", self.folder / f"{family}-adapter")

    def learns(self, steps, epoch):
        """The loss of the last epoch, of so many steps, is less than that of the first one."""
        losses = [step["loss"] for step in steps]
        self.assertLess(np.mean(losses[-epoch:]), np.mean(losses[:epoch]), losses)

    def changed(self, was, now):
        """Names of the weights that are others; those of the tower have one level more in what is published."""
        def ours(name):
            return name.replace("vision_tower.", "vision_tower.vision_model.") if "vision_model" not in name else name
        was = {ours(name): words for name, words in was.items()}
        self.assertEqual(set(was), set(now))
        return {name for name in was if not np.array_equal(was[name], now[name])}

    def served(self, folder, family):
        """[(case, its answer's ids, tokens of its prompt)], of a daemon."""
        cases = json.loads((FAMILIES / family / "golden.json").read_text())["cases"]
        with Daemon(checkpoint=folder, config="dtype: float32\n") as daemon, daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            return [(case, *over_grpc(stub, case)[:2]) for case in cases]

    def answers(self, folder, family):
        for case, ids, _ in self.served(folder, family):
            self.assertEqual(len(ids), len(case["answer_ids"]))

    def test_what_learned_nothing_is_published_as_it_was(self):
        """Its answers are those that transformers gives with the base."""
        for family in TEMPLATES:
            with self.subTest(family):
                base, golden = self.base(family), self.golden(family)
                _, published = self.run_stages(f"{family}-still", f"name: still, {ALL}, steps: 1, "
                                               f"batch: {len(golden['rows'])}, rate: 0.0")
                self.check_kept(base, published)
                for case, ids, prompt_tokens in self.served(published, family):
                    self.assertEqual(prompt_tokens, len(case["prompt_ids"]))
                    self.assertEqual(ids, case["answer_ids"], case["name"])

    def test_transformers_loads_what_is_published_and_has_the_same_logits(self):
        python = os.environ.get("PARITY_PYTHON") or ROOT / ".deps/parity-venv/bin/python"
        if not Path(python).exists():
            self.skipTest("scripts/parity has made no environment with transformers here")
        calls = []
        for family in TEMPLATES:
            base, golden = self.base(family), self.golden(family)
            _, published = self.run_stages(f"{family}-tuned", f"name: tune, {ALL}, steps: 3, batch: {len(golden['rows'])}, "
                                           "rate: 1.0e-3")
            self.check_kept(base, published)
            for case in json.loads((FAMILIES / family / "golden.json").read_text())["cases"]:
                if case["name"] in COMPARED:
                    calls.append(["--llavad", str(LLAVAD), str(published), *(str(IMAGES / image) for image in case["images"]),
                                  case["prompt"]])
        done = subprocess.run([python, "-c", PARITY, ROOT / "scripts", json.dumps(calls)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("ok   greedy ids"), len(calls), done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)

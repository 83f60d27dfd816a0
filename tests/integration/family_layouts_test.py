"""Checkpoints of every family as older and newer programs have saved them: other names of the tensors, and in shards."""
import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import CHECKPOINT, PROGRAM
from families_test import FAMILIES
from published import read_tensors, write_tensors

CASES = ("two",)


def before_4_52(name):
    return re.sub(r"^vision_tower\.", "vision_tower.vision_model.", name)


def transformers_5(name):
    if name == "language_model.lm_head.weight":
        return "lm_head.weight"
    return "model." + re.sub(r"^language_model\.model\.", "language_model.", name)


def since_4_52(name):
    return re.sub(r"^model\.vision_tower\.", "model.vision_tower.vision_model.", transformers_5(name))


LAYOUTS = {"before 4.52": before_4_52, "since 4.52": since_4_52, "transformers 5": transformers_5}


class FamilyLayoutsTest(unittest.TestCase):
    def rewritten(self, family, root, rename, shards):
        """The family's checkpoint with other names, in so many files."""
        folder = Path(root) / "checkpoint"
        shutil.copytree(FAMILIES / family / "checkpoint", folder)
        if not (folder / "tokenizer.json").exists():
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(CHECKPOINT / file, folder)
        tensors = {rename(name): array for name, array in read_tensors(folder / "model.safetensors").items()}
        if shards == 1:
            write_tensors(folder / "model.safetensors", tensors)
            return folder
        (folder / "model.safetensors").unlink()
        index, names = {}, sorted(tensors)
        for number in range(shards):
            file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            part = names[number::shards]
            write_tensors(folder / file, {name: tensors[name] for name in part})
            index |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        return folder

    def check(self, family):
        cases = [case for case in json.loads((FAMILIES / family / "golden.json").read_text())["cases"] if case["name"] in CASES]
        for number, (layout, rename) in enumerate(LAYOUTS.items()):
            with self.subTest(family, layout=layout), tempfile.TemporaryDirectory() as root:
                folder = self.rewritten(family, root, rename, shards=1 + 2 * (number % 2))
                for case in cases:
                    command = [PROGRAM, "generate", folder, "--prompt", case["question"], "--json", "--ignore-eos", "--dtype",
                               "float32", "--max-tokens", str(len(case["answer_ids"]))]
                    for image in case["images"]:
                        command += ["--image", FAMILIES / "images" / image]
                    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
                    self.assertEqual(answer["answer_ids"], case["answer_ids"], case["name"])


for family in ("llava_qwen2", "next_mistral", "onevision", "vipllava"):
    setattr(FamilyLayoutsTest, f"test_{family}", lambda self, name=family: self.check(name))


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Stages that are validated with held-out rows: the best weights are published, whatever happens in between, and the report shows it."""
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from PIL import Image
from published import read_tensors
from tensorboard.backend.event_processing import event_accumulator

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
STEPS = 12

RECIPE = """\
name: "<flags> & more"
output: {output}
model: {{checkpoint: {base}}}
save: {{every_steps: 5, keep: 1}}
distributed: {{lost_after_seconds: 20}}
data: {{files: [rows.jsonl], images: pictures, workers: 1}}
stages:
  - name: tune
    train: [projector, decoder]
    lora: {{r: 4, dropout: 0.1}}
    validate: {{{validate}}}
    steps: {steps}
    batch: 4
    micro_batch: 2
    rate: 3.0e-2
    schedule: constant
"""


def row(number):
    colour = ("red", "<b>blue</b>")[number % 2]
    return json.dumps({"id": str(number), "image": f"{number % 10}.png", "conversations": [
        {"from": "human", "value": "<image>\nWhich <i>colour</i>?"}, {"from": "gpt", "value": colour}]}) + "\n"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class ValidationTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "pictures").mkdir()
        generator = random.Random(1)
        for number in range(10):
            Image.new("RGB", (64, 64), tuple(generator.randint(0, 255) for _ in range(3))).save(
                self.folder / "pictures" / f"{number}.png")
        (self.folder / "rows.jsonl").write_text("".join(row(number) for number in range(30)))

    def write(self, output, validate="share: 0.2, every_steps: 3, samples: 3"):
        recipe = self.folder / f"{output}.yaml"
        recipe.write_text(RECIPE.format(output=output, base=ROOT / "demo/checkpoint", validate=validate, steps=STEPS))
        return recipe

    def start(self, recipe, **environment):
        return subprocess.Popen([LLAVA_TRAIN, "run", recipe], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "OMP_NUM_THREADS": "1", **environment})

    def finish(self, recipe):
        with self.start(recipe) as process:
            out, errors = process.communicate(timeout=400)
        self.assertEqual(process.returncode, 0, errors)
        return [json.loads(line) for line in out.splitlines()]

    def lines(self, output):
        lines = [json.loads(line) for line in (self.folder / output / "metrics.jsonl").read_text().splitlines()]
        return ([line for line in lines if "loss" in line], [line for line in lines if "validation_loss" in line])

    def weights(self, output):
        return read_tensors(self.folder / output / "published/latest/model.safetensors")

    def same(self, one, other):
        for key in ("total_step", "loss", "accuracy", "grad_norm"):
            self.assertEqual([line[key] for line in self.lines(one)[0]], [line[key] for line in self.lines(other)[0]])
        for key in ("total_step", "validation_loss", "validation_accuracy", "best", "since_best", "rows", "samples_asked"):
            self.assertEqual([line[key] for line in self.lines(one)[1]], [line[key] for line in self.lines(other)[1]])
        ours, theirs = self.weights(one), self.weights(other)
        self.assertTrue(all((ours[name] == theirs[name]).all() for name in ours))

    def test_the_best_weights_are_published_and_the_report_shows_why(self):
        printed = self.finish(self.write("run"))
        steps, validations = self.lines("run")
        self.assertEqual([line["total_step"] for line in steps], list(range(1, STEPS + 1)))
        self.assertEqual([line["total_step"] for line in validations], [3, 6, 9, 12])
        self.assertEqual([line for line in printed if "validation_loss" in line], validations)
        self.assertTrue(all(line["rows"] == 6 and len(line["samples_asked"]) == 3 for line in validations), validations)
        best = min(validations, key=lambda line: line["validation_loss"])
        manifest = json.loads((self.folder / "run/published/latest/manifest.json").read_text())
        self.assertIn(f"the weights after step {best['step']} of {STEPS}", manifest["selection"])

        events = event_accumulator.EventAccumulator(str(self.folder / "run/tensorboard"))
        events.Reload()
        self.assertEqual([event.step for event in events.Scalars("validation/loss")], [3, 6, 9, 12])
        for event, line in zip(events.Scalars("validation/loss"), validations):
            self.assertAlmostEqual(event.value, line["validation_loss"], places=5)

        report = (self.folder / "run/report.html").read_text()
        for expected in ("&lt;flags&gt; &amp; more", "Which &lt;i&gt;colour&lt;/i&gt;?", "data:image/jpeg;base64,",
                         "<h2>Loss</h2>", "<h2>Share of the time waiting for data</h2>", "<h2>Gradient norm</h2>"):
            self.assertIn(expected, report)
        for never in ("<script", "http://", "https://", "<b>blue", "<i>colour"):
            self.assertNotIn(never, report)
        self.assertEqual(len(re.findall('class="sample"', report)), 3)

    def test_killed_and_stopped_it_goes_on_to_the_same_bits(self):
        self.finish(self.write("whole"))
        for how, after in ((signal.SIGKILL, 2), (signal.SIGKILL, 9), (signal.SIGTERM, 4)):
            with self.subTest(how, after=after):
                output = f"{how.name.lower()}-{after}"
                recipe = self.write(output)
                with self.start(recipe) as process:
                    for _ in range(after):
                        self.assertTrue(process.stdout.readline())
                    process.send_signal(how)
                    process.communicate(timeout=120)
                self.assertEqual(process.returncode, -9 if how == signal.SIGKILL else 75)
                self.finish(recipe)
                self.same(output, "whole")

    def test_two_ranks_validate_the_same(self):
        recipes = [self.write(name) for name in ("one", "two")]
        for path in recipes:  # what dropout draws differs between numbers of ranks
            path.write_text(path.read_text().replace("dropout: 0.1", "dropout: 0"))
        self.finish(recipes[0])
        recipe = recipes[1]
        port = str(free_port())
        ranks = [self.start(recipe, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                            MASTER_PORT=port) for rank in range(2)]
        for rank in ranks:
            _, errors = rank.communicate(timeout=400)
            self.assertEqual(rank.returncode, 0, errors)
        alone, shared = self.lines("one")[1], self.lines("two")[1]
        for ours, theirs in zip(alone, shared, strict=True):
            self.assertEqual(ours["rows"], theirs["rows"])
            self.assertAlmostEqual(ours["validation_loss"], theirs["validation_loss"], places=3)

    def test_patience_ends_a_stage(self):
        self.finish(self.write("run", "share: 0.2, every_steps: 1, samples: 0, patience: 1"))
        steps, validations = self.lines("run")
        self.assertEqual(len(steps), len(validations))
        if len(steps) < STEPS:
            self.assertEqual(validations[-1]["since_best"], 1)
        self.assertTrue(all(line["best"] for line in validations[:-1]), validations)

    def test_a_file_of_its_own_is_an_input(self):
        held_out = self.folder / "held-out.jsonl"
        held_out.write_text(row(3) + row(4))
        recipe = self.write("run", "file: held-out.jsonl, every_steps: 3")
        with self.start(recipe) as process:
            for _ in range(6):
                process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75)
        held_out.write_text(row(3))
        with self.start(recipe) as process:
            _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 1)
        self.assertIn("held-out.jsonl: SHA-256 was", errors)
        held_out.write_text(row(3) + row(4))
        self.finish(recipe)
        self.assertTrue(all(line["rows"] == 2 for line in self.lines("run")[1]))


if __name__ == "__main__":
    unittest.main(verbosity=2)

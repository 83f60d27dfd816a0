#!/usr/bin/env python3
"""A user's own data, from a folder of pictures to changed answers: check, run a ten-line recipe, look at the run's folder,
ask the published checkpoint, and ask transformers the same.

Usage: own_data_test.py LLAVA_TRAIN LLAVAD CHECKPOINT. transformers is asked where scripts/parity has made its environment.
"""
import json
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

from PIL import Image, ImageDraw
from tensorboard.backend.event_processing import event_accumulator

ROOT = Path(__file__).resolve().parent.parent.parent
LLAVA_TRAIN, LLAVAD, CHECKPOINT = (Path(argument).resolve() for argument in sys.argv[1:4])
QUESTION = "Whose flag is this?"
OWNERS = {"Ursula": (200, 30, 40), "Okonkwo": (30, 60, 200)}
SEED = 11
STEPS = 60
PROMPT = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
          f"polite answers to the user's questions. USER: <image>\n{QUESTION} ASSISTANT:")

RECIPE = """\
name: flags
output: run
model: {checkpoint: %s}
data: {files: [data/flags.json], images: data/pictures, max_bad_share: 0.4}
stages:
  - name: tune
    train: [projector, decoder]
    steps: %d
    batch: 8
    rate: 1.0e-3
"""

STEP_FIELDS = {"stage", "step", "stage_steps", "total_step", "loss", "grad_norm", "rate", "tokens_per_second",
               "samples_per_second", "padding_share", "memory_bytes", "seconds_left", "bad", "masked", "truncated"}


def draw_flag(colour, generator):
    """A flag of that colour on a grey ground, somewhere, in some size."""
    picture = Image.new("RGB", (120, 96), (generator.randint(150, 230),) * 3)
    left, top = generator.randint(0, 30), generator.randint(0, 25)
    shade = tuple(min(255, max(0, c + generator.randint(-20, 20))) for c in colour)
    ImageDraw.Draw(picture).rectangle((left, top, left + generator.randint(50, 85), top + generator.randint(40, 65)), fill=shade)
    return picture


def talk(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def bad_rows():
    """(row, what the message about it says): each is wrong in its own way."""
    asked = "<image>\n" + QUESTION
    return [
        ({"id": "no-picture", "image": "lost.png", "conversations": talk(asked, "Ursula")}, "image is 'lost.png'"),
        ({"id": "no-image-file", "image": "notes.png", "conversations": talk(asked, "Ursula")}, "notes.png"),
        ({"id": "cut-off", "image": "cut-off.png", "conversations": talk(asked, "Ursula")}, "cut-off.png"),
        ({"id": "outside", "image": "../secret.png", "conversations": talk(asked, "Ursula")}, "inside the images folder"),
        ({"id": "no-talk", "image": "0.png"}, "conversations is missing"),
        ({"id": "no-answer", "image": "0.png", "conversations": talk(asked, "x")[:1]}, "ends with the human"),
        ({"id": "robot", "image": "0.png", "conversations": [{"from": "robot", "value": "hm"}]}, '"robot"'),
        ({"id": "empty", "image": "0.png", "conversations": talk(asked, "")}, "expected a text that is not empty"),
        ({"id": "two-marks", "image": "0.png", "conversations": talk("<image><image>", "Ursula")}, "has 2 <image> for 1"),
        ({"id": "wrong-key", "images": ["0.png"], "conversations": talk(QUESTION, "Ursula")}, "images"),
        ("a row that is no object", "expected an object"),
    ]


def write_data(folder):
    """20 good rows and one of each bad kind between them; returns the messages to expect, by line."""
    generator = random.Random(SEED)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rows, expected = [], {}
    for number in range(20):
        owner = list(OWNERS)[number % 2]
        draw_flag(OWNERS[owner], generator).save(pictures / f"{number}.png")
        rows.append({"id": f"flag-{number}", "image": f"{number}.png", "conversations": talk("<image>\n" + QUESTION, owner)})
    (pictures / "notes.png").write_text("not a picture")
    (pictures / "cut-off.png").write_bytes((pictures / "1.png").read_bytes()[:80])
    for place, (row, message) in enumerate(bad_rows()):
        rows.insert(2 * place + 1, row)
    lines = ["["]
    for row in rows:
        for bad, message in bad_rows():
            if bad == row:
                expected[len(lines) + 1] = message
        lines.append(json.dumps(row) + ("," if row is not rows[-1] else ""))
    (folder / "flags.json").write_text("\n".join(lines + ["]"]) + "\n")
    return expected


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **options)


def ask(checkpoint, picture):
    """Greedy ids and text of the answer."""
    answer = run(LLAVAD, "generate", checkpoint, "--image", picture, "--prompt", QUESTION, "--max-tokens", 12, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


class OwnDataTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("seed", SEED)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        cls.expected = write_data(cls.folder / "data")
        cls.recipe = cls.folder / "recipe.yaml"
        cls.recipe.write_text(RECIPE % (CHECKPOINT, STEPS))
        cls.messages, cls.steps = cls.interrupt_and_finish()
        cls.published = (cls.folder / "run" / "published" / "latest").resolve()

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def interrupt_and_finish(cls):
        """The run is asked to stop after some steps, and started again."""
        with open(cls.folder / "messages", "w+", encoding="utf-8") as messages:
            with subprocess.Popen([LLAVA_TRAIN, "run", cls.recipe], stdout=subprocess.PIPE, stderr=messages,
                                  text=True) as first:
                lines = [first.stdout.readline() for _ in range(5)]
                first.send_signal(signal.SIGTERM)
                lines += first.stdout.readlines()
            assert first.returncode == 75, first.returncode
            second = subprocess.run([LLAVA_TRAIN, "run", cls.recipe], stdout=subprocess.PIPE, stderr=messages, text=True,
                                    timeout=280, check=False)
            messages.seek(0)
            text = messages.read()
            assert second.returncode == 0, text
        return text, [json.loads(line) for line in lines + second.stdout.splitlines()]

    def test_check_names_every_bad_row(self):
        data = self.folder / "data"
        checked = run(LLAVA_TRAIN, "check", data / "flags.json", "--images", data / "pictures", "--checkpoint", CHECKPOINT)
        self.assertEqual(checked.returncode, 1, checked.stderr)
        for line, message in self.expected.items():
            named = [text for text in checked.stdout.splitlines() if f"flags.json:{line}: " in text]
            self.assertEqual(len(named), 1, f"line {line}: {checked.stdout}")
            self.assertIn(message, named[0])
        self.assertRegex(checked.stdout, r"rows +31, 11 bad \(35\.48%\)")
        self.assertIn("11 bad", checked.stdout)
        self.assertEqual(run(LLAVA_TRAIN, "check", data / "flags.json", "--images", data / "pictures", "--max-bad-share",
                             0.4).returncode, 0)

    def test_bad_rows_are_named_and_left_out_or_stop_the_run(self):
        for line, message in self.expected.items():
            self.assertIn(f"flags.json:{line}: ", self.messages)
            self.assertIn(message, self.messages)
        strict = self.folder / "strict.yaml"
        strict.write_text(self.recipe.read_text().replace("share: 0.4}", "share: 0.4, on_bad_row: stop}").replace("run\n", "strict\n"))
        stopped = run(LLAVA_TRAIN, "run", strict)
        self.assertEqual(stopped.returncode, 1)
        self.assertIn("flags.json:", stopped.stderr)

    def test_every_step_tells_everything(self):
        self.assertEqual([step["step"] for step in self.steps], list(range(1, STEPS + 1)))
        for step in self.steps:
            self.assertLessEqual(STEP_FIELDS, step.keys())
        self.assertLess(self.steps[-1]["loss"], 0.2 * self.steps[0]["loss"])
        self.assertEqual(self.steps[-1]["seconds_left"], 0)
        self.assertGreater(self.steps[-1]["memory_bytes"], 1 << 20)
        self.assertEqual((self.folder / "run" / "metrics.jsonl").read_text().count("\n"), STEPS)

    def test_a_terminal_gets_a_bar(self):
        short = self.folder / "short.yaml"
        short.write_text(self.recipe.read_text().replace("run\n", "short\n").replace(f"steps: {STEPS}", "steps: 2"))
        ours, theirs = pty.openpty()
        with subprocess.Popen([LLAVA_TRAIN, "run", short], stdout=theirs, stderr=subprocess.DEVNULL) as process:
            os.close(theirs)
            seen = b""
            try:
                while piece := os.read(ours, 4096):
                    seen += piece
            except OSError:  # the terminal's other end is closed
                pass
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(seen.decode(), r"\rtune \[#{12}\.{12}\] 1/2  loss [0-9.]+ .*tokens/s .*\rtune \[#{24}\] 2/2 ")
        self.assertNotIn(b"{", seen)

    def test_metrics_are_served(self):
        short = self.folder / "served.yaml"
        short.write_text(self.recipe.read_text().replace("run\n", "served\n"))
        with subprocess.Popen([LLAVA_TRAIN, "run", short, "--metrics", "127.0.0.1:0"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            port = process.stderr.readline().split()[-1]
            process.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as page:
                text = page.read().decode()
            process.kill()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        self.assertGreaterEqual(float(values["llava_training_steps_total"]), 1)
        self.assertGreater(float(values["llava_training_tokens_total"]), 100)
        self.assertGreater(float(values["llava_training_loss"]), 0)
        self.assertEqual(values["llava_training_step_seconds_count"], values["llava_training_steps_total"])

    def test_tensorboard_reads_the_events(self):
        events = event_accumulator.EventAccumulator(str(self.folder / "run" / "tensorboard"))
        events.Reload()
        self.assertLessEqual({"loss", "grad_norm", "rate", "tokens_per_second"}, set(events.Tags()["scalars"]))
        losses = events.Scalars("loss")
        self.assertEqual([loss.step for loss in losses], list(range(1, STEPS + 1)))
        for read, step in zip(losses, self.steps):
            self.assertAlmostEqual(read.value, step["loss"], delta=1e-6 * max(1, step["loss"]))

    def test_the_loss_curve_is_a_picture(self):
        with Image.open(self.folder / "run" / "loss.png") as curve:
            self.assertGreaterEqual(curve.width, 600)
            self.assertGreater(len(curve.convert("RGB").getcolors(1 << 24)), 4)

    def test_the_answers_have_changed(self):
        generator = random.Random(SEED + 1)
        for owner, colour in OWNERS.items():
            for _ in range(3):
                picture = self.folder / "new.png"
                draw_flag(colour, generator).save(picture)
                self.assertEqual(ask(self.published, picture)["text"].strip(), owner)
                self.assertNotEqual(ask(CHECKPOINT, picture)["text"].strip(), owner)

    def test_the_manifest_says_where_it_comes_from(self):
        manifest = json.loads((self.published / "manifest.json").read_text())
        self.assertEqual(manifest["recipe"], self.recipe.read_text())
        self.assertEqual(manifest["step"], STEPS)
        self.assertEqual(len(manifest["parent"]), 64)
        self.assertEqual(len(manifest["data_fingerprint"]), 64)

    def test_transformers_gives_the_same_answer(self):
        if not os.environ.get("PARITY_PYTHON") and not (ROOT / ".deps" / "parity-venv" / "stamp").exists():
            self.skipTest("scripts/parity has made no environment with transformers here")
        picture = self.folder / "asked.png"
        draw_flag(OWNERS["Okonkwo"], random.Random(SEED + 2)).save(picture)
        compared = run(ROOT / "scripts" / "parity", self.published, picture, PROMPT,
                       "--max-tokens", 12, env={**os.environ, "LLAVAD": str(LLAVAD)})
        print(compared.stdout)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

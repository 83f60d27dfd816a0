"""llava-train run over a stop, a finish and the changes that happen in between: what is published is what its manifest says."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
BASE = ROOT / "demo" / "checkpoint"
STEPS = 16

RECIPE = """\
name: records
output: run
model: {checkpoint: base}
save: {every_steps: 4, keep: 2}
data: {files: [rows.jsonl], images: pictures, workers: 1}
%sstages:
  - {name: tune, train: [projector], steps: %d, batch: 2, rate: 1.0e-3}
"""


def row(number, answer="red"):
    return json.dumps({"id": str(number), "image": f"{number % 8}.png", "conversations": [
        {"from": "human", "value": "<image>\nWhich colour?"}, {"from": "gpt", "value": answer}]}) + "\n"


def draw(path, seed):
    generator = random.Random(seed)
    Image.new("RGB", (64, 64), tuple(generator.randint(0, 255) for _ in range(3))).save(path)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class RecordsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "pictures").mkdir()
        for number in range(8):
            draw(self.folder / "pictures" / f"{number}.png", number)
        self.rows = self.folder / "rows.jsonl"
        self.rows.write_text("".join(row(number) for number in range(24)))
        (self.folder / "base").symlink_to(BASE)
        self.write_recipe()

    def write_recipe(self, more="", steps=STEPS):
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(RECIPE % (more, steps))

    def start(self, *options):
        return subprocess.Popen([LLAVA_TRAIN, "run", self.recipe, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def run_to_end(self, *options):
        """(exit code, steps, messages)"""
        with self.start(*options) as process:
            out, errors = process.communicate(timeout=240)
        return process.returncode, [json.loads(line) for line in out.splitlines()], errors

    def stop_after(self, steps, by=signal.SIGTERM):
        with self.start() as process:
            for _ in range(steps):
                self.assertTrue(process.stdout.readline(), process.stderr.read() if process.poll() else "")
            process.send_signal(by)
            process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75)

    def versions(self):
        return sorted(path for path in (self.folder / "run" / "published").glob("v0*"))

    def manifest(self, folder):
        return json.loads((folder / "manifest.json").read_text())

    def latest(self):
        return (self.folder / "run" / "published" / "latest").resolve()

    def test_appended_rows_are_trained_before_they_are_recorded(self):
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, len(steps)), (0, STEPS), errors)
        first = self.latest()
        self.assertFalse((self.folder / "run" / "checkpoint").exists())
        code, steps, errors = self.run_to_end()  # nothing has changed
        self.assertEqual((code, steps, len(self.versions())), (0, [], 1), errors)
        self.rows.write_text(self.rows.read_text() + row(24, "blue"))
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, len(steps)), (0, STEPS), errors)
        self.assertIn("rows.jsonl: SHA-256 was", errors)
        second = self.latest()
        self.assertNotEqual(digest(first / "model.safetensors"), digest(second / "model.safetensors"))
        self.assertEqual(self.manifest(second)["data_fingerprint"], digest(self.rows))
        self.assertTrue((self.folder / "run" / "anew-2" / "metrics.jsonl").exists())

    def test_a_link_that_moved_changes_nothing_of_a_run(self):
        whole = self.run_to_end()
        expected = self.manifest(self.latest())
        shutil.rmtree(self.folder / "run")
        self.stop_after(5)
        other = self.folder / "other"
        shutil.copytree(BASE, other)
        weights = bytearray((other / "model.safetensors").read_bytes())
        weights[-2000] ^= 64
        (other / "model.safetensors").write_bytes(weights)
        (self.folder / "base").unlink()
        (self.folder / "base").symlink_to(other)
        code, _, errors = self.run_to_end()
        self.assertEqual(code, 0, errors)
        self.assertIn("which it began with", errors)
        manifest = self.manifest(self.latest())
        self.assertEqual(manifest["files"], expected["files"], whole[2])
        self.assertEqual(manifest["parent"], digest(BASE / "manifest.json"))

    def refused(self, *names):
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, steps), (1, []), errors)
        for name in names:
            self.assertIn(name, errors)
        self.assertEqual(self.versions(), [])

    def test_what_was_replaced_between_stop_and_resume_is_named(self):
        self.stop_after(5)
        before = self.rows.read_text()
        self.rows.write_text(before.replace("red", "tan"))
        self.refused(str(self.rows), digest(self.rows), "--accept-changed-data")
        self.rows.write_text(before)
        for number in range(8):
            draw(self.folder / "pictures" / f"{number}.png", 100 + number)
        self.refused("pictures/", "--accept-changed-data")
        code, _, errors = self.run_to_end("--accept-changed-data")
        self.assertEqual(code, 0, errors)

    def test_a_run_in_the_folder_of_the_data_leaves_it_as_it_is(self):
        self.recipe.write_text(self.recipe.read_text().replace("output: run", "output: ."))
        self.refused("/pictures: was not made by a run")
        self.assertEqual(len(list((self.folder / "pictures").iterdir())), 8)

    def test_a_run_whose_states_were_removed_publishes_what_it_trains(self):
        self.assertEqual(self.run_to_end()[0], 0)
        first = self.latest()
        shutil.rmtree(self.folder / "run" / "state")
        self.rows.write_text(self.rows.read_text().replace("red", "tan"))
        code, steps, errors = self.run_to_end("--until", "train")
        self.assertEqual((code, len(steps)), (0, STEPS), errors)
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, steps), (0, []), errors)
        self.assertNotEqual(self.latest(), first)
        self.assertEqual(self.manifest(self.latest())["data_fingerprint"], digest(self.rows))

    def test_a_terminal_that_goes_away_stops_the_run(self):
        self.stop_after(5, by=signal.SIGHUP)
        code, steps, errors = self.run_to_end()
        self.assertEqual(code, 0, errors)
        self.assertLess(len(steps), STEPS)

    def test_pictures_that_vanish_end_the_run(self):
        self.write_recipe(steps=2000)
        with self.start() as process:
            process.stdout.readline()
            (self.folder / "pictures").rename(self.folder / "away")
            out, errors = process.communicate(timeout=240)
        self.assertEqual(process.returncode, 1, errors)
        self.assertLess(len(out.splitlines()), 1900)
        self.assertIn("max_bad_share", errors)
        self.assertLessEqual(errors.count("no such file"), 9)
        self.assertEqual(self.versions(), [])
        (self.folder / "away").rename(self.folder / "pictures")
        self.write_recipe(steps=2000)
        self.stop_after(1)  # it goes on

    def test_a_second_run_is_told_who_has_the_folder(self):
        self.write_recipe(steps=2000)
        with self.start() as first:
            first.stdout.readline()
            code, steps, errors = self.run_to_end()
            self.assertEqual((code, steps), (1, []))
            self.assertIn(f"process {first.pid} on ", errors)
            self.assertIn(str(self.folder / "run"), errors)
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=120)
        self.assertEqual(first.returncode, 75)

    def test_all_that_a_recipe_names_is_opened_before_the_first_step(self):
        for what, name in (("file: none.jsonl, images: pictures", "none.jsonl"),
                           ("file: questions.jsonl, images: pictures", "lost.png"),
                           ("file: rows.jsonl, images: pictures, guards: [{file: gone.jsonl}]", "gone.jsonl")):
            (self.folder / "questions.jsonl").write_text(row(0).replace("0.png", "lost.png"))
            self.write_recipe(f"evaluate: {{{what}}}\n")
            code, steps, errors = self.run_to_end()
            self.assertEqual((code, steps), (1, []), errors)
            self.assertIn(name, errors)
            self.assertIn("evaluate", errors)
            shutil.rmtree(self.folder / "run", ignore_errors=True)

    def test_an_evaluation_that_is_stopped_goes_on(self):
        questions = self.folder / "questions.jsonl"
        questions.write_text("".join(row(number).replace("Which", f"{number}: which") for number in range(400)))
        self.write_recipe("evaluate: {file: questions.jsonl, images: pictures}\n", steps=2)
        answers = self.folder / "run" / "answers"

        def count():
            return sum(path.read_text().count("\n") for path in answers.glob("*.jsonl")) if answers.exists() else 0

        with self.start() as process:
            while count() < 3:
                self.assertIsNone(process.poll(), "it should be answering")
                threading.Event().wait(0.01)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertLess(count(), 400)  # it did not answer them all first
        self.assertEqual(self.versions(), [])
        given = count()
        self.assertLess(given, 400)
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, steps, count()), (0, [], 400), errors)
        self.assertGreaterEqual(given, 3)
        evaluation, = self.manifest(self.latest())["evaluations"]
        self.assertEqual((evaluation["questions"], evaluation["benchmark"]), (400, "rows"))

    def test_a_worse_version_does_not_become_the_latest(self):
        self.write_recipe("evaluate: {file: scenes/instruct.jsonl, images: scenes/images}\n", steps=1)
        subprocess.run([LLAVA_TRAIN, "scenes", "--out", self.folder / "scenes", "--count", "12", "--seed", "4", "--level", "one"],
                       check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.run_to_end()[0], 0)
        good = self.latest()
        self.assertGreater(self.manifest(good)["evaluation"]["total"], 0.5)
        self.recipe.write_text(self.recipe.read_text().replace("[projector]", "[projector, decoder]").replace("1.0e-3", "1.0")
                               .replace("steps: 1", "steps: 6"))
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, len(steps)), (3, 6), errors)
        self.assertIn("rejected, the latest version stays", errors)
        self.assertEqual(self.latest(), good)
        worse, = [path for path in self.versions() if path != good]
        self.assertIn("right answers went from", self.manifest(worse)["rejected"])
        self.assertEqual(self.run_to_end()[0], 3)  # said again, done nothing
        self.assertEqual(len(self.versions()), 2)

    def test_a_run_that_was_killed_before_its_record_knows_its_version(self):
        self.write_recipe(steps=1)
        self.assertEqual(self.run_to_end()[0], 0)
        version = self.latest()
        record = self.folder / "run" / "finished.json"
        self.assertFalse((self.folder / "run" / "publishing.json").exists())
        record.rename(self.folder / "run" / "publishing.json")
        code, steps, errors = self.run_to_end()
        self.assertEqual((code, steps, self.versions()), (0, [], [version]), errors)
        self.assertIn("this run has finished", errors)
        self.assertEqual(json.loads(record.read_text())["version"], digest(version / "manifest.json"))

    def test_a_verdict_of_before_stands(self):
        self.write_recipe(steps=1)
        code, _, errors = self.run_to_end("--until", "evaluate")
        self.assertEqual((code, self.versions()), (0, []), errors)
        code, _, errors = self.run_to_end("--rejected=-3 points against the live version")
        self.assertEqual((code, len(self.versions())), (3, 1), errors)
        self.assertEqual(self.manifest(self.versions()[0])["rejected"], "-3 points against the live version")
        self.assertFalse((self.folder / "run" / "published" / "latest").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)

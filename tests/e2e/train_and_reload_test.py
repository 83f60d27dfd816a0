"""The whole loop: llavad serves under load; llava-train trains on new data and publishes to the watched folder; the new
version is a canary, then live, and answers change; nothing fails. Then one that learned shuffled labels is published,
and is rolled back by itself."""
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from published import ROOT, Published  # noqa: E402
from reload_daemon import Llavad, Load  # noqa: E402

TRAIN = os.environ["LLAVA_TRAIN"]
DEMO = ROOT / "demo/checkpoint"
SEED = 7

STAGE = """
stages:
  - {{name: answers, train: [projector, decoder], steps: {steps}, batch: 8, rate: {rate}, warmup_ratio: 0.1,
     data: {{template: serving, split_turns: true, workers: 1, {data}}}}}
"""


class TrainAndReloadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.published = Published(self.folder / "models")

    def train(self, name, steps, rate, data):
        """One run of llava-train from the demo checkpoint, which publishes: the version."""
        recipe = self.folder / f"{name}.yaml"
        recipe.write_text(f"name: {name}\noutput: {self.folder / name}\npublish: {self.published.root}\nseed: {SEED}\n"
                          f"model: {{checkpoint: {DEMO}}}\nsave: {{every_steps: 1000, keep: 1}}\n"
                          "evaluate: {scenes: {count: 4, seed: 5, level: one, turns: 3}, probes: 2, against: nobody}\n"
                          + STAGE.format(steps=steps, rate=rate, data=data))
        subprocess.run([TRAIN, "run", recipe], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        folder = (self.published.root / "latest").resolve()
        manifest = (folder / "manifest.json").read_bytes()
        return hashlib.sha256(manifest).hexdigest()

    def shuffled(self):
        """New pictures whose answers are words drawn from all answers: there is nothing to learn but noise."""
        out = self.folder / "noise"
        subprocess.run([TRAIN, "scenes", "--out", out, "--count", "48", "--seed", str(SEED), "--level", "full"],
                       check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (out / "instruct.jsonl").read_text().splitlines()]
        words = [w for row in rows for turn in row["conversations"][1::2] for w in turn["value"].split()]
        draw = random.Random(SEED)
        for row in rows:
            for turn in row["conversations"][1::2]:
                turn["value"] = " ".join(draw.choice(words) for _ in range(draw.randint(1, 4)))
        (out / "instruct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"files: [{out / 'instruct.jsonl'}], images: {out / 'images'}"

    def test_the_loop(self):
        print("seed", SEED)
        _, first = self.published.publish(base=DEMO)
        config = (f"watch: {self.published.root}\ncanary_percent: 50\ncanary_min_answers: 10\ncanary_answers: 40\n"
                  "canary_slower_percent: 100000\n")
        with Llavad(config).wait_ready() as daemon, Load(daemon, people=3, max_tokens=6) as load:
            load.wait_answers(5)
            second = self.train("better", 12, "2.0e-4", "scenes: {count: 24, seed: 77, level: full, turns: 4}")
            daemon.wait_state(second, "live", seconds=120)
            load.wait_answers(5, second)
            self.assertEqual(daemon.ask()[0], second)
            worse = self.train("worse", 40, "3.0e-3", self.shuffled())
            daemon.wait_state(worse, "rejected", seconds=120)
            print(daemon.versions()[worse].reason)
            self.assertIn("rolled back", daemon.versions()[worse].reason)
            load.wait_answers(5, second)
            states = [state for version, state in daemon.events() if version == worse]
            self.assertIn("canary", states)
            self.assertNotIn("live", states)
        load.check(self)
        self.assertLessEqual({first, second}, {answer[0] for answer in load.answers})
        asked = {}
        for version, question, ids in load.answers:
            asked.setdefault(question, {})[version] = ids
        self.assertTrue(any(ids.get(first) != ids.get(second) for ids in asked.values() if {first, second} <= ids.keys()))


if __name__ == "__main__":
    unittest.main(verbosity=2)

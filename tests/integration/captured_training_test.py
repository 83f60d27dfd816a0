"""From a question to a version that has learned from it, and back: a daemon captures turns, people judge them, llava-train learns
from those that were liked or corrected, the manifest names the shards, and who asks to be forgotten is told of the version."""
import hashlib
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import ROOT, Daemon
from http_requests import CHAT, http, question

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
RECIPE = """\
name: captured
output: run
model: {checkpoint: base}
data:
  captured: {dir: capture, weight: 2}
  workers: 1
%sstages:
  - {name: tune, train: [projector], steps: 2, batch: 2, rate: 1.0e-3}
"""
OTHER = "  files: [rows.jsonl]\n  images: pictures\n"


class CapturedTrainingTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "base").symlink_to(ROOT / "demo/checkpoint")
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(RECIPE % "")

    def daemon(self):
        return Daemon(config=f"capture_dir: {self.folder}/capture\ncapture_pictures: [default]\n")

    def chat(self, daemon, text, *pictures):
        body = {"messages": question(text, *pictures), "max_tokens": 8}
        status, _, answer = http(daemon, CHAT, body)
        self.assertEqual(status, 200, answer)
        return json.loads(answer)["id"]

    def judge(self, daemon, answer, verdict, **more):
        self.assertEqual(http(daemon, "/v1/feedback", {"id": answer, "verdict": verdict, **more})[0], 200)

    def forget(self, answer):
        """What the daemon says, started again."""
        with self.daemon() as daemon:
            status, _, said = http(daemon, f"/v1/feedback/{answer}", method="DELETE")
            self.assertEqual(status, 200, said)
            return json.loads(said)

    def train(self, command="run", code=0):
        ran = subprocess.run([LLAVA_TRAIN, command, self.recipe], capture_output=True, text=True, timeout=240,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.assertEqual(ran.returncode, code, ran.stdout + ran.stderr)
        return ran.stderr

    def published(self, run="run"):
        """(version, manifest) of what the run published."""
        text = (self.folder / run / "published/latest/manifest.json").read_bytes()
        return hashlib.sha256(text).hexdigest(), json.loads(text)

    def test_what_was_liked_is_learned_and_what_is_to_be_forgotten_is_traced(self):
        with self.daemon() as daemon:
            liked = self.chat(daemon, "Which colour?", "gray.png")
            corrected = self.chat(daemon, "How many?", "landscape.png")
            bad = self.chat(daemon, "Why?")
            self.judge(daemon, liked, "up", correction="Grey.")  # the fake model's answers are cut
            self.judge(daemon, corrected, "down", correction="Two.")
            self.judge(daemon, bad, "down")
        said = self.train()
        self.assertIn("capture: 2 of 3 captured rows: 0 with a thumb up, 2 corrected, 1 with a thumb down", said)
        shard, = (self.folder / "capture/shards").iterdir()
        checked = subprocess.run([LLAVA_TRAIN, "check", shard / "rows.jsonl", "--images", shard / "pictures"], capture_output=True, text=True)
        self.assertRegex(checked.stdout, r"rows +3\b", "a shard is a data set of its own")
        version, manifest = self.published()
        self.assertEqual(manifest["captured"], [{"shard": shard.name, "rows": 2,
                                                 "sha256": hashlib.sha256((shard / "rows.jsonl").read_bytes()).hexdigest()}])
        taken, = (self.folder / "run/captured").iterdir()
        rows = [json.loads(line) for line in (taken / "rows.jsonl").read_text().splitlines()]
        self.assertEqual([row["conversations"][-1]["value"] for row in rows], ["Grey.", "Two."])
        self.assertIn("this run has finished", self.train(), "nothing has changed")

        before = (shard / "rows.jsonl").read_bytes()
        forgotten = self.forget(liked)
        self.assertEqual((forgotten["rows_deleted"], forgotten["rows_kept"], forgotten["versions"], forgotten["runs"]), (0, 1, [version], 1))
        self.assertEqual((shard / "rows.jsonl").read_bytes(), before, "the manifest names its digest")

        said = self.train()  # the rows are others now
        self.assertIn("1 of 3 captured rows", said)
        self.assertIn("1 because they are to be forgotten", said)
        again, = (self.folder / "run/anew-2/captured").iterdir()
        self.assertNotIn("Grey.", (again / "rows.jsonl").read_text())

    def test_what_was_not_trained_on_is_deleted(self):
        with self.daemon() as daemon:
            liked = self.chat(daemon, "Which colour?", "gray.png")
            other = self.chat(daemon, "Why?")
            self.judge(daemon, other, "up", correction="Because.")
        self.assertIn("Why?", self.plan_sees())
        forgotten = self.forget(liked)
        self.assertEqual((forgotten["rows_deleted"], forgotten["rows_kept"], forgotten["versions"]), (1, 0, []))
        self.assertEqual(list(self.folder.glob("capture/shards/*/pictures/*")), [])

    def plan_sees(self):
        """A plan reads the rows, but nothing has learned from them."""
        self.train("plan")
        return "".join(path.read_text() for path in self.folder.glob("capture/shards/*/rows.jsonl"))

    def test_without_rows_of_the_wanted_verdicts_it_is_said_so_unless_there_are_others(self):
        with self.daemon() as daemon:
            self.chat(daemon, "Which colour?", "gray.png")
        self.assertIn("has no closed shard with a row of the wanted verdicts", self.train(code=1))
        (self.folder / "pictures").mkdir()
        row = {"id": "1", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}
        (self.folder / "rows.jsonl").write_text((json.dumps(row) + "\n") * 4)
        self.recipe.write_text(RECIPE % OTHER)
        self.assertIn("0 of 1 captured rows", self.train())
        self.assertNotIn("captured", self.published()[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)

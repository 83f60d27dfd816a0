"""Verdicts alone make a night: a daemon captured turns long ago, people judge them now, and `llava-train serve` makes a job of it."""
import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import ROOT, Daemon, wait_until
from http_requests import CHAT, http, question

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
SERVE = """\
listen: 127.0.0.1:0
folder: jobs
trigger_seconds: 1
triggers:
  - {name: verdicts, watch: shards, recipe: retrain.yaml, min_new_rows: 2, retries: 0}
"""
RETRAIN = """\
name: captured
output: run
model: {checkpoint: %s/demo/checkpoint}
data:
  mixture: ${MIXTURE}
  captured: {dir: %s/capture}
  workers: 1
stages:
  - {name: tune, train: [projector], steps: 2, batch: 2, rate: 1.0e-3}
"""


class VerdictNightsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "shards").mkdir()
        (self.folder / "serve.yaml").write_text(SERVE)
        (self.folder / "retrain.yaml").write_text(RETRAIN % (ROOT, self.folder))

    def daemon(self):
        return Daemon(config=f"capture_dir: {self.folder}/capture\ncapture_texts: [default]\n")

    def chat(self, daemon, text):
        status, _, answer = http(daemon, CHAT, {"messages": question(text), "max_tokens": 8})
        self.assertEqual(status, 200, answer)
        return json.loads(answer)["id"]

    def correct(self, daemon, answer, words):
        body = {"id": answer, "verdict": "down", "correction": words}
        self.assertEqual(http(daemon, "/v1/feedback", body)[0], 200)

    def serve(self):
        self.log = open(self.folder / "service.log", "ab")
        self.service = subprocess.Popen([LLAVA_TRAIN, "serve", "--config", self.folder / "serve.yaml"], stdout=subprocess.PIPE,
                                        stderr=self.log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.addCleanup(self.end)
        self.assertTrue(self.service.stdout.readline(), self.said())

    def end(self):
        if self.service.poll() is None:
            self.service.send_signal(signal.SIGTERM)
            self.service.wait(timeout=60)
        self.service.stdout.close()
        self.log.close()

    def said(self):
        return (self.folder / "service.log").read_text()

    def learned(self, job):
        """The answers that the job's version has learned."""
        published = self.folder / "jobs" / str(job) / "run/published/latest/manifest.json"
        log = self.folder / "jobs" / str(job) / "log"
        wait_until(published.exists, lambda: self.said() + (log.read_text() if log.exists() else "there is no job"), 200)
        taken, = (self.folder / "jobs" / str(job) / "run/captured").iterdir()
        rows = [json.loads(line) for line in (taken / "rows.jsonl").read_text().splitlines()]
        self.assertEqual(sum(shard["rows"] for shard in json.loads(published.read_text())["captured"]), len(rows))
        return {row["conversations"][-1]["value"] for row in rows}

    def test_a_night_is_made_of_verdicts_on_rows_that_are_long_there(self):
        with self.daemon() as daemon:
            answers = [self.chat(daemon, text) for text in ("Which?", "How many?", "Why?", "Who?")]
        shard, = (self.folder / "capture/shards").iterdir()
        rows = (shard / "rows.jsonl").read_bytes()
        self.serve()
        with self.daemon() as daemon:
            self.correct(daemon, answers[0], "This one.")
            self.assertFalse((self.folder / "jobs/1").exists(), "one is less than min_new_rows")
            self.correct(daemon, answers[1], "Two.")
            self.assertEqual(self.learned(1), {"This one.", "Two."})
            # Two rows are others than they were for the first night: one more, and one with other words.
            self.correct(daemon, answers[2], "Because.")
            self.correct(daemon, answers[1], "Three.")
            self.assertEqual(self.learned(2), {"This one.", "Three.", "Because."})
        self.assertEqual((shard / "rows.jsonl").read_bytes(), rows, "no row has come")
        report = (self.folder / "service.log").read_text()
        self.assertEqual(report, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)

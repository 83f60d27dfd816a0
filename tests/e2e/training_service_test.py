#!/usr/bin/env python3
"""llava-train serve as a daemon over real sockets, asked by `llava jobs`: TLS and tokens; killed with SIGKILL while one job runs
and others wait, it finds them all again, and each publishes exactly once what an undisturbed run publishes.

Usage: training_service_test.py LLAVA_TRAIN LLAVA
"""
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LLAVA_TRAIN, LLAVA = (Path(argument).resolve() for argument in sys.argv[1:3])
TOKEN = "a token for this test"

CONFIG = """\
listen: 127.0.0.1:0
metrics: 127.0.0.1:0
folder: jobs
max_running: 1
max_unfinished: 4
tokens: tokens
tls: {certificate: server.pem, key: server.key}
"""

RECIPE = """\
name: served
output: run
seed: 5
model: {from_scratch: %s}
save: {every_steps: 5, keep: 2}
stages:
  - name: tower
    objective: patch_labels
    train: [vision_tower]
    data: {scenes: {count: 8, seed: 3, level: one, turns: 2}, workers: 1}
    steps: %d
    batch: 4
    rate: 1.0e-3
"""


def recipe(steps):
    return RECIPE % (ROOT / "demo" / "architecture", steps)


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "server.key",
                    "-out", "server.pem"], cwd=folder, check=True, capture_output=True)


class Service:
    """The daemon, until it is killed or told to end."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen([LLAVA_TRAIN, "serve", "--config", folder / "serve.yaml"], stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        serving = json.loads(self.process.stdout.readline())
        self.port, self.metrics_port = serving["port"], serving["metrics_port"]

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code

    def command(self, *arguments, token=TOKEN):
        return [LLAVA, "jobs", arguments[0], "--server", f"localhost:{self.port}", "--ca", self.folder / "server.pem",
                "--token", token, *arguments[1:]]

    def ask(self, *arguments, token=TOKEN):
        return subprocess.run(self.command(*arguments, token=token), capture_output=True, text=True, timeout=200, check=False)

    def create(self, text):
        path = self.folder / "recipe.yaml"
        path.write_text(text)
        created = self.ask("create", path)
        assert created.returncode == 0, created.stderr
        return created.stdout.split()[0]

    def wait_for_step(self, job):
        """Until the job has said that it did a step."""
        with subprocess.Popen(self.command("watch", job), stdout=subprocess.PIPE, text=True) as watch:
            for line in watch.stdout:
                if '"step"' in line:
                    watch.kill()
                    return
        raise AssertionError(f"job {job} ended without a step")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=120) as page:
            text = page.read().decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def published(folder, job):
    """The digests of a job's versions' weights."""
    versions = sorted((folder / "jobs" / job / "run" / "published").glob("v*"))
    return [hashlib.sha256((version / "model.safetensors").read_bytes()).hexdigest() for version in versions]


class TrainingServiceTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        make_certificate(self.folder)
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        (self.folder / "tokens").write_text(f"boss admin sha256:{digest}\n")
        (self.folder / "serve.yaml").write_text(CONFIG)
        self.service = Service(self.folder)

    def tearDown(self):
        if self.service.process.poll() is None:
            self.service.end(signal.SIGTERM)
        self.temporary.cleanup()

    def test_killed_it_finds_its_jobs_again(self):
        jobs = [self.service.create(recipe(40)) for _ in range(3)]
        self.service.wait_for_step(jobs[0])
        metrics = self.service.metrics()
        self.assertEqual(metrics['llava_training_jobs{state="running"}'], "1")
        self.assertEqual(metrics['llava_training_jobs{state="queued"}'], "2")
        self.assertIn(f'llava_training_job_step{{job="{jobs[0]}"}}', metrics)
        self.service.end(signal.SIGKILL)
        self.service = Service(self.folder)
        self.assertEqual(len(self.service.ask("list").stdout.splitlines()), 4)  # with the heading
        self.service.wait_for_step(jobs[0])
        self.assertEqual(self.service.end(signal.SIGTERM), 0)  # and once more, politely
        self.service = Service(self.folder)
        for job in jobs:
            watched = self.service.ask("watch", job)
            self.assertEqual(watched.returncode, 0, watched.stdout + watched.stderr)
            self.assertIn("SUCCEEDED", watched.stdout.splitlines()[-1])
            steps = [json.loads(line)["total_step"] for line in
                     (self.folder / "jobs" / job / "run" / "metrics.jsonl").read_text().splitlines()]
            self.assertEqual(steps, list(range(1, 41)))
        weights = [published(self.folder, job) for job in jobs]
        self.assertEqual(len(weights[2]), 1)  # never disturbed
        self.assertEqual(weights, [weights[2]] * 3)

    def test_the_log_is_followed_to_the_end_of_the_job(self):
        job = self.service.create(recipe(20))
        followed = self.service.ask("logs", job, "--follow")
        self.assertEqual(followed.returncode, 0, followed.stderr)
        self.assertEqual(followed.stdout, (self.folder / "jobs" / job / "log").read_text())
        self.assertIn('"total_step":20', followed.stdout.replace(" ", ""))
        self.assertEqual(self.service.ask("logs", job).stdout, followed.stdout)
        self.assertRegex(self.service.ask("list").stdout, r"JOB +STATE +CREATOR .*\n1 +SUCCEEDED +boss ")

    def test_a_job_may_be_cancelled_and_deleted(self):
        job = self.service.create(recipe(100000))
        self.service.wait_for_step(job)
        self.assertEqual(self.service.ask("delete", job).returncode, 1)
        self.assertEqual(self.service.ask("cancel", job).returncode, 0)
        self.assertIn("CANCELLED", self.service.ask("watch", job).stdout.splitlines()[-1])
        self.assertEqual(self.service.ask("delete", job).returncode, 0)
        self.assertEqual(self.service.ask("get", job).returncode, 1)
        self.assertFalse((self.folder / "jobs" / job).exists())

    def test_a_failed_job_says_why(self):
        job = self.service.create(recipe(3).replace("architecture", "nowhere"))
        watched = self.service.ask("watch", job)
        self.assertEqual(watched.returncode, 1)
        self.assertIn("FAILED", watched.stdout)
        self.assertIn("demo/nowhere", watched.stdout)

    def test_a_recipe_that_cannot_be_read_is_no_job(self):
        with self.assertRaisesRegex(AssertionError, r"recipe:7: stages\[0\].rate: is missing"):
            self.service.create(recipe(3).replace("rate:", "reat:"))
        self.assertEqual(self.service.ask("list").stdout, "")

    def test_strangers_are_refused(self):
        self.assertEqual(self.service.ask("list", token="another").returncode, 1)
        plain = subprocess.run([LLAVA, "jobs", "list", "--server", f"localhost:{self.service.port}", "--token", TOKEN],
                               capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(plain.returncode, 3)

    def test_the_queue_is_bounded(self):
        for _ in range(4):
            self.service.create(recipe(100000))
        (self.folder / "recipe.yaml").write_text(recipe(1))
        refused = self.service.ask("create", self.folder / "recipe.yaml")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("at most 4", refused.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

"""A night of `llava-train serve` whose service is killed, or whose disk is full, in each of its steps: it goes on where it was, and
comes to one version, one message and one report."""
import json
import re
import signal
import sys
import tempfile
import unittest
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from daemon_process import generated, wait_until  # noqa: E402
from nights_world import SEED, World, answer_of_a_language_model  # noqa: E402
from publish_chaos_test import SmallDisk  # noqa: E402
from reload_daemon import Llavad, models_pb  # noqa: E402
from scripted_service import Service  # noqa: E402

training_pb, training_grpc = generated("llava/v1/training.proto")
STEPS = 12
PATIENCE = 280  # seconds for a step, on a busy machine
HOUR = 3600
FULL = r"No space left on device|disk is full|cannot be written|bytes are free"


class NightsChaosTest(unittest.TestCase):
    def setUp(self):
        print("seed", SEED)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def enter(self, context):
        """What `with` does, until the test is over."""
        entered = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return entered

    def make_world(self, disk=None):
        self.hook = self.enter(Service(lambda *_: "thanks"))
        self.endpoint = self.enter(Service(answer_of_a_language_model))
        self.nights = World(self.folder, STEPS, exam=2, train="[projector]", disk=disk)

    def begin(self, pipeline="generate: plan.yaml, images: pictures", retries=0, url=None):
        """A night that has its rows, and has begun."""
        self.nights.write_plan(url or self.endpoint.url)
        self.nights.write_rows("shards/1.jsonl", {"Ursula": "Ursula", "Okonkwo": "Okonkwo"}, 12)
        self.nights.configure(self.hook.url, pipeline, retries)
        self.versions = self.published()
        self.nights.start()
        nights = self.nights  # there may be others later
        self.addCleanup(lambda: nights.process.poll() is None and nights.end(signal.SIGTERM))
        self.nights.next_night()
        self.wait(lambda: self.nights.job(1).exists(), "the night begins")

    def published(self):
        return sorted(path.name for path in self.nights.published.glob("v0*"))

    def moments(self):
        """(what happens, whether it has begun), in the order of the night."""
        run = self.nights.job(1) / "run"
        return [("rows are generated", lambda: self.endpoint.requests),
                ("rows are checked", lambda: (self.nights.job(1) / "generated" / "instruct.jsonl").exists()),
                ("the model is trained", lambda: len(self.nights.steps(1)) >= 2),
                ("the exam is sat", lambda: (run / "answers").exists()),
                ("the gate has decided", lambda: (run / "gate.json").exists()),
                ("a version is written", lambda: (self.nights.published / ".publishing").exists() or self.published() != self.versions),
                ("a version is published", lambda: self.published() != self.versions)]

    def wait(self, condition, what):
        wait_until(lambda: condition() or self.nights.process.poll() is not None, lambda: f"{what}: {self.nights.said()}", PATIENCE)
        self.assertIsNone(self.nights.process.poll(), self.nights.said())

    def check_the_morning(self, generated=6):
        self.wait(lambda: self.hook.requests, "the night is over")
        message = self.hook.requests[0]
        print(json.dumps(message))
        self.assertEqual((message["state"], message["job"]), ("SUCCEEDED", 1), self.nights.said())
        self.assertEqual(self.nights.steps(1), list(range(1, STEPS + 1)))
        self.assertEqual(len(self.published()), len(self.versions) + 1)
        latest = (self.nights.published / "latest").resolve()
        self.assertEqual(latest.name, self.published()[-1])
        self.assertTrue(latest.name.endswith(message["version"][:12]))
        self.assertIn(f"Published as the latest: {message['version']}", self.nights.report(1))
        ledger = self.nights.job(1) / "generated" / "ledger.jsonl"
        entries = [json.loads(line) for line in ledger.read_text().splitlines()] if generated else []
        paid = [entry["key"] for entry in entries if entry["status"] == "ok"]
        self.assertEqual((len(paid), len(set(paid))), (generated, generated))
        self.assertEqual(self.nights.end(signal.SIGTERM), 0)
        self.assertEqual(len(self.hook.requests), 1)

    def test_the_service_is_killed_in_every_step(self):
        self.make_world()
        self.begin()
        for what, has_begun in self.moments():
            self.wait(has_begun, what)
            print("killed when", what)
            self.nights.end(signal.SIGKILL)
            self.nights.start()
        self.check_the_morning()

    def test_rows_that_nobody_generated_are_waited_for(self):
        with Service(answer_of_a_language_model) as endpoint:
            url = endpoint.url
        self.make_world()
        self.begin(retries=20, url=url)  # nobody is there any more
        self.wait(lambda: self.state()[0] == "FAILED", "the language model was asked")
        self.assertRegex(self.state()[1], "generate: ended with exit code 75: .*Connection refused")
        self.assertEqual((self.published(), self.hook.requests), (self.versions, []))
        self.nights.write_endpoint(self.endpoint.url)
        self.nights.set_clock(self.nights.ahead + HOUR)
        self.check_the_morning()

    def test_the_clock_is_set_while_the_night_runs(self):
        self.make_world()
        self.begin(pipeline="images: pictures")
        right = self.nights.ahead
        for days in (-3, 3, 0):
            steps = len(self.nights.steps(1))
            self.nights.set_clock(right + days * 24 * HOUR)
            self.wait(lambda before=steps: len(self.nights.steps(1)) > before or self.hook.requests, "the training goes on")
        self.wait(lambda: self.hook.requests, "the night is over")
        self.nights.next_night()
        self.wait(lambda: "no job: the same shards as those of job 1" in self.nights.said(), "the next night is looked at")
        self.assertEqual([path.name for path in self.nights.jobs.iterdir() if path.is_dir()], ["1"])
        self.check_the_morning(generated=0)

    def test_the_server_takes_the_version_back(self):
        self.make_world()
        config = f"watch: {self.nights.published}\nkeep_previous: true\ncanary_percent: 50\ncanary_time: 1h\n"
        with Llavad(config).wait_ready() as daemon:
            pipeline = f"images: pictures, server: {{address: '{daemon.addresses['grpc']}'}}"
            self.begin(pipeline)
            self.wait(lambda: self.published() != self.versions, "a version is published")
            states = [models_pb.VERSION_STATE_CANARY]
            self.wait(lambda: [v.state for v in daemon.versions().values()][1:] == states, "it is a canary")
            self.nights.end(signal.SIGKILL)  # its server is asked again
            self.nights.start()
            daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
            self.wait(lambda: self.hook.requests, "the night is over")
            message = self.hook.requests[0]
            print(json.dumps(message))
            self.assertEqual(message["state"], "REJECTED")
            self.assertEqual(message["canary"], {"state": "rejected", "message": message["message"]})
            self.assertRegex(message["message"], "^rolled back: .*odd answers$")
            self.assertIn(f"taken back by the server: {message['version']}", self.nights.report(1))
            self.nights.write_rows("shards/2.jsonl", {"Amrita": "Amrita"}, 12)
            self.nights.next_night()
            self.wait(self.nights.job(2).exists, "the next night begins")
            self.assertRegex(self.nights.said(), r"1\.jsonl is in quarantine: job 1 was rejected: rolled back: .*odd answers")
            self.assertIn(str((self.nights.published / self.versions[0]).resolve()), (self.nights.job(2) / "recipe.yaml").read_text())
            self.assertEqual(self.nights.end(signal.SIGTERM), 0)

    def write_bench(self, questions):
        """LLaVA-Bench about one picture, for a judge."""
        bench = self.folder / "bench"
        bench.mkdir()

        def write(name, rows):
            (bench / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        write("qa90_questions.jsonl", [{"question_id": n, "image": "1.png", "text": f"What is {n}?", "category": "conv"}
                                       for n in range(questions)])
        write("qa90_gpt4_answer.jsonl", [{"question_id": n, "text": "A flag."} for n in range(questions)])
        write("caps_boxes_coco2014_val_80.jsonl", [{"id": "1", "image": "1.png", "captions": ["A flag."], "instances": []}])
        (bench / "rule.json").write_text(json.dumps({"conv": {"role": "Assistant", "prompt": "Rate."}}))
        return (f"judge: [llava_bench_coco, --data, {bench}, --images, {self.folder / 'pictures'}, --max-tokens, '4', --judge, "
                f"{self.folder / 'judge.yaml'}, --require, total=0.8]")

    def write_judge(self, url):
        (self.folder / "judge.yaml").write_text(
            f"endpoint: {{base_url: '{url}', model: judge, max_attempts: 4, first_retry_seconds: 0.01, longest_retry_seconds: 0.02, "
            "probe_seconds: 0.1, give_up_seconds: 1}\n")

    def test_nothing_is_published_while_the_judge_is_down(self):
        for questions in (2, 9):  # few enough that nobody concludes that the service is down
            with self.subTest(questions=questions), tempfile.TemporaryDirectory() as folder:
                self.folder = Path(folder)
                with Service(lambda *_: "8 9\n") as judge:
                    self.write_judge(judge.url)
                self.make_world()
                self.begin(pipeline="images: pictures, " + self.write_bench(questions), retries=20)  # nobody is there any more
                self.wait(lambda: self.state()[0] == "FAILED" or self.hook.requests, "the judge was asked")
                print(self.state())
                self.assertEqual(self.state()[0], "FAILED")
                self.assertIn("gate: ", self.state()[1])
                self.assertEqual(self.published(), self.versions)
                with Service(lambda *_: "8 9\n") as judge:
                    self.write_judge(judge.url)
                    self.nights.set_clock(self.nights.ahead + HOUR)
                    self.check_the_morning(generated=0)

    def state(self):
        """The job's state and message, as the service says them."""
        with grpc.insecure_channel(f"127.0.0.1:{self.nights.port}") as channel:
            stub = training_grpc.TrainingServiceStub(channel)
            job = stub.GetJob(training_pb.GetJobRequest(id="1"), timeout=60).job
        return training_pb.JobState.Name(job.state).removeprefix("JOB_STATE_"), job.message

    def is_in_trouble(self, before):
        """Whether the night has failed, or the service cannot even write that down. Its log lies elsewhere."""
        return self.state()[0] == "FAILED" or re.search(FULL, self.nights.said()[before:]) or self.hook.requests

    def test_the_disk_is_full_in_every_step(self):
        disk = SmallDisk(self, 160)
        self.make_world(disk.path)
        self.begin(retries=20)
        for what, has_begun in self.moments():
            self.wait(has_begun, what)
            before = len(self.nights.said())
            hog = disk.fill()
            self.wait(lambda: self.is_in_trouble(before), f"the disk is full when {what}")
            print("full when", what, self.state(), set(re.findall(FULL, self.nights.said()[before:])))
            if self.published() != self.versions and self.state()[0] == "SUCCEEDED":
                hog.unlink()
                break  # the version and the night's end were written before the disk was full
            self.assertEqual(self.hook.requests, [])
            hog.unlink()
            self.wait(lambda: self.state()[0] == "FAILED", f"there is room again, and the night's end is written, {what}")
            self.nights.set_clock(self.nights.ahead + HOUR)  # then it is tried again
        self.check_the_morning()


if __name__ == "__main__":
    unittest.main(verbosity=2)

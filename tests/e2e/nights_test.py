"""Four nights in a row of `llava-train serve`, each with its own trouble, between the folder of new rows and a llavad that serves
what is published. In the morning the model is better, or it is the one before and the report says why."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from daemon_process import wait_until  # noqa: E402
from nights_world import LLAVA_TRAIN, OWNERS, SEED, World, answer_of_a_language_model  # noqa: E402
from reload_daemon import Llavad, models_pb  # noqa: E402
from scripted_service import Service  # noqa: E402

STEPS = 40
PATIENCE = 280  # seconds until a night must be over, on a busy machine


class NightsTest(unittest.TestCase):
    def setUp(self):
        print("seed", SEED)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.nights = World(self.folder, STEPS, exam=6)

    def enter(self, context):
        """What `with` does, until the test is over."""
        entered = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return entered

    def morning(self, number):
        """What the webhook was told of the night."""
        wait_until(lambda: len(self.hook.requests) >= number or self.nights.process.poll() is not None,
                   lambda: f"night {number} is over; the service said: {self.nights.said()}, the job: {self.nights.last(number)}", PATIENCE)
        self.assertIsNone(self.nights.process.poll(), self.nights.said())
        message = self.hook.requests[number - 1]
        print(f"night {number}:", json.dumps(message))
        self.assertEqual(message["job"], number)
        return message

    def live(self):
        live, = [v.version for v in self.daemon.versions().values() if v.state == models_pb.VERSION_STATE_LIVE]
        return live

    def assert_better(self, night, message):
        """Than the version that was live, by the exam; and it is what the daemon serves."""
        self.assertEqual(message["state"], "SUCCEEDED", self.nights.report(night))
        exam, = message["exams"]
        self.assertGreater(exam["new"], exam["live"] + 0.2)
        self.assertEqual(message["canary"]["state"], "done")
        self.assertEqual(self.live(), message["version"])
        report = self.nights.report(night)
        self.assertIn(f"Published as the latest: {message['version']}", report)
        for step, said in (("check", r"rows \d+, 0 bad"), ("train", rf"{STEPS} steps, loss "), ("evaluate", r"evaluate: [\d.]+ % of"),
                           ("publish", f"published {message['version']}"), ("canary", f"the server answers with {message['version']}")):
            self.assertRegex(report, rf"\| {step} \| done \| \S+ \| {said}")
        return message["version"]

    def test_three_nights_and_a_fourth(self):
        self.hook = self.enter(Service(lambda *_: "thanks"))
        endpoint = self.enter(Service(answer_of_a_language_model))
        self.nights.write_plan(endpoint.url)
        self.daemon = self.enter(Llavad(f"watch: {self.nights.published}\nkeep_previous: true\ncanary_percent: 50\ncanary_time: 1s\n"))
        self.daemon.wait_ready()
        self.nights.configure(self.hook.url, "generate: plan.yaml, if_generate_fails: train, images: pictures, "
                              f"mix: {{new: 0.8, old: 0.2}}, server: {{address: '{self.daemon.addresses['grpc']}', wait: 10m}}")
        self.nights.start()
        self.addCleanup(lambda: self.nights.process.poll() is None and self.nights.end(signal.SIGTERM))

        second = self.the_service_is_killed_while_it_trains()
        endpoint.server.shutdown()
        endpoint.server.server_close()
        third = self.nobody_generates_rows(second)
        self.the_rows_are_harmful(third)
        self.the_version_was_rolled_back(second, third)
        self.assertEqual(self.nights.end(signal.SIGTERM), 0)

    def the_service_is_killed_while_it_trains(self):
        """Meanwhile new rows come, and another service is started in the same folder."""
        self.nights.write_rows("shards/1.jsonl", {"Ursula": "Ursula", "Okonkwo": "Okonkwo"}, 12)
        self.nights.next_night()
        wait_until(lambda: len(self.nights.steps(1)) >= STEPS // 4, "a quarter of the training is done", PATIENCE)
        self.nights.end(signal.SIGKILL)
        self.assertLess(len(self.nights.steps(1)), STEPS)
        self.nights.write_rows("shards/2.jsonl", {"Amrita": "Amrita", "Tadeusz": "Tadeusz"}, 12)
        self.nights.start()
        second = subprocess.run([LLAVA_TRAIN, "serve", "--config", self.folder / "serve.yaml"], capture_output=True, text=True, timeout=60)
        self.assertEqual(second.returncode, 1)
        self.assertRegex(second.stderr, r"jobs/jobs\.db: another process")
        message = self.morning(1)
        version = self.assert_better(1, message)
        self.assertEqual((message["base"], message["new_rows"]), (self.nights.first, 24))
        self.assertEqual(self.nights.steps(1), list(range(1, STEPS + 1)))
        self.assertIn("generated: 6 accepted, 0 rejected", self.nights.report(1))
        self.assertNotIn("2.jsonl", (self.nights.job(1) / "recipe.yaml").read_text())
        return version

    def nobody_generates_rows(self, before):
        self.nights.next_night()
        message = self.morning(2)
        version = self.assert_better(2, message)
        self.assertEqual((message["base"], message["new_rows"], message["old_rows"]), (before, 24, 24))
        self.assertRegex(self.nights.report(2), r"\| generate \| skipped \| \S+ \| ended with exit code 75: \S+")
        return version

    def the_rows_are_harmful(self, live):
        owners = list(OWNERS)
        self.nights.write_rows("shards/3.jsonl", {owner: owners[(n + 1) % 4] for n, owner in enumerate(owners)}, 12)
        latest = os.readlink(self.nights.published / "latest")
        self.nights.next_night()
        message = self.morning(3)
        self.assertEqual(message["state"], "REJECTED")
        self.assertIn("right answers went from", message["message"])
        self.assertIn(message["message"], self.nights.report(3))
        self.assertIn("Kept beside the live version, which stays", self.nights.report(3))
        self.assertNotIn("canary", message)
        self.assertEqual(os.readlink(self.nights.published / "latest"), latest)
        self.assertEqual(self.live(), live)

    def the_version_was_rolled_back(self, before, bad):
        """By day: the next night begins with the one before, and learns neither what that had learned nor what was harmful."""
        self.daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
        wait_until(lambda: (self.nights.published / ".rolled-back" / bad).exists(), "the roll-back is noted")
        self.assertEqual(self.live(), before)
        self.nights.write_rows("shards/4.jsonl", {"Amrita": "Amrita", "Tadeusz": "Tadeusz"}, 12)
        with Service(answer_of_a_language_model) as endpoint:
            self.nights.write_plan(endpoint.url)
            self.nights.next_night()
            message = self.morning(4)
        self.assert_better(4, message)
        self.assertEqual(message["base"], before)
        self.assertRegex(self.nights.said(), r"2\.jsonl is in quarantine: version \w+ was taken back: \S.*odd answers")
        self.assertRegex(self.nights.said(), r"3\.jsonl is in quarantine: job 3 was rejected: .*right answers went from")
        recipe = (self.nights.job(4) / "recipe.yaml").read_text()
        self.assertEqual([f"shards/{n}.jsonl" in recipe for n in (1, 2, 3, 4)], [True, False, False, True])


if __name__ == "__main__":
    unittest.main(verbosity=2)

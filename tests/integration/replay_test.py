"""`llava replay`: answers that were given come again, token for token, or it says why not."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import Daemon
from http_requests import CHAT, http, question

LLAVA = os.environ["LLAVA"]


class ReplayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0

    def ask(self, **fields):
        request = {"messages": question("What is this?", "landscape.png"), "max_tokens": 8, **fields}
        status, _, text = http(self.daemon, CHAT, request)
        self.assertEqual(status, 200, text)
        return request, json.loads(text)

    def replay(self, request, response, http_url=None):
        with tempfile.TemporaryDirectory() as folder:
            for name, value in (("q.json", request), ("r.json", response)):
                (Path(folder) / name).write_text(json.dumps(value))
            done = subprocess.run([LLAVA, "replay", f"{folder}/r.json", "--request", f"{folder}/q.json",
                                   "--http", http_url or self.daemon.addresses["http"] + "/v1"], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def test_the_same_tokens_come_again(self):
        for fields in ({"return_token_ids": True}, {"return_token_ids": True, "temperature": 1, "seed": 7, "n": 2}):
            self.assertEqual(self.replay(*self.ask(**fields)), (0, "the same tokens\n"))

    def test_without_token_ids_texts_are_compared(self):
        code, said = self.replay(*self.ask())
        self.assertEqual(code, 0, said)
        self.assertIn("the same text", said)

    def test_a_line_of_a_batch_has_its_bodies_inside(self):
        request, response = self.ask(return_token_ids=True)
        code, said = self.replay({"custom_id": "a", "method": "POST", "url": CHAT, "body": request},
                                 {"custom_id": "a", "response": {"status_code": 200, "body": response}, "error": None})
        self.assertEqual((code, said), (0, "the same tokens\n"))

    def test_the_files_of_a_batch_are_compared_row_by_row(self):
        asked = {name: self.ask(return_token_ids=True, max_tokens=tokens) for name, tokens in (("a", 4), ("b", 5), ("c", 6))}
        asked["b"][1]["choices"][0]["token_ids"][0] += 1
        requests = [{"custom_id": name, "method": "POST", "url": CHAT, "body": body} for name, (body, _) in asked.items()]
        answers = [{"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}
                   for name, (_, body) in reversed(asked.items())]

        def replay(requests, answers, url=self.daemon.addresses["http"] + "/v1"):
            with tempfile.TemporaryDirectory() as folder:
                for name, rows in (("q", requests), ("r", answers)):
                    (Path(folder) / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
                done = subprocess.run([LLAVA, "replay", f"{folder}/r", "--request", f"{folder}/q", "--http", url],
                                      capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout, done.stderr
        code, said, errors = replay(requests, answers)
        self.assertEqual((code, errors), (2, ""))
        self.assertRegex(said, r"^a: the same tokens\nb: not the same: answer 1: token 1 was \d+ and is \d+\nc: the same tokens\n$")
        self.assertEqual(replay(requests, answers[:1]), (0, "c: the same tokens\n", ""))  # one answer of many
        code, said, errors = replay(requests[:1], answers)
        self.assertEqual((code, said), (1, "a: the same tokens\n"))
        self.assertIn("c: its request is not in ", errors)
        self.assertEqual(replay(requests, answers, "http://127.0.0.1:1/v1")[0], 3)
        code, _, errors = replay(requests, [*answers, {"x": 1}])
        self.assertEqual(code, 1)
        self.assertIn("line 4: custom_id: expected the id of a batch's row", errors)

    def test_another_answer_is_found_and_its_cause_named(self):
        request, response = self.ask(return_token_ids=True)
        response["choices"][0]["token_ids"][2] += 1
        code, said = self.replay(request, response)
        self.assertEqual(code, 2)
        self.assertRegex(said, r"^not the same: answer 1: token 3 was \d+ and is \d+\n$")
        version, _, numbers = response["system_fingerprint"].split("-", 2)
        code, said = self.replay(request, {**response, "system_fingerprint": f"{version}-0000-{numbers}"})
        self.assertEqual(code, 1)
        self.assertIn("the build was '0000' and is ", said)

    def test_what_cannot_be_replayed_says_why(self):
        request, response = self.ask(temperature=1)
        code, said = self.replay(request, response)
        self.assertEqual(code, 1)
        self.assertIn("no seed", said)
        request, response = self.ask()
        gone = {**response, "system_fingerprint": "00000000-0-0"}
        code, said = self.replay(request, gone)
        self.assertEqual(code, 1)
        self.assertIn("the server answers 404: ", said)
        self.assertEqual(self.replay(request, response, "http://127.0.0.1:1/v1")[0], 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)

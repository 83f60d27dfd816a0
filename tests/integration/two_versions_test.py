"""Two loaded versions of one model side by side: who asks for NAME@VERSION gets it, and nothing crosses between them."""
import json
import os
import subprocess
import tempfile
import unittest

import grpc

from http_requests import CHAT, error_of, http
from published import Published, rolled
from reload_daemon import Llavad, Load, models_pb, pb, question

CODE = grpc.StatusCode
PICTURE = "landscape.png"


class TwoVersionsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.published = Published(cls.folder.name + "/models")
        _, cls.live = cls.published.publish()
        # The canary gets nothing by chance, and stays one.
        cls.daemon = Llavad(f"watch: {cls.published.root}\ncanary_answers: 100000\ncanary_min_answers: 100000\n"
                            "model_aliases: [gpt-4o, org/eyes]\n").wait_ready()
        _, cls.canary = cls.published.publish(rolled(1))
        cls.daemon.wait_state(cls.canary, "canary")
        cls.daemon.models.SetTraffic(models_pb.SetTrafficRequest(share=0))

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        cls.folder.cleanup()

    def grpc(self, model, text="What is this?", picture=PICTURE):
        request = question(text, picture)
        request.model = model
        return self.daemon.chat.Chat(request)

    def http(self, model, text):
        status, headers, body = http(self.daemon, CHAT, {
            "model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0})
        self.assertEqual(status, 200, body)
        answer = json.loads(body)
        version, build, numbers = answer["system_fingerprint"].split("-", 1)[0], *answer["system_fingerprint"].split("-", 1)[1].rsplit("-", 1)
        self.assertEqual((headers["X-Model-Version"], numbers), (version, "bfloat16"))
        self.assertTrue(build)
        return version, answer["choices"][0]["message"]["content"]

    def test_the_version_that_is_asked_for_answers(self):
        answers = {}
        for version in (self.live, self.canary):
            for name in (f"golden@{version}", f"golden@{version[:8]}"):
                answer = self.grpc(name)
                self.assertEqual(answer.model_version, version)
                answers.setdefault(version, set()).add(tuple(answer.choices[0].token_ids))
                stream = pb.ChatStreamRequest(request=question("What is this?", PICTURE))
                stream.request.model = name
                events = list(self.daemon.chat.ChatStream(stream))
                self.assertEqual({event.model_version for event in events}, {version})
                answers[version].add(tuple(i for event in events for i in event.token_ids))
        self.assertEqual([len(ids) for ids in answers.values()], [1, 1], "a version answers a question alike")
        self.assertNotEqual(answers[self.live], answers[self.canary])
        for name in ("golden", ""):  # by the traffic's share, which is 0
            self.assertEqual(self.grpc(name).model_version, self.live)

    def test_over_http(self):
        told = {}
        for version in (self.live, self.canary):
            for name in (f"golden@{version}", f"golden@{version[:8]}"):
                told.setdefault(version, set()).add(self.http(name, "Describe it."))
        self.assertEqual({name for answers in told.values() for name, _ in answers}, {self.live, self.canary})
        self.assertEqual([len(answers) for answers in told.values()], [1, 1])
        status, _, body = http(self.daemon, "/v1/models")
        self.assertEqual({model["version"] for model in json.loads(body)["data"]}, {self.live, self.canary})

    def test_by_its_aliases(self):
        for alias in ("gpt-4o", "org/eyes"):
            self.assertEqual(self.grpc(alias).model_version, self.live)
            self.assertEqual(self.http(alias, "Describe it.")[0], self.live)
            for version in (self.live, self.canary):
                self.assertEqual(self.grpc(f"{alias}@{version[:8]}").model_version, version)
                self.assertEqual(self.http(f"{alias}@{version}", "Describe it.")[0], version)
        _, _, body = http(self.daemon, CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]})
        self.assertEqual(json.loads(body)["model"], "golden")
        models = json.loads(http(self.daemon, "/v1/models")[2])["data"]
        self.assertEqual([model["id"] for model in models], ["golden"] * 2 + ["gpt-4o", "org/eyes"] * 2)
        self.assertEqual({model["root"] for model in models}, {"golden"})
        with self.assertRaises(grpc.RpcError) as refused:
            self.grpc("gpt-4")
        self.assertIn("gpt-4 is not served here, expected golden or gpt-4o or org/eyes", refused.exception.details())

    def test_an_alias_that_is_taken_is_an_error_at_the_start(self):
        for aliases, message in (("golden", "is the model's own name already"), ("eyes,eyes", "stands there twice"),
                                 ("eyes@2", "expected a name without spaces and @")):
            for flag in ("--check", "--listen=127.0.0.1:0"):
                started = subprocess.run([os.environ["LLAVAD"], "--model-name", "golden", "--model-aliases", aliases, flag],
                                         capture_output=True, text=True, timeout=60)
                self.assertEqual((started.returncode, message in started.stderr), (2, True), started.stderr)

    def test_what_does_not_answer_is_not_found(self):
        for name in ("golden@" + "0" * 64, "golden@" + self.live[:7], "golden@", "other@" + self.live, "other"):
            with self.subTest(name):
                with self.assertRaises(grpc.RpcError) as refused:
                    self.grpc(name)
                self.assertEqual(refused.exception.code(), CODE.NOT_FOUND)
                status, _, body = http(self.daemon, CHAT, {"model": name, "messages": [
                    {"role": "user", "content": "Hello"}]})
                self.assertEqual((status, error_of(body)["param"]), (404, "model"))

    def test_caches_never_cross(self):
        text = "A question that nobody has asked before?"
        usage = {}
        for round in range(2):
            for version in (self.live, self.canary):
                answer = self.grpc(f"golden@{version}", text, "portrait.jpg")
                self.assertEqual(answer.model_version, version)
                usage[round, version] = (answer.usage.cached_images, answer.usage.cached_tokens > 0)
        for version in (self.live, self.canary):
            self.assertEqual(usage[0, version], (0, False), "the other's picture or blocks were used")
            self.assertTrue(usage[1, version][1], "its own blocks were not")

    def test_interleaved_under_load(self):
        """People of both versions at once, in the same engine: each answer is its version's, token for token."""
        with Load(self.daemon, model=f"golden@{self.live}") as one, Load(self.daemon, model=f"golden@{self.canary}") as two:
            one.wait_answers(20)
            two.wait_answers(20)
        for load, version in ((one, self.live), (two, self.canary)):
            load.check(self)
            self.assertEqual({answer[0] for answer in load.answers}, {version})


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""How likely given answers are: POST /v1/score and Score, against what the model says itself."""
import json
import math
import unittest

import grpc

from daemon_process import IMAGES, PROGRAM, Daemon, generated_client
from http_requests import CHAT, error_of, http, question

pb, pb_grpc = generated_client()
SCORE = "/v1/score"
ASKED = question("What is this?", "landscape.png")


class ScoreTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0

    def score(self, choices, messages=ASKED, **fields):
        status, headers, text = http(self.daemon, SCORE, {"messages": messages, "choices": choices, **fields})
        self.assertEqual(status, 200, text)
        answer = json.loads(text)
        self.assertEqual((answer["object"], headers["X-Model-Version"]), ("score", answer["system_fingerprint"].split("-")[0]))
        self.assertEqual([choice["index"] for choice in answer["choices"]], list(range(len(choices))))
        return answer

    def test_each_choice_is_what_its_tokens_are(self):
        choices = ["Yes", "No, it is a tree", " a", "Yes", "ü€"]
        answer = self.score(choices)
        for text, choice in zip(choices, answer["choices"]):
            said = bytes(byte for token in choice["tokens"] for byte in token["bytes"]).decode()
            self.assertEqual(said.strip(), text.strip())
            self.assertAlmostEqual(choice["logprob"], sum(token["logprob"] for token in choice["tokens"]), places=4)
        logprobs = [choice["logprob"] for choice in answer["choices"]]
        self.assertEqual(logprobs[answer["best"]], max(logprobs))
        self.assertEqual(answer["choices"][0]["tokens"], answer["choices"][3]["tokens"])
        self.assertEqual(answer["usage"]["prompt_tokens_details"]["image_tokens"],
                         self.score(["x"])["usage"]["prompt_tokens_details"]["image_tokens"])

    def test_the_prompt_is_computed_once_for_all_choices(self):
        one = self.score(["Yes"], messages=question("Is it one?", "landscape.png"))["usage"]
        many = self.score(["Yes", "No", "Perhaps so"], messages=question("Are they many?", "landscape.png"))["usage"]
        self.assertLess(many["prompt_tokens"], one["prompt_tokens"] + 20)
        again = self.score(["Yes", "No", "Perhaps so"], messages=question("Are they many?", "landscape.png"))["usage"]
        self.assertGreater(again["prompt_tokens_details"]["cached_tokens"], 0)

    def test_grpc_says_the_same(self):
        choices = ["Yes", "No, it is a tree"]
        expected = self.score(choices)
        part = pb.MessagePart
        request = pb.ScoreRequest(choices=choices, request=pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[
            part(image=(IMAGES / "landscape.png").read_bytes()), part(text="What is this?")])]))
        with self.daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            answer = stub.Score(request)
            self.assertEqual([[token.token_id for token in choice.tokens] for choice in answer.choices],
                             [[token["token_id"] for token in choice["tokens"]] for choice in expected["choices"]])
            for got, want in zip(answer.choices, expected["choices"]):
                self.assertAlmostEqual(got.logprob, want["logprob"], places=3)
            self.assertEqual((answer.best, answer.usage.images), (expected["best"], 1))
            request.request.sampling.temperature = 1
            with self.assertRaises(grpc.RpcError) as refused:
                stub.Score(request)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("request.sampling: is of no use", refused.exception.details())

    @unittest.skipIf("fake_llavad" in PROGRAM, "the fake has no probabilities")
    def test_the_models_own_answer_is_as_likely_as_it_said(self):
        compared = 0
        for seed in range(20):
            status, _, text = http(self.daemon, CHAT, {"messages": ASKED, "max_tokens": 8, "logprobs": True, "top_logprobs": 2,
                                                       "return_token_ids": True, "temperature": 1, "seed": seed})
            self.assertEqual(status, 200, text)
            said = json.loads(text)["choices"][0]
            if not said["message"]["content"]:
                continue
            scored = self.score([said["message"]["content"], "something else"])["choices"][0]
            for token, own, own_id in zip(scored["tokens"], said["logprobs"]["content"], said["token_ids"]):
                if token["token_id"] != own_id:
                    break  # the same text may have other tokens
                self.assertAlmostEqual(token["logprob"], own["logprob"], places=3)
                compared += 1
        self.assertGreater(compared, 0)

    @unittest.skipIf("fake_llavad" in PROGRAM, "the fake has no probabilities")
    def test_scores_of_all_first_tokens_are_a_distribution(self):
        first = [token["logprob"] for choice in self.score(["a", "b", "The", "It"])["choices"] for token in choice["tokens"][:1]]
        self.assertLess(sum(math.exp(logprob) for logprob in first), 1.0001)
        _, _, text = http(self.daemon, CHAT, {"messages": ASKED, "max_tokens": 1, "logprobs": True, "top_logprobs": 20})
        top = {tuple(token["bytes"]): token["logprob"] for token in json.loads(text)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
        words = [bytes(name).decode(errors="replace").strip() for name in top]
        likely = next(word for word in words if word.isalpha() and words.count(word) == 1)
        token = self.score([likely])["choices"][0]["tokens"][0]
        self.assertAlmostEqual(token["logprob"], top[tuple(token["bytes"])], places=3)

    def test_what_is_wrong_is_named(self):
        cases = [({"choices": []}, "choices"), ({}, "choices"), ({"choices": [1]}, "choices[0]"), ({"choices": ["a", ""]}, "choices[1]"),
                 ({"choices": ["a"] * 17}, "choices"), ({"choices": ["a"], "temperature": 1}, "temperature"),
                 ({"choices": ["word " * 2000]}, "choices[0]"), ({"choices": ["a"], "messages": []}, "messages")]
        for fields, param in cases:
            with self.subTest(fields=str(fields)[:80]):
                status, _, text = http(self.daemon, SCORE, {"messages": ASKED, **fields})
                self.assertEqual((status, error_of(text)["param"]), (400, param), text)

    def test_an_answer_that_was_begun_is_gone_on_with(self):
        begun = [*ASKED, {"role": "assistant", "content": "It is"}]
        self.assertEqual(len(self.score([" a tree", " no tree"], messages=begun)["choices"]), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)

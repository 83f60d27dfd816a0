"""Prompt lookup: the same answers with guessed tokens and without, and fewer steps, over the daemon's own API."""
import json
import unittest

from daemon_process import Daemon
from http_requests import CHAT, http

LIST = "Name them again: apple apple apple, pear pear pear, apple apple apple, pear pear pear, apple apple"
SCHEMA = {"type": "array", "items": {"enum": ["apple", "pear"]}, "minItems": 6, "maxItems": 6}
REQUESTS = [
    {"temperature": 0, "ignore_eos": True},
    {"temperature": 0, "logprobs": True, "top_logprobs": 3, "ignore_eos": True},
    {"temperature": 0.8, "top_p": 0.9, "seed": 5, "ignore_eos": True},
    {"temperature": 0.2, "seed": 6, "repetition_penalty": 1.05, "frequency_penalty": 0.02, "ignore_eos": True},
    {"temperature": 0.7, "seed": 7, "n": 2, "min_tokens": 20},
    {"temperature": 0, "stop": ["e"], "ignore_eos": True},
    {"temperature": 0, "response_format": {"type": "json_schema", "json_schema": {"name": "list", "strict": True, "schema": SCHEMA}}},
]
STEADY = {"logit_bias": {"300": 20, "301": 19.5}}  # so that a model of random weights repeats itself


def asked(daemon, request):
    body = {"messages": [{"role": "user", "content": LIST}], "max_tokens": 48, **request}
    if "response_format" not in request:
        body |= STEADY
    status, _, answer = http(daemon, CHAT, body)
    assert status == 200, answer
    answer = json.loads(answer)
    return answer["choices"], answer["usage"]["completion_tokens"]


class DraftsTest(unittest.TestCase):
    def test_answers_are_the_same_and_take_fewer_steps(self):
        answers, steps, metrics = {}, {}, {}
        for drafts in (0, 8):
            with Daemon(config=f"draft_tokens: {drafts}\n") as daemon:
                answers[drafts] = [asked(daemon, request) for request in REQUESTS]
                metrics[drafts] = daemon.metrics()
                steps[drafts] = metrics[drafts]["llava_step_seconds_count"]
        self.assertEqual(answers[8], answers[0])
        self.assertEqual(metrics[0]["llava_drafted_tokens_total"], 0)
        true = metrics[8]["llava_true_drafts_total"]
        self.assertGreater(true, 0)
        self.assertGreaterEqual(metrics[8]["llava_drafted_tokens_total"], true)
        self.assertLess(steps[8], steps[0])
        self.assertLessEqual(steps[0] - steps[8], true)  # two choices save one step together
        print("steps", steps, "true drafts", true)


if __name__ == "__main__":
    unittest.main(verbosity=2)

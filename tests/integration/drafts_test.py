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
        with Daemon(config="draft_tokens: 0\n") as daemon:
            answers = [asked(daemon, request) for request in REQUESTS]
            self.assertEqual(daemon.metrics()["llava_drafted_tokens_total"], 0)
            steps = daemon.metrics()["llava_step_seconds_count"]
        with Daemon() as daemon:
            # What a guess costs is measured: on a busy machine none may be worth it for a while.
            for rounds in range(1, 31):
                self.assertEqual([asked(daemon, request) for request in REQUESTS], answers)
                metrics = daemon.metrics()
                if metrics["llava_true_drafts_total"] > 0:
                    break
        self.assertGreater(metrics["llava_true_drafts_total"], 0)
        self.assertGreaterEqual(metrics["llava_drafted_tokens_total"], metrics["llava_true_drafts_total"])
        self.assertLess(metrics["llava_step_seconds_count"], rounds * steps)
        print("steps", rounds * steps, metrics["llava_step_seconds_count"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

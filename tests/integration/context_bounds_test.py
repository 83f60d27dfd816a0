"""Prompts up to a bound of the context have the answers of transformers; longer ones are refused in a sentence that
says what the bound is."""
import json
import math
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc

from daemon_process import Daemon
from families_test import FAMILIES, ask_over_http, chat_request, generate_command, hub_folder, pb_grpc
from published import edit_config


def dynamic(text, bound):
    text["max_position_embeddings"] = bound


def longrope(text, bound):
    # The factor of cos and sin follows from the original context, where it is not given.
    ratio = text["max_position_embeddings"] / text["original_max_position_embeddings"]
    factor = math.sqrt(1 + math.log(ratio) / math.log(text["original_max_position_embeddings"]))
    text["rope_parameters"]["attention_factor"] = factor
    text["original_max_position_embeddings"] = bound


class ContextBoundsTest(unittest.TestCase):
    def check(self, name, edit, reason):
        cases = json.loads((FAMILIES / name / "golden.json").read_text())["cases"]
        sizes = sorted({len(case["prompt_ids"]) for case in cases})
        bound = sizes[-2] + 5  # the longest is refused, the answers to the one before it are cut
        with tempfile.TemporaryDirectory() as temporary:
            folder = hub_folder(Path(temporary), name)
            edit_config(folder, lambda config: edit(config["text_config"], bound))
            with Daemon(checkpoint=folder, config="dtype: float32\n", kv_cache="8MiB") as daemon, \
                    daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                for case in cases:
                    with self.subTest(name, case=case["name"]):
                        if len(case["prompt_ids"]) < bound:
                            self.answers(folder, daemon, stub, case, bound - len(case["prompt_ids"]))
                        else:
                            self.refuses(folder, daemon, stub, case, f"fewer than {bound} tokens", reason)

    def answers(self, folder, daemon, stub, case, room):
        expected = case["answer_ids"][:room]
        made = json.loads(subprocess.run(generate_command(folder, case), stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(made["answer_ids"], expected)
        answer = stub.Chat(chat_request(case))
        self.assertEqual(list(answer.choices[0].token_ids), expected)
        status, answer = ask_over_http(daemon, case)
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], len(expected))

    def refuses(self, folder, daemon, stub, case, *words):
        made = subprocess.run(generate_command(folder, case), stderr=subprocess.PIPE, check=False, text=True)
        self.assertNotEqual(made.returncode, 0)
        with self.assertRaises(grpc.RpcError) as refused:
            stub.Chat(chat_request(case))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        status, answer = ask_over_http(daemon, case)
        self.assertEqual(status, 400)
        for word in words:
            self.assertIn(word, made.stderr)
            self.assertIn(word, refused.exception.details())
            self.assertIn(word, answer["error"]["message"])

    def test_dynamic_scaling(self):
        self.check("llava_dynamic", dynamic, "its dynamic scaling")

    def test_longrope(self):
        self.check("llava_phi3", longrope, "longrope")


if __name__ == "__main__":
    unittest.main(verbosity=2)

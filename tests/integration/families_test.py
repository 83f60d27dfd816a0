"""Each family of LLaVA models through `llavad generate`, gRPC and HTTP: the ids of transformers, alone and in a batch."""
import base64
import concurrent.futures
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import CHECKPOINT, PROGRAM, ROOT, Daemon, generated_client
from http_requests import CHAT, http

FAMILIES = ROOT / "tests/golden/data/families"
MARGIN = 2e-4  # fp32 differs from itself by less; a choice between logits that are closer may fall either way
pb, pb_grpc = generated_client()


def png(name):
    return (FAMILIES / "images" / name).read_bytes()


def hub_folder(root, name):
    """The checkpoint as the hub's cache keeps it: links to files that are called by their contents."""
    repository = root / f"models--llava--{name}"
    snapshot = repository / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    files = {file.name: file for file in (FAMILIES / name / "checkpoint").iterdir()}
    if "tokenizer.json" not in files:
        files |= {file: CHECKPOINT / file for file in ("tokenizer.json", "tokenizer_config.json")}
    for number, (file, source) in enumerate(sorted(files.items())):
        shutil.copy(source, repository / "blobs" / f"{number:064x}")
        (snapshot / file).symlink_to(f"../../blobs/{number:064x}")
    return snapshot


def chat_request(case):
    """The case's question with its pictures, over gRPC."""
    parts = [pb.MessagePart(image=png(image)) for image in case["images"]]
    parts.append(pb.MessagePart(text=case["question"]))
    return pb.ChatRequest(
        return_token_ids=True,
        messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)],
        sampling=pb.SamplingOptions(max_tokens=len(case["answer_ids"]), temperature=0, ignore_eos=True))


def messages_of(case):
    """The case's question with its pictures, over HTTP."""
    content = [{"type": "image_url", "image_url": {
        "url": "data:image/png;base64," + base64.b64encode(png(image)).decode()}} for image in case["images"]]
    return [{"role": "user", "content": [*content, {"type": "text", "text": case["question"]}]}]


def ask_over_http(daemon, case):
    """(status, answer)"""
    status, _, body = http(daemon, CHAT, {"messages": messages_of(case), "temperature": 0,
                                          "max_tokens": len(case["answer_ids"]), "ignore_eos": True})
    return status, json.loads(body)


def over_grpc(stub, case):
    answer = stub.Chat(chat_request(case))
    return list(answer.choices[0].token_ids), answer.usage.prompt_tokens, answer.choices[0].text


def over_http(daemon, case):
    status, answer = ask_over_http(daemon, case)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]


def generate_command(folder, case):
    command = [PROGRAM, "generate", folder, "--prompt", case["question"], "--json", "--ignore-eos",
               "--dtype", "float32", "--max-tokens", str(len(case["answer_ids"]))]
    for image in case["images"]:
        command += ["--image", FAMILIES / "images" / image]
    return command


def scores(test, daemon, case):
    """The log probabilities of given answers are those of transformers."""
    options = [golden["option"] for golden in case["scores"]]
    status, _, body = http(daemon, "/v1/score", {"messages": messages_of(case), "choices": options})
    test.assertEqual(status, 200, body)
    for golden, choice in zip(case["scores"], json.loads(body)["choices"], strict=True):
        test.assertEqual([token["token_id"] for token in choice["tokens"]], golden["ids"], golden["option"])
        test.assertAlmostEqual(choice["logprob"], golden["logprob"], delta=1e-4 * len(golden["ids"]))


def serves(test, daemon, name, cases):
    """The daemon gives the golden answers, alone and in a batch."""
    with daemon.channel() as channel, concurrent.futures.ThreadPoolExecutor(2 * len(cases)) as pool:
        stub = pb_grpc.ChatServiceStub(channel)
        for how in ("alone", "batched"):
            asked = []
            for case in cases:
                both = [pool.submit(over_grpc, stub, case), pool.submit(over_http, daemon, case)]
                if how == "alone":
                    concurrent.futures.wait(both)
                asked.append((case, *both))
            for case, of_grpc, of_http in asked:
                with test.subTest(name, case=case["name"], how=how):
                    ids, tokens, text = of_grpc.result()
                    test.assertEqual(ids, case["answer_ids"])
                    test.assertEqual(tokens, len(case["prompt_ids"]))
                    test.assertEqual(of_http.result(), (text, tokens))
    for case in cases:
        with test.subTest(name, case=case["name"], how="scored"):
            scores(test, daemon, case)


class FamiliesTest(unittest.TestCase):
    def check(self, name):
        with tempfile.TemporaryDirectory() as temporary:
            folder = hub_folder(Path(temporary), name)
            cases = json.loads((FAMILIES / name / "golden.json").read_text())["cases"]
            for case in cases:
                assert case["smallest_margin"] > MARGIN, f"{name}, {case['name']}: take another seed"
                with self.subTest(name, case=case["name"], how="generate"):
                    self.generates(folder, case)
            config = "dtype: float32\nmax_batch_tokens: 64\nmax_images_per_step: 2\n"
            with Daemon(checkpoint=folder, config=config, kv_cache="8MiB") as daemon:
                serves(self, daemon, name, cases)

    def generates(self, folder, case):
        answer = json.loads(subprocess.run(generate_command(folder, case), stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(answer["prompt_ids"], case["prompt_ids"])
        self.assertEqual(answer["answer_ids"], case["answer_ids"])


for family in sorted(path.parent.name for path in FAMILIES.glob("*/golden.json")):
    setattr(FamiliesTest, f"test_{family}", lambda self, name=family: self.check(name))


if __name__ == "__main__":
    os.environ.setdefault("LLAVAD", str(PROGRAM))
    unittest.main(verbosity=2)

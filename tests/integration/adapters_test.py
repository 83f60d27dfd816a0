"""LoRA adapters beside their model through llavad: the tokens of the merged model, alone and in a batch with others, over
gRPC, HTTP and `generate`; how they come and go; what is refused."""
import concurrent.futures
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc
import numpy as np

from daemon_process import PROGRAM, Daemon, generated_client, wait_until
from families_test import FAMILIES, hub_folder, png
from http_requests import CHAT, error_of, http
from published import write_tensors

LLAVA = os.environ["LLAVA"]
LLAVA_TRAIN = os.environ["LLAVA_TRAIN"]
CODE = grpc.StatusCode
pb, pb_grpc, models_pb, models_grpc = generated_client(with_models=True)
CONFIG = "dtype: float32\nmax_batch_tokens: 64\nmax_images_per_step: 2\n"


def golden(family, file="golden.json"):
    return json.loads((FAMILIES / family / "adapters" / file).read_text())


def base_cases(family):
    shown = {case["name"] for cases in golden(family).values() for case in cases}
    return [case for case in json.loads((FAMILIES / family / "golden.json").read_text())["cases"] if case["name"] in shown]


def request(case, model, tokens=None, **fields):
    parts = [pb.MessagePart(image=png(image)) for image in case["images"]] + [pb.MessagePart(text=case["question"])]
    sampling = pb.SamplingOptions(max_tokens=tokens or len(case["answer_ids"]), temperature=0, ignore_eos=True)
    return pb.ChatRequest(model=model, return_token_ids=True, sampling=sampling, **fields,
                          messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)])


def over_grpc(stub, case, model, **fields):
    answer = stub.Chat(request(case, model, **fields))
    return list(answer.choices[0].token_ids), answer.choices[0].text


class Adapters(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def copied(self, family="llava_qwen2", name="attention", **changes):
        """A folder with that adapter; `changes`: of its configuration."""
        folder = self.root / f"adapter-{len(list(self.root.iterdir()))}"
        shutil.copytree(FAMILIES / family / "adapters" / name, folder)
        settings = json.loads((folder / "adapter_config.json").read_text()) | changes
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        return folder

    def setting(self, family):
        adapters = {name: str(FAMILIES / family / "adapters" / name) for name in golden(family)}
        return f"adapters: {json.dumps(adapters)}\n"

    def served(self, family, config):
        """{(adapter or "", case): (ids, text)}, asked for one after the other and all at once: the same."""
        asked = [("", case) for case in base_cases(family)]
        asked += [(name, case) for name, cases in golden(family).items() for case in cases]
        with Daemon(checkpoint=hub_folder(self.root, family), config=config + self.setting(family), kv_cache="8MiB") as daemon, \
                daemon.channel() as channel, concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            stub = pb_grpc.ChatServiceStub(channel)
            wait_until(lambda: daemon.metrics()["llava_adapters"] == len(golden(family)), "adapters are served")

            def ask(one):
                return over_grpc(stub, one[1], f"golden:{one[0]}" if one[0] else "golden")

            alone = [ask(one) for one in asked]
            for again in range(3):
                self.assertEqual(list(pool.map(ask, asked)), alone, "in a batch with others")
            for (name, case), (_, text) in zip(asked, alone):
                content = [{"type": "text", "text": case["question"]}]
                if case["images"] or not name:
                    continue
                status, _, body = http(daemon, CHAT, {
                    "model": f"golden:{name}", "messages": [{"role": "user", "content": content}], "temperature": 0,
                    "max_tokens": len(case["answer_ids"]), "ignore_eos": True})
                answer = json.loads(body)
                self.assertEqual((status, answer["model"]), (200, f"golden:{name}"), body)
                self.assertEqual(answer["choices"][0]["message"]["content"], text)
        return {(name, case["name"]): ids for (name, case), (ids, _) in zip(asked, alone)}

    def check(self, family):
        expected = {("", case["name"]): case["answer_ids"] for case in base_cases(family)}
        for name, cases in golden(family).items():
            expected |= {(name, case["name"]): case["answer_ids"] for case in cases}
        self.assertEqual(len({tuple(ids) for ids in expected.values()}), len(expected), "each changes the answers")
        self.assertEqual(self.served(family, CONFIG), expected)

    def test_tokens_of_the_merged_model(self):
        self.check("llava_qwen2")

    def test_tokens_of_the_merged_model_with_tiles(self):
        self.check("next_mistral")

    def test_tokens_of_the_merged_model_of_fused_matrices(self):
        self.check("llava_phi3")

    def test_beside_other_weights(self):
        for weights in ("dtype: bfloat16\n", "weights: int8\n", "weights: int4\n"):
            with self.subTest(weights):
                served = self.served("llava_qwen2", weights)
                self.assertGreater(len({tuple(ids) for ids in served.values()}), len(served) // 2)
                shutil.rmtree(self.root / "models--llava--llava_qwen2")

    def test_generate(self):
        folder = hub_folder(self.root, "llava_qwen2")
        for name, cases in (golden("llava_qwen2") | golden("llava_qwen2", "merged.json")).items():
            for case in cases:
                command = [PROGRAM, "generate", folder, "--adapter", FAMILIES / "llava_qwen2/adapters" / name, "--prompt",
                           case["question"], "--json", "--ignore-eos", "--dtype", "float32", "--max-tokens", "32"]
                for image in case["images"]:
                    command += ["--image", FAMILIES / "images" / image]
                answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
                self.assertEqual(answer["answer_ids"], case["answer_ids"], (name, case["name"]))

    def test_inspect(self):
        done = subprocess.run([PROGRAM, "inspect", FAMILIES / "llava_qwen2/adapters/patterns"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        for text in ("LoRA", "llava/llava_qwen2", "rank 16", "q_proj"):
            self.assertIn(text, done.stdout)
        done = subprocess.run([PROGRAM, "inspect", FAMILIES / "llava_qwen2/adapters/dora"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("LoRA with magnitudes (DoRA)", done.stdout)

    def test_check_looks_at_the_adapters_of_the_settings(self):
        base = hub_folder(self.root / "hub", "llava_qwen2")
        broken = self.copied()
        (broken / "adapter_model.safetensors").unlink()
        for folder, checkpoint, said in (
                (self.copied(), base, ""), (self.copied(), None, ""), (self.copied(r=9), base, "expected the rank 9"),
                (broken, base, "adapter_model.safetensors: no such file"), (self.root / "none", base, "none/adapter_config.json"),
                (FAMILIES / "llava_phi3/adapters" / next(iter(golden("llava_phi3"))), base, "the adapter ")):
            with self.subTest(folder=folder, checkpoint=checkpoint):
                done = subprocess.run([PROGRAM, "--check", "--adapters", f"mine={folder}",
                                       *(["--checkpoint", checkpoint] if checkpoint else [])], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2 if said else 0, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertIn("adapters: mine: " if said else "ok\n", done.stderr if said else done.stdout)

    def llava(self, daemon, *words, code=0):
        done = subprocess.run([LLAVA, "models", *words, "--server", daemon.addresses["grpc"]], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr if code else done.stdout

    def test_coming_and_going(self):
        folder = hub_folder(self.root, "llava_qwen2")
        case = golden("llava_qwen2")["attention"][0]
        other = next(c for c in golden("llava_qwen2")["patterns"] if c["name"] == case["name"])
        own = next(c for c in base_cases("llava_qwen2") if c["name"] == case["name"])
        with Daemon(checkpoint=folder, config=CONFIG + "max_adapters: 2\ncanary_percent: 0\n", kv_cache="8MiB") as daemon, \
                daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            with self.assertRaises(grpc.RpcError) as refused:
                over_grpc(stub, case, "golden:first")
            self.assertEqual(refused.exception.code(), CODE.NOT_FOUND)
            path = self.copied()
            self.assertIn("adapter first  serving", self.llava(daemon, "load-adapter", "first", str(path)))
            self.assertEqual(over_grpc(stub, case, "golden:first")[0], case["answer_ids"])
            self.assertEqual(over_grpc(stub, own, "golden")[0], own["answer_ids"])
            listed = json.loads(http(daemon, "/v1/models")[2])["data"]
            self.assertEqual([(m["id"], m.get("parent")) for m in listed], [("golden", None), ("golden:first", "golden")])
            status, _, body = http(daemon, "/v1/models/golden:first")
            self.assertEqual((status, json.loads(body)["id"]), (200, "golden:first"))
            version = listed[0]["version"]
            self.assertEqual(over_grpc(stub, case, f"golden:first@{version[:8]}")[0], case["answer_ids"])

            # A request keeps what it began with, whatever becomes of the name.
            stream = stub.ChatStream(pb.ChatStreamRequest(request=request(case, "golden:first", tokens=400)))
            ids = list(next(stream).token_ids)
            self.llava(daemon, "load-adapter", "first", str(FAMILIES / "llava_qwen2/adapters/patterns"))
            self.assertEqual(over_grpc(stub, other, "golden:first")[0], other["answer_ids"])
            self.llava(daemon, "unload-adapter", "first")
            with self.assertRaises(grpc.RpcError) as refused:
                over_grpc(stub, case, "golden:first")
            self.assertEqual(refused.exception.code(), CODE.NOT_FOUND)
            for event in stream:
                ids += event.token_ids
            self.assertEqual(ids[:32], case["answer_ids"])
            self.assertEqual(len(ids), 400)
            wait_until(lambda: daemon.metrics()["llava_adapter_bytes"] == 0, "both are freed")
            self.assertNotIn("adapter", self.llava(daemon, "list"))
            self.assertIn("no adapter", http(daemon, CHAT, {"model": "golden:first", "messages": [
                {"role": "user", "content": "x"}]})[2].decode())
            self.assertIn("there is no adapter first, expected none: no adapter is served",
                          self.llava(daemon, "unload-adapter", "first", code=1))

            for name in ("a", "b"):
                self.llava(daemon, "load-adapter", name, str(path))
            self.assertIn("max_adapters", self.llava(daemon, "load-adapter", "c", str(path), code=2))
            totals = daemon.metrics()
            self.assertEqual(totals['llava_adapter_requests_total{adapter="first"}'], 4)

    def published(self, name, probes, family="llava_qwen2"):
        """The adapter with a manifest; `probes`: (case, ids that it is to begin with)."""
        folder = self.copied(family, name)
        (folder / "probes").mkdir()
        listed = []
        for case, ids in probes:
            for image in case["images"]:
                shutil.copy(FAMILIES / "images" / image, folder / "probes" / image)
            listed.append({"prompt": case["question"], "images": [f"probes/{image}" for image in case["images"]],
                           "chat_template": "chat_template.jinja", "greedy_ids": ids})
        files = [{"path": str(file.relative_to(folder)), "size": file.stat().st_size,
                  "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
                 for file in sorted(folder.rglob("*")) if file.is_file()]
        manifest = {"format": 1, "files": files, "parent": "", "recipe": "", "data_fingerprint": "", "step": 0,
                    "evaluation": {}, "probes": listed}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def test_probes_and_hashes(self):
        cases = golden("llava_qwen2")
        right = [(case, case["answer_ids"][:8]) for case in cases["attention"]]
        wrong = right[:-1] + [(right[-1][0], [5] + right[-1][1][1:])]
        with Daemon(checkpoint=hub_folder(self.root, "llava_qwen2"), config=CONFIG, kv_cache="8MiB") as daemon, \
                daemon.channel() as channel:
            models, stub = models_grpc.ModelServiceStub(channel), pb_grpc.ChatServiceStub(channel)

            def load(path):
                return models.LoadAdapter(models_pb.LoadAdapterRequest(name="a", path=str(path))).adapter

            def refusal(path):
                with self.assertRaises(grpc.RpcError) as refused:
                    load(path)
                return refused.exception.code(), refused.exception.details()

            code, details = refusal(self.published("attention", wrong))
            self.assertEqual(code, CODE.FAILED_PRECONDITION, details)
            self.assertIn("probe", details)
            self.assertIn("answered ids", details)
            listed = models.List(models_pb.ListRequest()).adapters[0]
            self.assertEqual(listed.state, models_pb.ADAPTER_STATE_FAILED)
            self.assertIn("answered ids", listed.reason)
            self.assertIn("answered ids", daemon.logged())
            torn = self.published("attention", right)
            with open(torn / "adapter_model.safetensors", "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\x00")
            self.assertEqual(refusal(torn)[0], CODE.DATA_LOSS)
            self.assertEqual(daemon.metrics()["llava_adapter_rejections_total"], 2)
            self.assertEqual(load(self.published("attention", right)).state, models_pb.ADAPTER_STATE_SERVING)
            # What is served stays while another one is refused, and answers beside the canary of a good one.
            self.assertEqual(refusal(self.published("patterns", wrong))[0], CODE.FAILED_PRECONDITION)
            case = cases["attention"][0]
            self.assertEqual(over_grpc(stub, case, "golden:a")[0], case["answer_ids"])

    def pin(self, adapter, base, code=0):
        done = subprocess.run([LLAVA_TRAIN, "pin", adapter, "--base", base], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr if code else done.stdout

    def test_one_from_elsewhere_is_pinned_and_served_by_its_name(self):
        """As PEFT saved it: with its README, nothing of ours, and the name of a base that is not here."""
        for family, name in (("llava_qwen2", "attention"), ("llava_phi3", "all")):
            base = hub_folder(self.root, family)
            adapter = self.copied(family, name, base_model_name_or_path="somebody/else")
            (adapter / "README.md").write_text("An adapter of somebody else.")
            said = self.pin(adapter, base)
            self.assertIn('adapter for "somebody/else"', said)
            manifest = (adapter / "manifest.json").read_bytes()
            self.assertIn(hashlib.sha256(manifest).hexdigest(), said)
            self.assertEqual({file["path"] for file in json.loads(manifest)["files"]},
                             {"README.md", "adapter_config.json", "adapter_model.safetensors"})
            self.assertEqual(self.pin(adapter, base), said)  # a second time it is verified
            torn = self.root / f"torn-{family}"
            shutil.copytree(adapter, torn)
            (torn / "README.md").write_text("An adapter of somebody else!")
            self.assertIn("README.md", self.pin(torn, base, code=1))
            with Daemon(checkpoint=base, config=CONFIG, kv_cache="8MiB") as daemon, daemon.channel() as channel:
                stub = pb_grpc.ChatServiceStub(channel)
                self.llava(daemon, "load-adapter", "theirs", str(adapter))
                for case in golden(family)[name]:
                    self.assertEqual(over_grpc(stub, case, "golden:theirs")[0], case["answer_ids"], case["name"])
                self.assertIn("README.md", self.llava(daemon, "load-adapter", "torn", str(torn), code=2))

    def test_what_does_not_fit_is_not_pinned(self):
        adapter = self.copied()
        said = self.pin(adapter, hub_folder(self.root, "llava_phi3"), code=1)
        self.assertIn("layers.0.self_attn.q_proj, which the model, a phi3, does not have", said)
        said = self.pin(adapter, hub_folder(self.root, "llava_qwen3"), code=1)
        self.assertIn("q_proj of [96, 48], the model's is [48, 48]", said)
        self.assertFalse((adapter / "manifest.json").exists())

    def test_a_canary(self):
        cases = golden("llava_qwen2")
        case = cases["attention"][0]
        other = next(c for c in cases["patterns"] if c["name"] == case["name"])
        config = CONFIG + "canary_percent: 50\ncanary_min_answers: 4\ncanary_answers: 6\ncanary_endless_percent: 100\n" \
            "canary_slower_percent: 10000\ncanary_less_sure_percent: 99\n"
        with Daemon(checkpoint=hub_folder(self.root, "llava_qwen2"), config=config, kv_cache="8MiB") as daemon, \
                daemon.channel() as channel:
            models, stub = models_grpc.ModelServiceStub(channel), pb_grpc.ChatServiceStub(channel)
            path = str(FAMILIES / "llava_qwen2/adapters")
            models.LoadAdapter(models_pb.LoadAdapterRequest(name="a", path=path + "/attention"))
            taken = models.LoadAdapter(models_pb.LoadAdapterRequest(name="a", path=path + "/patterns")).adapter
            self.assertEqual((taken.state, taken.path), (models_pb.ADAPTER_STATE_CANARY, path + "/patterns"))
            self.assertIn("canary", self.llava(daemon, "list"))

            def ask(number):
                ids = over_grpc(stub, dict(case, question=case["question"] + " " * number), "golden:a")[0]
                return len(ids)

            def judged():
                for number in range(8):
                    ask(number + 8 * judged.rounds)
                judged.rounds += 1
                return [a.state for a in models.List(models_pb.ListRequest()).adapters] == [models_pb.ADAPTER_STATE_SERVING]

            judged.rounds = 0
            wait_until(judged, "the canary takes the place")
            listed = models.List(models_pb.ListRequest()).adapters
            self.assertEqual([a.path for a in listed], [path + "/patterns"])
            self.assertEqual(over_grpc(stub, other, "golden:a")[0], other["answer_ids"])

    def test_what_is_refused(self):
        whole = self.copied()
        with Daemon(checkpoint=hub_folder(self.root, "llava_qwen2"), config=CONFIG + "adapter_bytes: 1MiB\n", kv_cache="8MiB") as daemon, \
                daemon.channel() as channel:
            models = models_grpc.ModelServiceStub(channel)

            def refusal(path, name="bad"):
                with self.assertRaises(grpc.RpcError) as refused:
                    models.LoadAdapter(models_pb.LoadAdapterRequest(name=name, path=str(path)))
                return refused.exception.code(), refused.exception.details()

            code, details = refusal(self.copied(name="dora"))
            self.assertEqual(code, CODE.UNIMPLEMENTED, details)
            self.assertIn("use_dora is true", details)
            self.assertIn("llava-train merge", details)
            for changes, text in (({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"), ({"bias": "all"}, "bias"),
                                  ({"peft_type": "IA3"}, "peft_type"), ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
                                  ({"fan_in_fan_out": True}, "fan_in_fan_out"),
                                  ({"init_lora_weights": "pissa"}, "init_lora_weights"), ({"of_tomorrow": 1}, "of_tomorrow")):
                code, details = refusal(self.copied(**changes))
                self.assertEqual(code, CODE.UNIMPLEMENTED, details)
                self.assertIn(text, details)
            for changes, text in (({"r": 7}, "rank 7"), ({"r": 257}, "257"), ({"use_dora": True}, "lora_magnitude_vector"),
                                  ({"lora_alpha": "many"}, "lora_alpha"), ({"layers_to_transform": [0]}, "layers.1"),
                                  ({"target_modules": ["q_proj"]}, "v_proj"), ({"target_modules": "(q_proj"}, "target_modules"),
                                  ({"target_modules": r".*language_model.*\.(q|k|v)_proj"}, "k_proj")):
                code, details = refusal(self.copied(**changes))
                self.assertEqual(code, CODE.INVALID_ARGUMENT, details)
                self.assertIn(text, details)
            narrow = self.copied()
            places = [f"base_model.model.model.language_model.layers.{i}.self_attn.{name}_proj.lora_" for i in (0, 1) for name in "qv"]
            write_tensors(narrow / "adapter_model.safetensors",
                          {place + side: np.zeros(shape, np.uint16) for place in places
                           for side, shape in (("A.weight", (8, 40)), ("B.weight", (96 if "q_proj" in place else 32, 8)))})
            code, details = refusal(narrow)
            self.assertEqual(code, CODE.FAILED_PRECONDITION, details)
            self.assertIn("q_proj of [96, 40], the model's is [96, 48]", details)
            self.assertEqual(refusal(self.root / "nowhere")[0], CODE.NOT_FOUND)
            self.assertEqual(refusal(whole, name="a/b")[0], CODE.INVALID_ARGUMENT)
            torn = self.copied()
            weights = torn / "adapter_model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-8])
            self.assertEqual(refusal(torn)[0], CODE.DATA_LOSS)
            spoilt = self.copied()
            weights = spoilt / "adapter_model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-4] + np.float32("nan").tobytes())
            code, details = refusal(spoilt)
            self.assertEqual(code, CODE.DATA_LOSS)
            self.assertIn("NaN", details)
            tower = self.copied()
            weights = tower / "adapter_model.safetensors"
            data = weights.read_bytes().replace(b"language_model.layers.1", b"vision_tower.layers.1..")
            weights.write_bytes(data)
            code, details = refusal(tower)
            self.assertEqual(code, CODE.UNIMPLEMENTED)
            self.assertIn("vision tower", details)

            # What failed is listed with why, and answers so; the same name can be loaded again.
            listed = models.List(models_pb.ListRequest()).adapters
            self.assertEqual([(a.name, a.state) for a in listed], [("bad", models_pb.ADAPTER_STATE_FAILED)])
            self.assertIn("vision tower", listed[0].reason)
            status, _, body = http(daemon, CHAT, {"model": "golden:bad", "messages": [{"role": "user", "content": "x"}]})
            self.assertEqual(status, 503, body)
            self.assertIn("could not be loaded", error_of(body)["message"])
            self.assertNotIn(str(self.root), error_of(body)["message"])
            models.LoadAdapter(models_pb.LoadAdapterRequest(name="bad", path=str(whole)))
            before = list(models.List(models_pb.ListRequest()).adapters)
            refusal(torn)
            after = models.List(models_pb.ListRequest()).adapters
            self.assertEqual([(a.state, a.digest) for a in after], [(a.state, a.digest) for a in before])
            self.assertIn("still served", after[0].reason)


if __name__ == "__main__":
    unittest.main(verbosity=2)

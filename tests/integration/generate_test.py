"""llava-train generate against a scripted service: the paper's prompts, kills at any moment, a hostile service, and data that trains."""
import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib
from pathlib import Path

from scripted_service import Service

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training/paper"))
import corpus  # noqa: E402
import judge  # noqa: E402
import world  # noqa: E402

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
DATA = Path(os.environ.get("LLAVA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "llava-repo"
IMAGES = Path(__file__).resolve().parents[1] / "golden/data/images"
KINDS = {"conversation": "conversation", "detail": "detail_description", "reasoning": "complex_reasoning"}


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def talk(request):
    """An honest answer of its own about each picture."""
    query = request["messages"][-1]["content"]
    words = " ".join(f"{word}{zlib.crc32(query.encode())}" for word in ("the thing is near a wall with some light on it " * 4).split())
    if "conversation" in request["messages"][0]["content"]:
        return f"Question:\nWhat can be seen here?\n===\nAnswer:\nThis is {words}.\n===\nQuestion:\nWhere is it?\n===\nAnswer:\nIt is there."
    return f"This is a picture of {words}."


class GenerateTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def plan(self, url, source="contexts: contexts.jsonl", kinds=("conversation", "detail"), more="", prompts="prompts/{}"):
        text = (f"output: gen\nsource: {{{source}}}\nendpoint: {{base_url: '{url}', model: judge, max_in_flight: 4, max_attempts: 50, "
                "first_retry_seconds: 0.01, longest_retry_seconds: 0.05, idle_seconds: 1, total_seconds: 2}\nkinds:\n")
        for kind in kinds:
            text += f"  {kind}: {{images: 1, few_shot: {prompts.format(KINDS[kind])}}}\n"
            folder = self.folder / "prompts" / KINDS[kind]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "system_message.txt").write_text(f"Make a {kind}.")
        (self.folder / "plan.yaml").write_text(text + more)

    def contexts(self, count):
        (self.folder / "contexts.jsonl").write_text("".join(json.dumps(
            {"id": str(n), "image": f"{n}.jpg", "captions": [f"Number {n}."], "instances": []}) + "\n" for n in range(count)))

    def generate(self, *arguments, code=0):
        done = subprocess.run([LLAVA_TRAIN, "generate", self.folder / "plan.yaml", *arguments], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done.stdout + done.stderr

    @unittest.skipUnless(DATA.is_dir(), "the original repository's data is not beside this one")
    def test_prompts_of_the_paper(self):
        prompts = DATA / "playground/data/prompts"
        contexts = DATA / "llava/eval/table/caps_boxes_coco2014_val_80.jsonl"
        self.plan("http://127.0.0.1:9/v1", f"contexts: {contexts}", KINDS, prompts=str(prompts) + "/{}")
        said = self.generate("--dry-run")
        self.assertIn("240 requests about 80 pictures", said)
        made = {(row["id"], row["kind"]): row["messages"] for row in lines(self.folder / "gen" / "prompts.jsonl")}
        self.assertEqual(len(made), 240)
        for context in lines(contexts):
            for kind, name in KINDS.items():
                expected = [{"role": "system", "content": (prompts / name / "system_message.txt").read_text()}]
                for caps in sorted((prompts / name).glob("*_caps.txt")):
                    expected += [{"role": "user", "content": caps.read_text()},
                                 {"role": "assistant", "content": Path(str(caps).replace("_caps", "_conv")).read_text()}]
                query = "\n".join(context["captions"])
                if kind != "conversation":
                    query += "\n\n" + "\n".join(f'{box["category"]}: {box["bbox"]}' for box in context["instances"])
                self.assertEqual(made[context["id"], kind], expected + [{"role": "user", "content": query}])

    def test_killed_at_any_moment(self):
        self.contexts(40)
        generator = random.Random(7)
        with Service(lambda _, request: talk(request)) as service:
            self.plan(service.url, more="held_out: 0.2\n")
            for _ in range(12):
                process = subprocess.Popen([LLAVA_TRAIN, "generate", self.folder / "plan.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                stop = threading.Timer(generator.uniform(0.02, 0.3), process.send_signal, [signal.SIGKILL])
                stop.start()
                process.wait(60)
                stop.cancel()
            self.generate()
            asked = [json.dumps(request) for request in service.requests]
            self.assertEqual(len(set(asked)), 80)
            self.assertLessEqual(len(asked), 80 + 12 * 4)  # at most what was in flight
            rows = (self.folder / "gen" / "instruct.jsonl").read_bytes()
            held = lines(self.folder / "gen" / "held_out.jsonl")
            self.assertEqual(len(rows.splitlines()) + len(held), 80, (self.folder / "gen" / "rejects.jsonl").read_text())
            pictures = {json.loads(row)["image"] for row in rows.splitlines()}
            self.assertFalse(pictures & {row["image"] for row in held})
            (self.folder / "gen" / "instruct.jsonl").unlink()
            self.generate()
            self.assertEqual((self.folder / "gen" / "instruct.jsonl").read_bytes(), rows)
        spent = json.loads((self.folder / "gen" / "report.json").read_text())
        self.assertGreaterEqual(spent["prompt_tokens"] + spent["completion_tokens"], 25 * len(asked))  # also what was killed
        keys = [entry["key"] for entry in lines(self.folder / "gen" / "ledger.jsonl") if entry["status"] == "ok"]
        self.assertEqual(len(keys), len(set(keys)))
        self.plan(service.url, more="held_out: 0.3\n")
        self.assertIn("was begun with another plan", self.generate(code=2))

    def test_a_hostile_service(self):
        self.contexts(30)
        generator = random.Random(11)

        def script(_, request):
            chance = generator.random()
            for share, what in ((0.3, "busy"), (0.4, "half"), (0.42, "hang"), (0.46, "html"), (0.5, "other_model"), (0.52, "gzip_bomb"),
                                (0.54, "endless")):
                if chance < share:
                    return what
            return talk(request)
        with Service(script) as service:
            self.plan(service.url)
            self.generate()
        report = json.loads((self.folder / "gen" / "report.json").read_text())
        self.assertEqual(sum(report["accepted"].values()), 60)
        self.assertEqual(report["unanswered"], 0)

    def test_a_vision_model_sees_pictures_alone(self):
        (self.folder / "seen" / "more").mkdir(parents=True)
        shutil.copy(IMAGES / "gray.png", self.folder / "seen" / "more" / "gray.png")
        shutil.copy(IMAGES / "portrait.jpg", self.folder / "seen" / "portrait.jpg")
        shown = []

        def script(_, request):
            picture, text = request["messages"][-1]["content"]
            shown.append(base64.b64decode(picture["image_url"]["url"].partition(",")[2]))
            return talk({"messages": [request["messages"][0], {"content": str(zlib.crc32(shown[-1])) + text["text"]}]})
        with Service(script) as service:
            self.plan(service.url, "pictures: seen", more="held_out: 0\n")
            self.assertIn("4 requests about 2 pictures", self.generate("--dry-run"))
            prompts = lines(self.folder / "gen" / "prompts.jsonl")
            self.assertEqual([p["messages"][-1]["images"] for p in prompts][:1], [[str(self.folder / "seen" / "more" / "gray.png")]])
            self.generate()
        self.assertEqual({zlib.crc32(s) for s in shown}, {zlib.crc32(p.read_bytes()) for p in (IMAGES / "gray.png", IMAGES / "portrait.jpg")})
        rows = self.folder / "gen" / "instruct.jsonl"
        self.assertEqual({row["image"] for row in lines(rows)}, {"more/gray.png", "portrait.jpg"})
        checked = subprocess.run([LLAVA_TRAIN, "check", rows, "--images", self.folder / "seen"], capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_scenes_are_checked_and_trained_with(self):
        lies = "Question:\nWhat is there?\n===\nAnswer:\nThere is a red circle, a green square, a blue triangle and a yellow cross."

        def script(number, request):
            query = request["messages"][-1]["content"].split("\n")[0]
            return lies if number % 3 == 0 else f"Question:\nWhat can be seen?\n===\nAnswer:\n{query}"
        with Service(script) as service:
            self.plan(service.url, "scenes: {count: 12}", ("conversation",), "held_out: 0\nimage_prefix: ''\naccept: {near_duplicate: 1.0}\n")
            self.assertIn("say what is not so", self.generate())
        rows = self.folder / "gen" / "instruct.jsonl"
        self.assertGreater(len(lines(rows)), 4)
        self.assertEqual(lines(rows)[0]["provenance"]["model"], "judge")
        report = json.loads((self.folder / "gen" / "report.json").read_text())
        self.assertGreater(report["untrue"], 1)
        images = self.folder / "gen" / "scenes" / "images"
        checked = subprocess.run([LLAVA_TRAIN, "check", rows, "--images", images], capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_what_is_accepted_of_scenes_is_true(self):
        """A language model that speaks of another picture a third of the time; judged by the rules of the small paper."""
        generator = random.Random(23)

        def script(_, request):
            truth = world.parse_context(request["messages"][-1]["content"])
            told = world.invent(generator) if generator.random() < 0.33 else truth
            kind = request["messages"][0]["content"].split()[-1].rstrip(".")
            return corpus.reply(kind, told, generator)
        with Service(script) as service:
            self.plan(service.url, "scenes: {count: 60, seed: 5}", KINDS, "held_out: 0\naccept: {near_duplicate: 1.0}\n")
            self.assertIn("say what is not so", self.generate())
        truths = {image: truth for image, _, truth in world.read_scenes(self.folder / "gen" / "scenes" / "scenes.jsonl")}
        rows = lines(self.folder / "gen" / "instruct.jsonl")
        answers = true = 0
        for row in rows:
            turns = [turn["value"].replace("<image>", "").strip() for turn in row["conversations"]]
            for question, answer in zip(turns[::2], turns[1::2]):
                if row["provenance"]["kind"] == "detail":
                    question = "Describe the following image in detail"
                answers += 1
                true += judge.score(question, answer, truths[row["image"]]) == 10
        self.assertGreater(len(rows), 140)  # of 180, of which some were lied about twice
        self.assertGreaterEqual(true, 0.95 * answers)
        report = json.loads((self.folder / "gen" / "report.json").read_text())
        self.assertGreater(report["untrue"], 40)
        with Service(lambda _, request: corpus.reply(request["messages"][0]["content"].split()[-1].rstrip("."), world.parse_context(
                request["messages"][-1]["content"]), generator)) as service:
            shutil.rmtree(self.folder / "gen")
            self.plan(service.url, "scenes: {count: 60, seed: 6}", KINDS, "held_out: 0\naccept: {near_duplicate: 1.0}\n")
            self.assertNotIn("say what is not so", self.generate())
        report = json.loads((self.folder / "gen" / "report.json").read_text())
        self.assertLess(report["untrue"], 4, (self.folder / "gen" / "rejects.jsonl").read_text())

    def test_filter(self):
        rows = [{"id": str(n), "image": f"{n}.jpg", "conversations": [{"from": "human", "value": "<image>\nDescribe."},
                 {"from": "gpt", "value": "a dog" if n < 150 else ("a cat near a dog" if n < 154 else f"a yak{n}")}]} for n in range(160)]
        (self.folder / "captions.json").write_text(json.dumps(rows, indent=1))
        out = self.folder / "subset.jsonl"
        done = subprocess.run([LLAVA_TRAIN, "filter", self.folder / "captions.json", "--out", out], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        chosen = [int(row["id"]) for row in lines(out)]
        self.assertLessEqual({150, 151, 152, 153}, set(chosen))
        self.assertFalse(set(chosen) & set(range(154, 160)))
        self.assertLessEqual(len(chosen), 104)
        self.assertIn("of 160 captions", done.stdout)


if __name__ == "__main__":
    unittest.main()

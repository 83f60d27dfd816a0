"""llava-train evaluate with a real checkpoint and small files in each benchmark's own format, and with a scripted judge."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path

from daemon_process import CHECKPOINT, IMAGES, Daemon
from scripted_service import Service

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
DATA = Path(os.environ.get("LLAVA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "llava-repo"
SHORT = "\nAnswer the question using a single word or phrase."


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def review(text):
    """What eval_gpt_review.py reads out of a review."""
    parts = text.split("\n")[0].replace(",", " ").split(" ")
    try:
        return [float(parts[0]), float(parts[1])] if len(parts) == 2 else [-1, -1]
    except ValueError:
        return [-1, -1]


class EvaluateTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.data = self.folder / "data"
        (self.data / "images").mkdir(parents=True)
        for name in ("gray.png", "portrait.jpg"):
            shutil.copy(IMAGES / name, self.data / "images" / name)
        self.out = self.folder / "out"

    def evaluate(self, bench, *arguments, code=0):
        command = [LLAVA_TRAIN, "evaluate", bench, "--out", self.out, *arguments]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done.stdout + done.stderr

    def ask(self, bench, *arguments):
        return self.evaluate(bench, "--data", self.data, "--images", self.data / "images", "--checkpoint", CHECKPOINT,
                             "--template", "vicuna_v1", "--max-tokens", 4, *arguments)

    def results(self):
        return json.loads((self.out / "results.json").read_text())

    def test_pope(self):
        labels = [{"question_id": n, "image": "gray.png", "text": f"Is there a thing {n}?", "label": "yes" if n % 2 else "no"}
                  for n in range(1, 7)]
        write_lines(self.data / "coco" / "coco_pope_random.json", labels)
        table = self.ask("pope")
        self.assertRegex(table, r"random/accuracy +\d+\.\d\d  \[")
        answers = lines(self.out / "answers.jsonl")
        self.assertEqual([answer["prompt"] for answer in answers], [label["text"] + SHORT for label in labels])
        says_yes = [not {"No", "not", "no"} & set(answer["text"].split(".")[0].replace(",", "").split(" ")) for answer in answers]
        right = sum(says == (label["label"] == "yes") for says, label in zip(says_yes, labels))
        self.assertAlmostEqual(self.results()["scores"]["random/accuracy"]["value"], right / 6)
        self.assertEqual(len(self.results()["data_fingerprint"]), 64)
        before = (self.out / "answers.jsonl").read_bytes()
        (self.out / "answers.jsonl").unlink()
        journal = (self.out / "answers.journal.jsonl").read_text().splitlines(keepends=True)
        (self.out / "answers.journal.jsonl").write_text("".join(journal[:4]) + journal[4][:10])  # killed while it wrote
        self.ask("pope")
        self.assertEqual((self.out / "answers.jsonl").read_bytes(), before)
        self.assertIn("choose another --out", self.evaluate(
            "pope", "--data", self.data, "--images", self.data / "images", "--checkpoint", CHECKPOINT, "--template", "vicuna_v1",
            "--max-tokens", 5, code=2))

    def test_each_format(self):
        question = {"question_id": 1, "image": "gray.png", "text": "What is it?" + SHORT, "category": "default"}
        for bench, file, submission in (("gqa", "llava_gqa_testdev_balanced.jsonl", "testdev_balanced_predictions.json"),
                                        ("vqav2", "llava_vqav2_mscoco_test2015.jsonl", "vqav2_test.json"),
                                        ("vizwiz", "llava_test.jsonl", "vizwiz_test.json"),
                                        ("textvqa", "llava_textvqa_val_v051_ocr.jsonl", None),
                                        ("mm-vet", "llava-mm-vet.jsonl", "mm-vet.json")):
            with self.subTest(bench):
                self.out = self.folder / bench
                write_lines(self.data / file, [question])
                self.assertIn("no labels", self.ask(bench))
                self.assertEqual(lines(self.out / "answers.jsonl")[0]["question_id"], 1)
                if submission:
                    self.assertTrue(json.loads((self.out / "submission" / submission).read_text()))

    def test_a_multiple_choice_by_scores(self):
        """A model that babbles has an answer to each question: the letter that it finds likeliest."""
        picture = base64.b64encode((IMAGES / "portrait.jpg").read_bytes()).decode()
        (self.data / "mmbench_dev_20230712.tsv").write_text(
            "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"
            + "".join(f"{n}\tWhich {n}?\t\tred\tblue\tgreen\t\tA\tcolour\t{picture}\n" for n in range(5)))
        self.ask("mmbench", "--score-choices")
        letters = [answer["text"] for answer in lines(self.out / "answers.jsonl")]
        self.assertEqual(len(letters), 5)
        self.assertLessEqual(set(letters), {"A", "B", "C"})
        # Answers of the other kind are not taken for these.
        said = self.evaluate("mmbench", "--data", self.data, "--images", self.data / "images", "--checkpoint", CHECKPOINT,
                             "--template", "vicuna_v1", "--max-tokens", 4, code=2)
        self.assertIn("choose another --out", said)
        write_lines(self.data / "coco" / "coco_pope_random.json",
                    [{"question_id": 1, "image": "gray.png", "text": "Is it?", "label": "yes"}])
        said = self.evaluate("pope", "--data", self.data, "--images", self.data / "images", "--checkpoint", CHECKPOINT,
                             "--score-choices", code=2)
        self.assertIn("--score-choices: pope has no multiple choice", said)

    def test_mmbench(self):
        picture = base64.b64encode((IMAGES / "portrait.jpg").read_bytes()).decode()
        (self.data / "mmbench_dev_20230712.tsv").write_text(
            "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"
            f"7\tWhich?\t\tred\tblue\t\t\tA\tcolour\t{picture}\n")
        self.ask("mmbench", "--all-rounds")
        answers = lines(self.out / "answers.jsonl")
        self.assertEqual([answer["round_id"] for answer in answers], [0, 1])
        self.assertEqual(answers[1]["prompt"], "Which?\nA. blue\nB. red")
        self.assertEqual(answers[1]["option_char"], ["B", "A"])
        with zipfile.ZipFile(self.out / "submission" / "mmbench.xlsx") as sheet:
            self.assertIsNone(sheet.testzip())
            rows = re.findall("<row>(.*?)</row>", sheet.read("xl/worksheets/sheet1.xml").decode())
        self.assertEqual(re.findall("preserve\">(.*?)</t>", rows[0]), ["index", "question", "A", "B", "C", "D", "prediction", "answer"])

    def test_mme_and_seed(self):
        task = self.data / "count"
        task.mkdir()
        shutil.copy(IMAGES / "gray.png", task / "1.png")
        (task / "1.txt").write_text("Is it 1? Please answer yes or no.\tYes\nIs it 2? Please answer yes or no.\tNo\n")
        self.assertIn("perception", self.ask("mme"))
        self.assertEqual(len((self.out / "submission" / "count.txt").read_text().splitlines()), 2)
        self.out = self.folder / "seed"
        shutil.copy(IMAGES / "gray.png", self.data / "images" / "x")
        (self.data / "SEED-Bench.json").write_text(json.dumps({"question_type": {"Scene": 1}, "questions": [
            {"question_id": "5", "question": "Which?", "choice_a": "a", "choice_b": "b", "choice_c": "c", "choice_d": "d", "answer": "A",
             "question_type_id": 1, "data_type": "image", "data_id": "x"}]}))
        write_lines(self.data / "llava-seed-bench.jsonl", [{"question_id": 5, "image": "x", "text": "Which?\nA. a"}])
        self.assertIn("Scene", self.ask("seed"))
        self.assertEqual(lines(self.out / "submission" / "seed_bench.jsonl")[0]["question_id"], "5")

    def test_rows_with_history_and_record(self):
        write_lines(self.data / "rows.jsonl", [{"id": "1", "image": "gray.png", "conversations": [
            {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A."},
            {"from": "human", "value": "And?"}, {"from": "gpt", "value": "B."}]}])
        arguments = ("rows", "--data", self.data / "rows.jsonl", "--images", self.data / "images", "--checkpoint", CHECKPOINT,
                     "--template", "vicuna_v1", "--max-tokens", 4)
        self.evaluate(*arguments, "--history", "--record", self.folder / "published", "--require", "total=0.0")
        manifest = json.loads((self.folder / "published" / "latest" / "manifest.json").read_text())
        evaluation = manifest["evaluations"][-1]
        self.assertEqual((evaluation["benchmark"], evaluation["judge"], evaluation["questions"]), ("rows", "exact, answers of 4 tokens", 2))
        self.assertEqual(evaluation["data_fingerprint"], self.results()["data_fingerprint"])
        self.assertIn("is not reached", self.evaluate(*arguments, "--history", "--require", "total=1.1", code=1))
        self.assertIn(">total<", (self.out / "scores.svg").read_text())
        self.out = self.folder / "old"
        self.evaluate(CHECKPOINT, *arguments[1:5], "--template", "vicuna_v1", "--max-tokens", 4)  # as it was called before

    def test_a_running_server_answers(self):
        write_lines(self.data / "llava-mm-vet.jsonl", [{"question_id": n, "image": "gray.png", "text": f"Number {n}?"} for n in range(20)])
        with Daemon() as daemon:
            self.evaluate("mm-vet", "--data", self.data, "--images", self.data / "images", "--through",
                          daemon.addresses["http"] + "/v1", "--model", "golden", "--max-tokens", 3)
        self.assertTrue(all(answer["text"] for answer in lines(self.out / "answers.jsonl")))
        self.assertEqual(self.results()["unanswered"], 0)

    def test_a_service_with_a_budget(self):
        write_lines(self.data / "llava-mm-vet.jsonl", [{"question_id": n, "image": "gray.png", "text": f"Number {n}?"} for n in range(6)])
        file = self.folder / "service.yaml"
        arguments = ("mm-vet", "--data", self.data, "--images", self.data / "images", "--endpoint", file)
        with Service(lambda n, _: f"Answer {n}.") as service:
            def endpoint(tokens):
                file.write_text(f"endpoint: {{base_url: '{service.url}', model: judge, max_in_flight: 1, price: {{output_per_million: 1000}}}}\n"
                                f"budget: {{max_tokens_total: {tokens}}}\n")
                return arguments
            self.assertIn("the budget is spent", self.evaluate(*endpoint(5200), code=2))  # a request may cost 5145, and costs 25
            asked = len(service.requests)
            self.assertIn("the budget is spent", self.evaluate(*endpoint(5200), code=2))
            self.assertEqual(len(service.requests), asked)
            self.evaluate(*endpoint(10000))
            self.assertEqual(len(service.requests), 6)
            self.assertGreater(asked, 0)
            self.assertAlmostEqual(self.results()["cost"], 6 * 5 * 1000 / 1e6)
            self.assertLess(self.results()["cost_of_run"], self.results()["cost"])
            self.evaluate(*endpoint(10000))  # nothing is open, and what all have cost stays what it was
            self.assertEqual(len(service.requests), 6)
            self.assertAlmostEqual(self.results()["cost"], 6 * 5 * 1000 / 1e6)
            self.assertEqual(self.results()["cost_of_run"], 0)
            self.out = self.folder / "nothing"
            self.assertIn("the budget is spent", self.evaluate(*endpoint(0), code=2))
            self.assertEqual(len(service.requests), 6)

    def llava_bench(self):
        write_lines(self.data / "qa90_questions.jsonl", [
            {"question_id": n, "image": "gray.png", "text": f"What is {n}?", "category": ("conv", "detail", "complex")[n % 3]} for n in range(9)])
        write_lines(self.data / "qa90_gpt4_answer.jsonl", [{"question_id": n, "text": f"It is {n}."} for n in range(9)])
        write_lines(self.data / "caps_boxes_coco2014_val_80.jsonl", [
            {"id": "1", "image": "gray.png", "captions": ["Gray."], "instances": [{"category": "cat", "bbox": [0.5, 0.584, 1.0, 1.0]}]}])
        (self.data / "rule.json").write_text(json.dumps({kind: {"role": "Assistant", "prompt": "Rate."} for kind in ("conv", "detail", "complex")}))

    def judge(self, service, more=""):
        path = self.folder / "judge.yaml"
        path.write_text(f"endpoint:\n  base_url: {service.url}\n  model: judge\n  api_key_env: JUDGE_KEY\n  max_attempts: 20\n"
                        f"  first_retry_seconds: 0.01\n  longest_retry_seconds: 0.05\n  idle_seconds: 2\n  total_seconds: 4\n{more}")
        os.environ["JUDGE_KEY"] = "sk-very-secret"
        return path

    def test_a_hostile_judge(self):
        self.llava_bench()
        hostile = ("half", "busy", "html", "other_model", "gzip_bomb", "endless", "busy", "hang")

        def script(number, request):
            return hostile[number] if number < len(hostile) else "9 8\nBecause." if number % 5 else "They are alike."
        with Service(script) as service:
            table = self.ask("llava_bench_coco", "--judge", self.judge(service))
            asked = len(service.requests)
            self.ask("llava_bench_coco", "--judge", self.judge(service))
            self.assertEqual(len(service.requests), asked)  # the ledger knows
        reviews = lines(self.out / "reviews.jsonl")
        self.assertEqual(len(reviews), 9)
        self.assertEqual([row["tuple"] for row in reviews], [review(row["content"]) for row in reviews])
        failed = sum(row["tuple"][0] < 0 for row in reviews)
        self.assertEqual(self.results()["judge_failed"], failed)
        self.assertIn("are left out", table)
        self.assertAlmostEqual(self.results()["scores"]["total"]["value"], 8 / 9)
        written = b"".join(path.read_bytes() for path in self.out.rglob("*") if path.is_file())
        self.assertNotIn(b"sk-very-secret", written)
        self.assertEqual(service.headers[-1]["Authorization"], "Bearer sk-very-secret")
        first = service.requests[-1]["messages"]
        self.assertIn("[Context]\nGray.\n\ncat: [0.5, 0.584, 1.0, 1.0]\n\n[Question]\n", first[1]["content"])
        with Service(lambda *_: "unauthorized") as service:
            self.out = self.folder / "again"
            said = self.evaluate("llava_bench_coco", "--data", self.data, "--images", self.data / "images", "--answers",
                                 self.folder / "out" / "answers.jsonl", "--judge", self.judge(service), code=2)
            self.assertIn("Incorrect API key provided: Bearer [key]", said)
            self.assertNotIn("sk-very-secret", said)

    def test_budget_and_orders(self):
        self.llava_bench()
        answers = self.folder / "answers.jsonl"
        write_lines(answers, [{"question_id": n, "text": "Mine."} for n in range(9)])
        arguments = ("llava_bench_coco", "--data", self.data, "--answers", answers, "--judge")
        with Service(lambda *_: "9 7\n") as service:
            said = self.evaluate(*arguments, self.judge(service, "budget: {max_tokens_total: 100}\n"), code=2)
            self.assertIn("budget", said)
            self.assertEqual(service.requests, [])
            self.evaluate(*arguments, self.judge(service), "--both-orders")
            self.assertEqual(len(service.requests), 18)
        self.assertAlmostEqual(self.results()["position_bias"], 2)
        self.assertAlmostEqual(self.results()["scores"]["total"]["value"], 1)

    @unittest.skipUnless(DATA.is_dir(), "the original repository's data is not beside this one")
    def test_prompts_of_the_original(self):
        self.check_judge_prompts("llava_bench_coco", "playground/data/coco2014_val_qa_eval/qa90_questions.jsonl",
                                 "playground/data/coco2014_val_qa_eval/qa90_gpt4_answer.jsonl", True, 90)
        self.out = self.folder / "text"
        self.check_judge_prompts("vicuna_bench", "llava/eval/table/question.jsonl", "llava/eval/table/answer/answer_gpt35.jsonl", False, 80)

    def check_judge_prompts(self, bench, questions, reference, pictures, count):
        table = DATA / "llava/eval/table"
        questions, references = lines(DATA / questions), lines(DATA / reference)
        ours = [{"question_id": question["question_id"], "text": f"Answer {number} \u00e4"} for number, question in enumerate(questions)]
        write_lines(self.folder / "ours.jsonl", ours)
        self.evaluate(bench, "--data", DATA, "--answers", self.folder / "ours.jsonl", "--dry-run")
        contexts = {context["image"]: context for context in lines(table / "caps_boxes_coco2014_val_80.jsonl")}
        rules = json.loads((table / "rule.json").read_text())
        prompts = lines(self.out / "judge_prompts.jsonl")
        self.assertEqual(len(prompts), count)
        for question, one, two, prompt in zip(questions, references, ours, prompts):
            rule = rules.get(question["category"], rules["default"])
            role, text = rule["role"], ""
            if pictures:
                context = contexts[question["image"]]
                boxes = "\n".join(f'{box["category"]}: {box["bbox"]}' for box in context["instances"])
                text = "[Context]\n" + "\n".join(context["captions"]) + f"\n\n{boxes}\n\n"
            text += (f'[Question]\n{question["text"]}\n\n[{role} 1]\n{one["text"]}\n\n[End of {role} 1]\n\n'
                     f'[{role} 2]\n{two["text"]}\n\n[End of {role} 2]\n\n[System]\n{rule["prompt"]}\n\n')
            self.assertEqual(prompt["prompt"], text)
        self.assertEqual([row["text"] for row in lines(self.out / "questions.jsonl")], [question["text"] for question in questions])

    @unittest.skipUnless(DATA.is_dir(), "the original repository's data is not beside this one")
    def test_scienceqa_outputs_of_the_original(self):
        published = DATA / "llava/eval/table/results/test_sqa_llava_lcs_558k_sqa_12e_vicuna_v1_3_13b.json"
        results = json.loads(published.read_text())["results"]
        problems = {id: {"question": "Q", "choices": list("abcde"), "answer": max(index, 0), "hint": "", "image": None,
                         "subject": "natural science", "grade": "grade1"} for id, index in results.items()}
        (self.data / "problems.json").write_text(json.dumps(problems))
        (self.data / "pid_splits.json").write_text(json.dumps({"test": list(problems)}))
        self.evaluate("scienceqa", "--data", self.data, "--answers", published)
        failed = sum(index < 0 for index in results.values())
        self.assertEqual(self.results()["questions"], 4241)
        self.assertAlmostEqual(self.results()["scores"]["total"]["value"], (4241 - failed) / 4241)


if __name__ == "__main__":
    unittest.main()

"""The small paper (scripts/paper): its judge knows the truth, and all its steps fit together.

Usage: paper_test.py ROOT BIN
"""
import json
import os
import random
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT, BIN = (Path(a).resolve() for a in sys.argv[1:3])
sys.path.insert(0, str(ROOT / "training/paper"))
os.environ["LLAVA_BIN"] = str(BIN)
import corpus  # noqa: E402
import judge  # noqa: E402
import paper  # noqa: E402
import programs  # noqa: E402
import questions  # noqa: E402
import science  # noqa: E402
import world  # noqa: E402


class WorldTest(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(17)
        self.truths = [world.invent(self.rng) for _ in range(300)]

    def asked(self, truth):
        return [*questions.conversation(truth, self.rng), questions.detail(truth), questions.reasoning(truth, self.rng)]

    def prompt(self, truth, question, *answers):
        """As llava-train evaluate asks its judge."""
        said = "".join(f"[Assistant {n}]\n{a}\n\n[End of Assistant {n}]\n\n" for n, a in enumerate(answers, 1))
        return f"[Context]\n{world.context(truth, True)}\n\n[Question]\n{question}\n\n{said}[System]\nScore.\n\n"

    def test_the_judge_gives_a_true_answer_all_points_and_another_truth_fewer(self):
        fewer = total = 0
        for truth, other in zip(self.truths, reversed(self.truths)):
            for one in self.asked(truth):
                key = questions.key_of(one.question, other)
                wrong = one.answer if key == one.key else "I cannot tell."
                scores = judge.review(self.prompt(truth, one.question, one.answer, wrong)).split("\n")[0].split()
                self.assertEqual(scores[0], "10", (truth.caption(), one))
                fewer += key != one.key and int(scores[1]) < 10
                total += key != one.key
        self.assertEqual(fewer, total)
        self.assertGreater(total, 300)

    def test_a_claim_that_is_not_so_costs_points(self):
        truth = world.Truth((world.Thing("red", "circle", "big", "top left", (0, 0, 0.3, 0.3)),))
        question = "What colour is the circle?"
        self.assertEqual(judge.score(question, "The circle is red.", truth), 10)
        self.assertLess(judge.score(question, "The circle is red. A blue square is at the right.", truth), 10)
        self.assertEqual(judge.score(question, "There is no blue square. The circle is red.", truth), 10)
        self.assertLess(judge.score(question, "The circle is green.", truth), 5)
        self.assertEqual(judge.review("nonsense"), "This question is none of our world.")

    def test_a_context_says_the_whole_truth(self):
        for truth in self.truths:
            read = world.parse_context(world.context(truth, True))
            self.assertEqual([t.full + t.place for t in read.things], [t.full + t.place for t in truth.things])
            self.assertEqual(read.text, truth.text)

    def test_a_choice_is_right_and_only_one(self):
        for truth in self.truths:
            for about, image in ((truth, "1.jpg"), (truth, ""), (None, "")):
                made = science.problem(self.rng, about, image)
                self.assertEqual(len(set(made["choices"])), len(made["choices"]))
                right = made["choices"][made["answer"]].removeprefix("a ")
                self.assertIn(right.split()[-1 if " " in right and "shape" not in right else 0].rstrip("s"), made["solution"])
                self.assertRegex(science.answer(made, True), r"The answer is [A-D]\.$")
                self.assertRegex(science.answer(made, False), r"^The answer is [A-D]\. BECAUSE: ")

    def test_texts_tell_and_never_show(self):
        with tempfile.TemporaryDirectory() as folder:
            corpus.write(Path(folder) / "texts.jsonl", 50, 1)
            rows = [json.loads(line) for line in (Path(folder) / "texts.jsonl").read_text().splitlines()]
        self.assertEqual(len(rows), 50)
        self.assertFalse(any("<image>" in turn["content"] for row in rows for turn in row["messages"]))
        self.assertEqual({row["messages"][-1]["role"] for row in rows}, {"assistant"})


class Told(judge.Service):
    """In the place of llavad with a language model that has read for a quarter of an hour: writes what is so."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint
        self.rng = random.Random(3)
        super().__init__(lambda messages: self.write(messages[0]["content"], world.parse_context(messages[-1]["content"])))

    def write(self, system, truth):
        kind, = [kind for kind, said in corpus.SYSTEM.items() if said == system]
        return corpus.reply(kind, truth, self.rng)

    def ask(self, text):
        caption, question = text.split("\n")
        truth = world.parse_context(caption)
        whole = [questions.detail(truth), *(a for kind in questions.CONVERSATION + questions.REASONING for a in kind(truth))]
        return next(asked.answer for asked in whole if asked.question == question)


class PaperTest(unittest.TestCase):
    def test_all_steps_fit_together(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(programs, "Daemon", Told):
            paper.Paper(Path(folder), 0.002).all()
            report = (Path(folder) / "report.md").read_text()
            self.assertEqual(len(re.findall(r"^\| (full|detail|conversation|no instruction)", report, re.M)), 5)
            self.assertEqual(len(re.findall(r"^\| (base|answer first|without stage 1|two layers) ", report, re.M)), 4)
            self.assertEqual(report.count(" above "), 4 + 2)
            made = self.made(folder)
            self.assertEqual(len(made), 5 + 4 + 11)
            paper.Paper(Path(folder), 0.002).all()  # nothing is done again
            self.assertEqual(self.made(folder), made)
            with self.assertRaisesRegex(SystemExit, "was begun with other counts"):
                paper.Paper(Path(folder), 0.5).all()
            self.assertEqual(self.made(folder), made)

    def made(self, folder):
        """When each evaluation and each version was written."""
        return {path: path.stat().st_mtime_ns for pattern in ("results/*/results.json", "*/*/published/v*/manifest.json")
                for path in Path(folder).glob(pattern)}


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

#!/usr/bin/env python3
"""The demo model answers as docs/demo-model.md says, on pictures that it was not trained with. Usage: demo_model_test.py
LLAVAD LLAVA_TRAIN CHECKPOINT. The exams are smaller than those of the document, whence the bounds below its figures.
"""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import demo_exam  # noqa: E402
from llavad import Llavad  # noqa: E402

LLAVAD, LLAVA_TRAIN, CHECKPOINT = sys.argv[1:4]
PICTURES = 90
SEED = 4711
LEAST = {"its own world, first questions": 0.98, "free scenes, first questions": 0.93, "follow-ups": 0.97,
         "another renderer, plain grounds": 0.85, "another renderer, noise and text": 0.85,
         "another renderer, one channel": 0.85}
# Of each kind of follow-up that was asked this often.
LEAST_OF_A_KIND = 0.9
OFTEN = 10


class DemoModelTest(unittest.TestCase):
    def test_it_answers_as_the_document_says(self):
        with Llavad(LLAVAD, CHECKPOINT) as daemon:
            for name, items in demo_exam.exams(LLAVA_TRAIN, PICTURES, SEED).items():
                with self.subTest(exam=name):
                    scores = demo_exam.Examiner(daemon).score(items)
                    right, asked = demo_exam.total(scores)
                    self.assertGreaterEqual(right / asked, LEAST[name], scores)
                    if name == "follow-ups":
                        for kind, (right, asked) in scores.items():
                            if asked >= OFTEN:
                                self.assertGreaterEqual(right / asked, LEAST_OF_A_KIND, (kind, scores))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

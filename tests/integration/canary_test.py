"""A version that learned nothing is rolled back by itself, also when its manifest has no evaluation: judged by its answers."""
import tempfile
import unittest

import numpy as np

from published import HEAD, ROOT, Published
from reload_daemon import Llavad, models_pb, pb

DEMO = ROOT / "demo/checkpoint"
SEED = 7
END = 2  # the token that ends an answer
PICTURES = sorted((ROOT / "demo/pictures").glob("*.png")) + sorted((ROOT / "demo/pictures").glob("*.jpg"))
QUESTIONS = ["What is this?", "Which colours do you see?", "What colour is the circle?", "How many shapes are there?",
             "Is there a red square?", "What is written here?"]
SAID = ("empty or degenerate answers", "answers that went on until max_tokens",
        "it gives its own words a probability of")


def to_floats(words):
    return (words.astype(np.uint32) << 16).view(np.float32)


def to_words(floats):
    return (np.ascontiguousarray(floats, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def matrices(change):
    """Every matrix becomes change(matrix, random numbers)."""
    def edit(arrays):
        random = np.random.default_rng(SEED)
        for name, array in arrays.items():
            if array.ndim >= 2:
                arrays[name] = to_words(change(to_floats(array), random))
    edit.__name__ = change.__name__
    return edit


def untrained(matrix, random):
    return random.normal(0, 0.02, matrix.shape)


def shuffled(matrix, random):
    return random.permutation(matrix.reshape(-1)).reshape(matrix.shape)


def loud(matrix, random):
    """Three times as much noise as signal: sure of its words, which mean nothing."""
    return matrix + random.normal(0, 3 * matrix.std(), matrix.shape)


def rounded(matrix, random):
    """What another run of the same training could be: no worse."""
    return matrix + random.normal(0, 0.01 * matrix.std(), matrix.shape)


def tireless(arrays):
    """It never finds the end of its answer."""
    arrays[HEAD][END] = 0


class CanaryTest(unittest.TestCase):
    def setUp(self):
        print("seed", SEED)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        _, self.old = self.published.publish(base=DEMO)

    def start(self):
        # Times on a busy machine are chance: judged by what it says alone.
        return Llavad(f"watch: {self.published.root}\ncanary_percent: 50\ncanary_min_answers: 10\ncanary_answers: 40\n"
                      "canary_slower_percent: 100000\n").wait_ready()

    @staticmethod
    def ask(daemon, turn):
        """A conversation of its own, of both kinds of sampling; the answer ends where the model ends it."""
        picture = PICTURES[turn // len(QUESTIONS) % len(PICTURES)].read_bytes()
        text = QUESTIONS[turn % len(QUESTIONS)] + " " * (turn // (len(QUESTIONS) * len(PICTURES)))
        parts = [pb.MessagePart(image=picture), pb.MessagePart(text=text)]
        sampling = pb.SamplingOptions(max_tokens=48, temperature=0.7 * (turn % 2), seed=turn)
        return daemon.chat.Chat(pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], sampling=sampling))

    def judge(self, daemon, change):
        """What becomes of a version with changed weights: its state and its reason."""
        _, new = self.published.publish(change, base=DEMO)
        daemon.wait_state(new, "canary")
        for turn in range(400):
            self.ask(daemon, turn)
            if daemon.state(new) != "canary":
                break
        daemon.wait_state(new, "live", "rejected")
        return daemon.versions()[new]

    def test_a_version_that_learned_nothing(self):
        with self.start() as daemon:
            for change in (matrices(untrained), matrices(shuffled), matrices(loud), tireless):
                with self.subTest(change.__name__):
                    version = self.judge(daemon, change)
                    print(change.__name__, version.reason)
                    self.assertEqual(version.state, models_pb.VERSION_STATE_REJECTED)
                    self.assertTrue(any(said in version.reason for said in SAID), version.reason)
                    self.assertEqual(daemon.state(self.old), "live")
                    self.assertEqual(self.ask(daemon, 0).model_version, self.old)

    def test_a_version_that_is_as_good(self):
        with self.start() as daemon:
            version = self.judge(daemon, matrices(rounded))
            self.assertEqual(version.state, models_pb.VERSION_STATE_LIVE, version.reason)


if __name__ == "__main__":
    unittest.main(verbosity=2)

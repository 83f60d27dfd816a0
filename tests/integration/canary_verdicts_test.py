"""Each way in which a new version can be worse for those who ask, by versions that are: it fails, its first token comes
late, its tokens come slowly. It is rolled back by itself, for that reason."""
import tempfile
import unittest

import grpc

from published import Published, blind, slow_to_see, slow_to_speak
from reload_daemon import IMAGES, Llavad, models_pb, pb

CODE = grpc.StatusCode
MIN_ANSWERS = 20
# What is said is not judged here.
CONFIG = (f"canary_percent: 50\ncanary_min_answers: {MIN_ANSWERS}\ncanary_answers: 500\ncanary_bad_answers_percent: 100\n"
          "canary_endless_percent: 100\ncanary_less_sure_percent: 100\n")


class CanaryVerdictsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        _, self.old = self.published.publish()
        self.daemon = Llavad(f"watch: {self.published.root}\n" + CONFIG).wait_ready()
        self.addCleanup(self.daemon.__exit__)

    def publish(self, **how):
        _, self.new = self.published.publish(**how)
        self.daemon.wait_state(self.new, "canary")

    def ask(self, text, picture=None, max_tokens=2):
        parts = [pb.MessagePart(image=picture)] if picture else []
        parts.append(pb.MessagePart(text=text))
        return self.daemon.chat.Chat(pb.ChatRequest(
            messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)],
            sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True)))

    def judged(self):
        return self.daemon.state(self.new) != "canary"

    def check_rolled_back(self, cause, reason):
        self.daemon.wait_state(self.new, "rejected")
        said = self.daemon.versions()[self.new].reason
        print(said)
        self.assertIn(reason, said)
        self.assertEqual(self.daemon.state(self.old), "live")
        event = [e for e in self.daemon.models.List(models_pb.ListRequest()).events if e.version == self.new][-1]
        self.assertIn(reason, event.reason)
        self.assertEqual(self.daemon.metrics()[
            f'llava_model_canary_verdicts_total{{reason="{cause}",verdict="rolled_back"}}'], 1)

    def test_its_answers_fail(self):
        self.publish(change=blind)
        picture = (IMAGES / "landscape.png").read_bytes()
        failed = 0
        for turn in range(400):
            try:
                self.ask(f"What is this, {turn}?", picture if turn % 2 else None)
            except grpc.RpcError as error:
                failed += 1
                self.assertEqual(error.code(), CODE.INTERNAL, error.details())
                self.assertIn("not a finite number", error.details())
            if self.judged():
                break
        self.check_rolled_back("failures", "error rate ")
        self.assertGreaterEqual(failed, 2)
        for turn in range(20):
            self.assertEqual(self.ask(f"And now, {turn}?", picture).model_version, self.old)

    def test_its_first_token_comes_late(self):
        """It needs longer for a picture, and for nothing else."""
        self.publish(edit=slow_to_see)
        pictures = [(IMAGES / name).read_bytes() for name in ("landscape.png", "portrait.jpg", "gray.png")]
        for turn in range(400):
            # A picture that is known is not looked at again: bytes after its end make it another one.
            picture = pictures[turn % len(pictures)] + b"%d" % turn
            usage = self.ask(f"{turn}: what is this? Say it in a few words, please, and do not guess.", picture, 4).usage
            self.assertLess(2 * usage.cached_tokens, usage.prompt_tokens)
            if self.judged():
                break
        self.check_rolled_back("slow_first_token", "time to first token ")

    def test_its_tokens_come_slowly(self):
        """Prompts that were asked before are in the prefix cache: they say nothing about the first token."""
        self.publish(edit=slow_to_speak)
        texts = {self.old: [], self.new: []}
        for turn in range(200):
            text = f"Conversation {turn}: tell me what you see, what you know, and what you would like to be asked next."
            of = texts[self.ask(text).model_version]
            if len(of) < 4:
                of.append(text)
            if all(len(of) == 4 for of in texts.values()):
                break
        # Fewer than MIN_ANSWERS of the canary's first tokens count: it is judged by the others.
        for turn in range(40):
            for text in texts[self.old] + texts[self.new]:
                usage = self.ask(text, max_tokens=8).usage
                self.assertGreaterEqual(2 * usage.cached_tokens, usage.prompt_tokens)
            if self.judged():
                break
        self.check_rolled_back("slow_next_token", "inter-token time ")


if __name__ == "__main__":
    unittest.main(verbosity=2)

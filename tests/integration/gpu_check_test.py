"""scripts/gpu-check on a CPU: what of it needs no GPU, with a small checkpoint, so that it is known to work before ten minutes
on a GPU begin."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ["LLAVAD"]).parent
SMALL = ["--device", "cpu", "--bin", BIN, "--shape", "tiny", "--small-shape", "tiny", "--clients", "1,3", "--requests", "2",
         "--max-tokens", "8", "--prompt-words", "3", "--image-side", "40"]


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.output = Path(folder.name)

    def run_check(self, *flags, **environment):
        # The tests' own Python, which has numpy.
        return subprocess.run([ROOT / "scripts/gpu-check", "--output", self.output, *flags], capture_output=True, text=True,
                              env={**os.environ, "GPU_CHECK_PYTHON": sys.executable, **environment}, timeout=280)

    def result(self, section):
        return json.loads((self.output / f"{section}.json").read_text())

    def test_the_parts_that_need_no_gpu(self):
        sections = ["checkpoint", "serve", "fp8", "reload", "small", "train"]
        done = self.run_check(*SMALL, "--sections", ",".join(sections))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines], [[name, "ok"] for name in sections])
        self.assertGreater(self.result("checkpoint")["data"]["bytes"], 100_000)
        rows = self.result("serve")["data"]["rows"]
        self.assertEqual(list(rows), ["1", "3", "top-p", "4 pictures"])
        self.assertEqual(rows["3"]["output_tokens"], 3 * 2 * 8)
        self.assertGreater(rows["3"]["daemon"]["llava_step_seconds_count"], 0)
        self.assertGreater(rows["3"]["daemon"]["llava_encode_seconds_sum"], 0)
        reload = self.result("reload")["data"]
        self.assertGreater(reload["seconds_to_live"], 0)
        self.assertEqual(reload["with"]["errors"], {})
        self.assertEqual(len(self.result("train")["data"]["steps"]), 5)
        states = {section["name"]: section["state"] for section in json.loads((self.output / "check.json").read_text())["sections"]}
        self.assertEqual(states, dict.fromkeys(sections, "ok"))

    def test_a_section_that_fails_does_not_end_the_others(self):
        done = self.run_check("--device", "cpu", "--bin", self.output, "--shape", "tiny", "--sections", "tests,checkpoint")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.result("tests")["state"], "failed")
        self.assertIn("golden_test is missing: make cuda-build", self.result("tests")["line"])
        self.assertEqual(self.result("checkpoint")["state"], "ok")

    def test_what_takes_too_long_is_ended_and_what_has_no_time_left_dropped(self):
        hangs = self.output / "hangs"
        hangs.write_text("#!/bin/sh\nsleep 1000\n")
        hangs.chmod(0o755)
        # 21 seconds are enough for the tests to begin, and for nothing behind them.
        done = self.run_check("--device", "cpu", "--bin", self.output, "--tests", "hangs", "--seconds", "21",
                                "--sections", "tests,serve")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(self.result("tests")["state"], "late")
        self.assertEqual(self.result("serve")["state"], "dropped")

    def test_a_test_program_that_runs_no_test_has_failed(self):
        empty = self.output / "empty"
        empty.write_text("#!/bin/sh\nexit 0\n")
        empty.chmod(0o755)
        self.run_check("--device", "cpu", "--bin", self.output, "--tests", "empty", "--sections", "tests")
        self.assertEqual(self.result("tests")["state"], "failed")

    def test_a_dry_run_lists_every_section(self):
        done = self.run_check("--dry-run")
        self.assertEqual(done.returncode, 0)
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertEqual(names[0], "tests", "the most valuable first")
        self.assertEqual(len(names), 10)

    @unittest.skipIf(Path("/dev/nvidia0").exists(), "there is a GPU")
    def test_without_a_gpu_it_says_so(self):
        done = self.run_check()
        self.assertEqual((done.returncode, done.stdout), (77, ""))
        self.assertIn("no GPU here", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

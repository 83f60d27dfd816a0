"""`llava bench` against a daemon on real sockets."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import Daemon

LLAVA = os.environ["LLAVA"]


def bench(address, *flags):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        done = subprocess.run([LLAVA, "bench", "--server", address, "--output", str(output), *flags], capture_output=True,
                              text=True, timeout=120)
        return done, json.loads(output.read_text()) if output.exists() else None


class BenchCommandTest(unittest.TestCase):
    def test_closed_loop(self):
        with Daemon("--step-ms", "2") as daemon:  # else all tokens come with the first event
            done, result = bench(daemon.addresses["grpc"], "--requests", "30", "--concurrency", "5", "--max-tokens", "9",
                                 "--image-side", "64", "--seed", "3", "--warmup", "2")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("seed 3", done.stdout)
            self.assertIn("output tokens/s", done.stdout)
            self.assertEqual((result["mode"], result["seed"], result["requests"]), ("closed", 3, 30))
            self.assertEqual(result["output_tokens"], 270)
            self.assertEqual(result["errors"], {})
            self.assertEqual(result["time_to_first_token_seconds"]["count"], 30)
            # All but those that came with the first event; several in one event have a time each all the same.
            self.assertIn(result["inter_token_seconds"]["count"], range(1, 30 * 8 + 1))
            self.assertGreater(result["inter_token_seconds"]["p50"], 0)
            self.assertEqual(daemon.counted_requests(), 32)
            self.assertEqual(daemon.metrics()['llava_image_cache_requests_total{result="miss"}'], 32)  # each has its own picture

    def test_open_loop_is_poisson_and_counts_refusals(self):
        with Daemon("--step-ms", "2", config="queue_requests: 4\n") as daemon:
            done, result = bench(daemon.addresses["grpc"], "--requests", "60", "--rate", "300", "--max-tokens", "20",
                                 "--image-side", "32", "--pictures", "2", "--warmup", "0")
            self.assertEqual(result["mode"], "open")
            self.assertEqual(result["requests"], 60)
            refused = result["errors"].get("RESOURCE_EXHAUSTED", 0)
            self.assertGreater(refused, 0)
            self.assertEqual(result["request_seconds"]["count"], 60 - refused)
            self.assertEqual(done.returncode, 2)
            self.assertIn("error RESOURCE_EXHAUSTED", done.stdout)

    def test_sampling_is_as_asked(self):
        with Daemon() as daemon:
            address = daemon.addresses["grpc"]
            few = ("--requests", "3", "--warmup", "0", "--image-side", "32", "--max-tokens", "4")
            done, result = bench(address, *few, "--temperature", "0.7", "--top-p", "0.9")
            self.assertEqual((done.returncode, result["output_tokens"]), (0, 12), done.stderr)
            for option, value in (("--temperature", "-1"), ("--top-p", "1.5")):  # the server's own words
                self.assertEqual(bench(address, *few, option, value)[1]["errors"], {"INVALID_ARGUMENT": 3}, option)

    def test_nobody_listens(self):
        done, result = bench("127.0.0.1:1", "--requests", "2", "--warmup", "0")
        self.assertEqual(result["errors"], {"UNAVAILABLE": 2})
        self.assertEqual(done.returncode, 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)

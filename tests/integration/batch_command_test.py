"""`llava batch` against a daemon on real sockets: every row once, through kills, refusals and restarts."""
import csv
import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon_process import CHECKPOINT, PROGRAM, Daemon, wait_until

LLAVA = os.environ["LLAVA"]
PICTURES = Path(__file__).resolve().parents[2] / "demo/pictures"


class BatchCommandTest(unittest.TestCase):
    def setUp(self):
        self.made = tempfile.TemporaryDirectory()
        self.addCleanup(self.made.cleanup)
        self.folder = Path(self.made.name)
        self.out = self.folder / "answers.jsonl"

    def command(self, address, source, *flags, out=None):
        return [LLAVA, "batch", str(source), "--server", address, "--out", str(out or self.out), *flags]

    def batch(self, *arguments, **options):
        return subprocess.run(self.command(*arguments, **options), capture_output=True, text=True, timeout=300)

    def rows(self):
        rows = [json.loads(line) for line in self.out.read_text().splitlines()]
        self.assertEqual(len({row["id"] for row in rows}), len(rows), "a row is repeated")
        return {row["id"]: row for row in rows}

    def write_rows(self, count, **fields):
        source = self.folder / "rows.jsonl"
        source.write_text("".join(json.dumps({"id": str(i), "prompt": f"Question {i}", **fields}) + "\n" for i in range(count)))
        return source

    def test_a_folder_of_pictures(self):
        with Daemon() as daemon:
            done = self.batch(daemon.addresses["grpc"], PICTURES, "--prompt", "What is it?", "--max-tokens", "5")
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = self.rows()
            names = {path.name for path in PICTURES.iterdir() if path.suffix in (".png", ".jpg")}
            self.assertEqual(set(rows), names)
            for row in rows.values():
                self.assertTrue(row["answer"])
                self.assertEqual((row["error"], row["completion_tokens"], row["finish_reason"]), (None, 5, "length"))
                self.assertGreater(row["prompt_tokens"], 5)
            self.assertIn(f"{len(names)} of {len(names)}", done.stderr)
            again = self.batch(daemon.addresses["grpc"], PICTURES, "--prompt", "What is it?")
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertEqual(self.rows(), rows)
            self.assertEqual(daemon.counted_requests(), len(names))

    def test_answers_of_a_schema(self):
        schema = self.folder / "schema.json"
        schema.write_text(json.dumps({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 99}},
                                      "required": ["n"], "additionalProperties": False}))
        source = self.write_rows(5)
        with Daemon() as daemon:
            done = self.batch(daemon.addresses["grpc"], source, "--schema", str(schema))
            self.assertEqual(done.returncode, 0, done.stderr)
            for row in self.rows().values():
                self.assertEqual((list(json.loads(row["answer"])), row["finish_reason"]), (["n"], "stop"))
            schema.write_text("{")
            wrong = self.batch(daemon.addresses["grpc"], source, "--schema", str(schema))
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("schema.json: expected JSON, found a fault at line 1", wrong.stderr)

    def test_a_checkpoint_without_a_server(self):
        source = self.write_rows(3)
        def run(checkpoint):
            return subprocess.run([LLAVA, "batch", str(source), "--checkpoint", str(checkpoint), "--llavad", PROGRAM, "--out", str(self.out),
                                   "--max-tokens", "4"], capture_output=True, text=True, timeout=120)
        done = run(CHECKPOINT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({row["completion_tokens"] for row in self.rows().values()}, {4})
        served = [line for line in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()
                  if line.startswith(PROGRAM) and str(CHECKPOINT) in line and "--checkpoint" in line]
        self.assertEqual(served, [])
        nothing = run(self.folder / "nothing")
        self.assertNotEqual(nothing.returncode, 0)
        self.assertIn("nothing", nothing.stderr)

    def test_csv_and_rows_that_fail(self):
        source = self.folder / "rows.jsonl"
        (self.folder / "text.png").write_text("no picture")
        rows = [{"id": "good", "image": str(PICTURES / "two-shapes.png")}, {"id": "none", "image": "none.png"},
                {"id": "text", "image": "text.png"}]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = self.folder / "answers.csv"
        with Daemon() as daemon:
            done = self.batch(daemon.addresses["grpc"], source, "--prompt", "Say \"a, b\"", "--max-tokens", "4", out=out)
        self.assertEqual(done.returncode, 1, done.stderr)
        with open(out, newline="") as file:
            read = {row["id"]: row for row in csv.DictReader(file)}
        self.assertEqual(set(read), {"good", "none", "text"})
        self.assertTrue(read["good"]["answer"])
        self.assertIn("none.png", read["none"]["error"])
        self.assertIn("image", read["text"]["error"])
        self.assertEqual(read["text"]["answer"], "")

    def test_openai_rows(self):
        source = self.folder / "rows.jsonl"
        body = {"model": "", "max_tokens": 3, "messages": [{"role": "user", "content": "Hello"}]}
        source.write_text(json.dumps({"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n")
        with Daemon() as daemon:
            done = self.batch(daemon.addresses["grpc"], source)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows()["request-1"]["completion_tokens"], 3)

    def test_killed_again_and_again_no_row_is_lost_or_repeated(self):
        source = self.write_rows(400)
        with Daemon("--step-ms", "1") as daemon:
            for kill in range(4):
                before = self.out.stat().st_size if self.out.exists() else 0
                run = subprocess.Popen(self.command(daemon.addresses["grpc"], source, "--max-tokens", "3", "--concurrency", "20"),
                                       stderr=subprocess.DEVNULL)
                wait_until(lambda: run.poll() is not None or self.out.exists() and self.out.stat().st_size > before + 2000,
                           "some rows are written")
                run.send_signal(signal.SIGKILL)
                run.wait()
            done = self.batch(daemon.addresses["grpc"], source, "--max-tokens", "3")
            self.assertEqual(done.returncode, 0, done.stderr)
        rows = self.rows()
        self.assertEqual(set(rows), {str(i) for i in range(400)})
        self.assertTrue(all(row["answer"] and row["error"] is None for row in rows.values()))

    def test_a_full_queue_is_waited_for(self):
        source = self.write_rows(60)
        with Daemon("--step-ms", "1", config="queue_requests: 4\nmax_running: 2\n") as daemon:
            done = self.batch(daemon.addresses["grpc"], source, "--max-tokens", "2", "--concurrency", "30")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.rows()), 60)

    def test_what_cannot_go_on_is_said(self):
        source = self.write_rows(3)
        self.assertEqual(self.batch("127.0.0.1:1", source).returncode, 3)
        self.assertEqual(self.out.read_text(), "")
        missing = self.batch("127.0.0.1:1", self.folder / "none.jsonl")
        self.assertEqual(missing.returncode, 1)
        self.assertIn("none.jsonl", missing.stderr)
        self.out.write_text('{"question": 1}\n')
        taken = self.batch("127.0.0.1:1", source)
        self.assertEqual(taken.returncode, 1)
        self.assertIn("something else", taken.stderr)
        self.assertEqual(self.out.read_text(), '{"question": 1}\n')


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""llava-train run as several processes, over real sockets: the same losses on 1, 2 and 4 ranks, plain and sharded; a run that is
stopped on some ranks goes on on another number; a lost rank ends the run everywhere and is named.

Usage: training_ranks_test.py LLAVA_TRAIN
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LLAVA_TRAIN = Path(sys.argv[1]).resolve()
STEPS = 8

# Some rows have no picture, so that ranks differ in what their passes train.
RECIPE = """\
name: ranks
output: {output}
seed: 5
model: {{from_scratch: {architecture}}}
save: {{every_steps: 3, keep: 2}}
distributed: {{{shard}, lost_after_seconds: 3}}
stages:
  - name: tower
    objective: patch_labels
    train: [vision_tower]
    data: {{scenes: {{count: 12, seed: 3, level: one, turns: 2}}, workers: 1}}
    steps: 2
    batch: 8
    rate: 1.0e-3
  - name: tune
    train: [projector, decoder]
    data: {{files: [{rows}], images: {images}, workers: 1, template: v1}}
    steps: {steps}
    batch: 8
    micro_batch: 2
    rate: 1.0e-3
    warmup_ratio: 0.2
    gradient_checkpointing: true
"""
WHOLE, SHARDED, ALL_SHARDED = "shard: false", "shard: true", "shard: true, shard_weights: true"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Run:
    """A run on some ranks; their processes, and the lines of rank 0."""

    def __init__(self, recipe, size):
        port = str(free_port())
        self.ranks = []
        self.errors = []
        for rank in range(size):
            places = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                      "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            self.errors.append(tempfile.TemporaryFile("w+"))
            self.ranks.append(subprocess.Popen([LLAVA_TRAIN, "run", recipe], stdout=subprocess.PIPE,
                                               stderr=self.errors[-1], text=True, env={**os.environ, **places}))

    def wait(self):
        """(exit code, messages) of every rank."""
        results = []
        for process, errors in zip(self.ranks, self.errors):
            process.stdout.read()
            process.wait(timeout=240)
            process.stdout.close()
            errors.seek(0)
            results.append((process.returncode, errors.read()))
            errors.close()
        return results

    def wait_for_steps(self, steps):
        for _ in range(steps):
            if not self.ranks[0].stdout.readline():
                raise AssertionError(f"ended early: {self.wait()}")


class RanksTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        scenes = cls.folder / "scenes"
        subprocess.run([LLAVA_TRAIN, "scenes", "--out", scenes, "--count", "12", "--seed", "4", "--level", "one"], check=True,
                       stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (scenes / "instruct.jsonl").read_text().splitlines()]
        for row in rows[::3]:
            del row["image"]
            for turn in row["conversations"]:
                turn["value"] = turn["value"].replace("<image>", "").strip()
        cls.rows = cls.folder / "rows.json"
        cls.rows.write_text(json.dumps(rows))
        cls.images = scenes / "images"
        cls.whole = cls.run_to_the_end("one", 1, WHOLE)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def recipe(cls, name, shard, steps=STEPS):
        path = cls.folder / f"{name}.yaml"
        path.write_text(RECIPE.format(output=name, architecture=ROOT / "demo" / "architecture", shard=shard, rows=cls.rows,
                                      images=cls.images, steps=steps))
        return path

    @classmethod
    def steps(cls, name):
        return [json.loads(line) for line in (cls.folder / name / "metrics.jsonl").read_text().splitlines()]

    @classmethod
    def run_to_the_end(cls, name, size, shard):
        results = Run(cls.recipe(name, shard), size).wait()
        if any(code != 0 for code, _ in results):
            raise AssertionError(results)
        return cls.steps(name)

    def assert_same(self, steps):
        self.assertEqual(len(steps), len(self.whole))
        for expected, step in zip(self.whole, steps):
            for field, tolerance in (("loss", 1e-5), ("grad_norm", 1e-4)):
                self.assertAlmostEqual(step[field], expected[field], delta=tolerance * max(1, expected[field]),
                                       msg=f"{field} of step {step['total_step']}")
            for field in ("samples", "tokens", "targets", "rate"):
                self.assertEqual(step[field], expected[field])

    def test_two_ranks(self):
        self.assert_same(self.run_to_the_end("two", 2, WHOLE))

    def test_four_ranks(self):
        self.assert_same(self.run_to_the_end("four", 4, WHOLE))

    def test_two_sharded_ranks(self):
        self.assert_same(self.run_to_the_end("two-sharded", 2, SHARDED))

    def test_four_sharded_ranks(self):
        self.assert_same(self.run_to_the_end("four-sharded", 4, SHARDED))

    def test_two_ranks_with_sharded_weights(self):
        self.assert_same(self.run_to_the_end("two-weights", 2, ALL_SHARDED))

    def test_noise_is_the_same_on_any_number_of_ranks(self):
        """Four passes of one rank, and one pass of each of two: a row's noise is the row's."""
        losses = []
        for size, rows in ((1, 2), (2, 4)):
            recipe = self.recipe(f"noisy-{size}", WHOLE, steps=3)
            recipe.write_text(recipe.read_text().replace("micro_batch: 2", f"micro_batch: {rows}\n    neftune_alpha: 5"))
            results = Run(recipe, size).wait()
            self.assertTrue(all(code == 0 for code, _ in results), results)
            losses.append([step["loss"] for step in self.steps(f"noisy-{size}") if step["stage"] == "tune"])
        self.assertEqual(len(losses[0]), 3)
        for one, two in zip(*losses):
            self.assertAlmostEqual(one, two, delta=1e-5 * max(1, one))
        plain = next(step["loss"] for step in self.whole if step["stage"] == "tune")
        self.assertNotAlmostEqual(losses[0][0], plain, delta=1e-4)

    def torchrun(self, *command):
        """Torchrun's agent with two ranks, which keeps the store that they meet at."""
        python = Path(os.environ.get("PARITY_PYTHON") or ROOT / ".deps/parity-venv/bin/python")
        if not python.exists():
            self.skipTest("no Python with torch here (PARITY_PYTHON)")
        ended = subprocess.run([python, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", "2", *command],
                               env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=240, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_torchrun_starts_the_ranks(self):
        for name, options in (("static", ("--master-addr", "127.0.0.1", "--master-port", str(free_port()))),
                              ("standalone", ("--standalone",))):
            with self.subTest(name):
                self.torchrun(*options, LLAVA_TRAIN, "run", self.recipe(f"torchrun-{name}", SHARDED))
                self.assert_same(self.steps(f"torchrun-{name}"))

    def test_torchrun_starts_lost_ranks_again(self):
        """The second attempt goes on after the state of the first, in the store of the first."""
        recipe = self.recipe("torchrun-again", SHARDED)
        starter = self.folder / "starter"
        starter.write_text(f"""#!/bin/sh
if [ "$TORCHELASTIC_RESTART_COUNT" = 0 ] && [ "$RANK" = 1 ]; then
  {LLAVA_TRAIN} run "$1" & rank=$!
  until ls {self.folder}/torchrun-again/state/step-* >/dev/null 2>&1; do sleep 0.05; done
  kill -9 $rank
  wait $rank
  exit 1
fi
exec {LLAVA_TRAIN} run "$1"
""")
        starter.chmod(0o755)
        self.torchrun("--standalone", "--max-restarts", "1", starter, recipe)
        self.assert_same(self.steps("torchrun-again"))

    def test_goes_on_on_another_number_of_ranks(self):
        recipe = self.recipe("changing", ALL_SHARDED)
        first = Run(recipe, 4)
        first.wait_for_steps(4)
        for process in first.ranks:
            process.send_signal(signal.SIGTERM)
        self.assertEqual([code for code, _ in first.wait()], [75] * 4)
        states = sorted((self.folder / "changing" / "state").glob("step-*"))
        self.assertEqual(len(list(states[-1].glob("tensors-*-of-00004.safetensors"))), 4)
        second = Run(recipe, 2)
        second.wait_for_steps(2)
        second.ranks[1].send_signal(signal.SIGTERM)  # one that hears it is enough
        self.assertEqual([code for code, _ in second.wait()], [75] * 2)
        self.assertEqual([code for code, _ in Run(recipe, 1).wait()], [0])
        self.assert_same(self.steps("changing"))

    def assert_lost(self, number, name):
        """All ranks but the lost one end by themselves, soon, and say which it was."""
        run = Run(self.recipe(f"lost-{name}-{number}", WHOLE if number else ALL_SHARDED, steps=500), 3)
        run.wait_for_steps(3)
        run.ranks[number].send_signal(signal.SIGKILL if name == "killed" else signal.SIGSTOP)
        began = time.monotonic()
        others = [rank for rank in range(3) if rank != number]
        for rank in others:
            run.ranks[rank].stdout.read()
            run.ranks[rank].wait(timeout=60)
        print(f"{name} rank {number}: everybody had ended after {time.monotonic() - began:.1f} s")
        run.ranks[number].kill()
        results = run.wait()
        for rank in others:
            self.assertEqual(results[rank][0], 1, results)
            self.assertIn(f"rank {number} was lost", results[rank][1])

    def test_a_killed_rank_is_named(self):
        self.assert_lost(1, "killed")

    def test_a_hanging_rank_is_named(self):
        self.assert_lost(2, "stopped")

    def test_a_killed_first_rank_is_named(self):
        self.assert_lost(0, "killed")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

#!/usr/bin/env python3
"""Steady load on llavad without and with reloads: throughput, time to first token, inter-token time, resident memory.

Without, with, and without again: on a machine that others use, the difference between the first and the last row is theirs.

  scripts/with-test-venv tests/bench/bench_reload.py [--checkpoint DIR] [--requests N] [--reloads N] ...

Every reload is a new version with the same weights (another manifest), written before and then published to the watched folder
by moving its link, live at once and the old one freed. `llava bench` makes the load, the same both times; the reloads are spread over it, and all of them fall into it,
or the program says that it needs more requests.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
os.environ.setdefault("LLAVAD", str(BIN / "llavad"))
sys.path.insert(0, str(ROOT / "tests/integration"))
from daemon_process import wait_until  # noqa: E402
from published import Published  # noqa: E402
from reload_daemon import Llavad  # noqa: E402


SPREAD = 0.7  # of the time that the load took without reloads: the next one may be faster
TOO_SHORT = "the load ended before the last reload: give more --requests"


class Bench:
    """`llava bench`, from now on."""

    def __init__(self, name, daemon, args):
        self.name, self.daemon = name, daemon
        self.output = tempfile.NamedTemporaryFile(suffix=".json")
        self.cpu_before = self.cpu()
        self.process = subprocess.Popen(
            [BIN / "llava", "bench", "--server", daemon.addresses["grpc"], "--requests", str(args.requests),
             "--concurrency", str(args.concurrency), "--max-tokens", str(args.max_tokens), "--pictures", "4",
             "--image-side", "128", "--output", self.output.name], stdout=subprocess.DEVNULL)

    def cpu(self):
        """Seconds that the daemon has computed."""
        fields = Path(f"/proc/{self.daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def finish(self):
        assert self.process.wait() == 0
        self.result = json.loads(Path(self.output.name).read_text())
        tokens = self.result["seconds"] * self.result["output_tokens_per_second"]
        self.cpu_per_token = (self.cpu() - self.cpu_before) / tokens
        return self

    def print_row(self):
        first, gaps = self.result["time_to_first_token_seconds"], self.result["inter_token_seconds"]
        milliseconds = [first["p50"], first["p99"], gaps["p50"], gaps["p99"], gaps["max"], self.cpu_per_token]
        print(f"{self.name:<16}" + f"{self.result['output_tokens_per_second']:>10.1f}"
              + "".join(f"{1e3 * value:>10.2f}" for value in milliseconds) + f"{sum(self.result['errors'].values()):>8}")


def wait_for_turn(load, turn):
    try:
        load.wait(timeout=max(0, turn - time.monotonic()))
    except subprocess.TimeoutExpired:
        return
    sys.exit(TOO_SHORT)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "demo/checkpoint")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--reloads", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        published = Published(folder + "/models")
        published.publish(base=args.checkpoint)
        versions = [published.write(base=args.checkpoint) for _ in range(args.reloads)]
        config = f"watch: {published.root}\ncanary_percent: 0\nkeep_previous: false\n"
        with Llavad(config, sizes="kv_cache_bytes: 256MiB\n").wait_ready() as daemon:
            before = Bench("without reloads", daemon, args).finish()
            load = Bench(f"{args.reloads} reloads", daemon, args)
            begin = time.monotonic()
            resident, seconds = [], []
            for i, (written, version) in enumerate(versions):
                wait_for_turn(load.process, begin + (i + 0.5) * SPREAD * before.result["seconds"] / args.reloads)
                resident = resident or [daemon.rss()]
                start = time.monotonic()
                published.point(written)
                daemon.wait_state(version, "live", seconds=600)
                seconds.append(time.monotonic() - start)
                wait_until(lambda: daemon.loaded() == 1, "the old version is freed", 600)
                resident.append(daemon.rss())
            if load.process.poll() is not None:
                sys.exit(TOO_SHORT)
            load.finish()
            after = Bench("without again", daemon, args).finish()
            print(f"{'':<16}" + "".join(f"{name:>10}" for name in ("tokens/s", "TTFT p50", "p99 ms", "ITL p50", "p99 ms", "max ms",
                                                                   "CPU/token")) + f"{'errors':>8}")
            for bench in (before, load, after):
                bench.print_row()
            mib = [f"{r / 2**20:.1f}" for r in resident]
            print("resident MiB under load, before the first reload and after each drain:", " ".join(mib))
            print("seconds from publishing to live:", " ".join(f"{s:.2f}" for s in seconds))


if __name__ == "__main__":
    main()

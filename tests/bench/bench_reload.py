#!/usr/bin/env python3
"""Steady load on llavad without and with reloads: throughput, time to first token, inter-token time, resident memory.

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


TOO_SHORT = "the load ended before the last reload: give more --requests"


def bench(daemon, args, output):
    return [BIN / "llava", "bench", "--server", daemon.addresses["grpc"], "--requests", str(args.requests), "--concurrency",
            str(args.concurrency), "--max-tokens", str(args.max_tokens), "--pictures", "4", "--image-side", "128",
            "--output", output]


def row(name, result):
    first, gaps = result["time_to_first_token_seconds"], result["inter_token_seconds"]
    print(f"{name:<18} {result['output_tokens_per_second']:>9.1f} {1e3 * first['p50']:>9.1f} {1e3 * first['p99']:>9.1f}"
          f" {1e3 * gaps['p50']:>9.1f} {1e3 * gaps['p99']:>9.1f} {1e3 * gaps['max']:>9.1f} {sum(result['errors'].values()):>7}")


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
            outputs = [folder + "/without.json", folder + "/with.json"]
            subprocess.run(bench(daemon, args, outputs[0]), check=True, stdout=subprocess.DEVNULL)
            without = json.loads(Path(outputs[0]).read_text())
            at_start = daemon.rss()
            with_reloads = subprocess.Popen(bench(daemon, args, outputs[1]), stdout=subprocess.DEVNULL)
            begin = time.monotonic()
            resident, seconds = [], []
            for i, (written, version) in enumerate(versions):
                wait_for_turn(with_reloads, begin + (i + 0.5) * without["seconds"] / (args.reloads + 1))
                start = time.monotonic()
                published.point(written)
                daemon.wait_state(version, "live", seconds=600)
                seconds.append(time.monotonic() - start)
                wait_until(lambda: daemon.loaded() == 1, "the old version is freed", 600)
                resident.append(daemon.rss())
            if with_reloads.poll() is not None:
                sys.exit(TOO_SHORT)
            assert with_reloads.wait() == 0
            print(f"{'':<18} {'tokens/s':>9} {'TTFT p50':>9} {'p99 ms':>9} {'ITL p50':>9} {'p99 ms':>9} {'max ms':>9} {'errors':>7}")
            row("without reloads", without)
            row(f"{len(seconds)} reloads", json.loads(Path(outputs[1]).read_text()))
            mib = [f"{r / 2**20:.1f}" for r in [at_start, *resident]]
            print("resident MiB at the start and after each drain:", " ".join(mib))
            print("seconds from publishing to live:", " ".join(f"{s:.2f}" for s in seconds))


if __name__ == "__main__":
    main()

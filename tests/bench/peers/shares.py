#!/usr/bin/env python3
"""What is left of an engine's tokens a second when it has less of the machine: llavad, and llama.cpp beside it in one run.

    shares.py --llavad build/release/bin/llavad [--llama-server BIN] [--sections quotas neighbours] [--output rows.json]

quotas: the engine in a control group of 50, 100 and 150 % of a CPU. neighbours: beside 1, 2 and 4 busy loops a core. A rate is that
of 1 and of 8 clients who ask short texts over and over, and is divided by the engine's own rate alone; `fair` is the share of the
machine that it has, `of fair` what it makes of that: 1 is in proportion. Engines choose their threads themselves unless
--threads says how many. Needs root for quotas, and a machine on which nothing else runs. A whole run takes about 10 minutes.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import checkpoint
import engines
import workload

CORES = len(os.sched_getaffinity(0))
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


@contextmanager
def quota(percent):
    """A control group of so much of one CPU; gives what puts the calling process into it. Version 2, or cpu of version 1."""
    quota_us = percent * PERIOD_US // 100
    if (CGROUPS / "cgroup.controllers").exists():
        if "cpu" not in (CGROUPS / "cgroup.subtree_control").read_text().split():
            (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
        group, limits = CGROUPS / f"llava-shares-{os.getpid()}", {"cpu.max": f"{quota_us} {PERIOD_US}"}
    else:
        group, limits = CGROUPS / f"cpu/llava-shares-{os.getpid()}", {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota_us}
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(str(value))
        yield lambda: (group / "cgroup.procs").write_text("0")
    finally:
        group.rmdir()


@contextmanager
def neighbours(count):
    """So many busy loops on each core; wherever the system puts them."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count * CORES)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def rate(engine, clients, seconds):
    """Tokens a second, from when each client has had one on; and how many cores the engine had."""
    counts, over = [0] * clients, threading.Event()
    begun = [threading.Event() for _ in range(clients)]

    def client(number):
        request = number
        while not over.is_set():
            for tokens in engine.stream(request):
                counts[number] += tokens
                begun[number].set()
                if over.is_set():
                    return
            request += clients

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        if not all(event.wait(120) for event in begun):
            raise RuntimeError(f"{engine.name}: no token for {clients} clients within two minutes")
        first, cpu, begin = sum(counts), workload.cpu_seconds(engine.pid), time.perf_counter()
        over.wait(seconds)
        wall = time.perf_counter() - begin
        return (sum(counts) - first) / wall, (workload.cpu_seconds(engine.pid) - cpu) / wall
    finally:
        over.set()
        for thread in threads:
            thread.join()


def measure(start, case, args, rows):
    """One engine in one case: {section, value, fair}, with 1 and with 8 clients."""
    with ExitStack() as stack:
        preexec = stack.enter_context(quota(case["value"])) if case["section"] == "quotas" else None
        engine = stack.enter_context(start(preexec))
        if case["section"] == "neighbours":
            stack.enter_context(neighbours(case["value"]))
        for clients in args.clients:
            tokens, cores = rate(engine, clients, args.seconds)
            row = {"engine": engine.name, "clients": clients, **case, "tokens_s": round(tokens, 2), "cores": round(cores, 2)}
            alone = next((r["tokens_s"] for r in rows if r["section"] == "alone" and r["engine"] == engine.name
                          and r["clients"] == clients), row["tokens_s"])
            row["of_alone"] = round(tokens / alone, 3) if alone else None
            row["of_fair"] = round(row["of_alone"] / case["fair"], 2) if alone else None
            rows.append(row)
            print_row(row)


def print_row(row):
    case = {"alone": "alone", "quotas": f"quota {row['value']} %", "neighbours": f"{row['value']} loops a core"}[row["section"]]
    print(f"{row['engine']:<10} {row['clients']:>7} {case:<16} {row['tokens_s']:>9.2f} {row['of_alone'] or 0:>9.3f} {row['fair']:>6.3f} "
          f"{row['of_fair'] or 0:>8.2f} {row['cores']:>6.2f}", flush=True)


def cases(args):
    yield {"section": "alone", "value": 0, "fair": 1.0}
    if "quotas" in args.sections:
        for percent in args.quotas:
            yield {"section": "quotas", "value": percent, "fair": round(min(1.0, percent / 100 / CORES), 3)}
    if "neighbours" in args.sections:
        for count in args.neighbours:
            yield {"section": "neighbours", "value": count, "fair": round(1 / (1 + count), 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--llavad")
    parser.add_argument("--llama-server")
    parser.add_argument("--sections", nargs="*", default=["quotas", "neighbours"], choices=["quotas", "neighbours"])
    parser.add_argument("--quotas", type=int, nargs="+", default=[50, 100, 150], help="percent of one CPU")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 2, 4], help="busy loops a core")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=8, help="of each rate")
    parser.add_argument("--threads", type=int, help="of both engines; each chooses itself without it")
    parser.add_argument("--folder", help="where the checkpoint is made and kept; a temporary one without it")
    parser.add_argument("--output", help="file for the rows, as JSON")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, gguf = checkpoint.make(args.folder or temporary)
        starts = []
        if args.llavad:
            starts.append(lambda preexec: engines.llavad_texts(args.llavad, folder, args.threads, preexec))
        if args.llama_server:
            starts.append(lambda preexec: engines.llama_texts(args.llama_server, gguf, max(args.clients), args.threads, preexec))
        print(f"{CORES} cores\nengine     clients case              tokens/s  of alone   fair  of fair  cores", flush=True)
        for case in cases(args):
            for start in starts:
                measure(start, case, args, rows)
    if args.output:
        Path(args.output).write_text(json.dumps({"cores": CORES, "seconds": args.seconds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""llavad beside other engines: the same checkpoint, the same requests, one after the other in one run.

    compare.py --checkpoint CKPT --llavad build/release/bin/llavad [--llama-server BIN --gguf FILE --mmproj FILE]
               [--openvino DIR] [--concurrency 1 8] [--output rows.jsonl]

Prints a JSON line for each engine and concurrency, and for llavad how it starts and what a second question about the same
picture costs. Needs grpcio-tools and Pillow, and openvino-genai for --openvino (docs/benchmarks.md has the versions). Nothing
else should run on the machine; `others_cores` says what did.
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

import engines
import workload


def first_token_seconds(wave, picture, text):
    begin, first = time.perf_counter(), []
    wave.ask(picture, text, lambda _: first.append(time.perf_counter()), 4)
    return first[0] - begin


def measure_llavad(args):
    with engines.llavad(args.llavad, args.checkpoint, args.kv_cache, args.threads) as wave:
        weights = sum(f.stat().st_size for f in Path(args.checkpoint).glob("*.safetensors"))
        first = first_token_seconds(wave, workload.jpeg(500), "What is in this picture?")
        second = first_token_seconds(wave, workload.jpeg(500), "Which colours do you see in it, and where?")
        workload.report({"engine": "llavad bf16", "ready_s": round(wave.ready_s, 2), "ready_mib": wave.ready_mib,
                         "loading_peak_mib": wave.loading_mib, "weights_mib": weights >> 20, "kv_cache": args.kv_cache,
                         "first_question_s": round(first, 3), "second_question_s": round(second, 3)}, args.output)
        for concurrency in args.concurrency:
            workload.report(wave(concurrency, first=1000 * concurrency), args.output)


def measure_llama_cpp(args):
    for concurrency in args.concurrency:
        with engines.llama_server(args.llama_server, args.gguf, args.mmproj, concurrency, args.threads) as wave:
            workload.report(wave(concurrency), args.output)


def measure_openvino(args):
    with engines.openvino(args.openvino, Path(args.openvino).name, args.threads) as wave:
        wave(1)  # the others have answered something before, too
        for concurrency in args.concurrency:
            workload.report(wave(concurrency), args.output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--checkpoint")
    parser.add_argument("--llavad")
    parser.add_argument("--kv-cache", default="1GiB")
    parser.add_argument("--llama-server")
    parser.add_argument("--gguf")
    parser.add_argument("--mmproj")
    parser.add_argument("--openvino", help="folder that optimum-cli exported")
    parser.add_argument("--openvino-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--output")
    args = parser.parse_args()
    if args.openvino_only:
        return measure_openvino(args)
    if args.llavad:
        measure_llavad(args)
    if args.llama_server:
        measure_llama_cpp(args)
    if args.openvino:  # its memory must not count what the others left in this process
        subprocess.run([sys.executable, *sys.argv, "--openvino-only"], check=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A training step of llava-train beside PyTorch + transformers: the same weights, rows, precision and threads, one after the other.

Usage: .deps/parity-venv/bin/python tests/bench/train_step.py LLAVA_TRAIN [--threads N] [--rows N] [--steps N] [--precision fp32|bf16]
(scripts/parity makes that environment.) With --adapters: llava-train alone, training the decoder itself, adapters, and adapters
beside codes. Prints seconds and CPU seconds a step (on a shared machine only these compare), tokens/s, peak memory and losses of both. Every batch is the whole
data set, so that both see the same rows; both run AdamW at the same constant rate on the same tokens, whose number is printed.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ARCHITECTURE = ROOT / "demo" / "architecture"
IMAGE_SIZE, PATCH = 224, 16
WORDS = "the a red blue green circle square left right above below is of large small two three what where which".split()
RATE, WARM_UP = 1e-4, 2


def make_checkpoint(folder, width, layers):
    """A LLaVA of random weights (54M at the defaults) with the demo's tokenizer: 196 rows a picture."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration
    config = json.loads((ARCHITECTURE / "config.json").read_text())
    config["image_seq_length"] = (IMAGE_SIZE // PATCH) ** 2
    config["text_config"].update(hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=layers,
                                 num_attention_heads=width // 64, num_key_value_heads=width // 64, head_dim=64)
    config["vision_config"].update(hidden_size=384, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=6,
                                   image_size=IMAGE_SIZE, patch_size=PATCH)
    for part in (config, config["text_config"], config["vision_config"]):
        part["torch_dtype"] = "float32"
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(LlavaConfig(**config))
    model.save_pretrained(folder)
    for file in ARCHITECTURE.iterdir():
        if file.name not in ("config.json", "preprocessor_config.json"):
            shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(config))
    preprocessor = (ARCHITECTURE / "preprocessor_config.json").read_text().replace("96", str(IMAGE_SIZE))
    (folder / "preprocessor_config.json").write_text(preprocessor)
    return sum(parameter.numel() for parameter in model.parameters())


def make_rows(folder, count):
    import numpy
    from PIL import Image
    generator = random.Random(7)
    numbers = numpy.random.default_rng(7)
    (folder / "pictures").mkdir()
    rows = []
    for number in range(count):
        Image.fromarray(numbers.integers(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=numpy.uint8)).save(
            folder / "pictures" / f"{number}.png")
        def say(least, most):
            return " ".join(generator.choice(WORDS) for _ in range(generator.randint(least, most)))
        rows.append({"id": str(number), "image": f"{number}.png",
                     "conversations": [{"from": "human", "value": "<image>\n" + say(4, 12)},
                                       {"from": "gpt", "value": say(8, 60)}]})
    (folder / "rows.json").write_text(json.dumps(rows))
    return rows


def cpu_seconds(process):
    """CPU time that it has used so far, all threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(process):
    """Of its memory so far."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def ours(folder, options, parts, adapters="", weights="auto"):
    """Steps of llava-train, and its peak memory until the last one."""
    recipe = folder / "recipe.yaml"
    output = folder / f"run-{len(parts)}"
    recipe.write_text(f"""\
name: bench
output: {output}
precision: {options.precision}
model: {{checkpoint: {folder / 'checkpoint'}, weights: {weights}}}
data: {{files: [rows.json], images: pictures, workers: 1}}
save: {{every_steps: 100000}}
stages:
  - {{name: step, train: [{', '.join(parts)}], steps: {options.steps}, batch: {options.rows}, rate: {RATE}, schedule: constant, clip_norm: 0{adapters}}}
""")
    command = [options.llava_train, "run", str(recipe)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)})
    used = []
    for line_of_step in process.stdout:
        if len(used) < options.steps and line_of_step.startswith(b"{"):
            used.append(cpu_seconds(process.pid))
            memory = peak_bytes(process.pid)
    if process.wait() != 0:
        sys.exit(f"llava-train ended with {process.returncode}")
    steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(output)
    return {"seconds": [step["seconds"] for step in steps], "cpu": [b - a for a, b in zip(used, used[1:])], "losses": [step["loss"] for step in steps],
            "tokens": steps[0]["tokens"], "labels": steps[0]["targets"], "memory": memory}


def theirs(folder, options, parts):
    """The same in PyTorch and transformers; runs in a process of its own (see main)."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model = LlavaForConditionalGeneration.from_pretrained(folder / "checkpoint", dtype=torch.float32)
    model.train()
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")
    processor = AutoImageProcessor.from_pretrained(folder / "checkpoint")
    rows = json.loads((folder / "rows.json").read_text())
    system = ("A chat between a curious user and an artificial intelligence assistant. "
              "The assistant gives helpful, detailed, and polite answers to the user's questions. ")
    samples = []
    for row in rows:
        question, answer = (turn["value"] for turn in row["conversations"])
        before = tokenizer(f"{system}USER: {question} ASSISTANT:").input_ids
        whole = tokenizer(f"{system}USER: {question} ASSISTANT: {answer}</s>").input_ids
        image = model.config.image_token_index if hasattr(model.config, "image_token_index") else model.config.image_token_id
        def expand(ids):
            return [other for token in ids for other in ([image] * model.config.image_seq_length if token == image else [token])]
        ids, masked = expand(whole), len(expand(before))
        samples.append((ids, [-100] * masked + ids[masked:]))
    longest = max(len(ids) for ids, _ in samples)
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in samples])
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in samples])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in samples])
    pixels = torch.cat([processor(Image.open(folder / "pictures" / row["image"]), return_tensors="pt").pixel_values
                        for row in rows])
    prefixes = {"vision_tower": "vision_tower", "projector": "multi_modal_projector", "decoder": ("language_model", "lm_head")}
    trained = []
    for name, parameter in model.named_parameters():
        bare = name.removeprefix("model.")
        parameter.requires_grad_(any(bare.startswith(prefixes[part]) for part in parts))
        if parameter.requires_grad:
            trained.append(parameter)
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    result = {"seconds": [], "cpu": [], "losses": [], "tokens": int(mask.sum()), "labels": int((labels[:, 1:] != -100).sum())}
    for _ in range(options.steps):
        began, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, pixel_values=pixels, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        result["losses"].append(loss.item())
        result["seconds"].append(time.perf_counter() - began)
        result["cpu"].append(time.process_time() - used)
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    result["memory"] = int(peak.split()[1]) * 1024
    print(json.dumps(result))


def line(name, result):
    seconds, cpu = (statistics.median(result[what][WARM_UP:]) for what in ("seconds", "cpu"))
    print(f"  {name:22} {seconds:7.3f} s/step  {cpu:7.3f} CPU s  {result['tokens'] / seconds:8.0f} tokens/s  {result['memory'] / 2**20:7.0f} MiB  "
          f"losses {result['losses'][0]:.5f} ... {result['losses'][-1]:.5f}")
    return seconds, cpu


def compare_adapters(folder, options):
    """What is trained beside the projector: the decoder, or adapters beside it."""
    print("trained: projector, decoder")
    whole = None
    for name, adapters, weights in (("all weights", "", "auto"), ("lora r 16", ", lora: {r: 16}", "auto"),
                                    ("lora r 128", ", lora: {r: 128}", "auto"),
                                    ("dora r 16", ", lora: {r: 16, use_dora: true}", "auto"),
                                    ("lora r 16, int8", ", lora: {r: 16}", "int8"), ("lora r 16, int4", ", lora: {r: 16}", "int4")):
        result = ours(folder, options, ["projector", "decoder"], adapters, weights)
        cost = (*line(name, result), result["memory"])
        whole = whole or cost
        print("    of training all weights: {:.2f} of the time, {:.2f} of the CPU time, {:.2f} of the memory".format(
            *(part / all_weights for part, all_weights in zip(cost, whole))))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("llava_train")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--width", type=int, default=512, help="of the decoder; a multiple of 64")
    parser.add_argument("--layers", type=int, default=10, help="of the decoder")
    parser.add_argument("--adapters", action="store_true")
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    parser.add_argument("--parts", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        return theirs(Path(options.theirs), options, options.parts.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "checkpoint").mkdir()
        weights = make_checkpoint(folder / "checkpoint", options.width, options.layers)
        make_rows(folder, options.rows)
        print(f"{weights / 1e6:.0f}M weights, {options.rows} rows a step, {options.precision}, {options.threads} threads")
        if options.adapters:
            return compare_adapters(folder, options)
        for parts in (["projector", "decoder"], ["vision_tower", "projector", "decoder"]):
            print("trained: " + ", ".join(parts))
            result = ours(folder, options, parts)
            mine = line("llava-train", result)
            answer = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--theirs", str(folder), "--parts", ",".join(parts)],
                                    check=True, capture_output=True, text=True)
            reference = json.loads(answer.stdout.splitlines()[-1])
            other = line("PyTorch, transformers", reference)
            if any(reference[what] != result[what] for what in ("tokens", "labels")):
                sys.exit(f"not the same work: {reference['tokens']} tokens, {reference['labels']} labels there, "
                         f"{result['tokens']} and {result['labels']} here")
            print(f"  llava-train takes {mine[0] / other[0]:.2f} of the time, {mine[1] / other[1]:.2f} of the CPU time")
    return None


if __name__ == "__main__":
    main()

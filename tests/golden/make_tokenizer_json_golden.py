#!/usr/bin/env python3
"""Golden data for tokenizer.json: the ids that Hugging Face's tokenizers makes of random texts, for the golden
checkpoint's file and variants of it.

    make_tokenizer_json_golden.py DATA [--count N] [--seed S]    (DATA: tests/golden/data)

Needs tokenizers. Writes one JSON object a line to DATA/text/tokenizer_json.jsonl: {"variant", "set", "added",
"without", "merges_as_text"} says how a variant differs from DATA/checkpoint/tokenizer.json (keys with a dot lie in
"model"; pieces in "without" are taken out of its vocab), and the lines up to the next one are {"text", "ids"} without
what a post-processor adds, or {"ids", "decoded"}.
"""
import argparse
import copy
import json
import random
from pathlib import Path

from make_text_golden import ATOMS
from tokenizers import Tokenizer

RUNS = ["in" * 40, "the" * 30, "a" * 100, " " * 70, "statement" * 9, "keyword statement " * 5, "日本" * 20, "x" * 33]
MARK = "▁"


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


def added(content, id, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": not flags.get("special", False), "special": False} | flags


TOKENS = [added("[PAD]", 1002), added("ab c", 1003, lstrip=True, rstrip=True), added("<l>", 1004, lstrip=True, special=True),
          added("<r>", 1005, rstrip=True, special=True), added("keyword", 1006), added("[PAD]]", 1007, normalized=False)]
BYTES = [f"<0x{b:02X}>" for b in (0xE6, 0xF0, 0x00)]
VARIANTS = {
    "as saved": {},
    "merges as text": {"merges_as_text": True},
    "prepend, added tokens": {"added": TOKENS},
    "replace alone": {"set": {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK}}},
    "prepend alone": {"set": {"normalizer": {"type": "Prepend", "prepend": MARK}}},
    "prepend alone, added tokens": {"set": {"normalizer": {"type": "Prepend", "prepend": MARK}}, "added": TOKENS},
    "replace alone, added tokens": {"set": {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK}},
                                    "added": TOKENS},
    "no marks": {"set": {"normalizer": None}},
    "older metaspace": {"set": {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": MARK,
                                                                       "add_prefix_space": True}}},
    "unknown characters": {"set": {"model.byte_fallback": False}},
    "unknown characters, not fused": {"set": {"model.byte_fallback": False, "model.fuse_unk": False}},
    "characters dropped": {"set": {"model.byte_fallback": False, "model.unk_token": None}},
    "some bytes only": {"without": BYTES},
    "whole pieces": {"set": {"model.ignore_merges": True, "normalizer": None, "pre_tokenizer": metaspace("first", True)}},
}
for scheme in ("always", "first", "never"):
    for split in (False, True):
        VARIANTS[f"metaspace {scheme}{', split' * split}"] = {
            "set": {"normalizer": None, "pre_tokenizer": metaspace(scheme, split)}, "added": TOKENS}


def build(base, variant):
    file = copy.deepcopy(base)
    for key, value in variant.get("set", {}).items():
        place = file["model"] if key.startswith("model.") else file
        place[key.removeprefix("model.")] = value
    file["added_tokens"] += variant.get("added", [])
    for number, piece in enumerate(variant.get("without", [])):
        file["model"]["vocab"][f"unused{number}"] = file["model"]["vocab"].pop(piece)
    if variant.get("merges_as_text"):
        file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(file))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("data", type=Path)
    ap.add_argument("--count", type=int, default=30)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    base = json.loads((args.data / "checkpoint/tokenizer.json").read_text())
    atoms = ATOMS + [token["content"] for token in TOKENS] + RUNS + ["ab", " c", "[PAD"]
    lines = []
    for name, variant in VARIANTS.items():
        tokenizer = build(base, variant)
        lines.append({"variant": name} | variant)
        for _ in range(args.count):
            text = "".join(rng.choice(atoms) for _ in range(rng.randrange(9)))
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            lines.append({"text": text, "ids": ids})
            decoded = tokenizer.decode(ids)
            if "\ufffd" not in decoded:
                lines.append({"ids": ids, "decoded": decoded})
    out = args.data / "text/tokenizer_json.jsonl"
    out.write_text("".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines))
    print(len(lines), "lines,", out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Golden data for tokenizer.json: the ids that Hugging Face's tokenizers makes of random texts, for the golden
checkpoint's file and variants of it.

    make_tokenizer_json_golden.py DATA [--count N] [--seed S]    (DATA: tests/golden/data)

Needs tokenizers. Writes one JSON object a line to DATA/text/tokenizer_json.jsonl: {"variant", "set", "added",
"without", "merges_as_text"} says how a variant differs from DATA/checkpoint/tokenizer.json (keys with a dot lie in
"model"; pieces in "without" are taken out of its vocab), and the lines up to the next one are {"text", "ids"} without
what a post-processor adds, or {"ids", "decoded"}. DATA/text/byte_level.jsonl is the same of byte-level tokenizers: the
file of DATA/families/llava_qwen2/checkpoint and variants of it, texts in all scripts.
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
# Neither inside a word nor beside one, in what the normalizer makes of the text and before it.
SINGLE_WORDS = {f"single words{', metaspace' * bool(change)}": {"set": change, "added": [
    added("keyword", 1002, single_word=True), added("dog", 1003, single_word=True, normalized=False),
    added("the", 1004, single_word=True, lstrip=True, rstrip=True, special=True), added("the dog", 1005)]}
    for change in ({}, {"normalizer": None, "pre_tokenizer": metaspace("first", False)})}
WORDS = ["dog", "the", "keyword", "the dog", "keyword", " ", "  ", "a", "\u00e9", "_", "7", ".", "(", "\u00b2", "\u2026", "\u0301",
         "\u200d", "\u65e5", "\u2163", "\u24b6", "\U0001f600", "s", "-"]
# The start of every text between <image>s gets a mark, and what follows the other tokens does not.
EVERY_TEXT = {"a mark for every text": {"set": {
    "added_tokens": [added(content, id, special=True, normalized=id < 3) for id, content in
                     ((0, "<unk>"), (1, "<s>"), (2, "</s>"), (1000, "<image>"), (1001, "<pad>"))],
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": r"\A(?!<unk>|<s>|</s>)"}, "content": MARK},
        {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}}}}


QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
BYTE_TOKENS = [added("[PAD]", 404), added("ab c", 405, lstrip=True, rstrip=True),
               added("<l>", 406, lstrip=True, special=True), added("<r>", 407, rstrip=True, special=True),
               added("caf\u00e9", 408, normalized=False)]


def split_by(*expressions, digits=()):
    splits = [{"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
              for expression in expressions]
    splits += [{"type": "Digits", "individual_digits": individual} for individual in digits]
    return {"type": "Sequence", "pretokenizers": [*splits, BYTE_LEVEL]}


BYTE_VARIANTS = {
    "qwen2": {},
    "qwen2, added tokens": {"added": BYTE_TOKENS},
    "llama 3": {"set": {"normalizer": None, "pre_tokenizer": split_by(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")),
                        "model.ignore_merges": True}},
    "gpt-2": {"set": {"normalizer": None, "pre_tokenizer": BYTE_LEVEL | {"use_regex": True}}},
    "two splits": {"set": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        split_by(r"\p{N}{1,2}")["pretokenizers"][0], split_by(QWEN2)["pretokenizers"][0], BYTE_LEVEL]}}},
    # Of DeepSeek-LLM, DeepSeek-Coder, DeepSeek-V3 and Kimi, whole or in part.
    "digits": {"set": {"normalizer": None, "pre_tokenizer": split_by(
        r"[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6]+", "\\s?[!-/:-~\uff01-\uff0f\u2018-\u201f\u3000-\u3002]+",
        r"\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", digits=[True])}},
    "runs of digits": {"set": {"pre_tokenizer": split_by(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", digits=[False])}},
    "marks and signs": {"set": {"normalizer": None, "pre_tokenizer": split_by(
        r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")}},
    "words, scripts and lines": {"set": {"normalizer": None, "pre_tokenizer": split_by(
        r"\p{Han}+", r"\s+$|^\w", r"\w+|[\w.]+", r"(?=(?:\d{3})+(?!\d))")}},
}
# First and last characters of scripts, signs and emoji that every table of Unicode since version 9 has.
RANGES = [(0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x345), (0x370, 0x377), (0x391, 0x3FF), (0x400, 0x482), (0x5D0, 0x5EA),
          (0x621, 0x652), (0x905, 0x939), (0x93C, 0x94D), (0x985, 0x98C), (0xE01, 0xE3A), (0x10A0, 0x10C5), (0x1100, 0x1112),
          (0x1161, 0x1175), (0x11A8, 0x11C2), (0x1E00, 0x1EFF), (0x1F00, 0x1F15), (0x2000, 0x200D), (0x2010, 0x2029),
          (0x2070, 0x2071), (0x20A0, 0x20BE), (0x2150, 0x2189), (0x2190, 0x23FA), (0x3000, 0x3003), (0x3041, 0x3096),
          (0x30A1, 0x30FA), (0x4E00, 0x9FD5), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E), (0x10400, 0x1044F), (0x1D400, 0x1D454),
          (0x1F300, 0x1F3FA), (0x1F3FB, 0x1F3FF), (0x1F600, 0x1F64F), (0x20000, 0x2A6D6)]
BYTE_ATOMS = ["What is", " in", " the", "picture", "?", "It's", "they'LL", "'Re", " 1234567", "3.14", "\n", "\r\n", "\n\n ",
              "  ", "   ", "\t", "\x85", "\xa0", "\u3000", "\u180e", "\x00", "\x7f", "e\u0301", "\u1100\u1161\u11a8",
              "def f(x):\n    return x**2\n", "#include <a.h>", "a_b->c[0] += 1;", "https://a.b/c?d=1&e", "<|im_start|>",
              "<|im_end|>", "<image>", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea", "\u0645\u0631\u062d\u0628\u0627",
              "\u65e5\u672c\u8a9e", "\u017f", "'\u017f", "\ufb06", "caf\u00e9", "cafe\u0301", "[PAD]", "ab c", " <l> ", "<r> "]


def random_text(rng):
    def characters():
        first, last = rng.choice(RANGES)
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randrange(1, 5)))
    return "".join(rng.choice(BYTE_ATOMS) if rng.random() < 0.5 else characters() for _ in range(rng.randrange(12)))


def conversation(rng):
    """Texts and tokens, as often the one as the other."""
    tokens = ("<image>", "</s>", "<s>", "<unk>", "<pad>", "<image>\n", "</s> ")
    return "".join(rng.choice(tokens if rng.random() < 0.5 else ATOMS) for _ in range(rng.randrange(12)))


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


def lines_of(base_file, variants, count, make_text):
    base = json.loads(base_file.read_text())
    lines = []
    for name, variant in variants.items():
        tokenizer = build(base, variant)
        lines.append({"variant": name} | variant)
        for _ in range(count):
            text = make_text()
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            lines.append({"text": text, "ids": ids})
            decoded = tokenizer.decode(ids)
            if "\ufffd" not in decoded:
                lines.append({"ids": ids, "decoded": decoded})
    return lines


def write(out, lines):
    out.write_text("".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines))
    print(len(lines), "lines,", out.stat().st_size, "bytes")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("data", type=Path)
    ap.add_argument("--count", type=int, default=30)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    atoms = ATOMS + [token["content"] for token in TOKENS] + RUNS + ["ab", " c", "[PAD"]
    marks = args.data / "checkpoint/tokenizer.json"
    lines = lines_of(marks, VARIANTS, args.count, lambda: "".join(rng.choice(atoms) for _ in range(rng.randrange(9))))
    own = random.Random(args.seed)
    words = random.Random(args.seed)
    lines += lines_of(marks, SINGLE_WORDS, 5 * args.count, lambda: "".join(words.choice(WORDS) for _ in range(words.randrange(9))))
    lines += lines_of(marks, EVERY_TEXT, 3 * args.count, lambda: conversation(own))
    write(args.data / "text/tokenizer_json.jsonl", lines)
    write(args.data / "text/byte_level.jsonl",
          lines_of(args.data / "families/llava_qwen2/checkpoint/tokenizer.json", BYTE_VARIANTS, 5 * args.count,
                   lambda: random_text(rng)))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Golden data for the text side: what transformers and sentencepiece make of random texts and ids.

    make_text_golden.py DATA [--count N] [--seed S] [--out FILE]    (DATA: tests/golden/data)

Needs transformers, sentencepiece and jinja2. Writes one JSON object a line to DATA/text/tokens.jsonl:
{"text", "ids": {rule: ids}} for encoding, {"decode": ids, "text"}, {"messages", name: prompt}
for every template, rendered from the Jinja texts in DATA/text/chat_templates.json.
Rules: "json" (tokenizer.json), "fast"/"fast_legacy" (LlamaTokenizer of transformers from tokenizer.model),
"slow"/"slow_legacy" (the slow LlamaTokenizer of transformers 4, written here after its description),
"literal" ("json" with special tokens in the text taken as text). All without BOS.
"""
import argparse
import json
import random
import re
import shutil
import tempfile
from pathlib import Path

import jinja2
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from transformers import AutoTokenizer, LlamaTokenizer

SPECIAL = ["<s>", "</s>", "<unk>", "<image>", "<pad>"]
ATOMS = SPECIAL + [
    " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "▁", "the ", "of", "keyword", " statement", "class", "USER: ",
    "ASSISTANT:", "[INST] ", " [/INST]", ".", ",", "?", "'s", "x=3.14159;", "0123", "é", "e\u0301", "ß", "на ", "картинке",
    "日本", "語", "한국", "हिन्दी", "ع", "\U0001f98a", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ufeff", "\u00a0", "\u3000", "\u0000", "\u0001",
    "\u007f", "\ufffd", "<0x0A>", "<0x", "<image", "/s>", "<im_start>", "\U0010ffff", "a", "B", "ing", "un"]


def random_text(rng):
    return "".join(rng.choice(ATOMS) for _ in range(rng.randrange(12)))


def fast(folder, data, legacy):
    """transformers' LlamaTokenizer from tokenizer.model alone."""
    folder = Path(folder, f"legacy_{legacy}")
    folder.mkdir()
    shutil.copy(data / "checkpoint/tokenizer.model", folder)
    config = json.loads((data / "checkpoint/tokenizer_config.json").read_text())
    config["legacy"] = legacy
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return LlamaTokenizer.from_pretrained(folder)


class Slow:
    """transformers 4, models/llama/tokenization_llama.py: split at special tokens, then sentencepiece."""

    def __init__(self, data, legacy, special=SPECIAL):
        model = pb.ModelProto()
        model.ParseFromString((data / "checkpoint/tokenizer.model").read_bytes())
        model.normalizer_spec.add_dummy_prefix = legacy
        self.legacy, self.special = legacy, special
        self.model = spm.SentencePieceProcessor(model_proto=model.SerializeToString())
        self.ids = {"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 1000, "<pad>": 1001}

    def encode(self, text):
        if not self.legacy and text:
            text = "▁" + text.replace("▁", " ")
        parts = [p for p in re.split("(" + "|".join(map(re.escape, self.special)) + ")", text) if p]
        if not self.legacy and len(parts) > 1 and parts[0] == "▁":
            parts = parts[1:]
        ids = []
        for part in parts:
            ids += [self.ids[part]] if part in self.ids else self.model.encode(part)
        return ids


def random_messages(rng):
    messages = [{"role": "system", "texts": [random_text(rng)], "images": 0}] if rng.random() < 0.3 else []
    for turn in range(rng.randrange(0, 3) * 2 + 1):
        messages.append({"role": "user" if turn % 2 == 0 else "assistant",
                         "texts": [random_text(rng) for _ in range(rng.randrange(1, 3))],
                         "images": rng.randrange(3) if turn % 2 == 0 else 0})
    return messages


def render(template, messages):
    source = re.sub(r"{% (end)?generation %}", "", template)
    content = [{"role": m["role"], "content": [{"type": "image"}] * m["images"] +
                [{"type": "text", "text": t} for t in m["texts"]]} for m in messages]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(source).render(messages=content, add_generation_prompt=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("data", type=Path)
    ap.add_argument("--count", type=int, default=200)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", type=Path)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    auto = AutoTokenizer.from_pretrained(args.data / "checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        rules = {"fast": fast(folder, args.data, False), "fast_legacy": fast(folder, args.data, True)}
    slow = {"slow": Slow(args.data, False), "slow_legacy": Slow(args.data, True)}
    templates = json.loads((args.data / "text/chat_templates.json").read_text())
    joined = json.loads((args.data / "checkpoint/chat_template.json").read_text())["chat_template"]
    lines = []
    for _ in range(args.count):
        text = random_text(rng)
        ids = {"json": auto(text, add_special_tokens=False).input_ids}
        ids |= {name: t(text, add_special_tokens=False).input_ids for name, t in rules.items()}
        ids |= {name: t.encode(text) for name, t in slow.items()}
        ids["literal"] = auto(text, add_special_tokens=False, split_special_tokens=True).input_ids
        lines.append({"text": text, "ids": ids})
        some = [rng.choice([rng.randrange(259), rng.randrange(1024), rng.randrange(700, 770)]) for _ in range(rng.randrange(10))]
        lines.append({"decode": some, "text": auto.decode(some, skip_special_tokens=True)})
    for _ in range(args.count // 5):
        messages = random_messages(rng)
        prompts = {name: render(text, messages) for name, text in templates.items()}
        assert prompts.pop("hub") == prompts.pop("older") == prompts["hf"]
        assert prompts["hf_joined"] == render(joined, messages)
        lines.append({"messages": messages} | prompts)
    out = args.out or args.data / "text/tokens.jsonl"
    out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()

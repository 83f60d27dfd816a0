#!/usr/bin/env python3
"""Golden training labels: the masking rules of the reference (haotian-liu/LLaVA, llava/train/train.py),
written again over the tokenizers of make_text_golden.py.

    make_label_golden.py DATA [--count N] [--seed S] [--out FILE]    (DATA: tests/golden/data)

Writes one JSON object a line to DATA/text/labels.jsonl: {"template", "images", "turns", "rules": {rule:
{"ids", "labels"}}} with one id -200 for each picture. Rules: "slow"/"slow_legacy" cut the text at pictures
(the reference), "json" tokenizes in one pass (Hugging Face).
"""
import argparse
import json
import random
from pathlib import Path

from make_text_golden import Slow
from transformers import AutoTokenizer

ASSISTANT = "{} between a curious {} and an artificial intelligence assistant. The assistant gives helpful, detailed, " \
            "and polite answers to the {}'s questions."
SYSTEM = {
    "vicuna_v1": ASSISTANT.format("A chat", "user", "user"), "llava_v1": ASSISTANT.format("A chat", "human", "human"),
    "llava_llama_2": "You are a helpful language and vision assistant. You are able to understand the visual content that "
                     "the user provides, and assist the user with a variety of tasks using natural language.",
    "mistral_instruct": ""}
WORDS = ["the", "keyword", "class", "Is", "it", "red?", "12", "x=3", "\n", "日本", "\U0001f98a", "  ", "A.", "yes", "[INST]"]
TROUBLE = ["</s>", " ASSISTANT: ", "[/INST] ", "<unk>", "<s>", " USER: "]
IGNORE = -100


class Tokens:
    """tokenizer(...) and tokenizer_image_token(...), without BOS."""

    def __init__(self, encode, legacy_fix, whole):
        self.encode, self.legacy_fix, self.whole = encode, legacy_fix, whole

    def __call__(self, text, images):
        if self.whole:
            return [-200 if i == 1000 else i for i in self.encode(text)]
        ids = []
        for k, chunk in enumerate(text.split("<image>") if images else [text]):
            ids += ([-200] if k else []) + self.encode(chunk)
        return ids


def conversation_text(template, turns):
    if template in ("vicuna_v1", "llava_v1"):
        return SYSTEM[template] + " " + "".join(
            ("USER: " + t + " ") if k % 2 == 0 else ("ASSISTANT: " + t + "</s>") for k, t in enumerate(turns))
    text, begin = "", "<s>" if template == "llava_llama_2" else ""
    for k, t in enumerate(turns):
        if k == 0 and SYSTEM[template]:
            t = f"<<SYS>>\n{SYSTEM[template]}\n<</SYS>>\n\n{t}"
        text += f"{begin}[INST] {t} [/INST]" if k % 2 == 0 else f" {t} </s>"
    return text[len(begin):]


def label(template, turns, images, tok):
    if template == "plain":
        ids = [1] + tok("<image>" + turns[1] + "\n", images)
        head = 1 + len(tok("<image>", images))
        return ids, [IGNORE] * head + ids[head:]
    if images:
        turns = [("<image>\n" + t.replace("<image>", "").strip()).strip() if "<image>" in t else t for t in turns]
    text = conversation_text(template, turns)
    separator = " ASSISTANT: " if "v1" in template else "[/INST] "
    ids = [1] + tok(text, images)
    labels, at = list(ids), 1
    labels[0] = IGNORE
    for k, part in enumerate(text.split("</s>")):
        sides = part.split(separator)
        if part == "" or len(sides) != 2:
            break
        length, head = 1 + len(tok(part, images)), 1 + len(tok(sides[0] + separator, images)) - 2
        if k and tok.legacy_fix and "v1" in template:
            length, head = length - 1, head - 1
        labels[at:at + head] = [IGNORE] * len(labels[at:at + head])
        at += length
    labels[at:] = [IGNORE] * len(labels[at:])
    if at != sum(i != 0 for i in ids):
        labels = [IGNORE] * len(ids)
    return ids, labels


def label_v0(turns, images, tok):
    """preprocess, _add_speaker_and_signal and _mask_targets. What stands in the places of pictures is never learned."""
    if images:
        turns = [("<image>\n" + t.replace("<image>", "").strip()).strip() if "<image>" in t else t for t in turns]
    header = SYSTEM["llava_v1"] + "\n\n"
    parts = ["### " + ("Assistant" if k % 2 else "Human") + ": " + t + "\n" for k, t in enumerate(turns)]
    ids = [1] + tok(header + "".join(parts) + "### ", images)
    labels, at = list(ids), 1 + len(tok(header, images))
    labels[:at] = [IGNORE] * at
    for k, part in enumerate(parts):
        length = 1 + len(tok(part, images))
        if k % 2 == 0:
            labels[at + 2:at + length] = [IGNORE] * len(labels[at + 2:at + length])
        at += length
    return ids, [IGNORE if i == -200 else l for i, l in zip(ids, labels)]


def random_turns(rng, template, images):
    words = lambda: " ".join(rng.choice(TROUBLE if rng.random() < 0.015 else WORDS) for _ in range(rng.randrange(1, 6)))
    rounds = 1 if template == "plain" else rng.randrange(1, 4)
    turns = [rng.choice(["", " ", "\n"]) + words() + rng.choice(["", "", " "]) for _ in range(2 * rounds)]
    for place in rng.sample(range(rounds), min(images, rounds)):
        turns[2 * place] = rng.choice(["<image>\n", "<image>"]) + turns[2 * place] if rng.random() < 0.5 else \
            turns[2 * place] + "\n<image>"
    return turns


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("data", type=Path)
    ap.add_argument("--count", type=int, default=60)
    ap.add_argument("--seed", type=int, default=2)
    ap.add_argument("--out", type=Path)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    auto = AutoTokenizer.from_pretrained(args.data / "checkpoint")
    special = ["<s>", "</s>", "<unk>", "<pad>"]  # the reference's tokenizer does not know <image>
    tokens = {"slow": Tokens(Slow(args.data, False, special).encode, True, False),
              "slow_legacy": Tokens(Slow(args.data, True, special).encode, False, False),
              "json": Tokens(lambda text: auto(text, add_special_tokens=False).input_ids, False, True)}
    lines = []
    for n in range(args.count):
        template = (list(SYSTEM) + ["plain"])[n % 5]
        images = 1 if template == "plain" else rng.randrange(3)
        turns = random_turns(rng, template, images)
        images = sum("<image>" in t for t in turns)
        if not images and rng.random() < 0.2:
            turns[0] += " <image> "  # plain text in a row without pictures
        rules = {}
        for name, tok in tokens.items():
            literal = not images and "<image>" in turns[0] and name == "json"
            if not literal and not (template == "mistral_instruct" and name == "slow" and len(turns) > 2):
                ids, labels = label(template, turns, images, tok)
                rules[name] = {"ids": ids, "labels": labels}
        lines.append({"template": template, "images": images, "turns": turns, "rules": rules})
    for n in range(args.count // 3):  # behind the others, which were there before
        images = rng.randrange(3)
        turns = random_turns(rng, "llava_v0", images)
        turns = [t + " ### Human: x" if rng.random() < 0.05 else t for t in turns]
        images = sum("<image>" in t for t in turns)
        rules = {name: dict(zip(("ids", "labels"), label_v0(turns, images, tok))) for name, tok in tokens.items()}
        lines.append({"template": "llava_v0", "images": images, "turns": turns, "rules": rules})
    out = args.out or args.data / "text/labels.jsonl"
    out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    masked = sum(all(l == IGNORE for l in r["labels"]) for line in lines for r in line["rules"].values())
    print(f"{len(lines)} conversations, {masked} fully masked label rows")


if __name__ == "__main__":
    main()

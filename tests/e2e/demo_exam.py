#!/usr/bin/env python3
"""How good the demo model is: first questions of its own world and of free scenes, follow-ups in conversations, and pictures
that another renderer drew. Prints the tables of docs/demo-model.md.

Usage: scripts/with-test-venv tests/e2e/demo_exam.py [--checkpoint DIR] [--count N] (after make build)
"""
import argparse
import base64
import collections
import concurrent.futures
import io
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from llavad import Llavad  # noqa: E402
from other_renderer import Drawing  # noqa: E402

AT_ONCE = 16


def picture_part(data, kind):
    url = f"data:image/{kind};base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def normal(text):
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


class Examiner:
    def __init__(self, daemon):
        self.url = daemon.http.rstrip("/") + "/v1/chat/completions"

    def ask(self, messages):
        body = json.dumps({"model": "", "messages": messages, "max_tokens": 96, "temperature": 0}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as response:
            return json.load(response)["choices"][0]["message"]["content"].strip()

    def score(self, items):
        """items: (kind, messages, answer). Kind -> [right, asked]."""
        counts = collections.defaultdict(lambda: [0, 0])
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda item: self.ask(item[1]), items))
        for (kind, _, answer), given in zip(items, answers):
            counts[kind][0] += normal(answer) == normal(given)
            counts[kind][1] += 1
        return dict(counts)


def draw_scenes(train, folder, *options):
    subprocess.run([train, "scenes", "--out", folder, "--held-out", "--patch", "16", *options], check=True,
                   stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (Path(folder) / "instruct.jsonl").read_text().splitlines()]


def spoken(row, folder):
    """The row's turns as messages, and the kinds of its answers."""
    images = iter([row["image"]] if isinstance(row["image"], str) else row["image"])
    messages = []
    for turn in row["conversations"]:
        if turn["from"] == "gpt":
            messages.append({"role": "assistant", "content": turn["value"]})
            continue
        text = turn["value"]
        parts = [picture_part((Path(folder) / "images" / next(images)).read_bytes(), "jpeg")
                 for _ in range(text.count("<image>"))]
        messages.append({"role": "user", "content": parts + [{"type": "text", "text": text.replace("<image>", "").strip()}]})
    return messages


def first_questions(train, level, count, seed):
    """Every question of held-out scenes, each as the first of a conversation."""
    with tempfile.TemporaryDirectory() as folder:
        items = []
        for row in draw_scenes(train, folder, "--level", level, "--count", str(count), "--seed", str(seed), "--turns", "6"):
            messages = spoken(row, folder)
            picture = messages[0]["content"][0]
            for i, kind in enumerate(row["kinds"]):
                question = messages[2 * i]["content"][-1]
                items.append((kind, [{"role": "user", "content": [picture, question]}], messages[2 * i + 1]["content"]))
        return items


def follow_ups(train, count, seed):
    """The last question of held-out conversations, and one before it, behind all that was said."""
    with tempfile.TemporaryDirectory() as folder:
        items = []
        for row in draw_scenes(train, folder, "--level", "mixed", "--count", str(count), "--seed", str(seed), "--turns", "8",
                               "--conversations"):
            messages = spoken(row, folder)
            answers = [i for i in range(3, len(messages), 2) if not row["conversations"][i].get("weight") == 0]
            for i in answers[-2:]:
                items.append((row["kinds"][i // 2], messages[:i], messages[i]["content"]))
        return items


def other_pictures(count, seed, **manner):
    items = []
    for i in range(count):
        drawing = Drawing(seed * 100003 + i, **manner)
        data = io.BytesIO()
        drawing.image.save(data, "PNG")
        picture = picture_part(data.getvalue(), "png")
        for kind, question, answer in drawing.questions():
            items.append((kind, [{"role": "user", "content": [picture, {"type": "text", "text": question}]}], answer))
    return items


def exams(train, count, seed):
    """Name -> items. count: pictures of each exam."""
    return {"its own world, first questions": first_questions(train, "full", count, seed),
            "free scenes, first questions": first_questions(train, "free", count, seed + 1),
            "follow-ups": follow_ups(train, count, seed + 2),
            "another renderer, plain grounds": other_pictures(count // 3, seed + 3),
            "another renderer, noise and text": other_pictures(count // 3, seed + 4, noise=True, text=True),
            "another renderer, one channel": other_pictures(count // 3, seed + 5, grey=True)}


def total(scores):
    return sum(right for right, _ in scores.values()), sum(asked for _, asked in scores.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(ROOT / "demo" / "checkpoint"))
    parser.add_argument("--count", type=int, default=300, help="pictures of each exam")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--bin", default=str(ROOT / "build" / "release" / "bin"))
    arguments = parser.parse_args()
    with Llavad(f"{arguments.bin}/llavad", arguments.checkpoint) as daemon:
        for name, items in exams(f"{arguments.bin}/llava-train", arguments.count, arguments.seed).items():
            scores = Examiner(daemon).score(items)
            print(f"\n{name}\n\n| kind | right | of |\n|---|---|---|")
            for kind, (right, asked) in sorted(scores.items()) + [("total", total(scores))]:
                print(f"| {kind} | {100 * right / asked:.1f} % | {asked} |", flush=True)


if __name__ == "__main__":
    main()

"""The paper, small: its data, its two stages, its evaluations and its ablations in a world that the repository draws itself.

Every step leaves its result below --out and is not done again; killed, the same command goes on.
  scripts/paper                   half of all rows and steps, in less than an hour on two cores. Of much less the language model learns
                                  no form of an answer that could be accepted, and the run ends there
  scripts/paper --share 1         the whole counts, in nearly two hours
"""
import argparse
import json
import random
import shutil
import sys
from pathlib import Path

import corpus
import judge
import models
import programs
import questions
import recipes
import report
import science
import world

COUNTS = {"texts": 36000, "crowded": 12000, "pictures": 6000, "generated": 2400, "bench": 60, "science": 3000, "science_test": 800,
          "tower_steps": 1000, "language_steps": 2400, "align_steps": 400, "instruct_steps": 400, "science_steps": 500}
KINDS = {"conversation": 0.37, "detail": 0.15, "reasoning": 0.48}  # the paper's shares of pictures
CATEGORIES = {"conv": "conversation", "detail": "detail", "complex": "reasoning"}


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def write_text(path, text):
    """The file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.rename(path)


def write_lines(path, objects):
    write_text(path, "".join(json.dumps(o) + "\n" for o in objects))


class Paper:
    def __init__(self, out, share):
        self.out = out.resolve()
        self.count = {name: max(2 if name.endswith("_steps") else 12, round(share * number)) for name, number in COUNTS.items()}
        self.train_scenes, self.test_scenes = self.out / "scenes/train", self.out / "scenes/held-out"

    def keep_counts(self):
        """What is there was made with the counts of now, or nothing goes on: results of two sizes would be in one table."""
        path = self.out / "counts.json"
        if path.exists() and (found := json.loads(path.read_text())) != self.count:
            other = sorted(name for name in self.count if found.get(name) != self.count[name])
            sys.exit(f"--share: {self.out} was begun with other counts ({other[0]}: {found.get(other[0])}, now {self.count[other[0]]}): "
                     "give the share that it was begun with, or another --out")
        write_text(path, json.dumps(self.count, indent=1) + "\n")

    def once(self, path, make):
        """Makes `path` by make() unless it is there: make() writes it last, and at once."""
        if not path.exists():
            print(f"== {path.relative_to(self.out)}", flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            make()
        return path

    # The world.

    def draw(self):
        for folder, seed, more in ((self.train_scenes, 11, ()), (self.test_scenes, 12, ("--held-out",))):
            count = self.count["pictures"] if not more else self.count["science_test"]

            def make(folder=folder, seed=seed, more=more, count=count):
                part = folder.with_name(f"{folder.name}.part")
                shutil.rmtree(part, ignore_errors=True)
                programs.train("scenes", "--out", part, "--count", count, "--seed", seed, "--level", "full", "--turns", 1, *more)
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)

            self.once(folder / "corpus.txt", make)

    def texts(self):
        path = self.out / "texts/texts.jsonl"
        part = path.with_suffix(".part")
        self.once(path, lambda: (corpus.write(part, self.count["texts"], seed=3), part.rename(path)))
        lines = self.out / "texts/corpus.txt"
        self.once(lines, lambda: write_text(lines, "\n".join(
            text for row in read_lines(path)[:4000] for turn in row["messages"] for text in turn["content"].split("\n")) + "\n"
            + "\n".join(" ".join((p["question"], *p["choices"], "Context: N/A Options: (A) (B) (C) (D)", science.answer(p, True),
                                  science.answer(p, False))) for p in self.science_problems("train").values())))
        return path, lines

    # The parts and their first stage.

    def base(self):
        rows, lines = self.texts()
        shape = self.out / "models/architecture"
        self.once(shape / "config.json", lambda: models.architecture(programs.ROOT / "demo/architecture", lines, programs.TRAIN, shape))
        self.skeleton = programs.run(recipes.base(self.out / "models/base.yaml", shape, rows, self.count["crowded"],
                                                  self.count["tower_steps"], self.count["language_steps"]))
        language, tower = self.out / "models/language-model", self.out / "models/vision-tower"
        self.once(tower / "preprocessor_config.json", lambda: models.split(self.skeleton, language, tower))
        for projector in ("linear", "mlp2x_gelu"):
            whole = self.out / "models" / projector
            self.once(whole / "config.json", lambda p=projector, w=whole: programs.train(
                "assemble", "--language-model", language, "--vision-tower", tower, "--projector", p, "--feature-layer", -1, "--out", w))

    def align(self):
        self.aligned = {p: programs.run(recipes.align(self.out / f"runs/align-{p}.yaml", self.out / "models" / p,
                                                      self.train_scenes / "captions.jsonl", self.train_scenes / "images",
                                                      self.count["align_steps"])) for p in ("linear", "mlp2x_gelu")}

    # The data that a language model makes, which has never seen a picture, and what is learned from it.

    def generate(self):
        folder = self.out / "generated"
        for kind, system in corpus.SYSTEM.items():
            (self.out / "prompts" / kind).mkdir(parents=True, exist_ok=True)
            (self.out / "prompts" / kind / "system_message.txt").write_text(system)
        kinds = {k: {"images": share, "few_shot": f"prompts/{k}", "max_tokens": 256} for k, share in KINDS.items()}

        def ask():
            with programs.Daemon(self.skeleton) as daemon:
                plan = {"name": "paper", "output": "generated", "source": {"scenes": {"count": self.count["generated"], "seed": 7}},
                        "endpoint": {"base_url": daemon.url, "model": daemon.model, "max_in_flight": 16}, "kinds": kinds,
                        "accept": {"near_duplicate": 1}, "held_out": 0.02}
                (self.out / "plan.yaml").write_text(json.dumps(plan))
                programs.train("generate", self.out / "plan.yaml")

        self.once(folder / "report.json", ask)
        return folder

    def mixtures(self, generated):
        """The rows of Table 4's lines."""
        rows = {kind: [] for kind in KINDS}
        for row in read_lines(generated / "instruct.jsonl"):
            rows[row["kinds"][0]].append(row)
        if not all(rows.values()):
            raise SystemExit(f"{generated}/report.json: the language model wrote no rows of "
                             f"{', '.join(kind for kind in rows if not rows[kind])} that could be accepted")
        pick = random.Random(5)

        def some(kind, share):
            return pick.sample(rows[kind], max(1, round(share * len(rows[kind]))))

        wanted = {"full": rows["conversation"] + rows["detail"] + rows["reasoning"],
                  "detail and reasoning": rows["detail"] + rows["reasoning"],
                  "conversation, 5 % of detail, 10 % of reasoning": rows["conversation"] + some("detail", 0.05) + some("reasoning", 0.1),
                  "conversation": rows["conversation"]}
        for number, mixed in enumerate(wanted.values()):
            write_lines(self.out / f"mixtures/{number}.jsonl", mixed)
        return list(wanted)

    # LLaVA-Bench of this world.

    def bench(self):
        """Held-out pictures with a question of each kind; the reference answers are the language model's, which is told the truth."""
        folder = self.out / "bench"

        def make():
            rng = random.Random(9)
            asked, contexts = [], []
            for image, captions, truth in list(world.read_scenes(self.test_scenes / "scenes.jsonl"))[:self.count["bench"]]:
                contexts.append({"id": image, "image": image, "captions": captions,
                                 "instances": [{"category": t.full, "bbox": list(t.box)} for t in truth.things]})
                for category, one in (("conv", questions.conversation(truth, rng, 1)[0]), ("detail", questions.detail(truth)),
                                      ("complex", questions.reasoning(truth, rng))):
                    asked.append((image, category, one.question, captions[0]))
            with programs.Daemon(self.skeleton) as daemon:
                answers = [daemon.ask(f"{caption}\n{question}") for _, _, question, caption in asked]
            write_lines(folder / "caps_boxes_coco2014_val_80.jsonl", contexts)
            write_lines(folder / "qa90_gpt4_answer.jsonl", [{"question_id": n, "text": a} for n, a in enumerate(answers)])
            write_lines(folder / "qa90_questions.jsonl", [{"question_id": n, "image": i, "category": c, "text": q}
                                                          for n, (i, c, q, _) in enumerate(asked)])
            rule = {"role": "Assistant", "prompt": "Score both answers from 1 to 10 by what is so."}
            (folder / "rule.json").write_text(json.dumps({category: rule for category in CATEGORIES}))

        self.once(folder / "rule.json", make)
        return folder

    def judge(self, name, checkpoint):
        out = self.out / "results" / f"bench-{name}"

        def evaluate():
            with judge.judge() as service:
                (self.out / "judge.yaml").write_text(json.dumps({"endpoint": {"base_url": service.url, "model": service.model}}))
                programs.train("evaluate", "llava_bench_coco", "--data", self.bench(), "--images", self.test_scenes / "images",
                               "--checkpoint", checkpoint, "--judge", self.out / "judge.yaml", "--max-tokens", 200, "--out", out)

        self.once(out / "results.json", evaluate)

    def chatbot(self):
        generated = self.generate()
        names = self.mixtures(generated)
        images = generated / "scenes/images"
        for number, _ in enumerate(names):
            checkpoint = programs.run(recipes.instruct(self.out / f"runs/instruct-{number}.yaml", self.aligned["linear"],
                                                       self.out / f"mixtures/{number}.jsonl", images, self.count["instruct_steps"]))
            self.judge(number, checkpoint)
        self.judge("none", self.aligned["linear"])
        return {**{number: name for number, name in enumerate(names)}, "none": "no instruction tuning"}

    # ScienceQA of this world.

    def science_problems(self, split):
        folder, scenes = (self.train_scenes, "science") if split == "train" else (self.test_scenes, "science_test")
        drawn = list(world.read_scenes(folder / "scenes.jsonl"))[:self.count[scenes]]
        target = self.out / "science" / split
        if not (target / "problems.json").exists():
            science.write(target, drawn, folder / "images", split, seed=21)
        return json.loads((target / "problems.json").read_text())

    def science_rows(self, reason_first):
        path = self.out / f"science/rows-{'reasons' if reason_first else 'answer'}-first.jsonl"
        problems = self.science_problems("train")
        asked = self.out / "science/asked"
        self.once(asked / "questions.jsonl", lambda: programs.train(
            "evaluate", "scienceqa", "--data", self.out / "science/train", "--split", "train", "--dry-run", "--out", asked))
        prompts = {str(q["question_id"]): q["text"] for q in read_lines(asked / "questions.jsonl")}
        self.once(path, lambda: write_lines(path, science.rows(problems, prompts, reason_first)))
        return path

    def students(self):
        """Table 8's lines: what a model begins with, and how it is taught to answer."""
        self.science_problems("test")
        lines = {"base": (self.aligned["linear"], True), "answer first": (self.aligned["linear"], False),
                 "without stage 1": (self.out / "models/linear", True), "two layers": (self.aligned["mlp2x_gelu"], True)}
        for name, (begin, reason_first) in lines.items():
            short = name.replace(" ", "-")
            checkpoint = programs.run(recipes.instruct(self.out / f"runs/science-{short}.yaml", begin, self.science_rows(reason_first),
                                                       self.out / "science/train/images/train", self.count["science_steps"]))
            out = self.out / "results" / f"science-{short}"
            self.once(out / "results.json", lambda c=checkpoint, o=out: programs.train(
                "evaluate", "scienceqa", "--data", self.out / "science/test", "--split", "test", "--checkpoint", c,
                "--max-tokens", 200, "--out", o))
        return lines

    def all(self):
        self.keep_counts()
        self.draw()
        self.base()
        self.align()
        chatbot = self.chatbot()
        students = self.students()
        report.write(self.out, chatbot, students, self.count)
        print(f"{self.out / 'report.md'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=programs.ROOT / "build/paper")
    parser.add_argument("--share", type=float, default=0.5, help="of all counts and steps (0.5)")
    arguments = parser.parse_args()
    Paper(arguments.out, arguments.share).all()

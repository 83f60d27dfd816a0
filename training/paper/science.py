"""A ScienceQA of our world: multiple choices with a picture, with a text, or with neither, each with a lecture and a solution."""
import json
import random
import shutil
from pathlib import Path

import questions
import world

COUNTING = "To tell what is left, first name all shapes, then take away those that are asked for."
CORNERS = {"triangle": 3, "square": 4, "circle": 0, "cross": 12}


def _left(truth, rng):
    """How many shapes would be left: the choices are numbers."""
    asked = questions.something(list(rng.choice(questions.AWAY)(truth)), rng)
    choices = ["no shapes", "one shape", "two shapes", "three shapes"]
    right = next(c for c in choices if c == asked.key[0])
    return asked.question, choices, right, asked.answer


def _which(truth, rng):
    """What stands somewhere: the choices are things."""
    thing = rng.choice(truth.things)
    others = []
    while len(others) < 3:
        name = f"{rng.choice(world.COLOURS)} {rng.choice(world.SHAPES)}"
        if name not in others and all(t.name != name for t in truth.things):
            others.append(name)
    return (f"Which shape is {world.at(thing.place)} of the picture?",
            ["a " + o for o in others] + ["a " + thing.name], "a " + thing.name, f"A {thing.name} is {world.at(thing.place)}.")


def _corners(rng):
    one, other = rng.sample(sorted(CORNERS), 2)
    more = max(one, other, key=CORNERS.get)
    said = " ".join(f"A {s} has {CORNERS[s]} corners." for s in (one, other))
    return f"Which has more corners, a {one} or a {other}?", ["a " + one, "a " + other], "a " + more, f"{said} So a {more} has more."


def _kind_of_word(rng):
    if rng.random() < 0.5:
        wanted, right, rest = "colour", rng.choice(world.COLOURS), world.SHAPES + ["big", "small"]
    else:
        wanted, right, rest = "shape", rng.choice(world.SHAPES), world.COLOURS + ["big", "small"]
    return (f"Which of these words names a {wanted}?", rng.sample(rest, 2) + [right], right, f"The word {right} names a {wanted}.")


def problem(rng, truth, image):
    """One problem; `image` is "" where the truth is told and not shown, and `truth` None where there is neither."""
    if truth is None:
        subject, grade, lecture = "language science", rng.randrange(1, 5), ""
        question, choices, right, solution = rng.choice([_corners, _kind_of_word])(rng)
    else:
        subject = "natural science" if image else "social science"
        hard = rng.random() < 0.7
        grade, lecture = (rng.randrange(7, 13), COUNTING) if hard else (rng.randrange(1, 7), "")
        question, choices, right, solution = (_left if hard else _which)(truth, rng)
    if choices[0] != "no shapes":
        rng.shuffle(choices)
    return {"question": question, "choices": choices, "answer": choices.index(right),
            "hint": truth.caption() if truth is not None and not image else "", "image": "image.jpg" if image else None,
            "task": "closed choice", "grade": f"grade{grade}", "subject": subject, "topic": "shapes", "category": "shapes",
            "skill": "look", "lecture": lecture, "solution": solution}


def write(folder, scenes, images, split, seed):
    """problems.json, pid_splits.json and the pictures below `folder`: of `scenes` half are shown, a quarter told, and a quarter
    as many problems are about words alone."""
    rng = random.Random(seed)
    folder = Path(folder)
    problems = {}
    for number, (picture, _, truth) in enumerate(scenes):
        shown = number % 2 == 0
        about = truth if number % 4 != 3 else None
        made = problem(rng, about, picture if shown else "")
        made["split"] = split
        problems[str(number)] = made
        if shown:
            target = folder / "images" / split / str(number)
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(images) / picture, target / "image.jpg")
    (folder / "problems.json").write_text(json.dumps(problems))
    (folder / "pid_splits.json").write_text(json.dumps({split: list(problems)}))
    return problems


def answer(problem_, reason_first):
    """What is learned: the reasons and then the letter, or the letter first (the paper's ablation)."""
    letter = "ABCDE"[problem_["answer"]]
    why = f"{problem_['lecture']} {problem_['solution']}".strip()
    return f"{why} The answer is {letter}." if reason_first else f"The answer is {letter}. BECAUSE: {why}"


def rows(problems, prompts, reason_first):
    """LLaVA rows of problems: `prompts` are those that the evaluation asks (llava-train evaluate scienceqa --dry-run)."""
    for number, made in problems.items():
        mark = "<image>\n" if made["image"] else ""
        row = {"id": number, "conversations": [{"from": "human", "value": mark + prompts[number]},
                                               {"from": "gpt", "value": answer(made, reason_first)}]}
        if made["image"]:
            row["image"] = f"{number}/{made['image']}"
        yield row

"""report.md of the small paper: its tables beside the paper's, and whether what stood above stands above here, too."""
import json

# "Visual Instruction Tuning", Table 4 (LLaVA-Bench, COCO) and Table 8 (ScienceQA).
PAPER_CHATBOT = {0: (83.1, 75.3, 96.5, 85.1), 1: (81.5, 73.3, 90.8, 81.9), 2: (81.0, 68.4, 91.5, 80.5), 3: (76.5, 59.8, 84.9, 73.8),
                 "none": (22.0, 24.0, 18.5, 21.5)}
PAPER_SCIENCE = {"base": 90.92, "answer first": 89.77, "without stage 1": 85.81}
COLUMNS = ("conv", "detail", "complex", "total")


def scores(folder):
    results = json.loads((folder / "results.json").read_text())
    return {name: (100 * s["value"], 100 * s["low"], 100 * s["high"]) for name, s in results["scores"].items()}


def shown(score):
    return f"{score[0]:.1f} [{score[1]:.1f}, {score[2]:.1f}]"


def order(paper, ours, names):
    """A line for each pair of neighbours in the paper's order: whether it is ours."""
    ranked = sorted(paper, key=paper.get, reverse=True)
    for above, below in zip(ranked, ranked[1:]):
        here, there = ours[above], ours[below]
        if here[0] > there[0]:
            verdict = "here too" if here[1] > there[2] else "here too, within the intervals"
        else:
            verdict = "**not here**" if here[2] < there[1] else "not here, within the intervals"
        yield f"- {names(above)} ({here[0]:.1f}) above {names(below)} ({there[0]:.1f}): {verdict}."


def write(out, chatbot, students, count):
    made = json.loads((out / "generated/report.json").read_text())
    bench = {key: scores(out / "results" / f"bench-{key}") for key in chatbot}
    science = {name: scores(out / "results" / f"science-{name.replace(' ', '-')}") for name in students}
    lines = ["# The paper, small", "", f"Counts and steps: {json.dumps(count)}.", "",
             f"Data: of {made['asked']} answers of the language model {sum(made['accepted'].values())} are accepted "
             f"({', '.join(f'{k} {n}' for k, n in made['accepted'].items())}); {made['untrue']} first answers said what is not so. "
             f"Rejected after a second try: {', '.join(f'{k} {n}' for k, n in made['rejected'].items()) or 'none'}.", "",
             "## LLaVA-Bench: relative scores by what stage 2 was taught (Table 4)", "",
             "| instruction data | conversation | detail | reasoning | all | the paper's |", "|---|---|---|---|---|---|"]
    for key, name in chatbot.items():
        lines.append(f"| {name} | " + " | ".join(shown(bench[key][c]) for c in COLUMNS)
                     + f" | {' / '.join(str(v) for v in PAPER_CHATBOT[key])} |")
    lines += ["", *order({k: v[3] for k, v in PAPER_CHATBOT.items()}, {k: v["total"] for k, v in bench.items()}, chatbot.get), "",
              "## ScienceQA: right answers by how the model was made (Table 8)", "",
              "| model | shown (IMG) | told (TXT) | neither (NO) | all | the paper's |", "|---|---|---|---|---|---|"]
    for name in students:
        lines.append(f"| {name} | " + " | ".join(shown(science[name][c]) for c in ("IMG", "TXT", "NO", "total"))
                     + f" | {PAPER_SCIENCE.get(name, '')} |")
    lines += ["", *order(PAPER_SCIENCE, {k: science[k]["total"] for k in PAPER_SCIENCE}, str), ""]
    (out / "report.md").write_text("\n".join(lines))

"""The recipes of the small paper, as `llava-train run` reads them."""
import json

COMMON = """\
name: {name}
output: {output}
seed: 1
precision: fp32
model: {model}
save: {{every_steps: 200, keep: 1}}
data: {{workers: 1}}
stages:
"""

STAGE = """\
  - name: {name}
    train: {train}
    {objective}data: {data}
    steps: {steps}
    batch: {batch}
    rate: {rate}
    weight_decay: 0.05
    beta2: 0.98
    warmup_ratio: 0.04
    schedule: cosine
"""


def _stage(name, train, data, steps, rate, batch=16, objective=""):
    objective = f"objective: {objective}\n    " if objective else ""
    return STAGE.format(name=name, train=json.dumps(train), data=json.dumps(data), steps=steps, rate=rate, batch=batch,
                        objective=objective)


def _recipe(path, model, *stages):
    """Written beside the run's own folder, which has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(COMMON.format(name=path.stem, output=path.with_suffix(""), model=json.dumps(model)) + "".join(stages))
    return path


def base(path, architecture, texts, crowded, tower_steps, language_steps):
    """A tower that knows what it sees and a language model that has read and never seen, in one skeleton of a LLaVA."""
    scenes = {"scenes": {"count": crowded, "seed": 1, "level": "crowded", "turns": 1}}
    return _recipe(path, {"from_scratch": str(architecture)},
                   _stage("tower", ["vision_tower"], scenes, tower_steps, 1.0e-3, 64, "patch_labels"),
                   _stage("language", ["decoder"], {"files": [str(texts)], "template": "v1"}, language_steps, 1.5e-3))


def align(path, checkpoint, captions, images, steps):
    """Stage 1: the projector learns to put pictures where captions are."""
    data = {"files": [str(captions)], "images": str(images), "template": "plain"}
    return _recipe(path, {"checkpoint": str(checkpoint)}, _stage("align", ["projector"], data, steps, 2.0e-3))


def instruct(path, checkpoint, rows, images, steps):
    """Stage 2: projector and language model learn to do as they are told."""
    data = {"files": [str(rows)], "images": str(images), "template": "v1"}
    return _recipe(path, {"checkpoint": str(checkpoint)}, _stage("instruct", ["projector", "decoder"], data, steps, 5.0e-4))

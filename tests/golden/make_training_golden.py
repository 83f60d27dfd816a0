#!/usr/bin/env python3
"""The loss of a batch of rows and its gradients, as transformers has them, for families of LLaVA models that are trained.

    make_training_golden.py DATA [NAME...]    (DATA: tests/golden/data)

Needs transformers and peft, and the checkpoints of make_family_golden.py. DATA/families/NAME/training.json has "rows" in LLaVA's
format; their "loss", the mean over the "targets" label tokens of all of them, in fp32 with eager attention, each row
alone; their "tokens"; and for each weight by llava-train's name the norm of its gradient and the sum of its values times
sin(0), sin(1), ... in the order of memory. A row is its prompt as the chat template writes it, and the answer with the
token that ends it, which alone are labels.

DATA/families/NAME/lora.json has the same of LoRA adapters, as PEFT computes it with all else frozen: "r", "alpha", "loss", and
"gradients" by llava-train's names. The values of the adapter that comes N-th by its name, from 1 on, are 0.1 sin(N i) for i = 0,
1, ... in the order of memory. DATA/families/NAME/dora.json, of some families, is the same with use_dora: magnitudes are those
that PEFT begins with times 1 + 0.1 sin(N i).
"""
import argparse
import json
import re
from pathlib import Path

import peft
import torch
from transformers import AutoTokenizer

from make_family_golden import families, image_processor, pictures

NAMES = ["llava_mistral", "llava_qwen2", "llava_qwen3", "llava_phi3", "vipllava", "next_mistral", "next_llama_yarn", "onevision"]
LORA = {"r": 4, "alpha": 12}
DORA = ["llava_mistral", "llava_qwen2", "llava_phi3"]
TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|qkv_proj|o_proj|gate_proj|up_proj|gate_up_proj|down_proj)"
ROWS = [  # pictures, question, answer
    (["square"], "What is in the picture?", "a red square"),
    (["portrait"], "What is in the picture?", "two cats on a table"),
    (["landscape"], "Describe the image, please.", "It's a small house with windows."),
    (["panorama"], "What is it?", "a long line"),
    (["large"], "What is in the picture?", "the same, and larger"),
    (["large"], "Is it red?", "no"),
    (["line"], "What is it?", "one pixel"),
    (["portrait", "panorama"], "Which is larger?", "the second picture"),
    ([], "How many pictures are here?", "none"),
]


def row(number, images, question, answer):
    record = {"id": str(number), "conversations": [{"from": "human", "value": "<image>\n" * len(images) + question},
                                                   {"from": "gpt", "value": answer}]}
    if images:
        record["image"] = [f"{name}.png" for name in images]
    return record


def answer_ids(tokenizer, answer):
    """As it stands behind the prompt's last word."""
    alone, both = (tokenizer(text, add_special_tokens=False).input_ids for text in (":", f": {answer}"))
    assert both[:len(alone)] == alone
    return both[len(alone):]


def our_name(name):
    name = name.removeprefix("model.")
    name = re.sub(r"^language_model\.", "language_model.model.", name)
    name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
    return re.sub(r"^vision_tower\.(vision_model\.)?", "vision_tower.vision_model.", name)


def image_inputs(config, processor, images):
    nested = {"images": [images]} if config.model_type == "llava_onevision" else {"images": images}
    inputs = processor(**nested, return_tensors="pt")
    arguments = {key: inputs[key] for key in ("pixel_values", "image_sizes", "batch_num_images") if key in inputs}
    if "batch_num_images" in arguments:
        arguments["batch_num_images"] = torch.as_tensor(arguments["batch_num_images"])
    return arguments


def loss_of(model, config, tokenizer, template, processor, images, question, answer):
    """(sum over the label tokens, their number, tokens of the row)"""
    content = [{"type": "image"} for _ in images] + [{"type": "text", "text": question}]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": content}], chat_template=template, tokenize=False,
                                           add_generation_prompt=True)
    inputs, counts = {}, []
    if images:
        inputs = image_inputs(config, processor, images)
        with torch.no_grad():
            features = model.model.get_image_features(**inputs)
        counts = [len(f) for f in getattr(features, "pooler_output", features)]
    ids = []
    for i in tokenizer(prompt).input_ids:
        ids += [i] * (counts.pop(0) if i == config.image_token_id else 1)
    end = config.text_config.eos_token_id
    labels = answer_ids(tokenizer, answer) + [end]
    logits = model(input_ids=torch.tensor([ids + labels]), **inputs).logits[0, len(ids) - 1:-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum"), len(labels), len(ids + labels)


def summary(gradient):
    flat = gradient.double().flatten()
    return [float(flat.norm()), float((flat * torch.arange(len(flat), dtype=torch.float64).sin()).sum())]


def mean_loss(name, model, config, out, images):
    """(of all rows, their label tokens, their tokens)"""
    folder = out / name / "checkpoint"
    own = (folder / "tokenizer.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(folder if own else out.parent / "checkpoint")
    template = (folder / "chat_template.jinja").read_text()
    loss, targets, tokens = 0.0, 0, 0
    for names, question, answer in ROWS:
        part, labels, length = loss_of(model, config, tokenizer, template, image_processor(config),
                                       [images[n] for n in names], question, answer)
        loss, targets, tokens = loss + part, targets + labels, tokens + length
    return loss / targets, targets, tokens


def load(name, out):
    model_class, config = families()[name]
    model = model_class.from_pretrained(out / name / "checkpoint", dtype=torch.float32, attn_implementation="eager")
    return model.eval(), config


def make(name, out, images):
    model, config = load(name, out)
    loss, targets, tokens = mean_loss(name, model, config, out, images)
    loss.backward()
    gradients = {our_name(key): summary(weight.grad) for key, weight in model.named_parameters() if weight.grad is not None}
    rows = [row(number, *one) for number, one in enumerate(ROWS)]
    (out / name / "training.json").write_text(json.dumps(
        {"rows": rows, "loss": loss.item(), "targets": targets, "tokens": tokens, "gradients": gradients}) + "\n")
    print(f"{name:20} {tokens} tokens, {targets} labels, loss {loss.item():.7f}, {len(gradients)} gradients")


def make_lora(name, out, images, dora):
    model, config = load(name, out)
    settings = peft.LoraConfig(r=LORA["r"], lora_alpha=LORA["alpha"], target_modules=TARGETS, use_dora=dora)
    wrapped = peft.get_peft_model(model, settings).eval()  # changes `model` itself
    weights = {our_name(key.removeprefix("base_model.model.").replace(".default.", ".")).replace("_vector.weight", "_vector"): weight
               for key, weight in wrapped.named_parameters() if weight.requires_grad}
    assert all(".lora_" in key for key in weights)
    with torch.no_grad():
        for number, key in enumerate(sorted(weights), 1):
            waves = (torch.arange(weights[key].numel(), dtype=torch.float64) * number).sin() * 0.1
            magnitude = key.endswith("_vector")
            weights[key].copy_(weights[key] * (1 + waves) if magnitude else waves.view_as(weights[key]))
    loss, _, _ = mean_loss(name, model, config, out, images)
    loss.backward()
    gradients = {key: summary(weight.grad) for key, weight in sorted(weights.items())}
    kind = "dora" if dora else "lora"
    (out / name / f"{kind}.json").write_text(json.dumps({**LORA, "loss": loss.item(), "gradients": gradients}) + "\n")
    print(f"{name:20} {kind}: loss {loss.item():.7f}, {len(gradients)} gradients")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    out = args.data / "families"
    images = pictures(out / "images")
    for name in args.names or NAMES:
        make(name, out, images)
        make_lora(name, out, images, dora=False)
        if name in DORA:
            make_lora(name, out, images, dora=True)


if __name__ == "__main__":
    main()

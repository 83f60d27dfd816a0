#!/usr/bin/env python3
"""LoRA adapters of the tiny checkpoints of families, and what transformers answers with them merged.

    make_adapter_golden.py DATA [FAMILY...]    (DATA: tests/golden/data)

Needs transformers and peft. For each adapter: DATA/families/FAMILY/adapters/NAME, saved by peft, and in
DATA/families/FAMILY/adapters/golden.json for each case of the pictures 32 greedy ids in fp32 of the merged model, and the
smallest margin. Of adapters that are served merged alone (use_dora) they are in merged.json.
"""
import argparse
import json
import shutil
from pathlib import Path

import peft
import torch
from make_family_golden import (CASES, QUESTION, SMALLEST_MARGIN, answer, families, image_features, image_processor)
from PIL import Image
from transformers import AutoTokenizer

SHOWN = ("text", "square", "landscape", "two")
PRODUCTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
OTHERS = r".*(vision_tower|multi_modal_projector).*"
ADAPTERS = {
    "llava_qwen2": {
        "attention": dict(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=8, lora_alpha=16),
        "patterns": dict(target_modules=PRODUCTS, exclude_modules=OTHERS, r=8, lora_alpha=8, use_rslora=True,
                         rank_pattern={"down_proj": 3, r"layers\.1\.mlp\.up_proj": 16},
                         alpha_pattern={"k_proj": 2.5}),
        "dora": dict(target_modules="all-linear", exclude_modules=OTHERS, r=4, lora_alpha=8, use_dora=True),
    },
    "next_mistral": {
        "all": dict(target_modules="all-linear", exclude_modules=OTHERS, r=20, lora_alpha=20),
        "mlp": dict(target_modules=["up_proj", "down_proj"], exclude_modules=OTHERS, r=1, lora_alpha=2),
        "layer": dict(target_modules=["q_proj", "up_proj"], exclude_modules=OTHERS, r=4, lora_alpha=8,
                      layers_to_transform=[1]),
    },
    "llava_phi3": {
        "fused": dict(target_modules=["qkv_proj", "gate_up_proj"], r=4, lora_alpha=8),
        "all": dict(target_modules="all-linear", exclude_modules=OTHERS, r=8, lora_alpha=12, rank_pattern={"qkv_proj": 3},
                    alpha_pattern={"gate_up_proj": 5}),
    },
}


def load(family, out):
    model_class, config = families()[family]
    model = model_class.from_pretrained(out / family / "checkpoint", dtype=torch.float32, attn_implementation="eager")
    return model.eval(), config


def adapt(family, out, settings, seed):
    model, config = load(family, out)
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_magnitude" in name:
                weight.copy_(weight * (1 + 0.3 * torch.randn_like(weight)))
            elif "lora_" in name:
                weight.copy_((torch.randn_like(weight) * 0.5 / weight.shape[-1] ** 0.5).bfloat16())
    return adapted, config


def make(family, name, settings, out, seed):
    """The cases, or nothing where a rounding could decide an id."""
    adapted, config = adapt(family, out, settings, seed)
    folder = out / family / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    adapted.peft_config["default"].base_model_name_or_path = f"llava/{family}"
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    merged = adapted.merge_and_unload()
    checkpoint = out / family / "checkpoint"
    own = (checkpoint / "tokenizer.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint if own else out.parent / "checkpoint")
    template = (checkpoint / "chat_template.jinja").read_text()
    processor = image_processor(config)
    cases = []
    for case in SHOWN:
        pictures = CASES[case]
        content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": QUESTION}]
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": content}], chat_template=template,
                                               tokenize=False, add_generation_prompt=True)
        features = []
        if pictures:
            images = [Image.open(out / "images" / f"{p}.png").convert("RGB") for p in pictures]
            with torch.no_grad():
                features = image_features(merged, config, processor, images)
        _, _, ids, margins, _ = answer(merged, config, tokenizer, prompt, features)
        if min(margins) < SMALLEST_MARGIN or config.image_token_id in ids:
            return None
        cases.append({"name": case, "question": QUESTION, "images": [f"{p}.png" for p in pictures],
                      "answer_ids": ids, "smallest_margin": min(margins)})
        print(f"{family:14} {name:10} {case:10} smallest margin {min(margins):.4f}")
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("families", nargs="*")
    args = parser.parse_args()
    out = args.data / "families"
    for family in args.families or ADAPTERS:
        adapters = ADAPTERS[family]
        golden = {"golden.json": {}, "merged.json": {}}
        for name, settings in adapters.items():
            seed = 0
            while (cases := make(family, name, settings, out, seed)) is None:
                seed += 1
            golden["merged.json" if settings.get("use_dora") else "golden.json"][name] = cases
        for file, all_cases in golden.items():
            if all_cases:
                (out / family / "adapters" / file).write_text(json.dumps(all_cases) + "\n")


if __name__ == "__main__":
    main()

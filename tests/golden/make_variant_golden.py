#!/usr/bin/env python3
"""Golden data for settings that the golden checkpoint does not have: its weights under other configurations.

    make_variant_golden.py DATA    (DATA: tests/golden/data)

Needs transformers. For each variant transformers computes, in fp32 with eager attention, the logits after the
prompt and up to 12 greedy ids. Writes DATA/variants/variants.json (the changes to config.json, ids) and
DATA/variants/logits.safetensors (F32 [vocabulary] for each variant).
"""
import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

try:
    from transformers import CLIPImageProcessorPil as PillowImageProcessor
except ImportError:
    from transformers import CLIPImageProcessor as PillowImageProcessor

PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"
IMAGE = "portrait.jpg"
NEW_TOKENS = 12
SMALLEST_MARGIN = 1e-3
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
VARIANTS = {  # name -> changes, by the path of the key
    "class_token_kept": {"vision_feature_select_strategy": "full"},
    "last_layer": {"vision_feature_layer": -1},
    "first_layer": {"vision_feature_layer": 1},
    "projector_without_activation": {"projector_hidden_act": "linear"},
    "projector_tanh_gelu": {"projector_hidden_act": "gelu_pytorch_tanh"},
    "tower_gelu": {"vision_config.hidden_act": "gelu"},
    "tower_two_heads": {"vision_config.num_attention_heads": 2},
    "eight_heads": {"text_config.num_attention_heads": 8, "text_config.num_key_value_heads": 4,
                    "text_config.head_dim": 8},
    "one_key_head": {"text_config.num_attention_heads": 2, "text_config.num_key_value_heads": 1,
                     "text_config.head_dim": 32},
    "rope_theta": {"text_config.rope_theta": 1e6},
    "rope_linear": {"text_config.rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "rope_llama3": {"text_config.rope_scaling": LLAMA3},
    "decoder_gelu_tanh": {"text_config.hidden_act": "gelu_pytorch_tanh"},
    "decoder_mish": {"text_config.hidden_act": "mish"},
    "tower_gelu_fast": {"vision_config.hidden_act": "gelu_fast"},
    "projector_hardswish": {"projector_hidden_act": "hardswish"},
    "norm_eps": {"text_config.rms_norm_eps": 0.1},
}


def changed(config, changes):
    config = json.loads(json.dumps(config))
    for path, value in changes.items():
        *folders, key = path.split(".")
        place = config
        for folder in folders:
            place = place[folder]
        place[key] = value
    return config


@torch.no_grad()
def run(folder, image):
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT).input_ids
    cfg = model.config
    count = (cfg.vision_config.image_size // cfg.vision_config.patch_size) ** 2
    count += cfg.vision_feature_select_strategy == "full"
    prompt = [i for t in ids for i in [t] * (count if t == cfg.image_token_index else 1)]
    pixels = PillowImageProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")["pixel_values"]
    steps, sequence = [], torch.tensor([prompt])
    for _ in range(NEW_TOKENS):
        steps.append(model(input_ids=sequence, pixel_values=pixels).logits[0, -1])
        best, second = steps[-1].topk(2).values
        # transformers would want a picture for an image token; a rounding must not decide the next id
        if steps[-1].argmax() == cfg.image_token_index or best - second < SMALLEST_MARGIN:
            break
        sequence = torch.cat([sequence, steps[-1].argmax()[None, None]], 1)
    print(f"{folder.name:30} {sequence.shape[1] - len(prompt)} ids")
    return steps[0].clone(), prompt, sequence[0, len(prompt):].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    checkpoint = args.data / "checkpoint"
    config = json.loads((checkpoint / "config.json").read_text())
    image = Image.open(args.data / "images" / IMAGE).convert("RGB")
    variants, logits = [], {}
    for name, changes in VARIANTS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, name)
            shutil.copytree(checkpoint, folder)
            config_text = json.dumps(changed(config, changes))
            (folder / "config.json").write_text(config_text)
            logits[name], prompt, answer = run(folder, image)
        variants.append({"name": name, "config": config_text, "prompt_ids": prompt, "answer_ids": answer})
    out = args.data / "variants"
    out.mkdir(exist_ok=True)
    save_file(logits, out / "logits.safetensors")
    data = {"prompt": PROMPT, "image": IMAGE, "variants": variants}
    (out / "variants.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()

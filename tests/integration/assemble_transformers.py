"""Compares a LLaVA that llava-train assembled with the one that transformers makes of the same parts; run with a Python that has it.

    assemble_transformers.py LANGUAGE_MODEL VISION_TOWER ASSEMBLED
"""
import sys

import torch
from transformers import (AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel, LlavaConfig,
                          LlavaForConditionalGeneration, SiglipVisionModel)

# What a file says about itself or is derived from the rest.
PASSED_OVER = {"transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype", "vision_use_head",
               "pad_token_id", "eos_token_id", "image_token_index", "image_token_id", "vocab_size"}


def same_settings(ours, theirs, where):
    for key in theirs:
        if key in PASSED_OVER:
            continue
        assert key in ours, f"{where}{key} is missing"
        if isinstance(theirs[key], dict):
            same_settings(ours[key], theirs[key], f"{where}{key}.")
        else:
            assert ours[key] == theirs[key], f"{where}{key}: {ours[key]} instead of {theirs[key]}"


def main(language_folder, tower_folder, assembled):
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(assembled)
    image = tokenizer.convert_tokens_to_ids("<image>")
    pad = tokenizer.pad_token_id
    old = AutoTokenizer.from_pretrained(language_folder)
    assert image >= len(old) and len({image, pad}) == 2, (image, pad, len(old))
    text = "A red square, and a blue one."
    assert tokenizer(text).input_ids == old(text).input_ids
    assert tokenizer("<image>").input_ids[-1] == image

    language = AutoModelForCausalLM.from_pretrained(language_folder, dtype=torch.float32)
    tower_config = AutoConfig.from_pretrained(tower_folder)
    clip = tower_config.model_type == "clip_vision_model"
    tower = (CLIPVisionModel if clip else SiglipVisionModel).from_pretrained(tower_folder, dtype=torch.float32)
    config = LlavaConfig(vision_config=tower.config, text_config=language.config, image_token_index=image,
                         vision_feature_select_strategy="default" if clip else "full",
                         tie_word_embeddings=language.config.tie_word_embeddings,
                         image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2)
    theirs = LlavaForConditionalGeneration(config).to(torch.float32).eval()
    theirs.model.vision_tower.load_state_dict(tower.state_dict(), strict=False)
    theirs.model.language_model.load_state_dict(language.model.state_dict())
    theirs.lm_head.load_state_dict(language.lm_head.state_dict())
    rows = language.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        theirs.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)

    ours = LlavaForConditionalGeneration.from_pretrained(assembled, dtype=torch.float32).eval()
    same_settings(ours.config.to_dict(), theirs.config.to_dict(), "")
    assert ours.config.text_config.vocab_size == theirs.config.text_config.vocab_size
    expected, found = theirs.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    for name, tensor in expected.items():
        if "multi_modal_projector" in name:  # new in both: of one distribution
            assert abs(found[name].std() - tensor.std()) < 0.004 and found[name].mean().abs() < 0.004, name
            tensor.copy_(found[name])
        elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
            assert torch.equal(found[name][:rows], tensor[:rows]), name
            # transformers draws new rows around the mean of the old ones, with 1e-9 of their covariance.
            assert (found[name][rows:] - tensor[rows:]).abs().max() < 1e-2 if len(tensor) > rows else True, name
            tensor.copy_(found[name])
        else:
            assert torch.equal(found[name], tensor), name

    side = tower.config.image_size
    pixels = torch.randn(1, 3, side, side)
    ids = old(text).input_ids
    ids = torch.tensor([ids[:1] + [image] * config.image_seq_length + ids[1:]])
    with torch.no_grad():
        a = ours(input_ids=ids, pixel_values=pixels).logits
        b = theirs(input_ids=ids, pixel_values=pixels).logits
    assert torch.equal(a, b), (a - b).abs().max()


if __name__ == "__main__":
    with torch.no_grad():
        main(*sys.argv[1:])

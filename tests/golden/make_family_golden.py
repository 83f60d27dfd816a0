#!/usr/bin/env python3
"""Tiny random checkpoints of each family of LLaVA models, and what transformers makes of them.

    make_family_golden.py DATA [NAME...]             (DATA: tests/golden/data)
    make_family_golden.py --scores DATA [NAME...]    only the scores, of the checkpoints that are there

Needs transformers. For each family: DATA/families/NAME/checkpoint, saved by transformers (fp32 weights that bf16 can
hold, so that they are saved in bf16), and DATA/families/NAME/golden.json: for each case the pictures, the question,
the prompt as the chat template writes it, its ids, how many tokens each picture has, some of the logits, 32 greedy
ids in fp32 with eager attention, the smallest margin, and the log probability of each of OPTIONS as the answer. A
checkpoint without tokenizer.json has the one of DATA/checkpoint.
"""
import argparse
import json
import math
import shutil
from pathlib import Path

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoTokenizer, CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration, LlavaNextConfig, LlavaNextForConditionalGeneration,
                          LlavaNextImageProcessorPil, LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration,
                          LlavaOnevisionImageProcessorPil, MistralConfig, Phi3Config, PreTrainedTokenizerFast, Qwen2Config,
                          Qwen3Config, SiglipVisionConfig, VipLlavaConfig, VipLlavaForConditionalGeneration)

NEW_TOKENS = 32
SMALLEST_MARGIN = 1e-3
OPTIONS = ("Yes", "No, it is a tree", "two red squares")
SIDE = 56
PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXT = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
            head_dim=16, max_position_embeddings=1024, rms_norm_eps=1e-5)
CLIP = dict(hidden_size=40, intermediate_size=64, num_hidden_layers=4, num_attention_heads=5, image_size=SIDE,
            patch_size=14, projection_dim=32)
SIGLIP = dict(hidden_size=36, intermediate_size=60, num_hidden_layers=3, num_attention_heads=3, image_size=SIDE,
              patch_size=14, vision_use_head=False)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "rope_theta": 10000.0}
# Every prompt with a picture, and what is generated after one without, is beyond the original context.
YARN_BEYOND = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
LINEAR_BEYOND = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.05, 1.3, 1.9, 2.6, 3.1],
            "long_factor": [1.1, 2.0, 4.0, 8.0, 12.0, 16.0], "partial_rotary_factor": 0.75, "rope_theta": 10000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64, "rope_theta": 500000.0}


IMAGES = "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
TEXTS = "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
# As the hub's checkpoints have them.
VICUNA = ("{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}"
          "{% endif %}{# Render all images first #}" + IMAGES + "{{ '<image>\n' }}{% endfor %}"
          "{# Render all text next #}{% if message['role'] != 'assistant' %}" + TEXTS +
          "{{ content['text'] + ' '}}{% endfor %}{% else %}" + TEXTS +
          "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
MISTRAL = ("{% for message in messages %}{% if message['role'] == 'system' %}{{ '<<SYS>>\n' + "
           "message['content'][0]['text'] + '\n<</SYS>>\n\n' }}{% elif message['role'] == 'user' %}{{ '[INST] ' }}"
           "{# Render all images first #}" + IMAGES + "{{ '<image>\n' }}{% endfor %}{# Render all text next #}" +
           TEXTS + "{{ content['text'] }}{% endfor %}{{' [/INST]' }}{% elif message['role'] == 'assistant' %}"
           "{{ ' ' + message['content'][0]['text'] + '</s> '}}{% else %}"
           "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")
ONEVISION = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{# Render all images first #}" +
             IMAGES + "{{ '<image>' }}{% endfor %}{# Render all video then #}{% for content in message['content'] | "
             "selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}{# Render all text next #}"
             "{% if message['role'] != 'assistant' %}" + TEXTS + "{{ '\n' + content['text'] }}{% endfor %}{% else %}" +
             TEXTS + "{% generation %}{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}"
             "{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
QUESTION = "What is in the picture?"


def text_config(kind, **more):
    base = {**TEXT, **more}
    if kind in ("llama", "mistral", "phi3"):
        base = {"vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 1001, **base}
        if kind == "mistral":
            base.setdefault("sliding_window", None)
        if kind == "phi3":  # has no head_dim of its own
            del base["head_dim"]
        return {"llama": LlamaConfig, "mistral": MistralConfig, "phi3": Phi3Config}[kind](**base)
    base = {"vocab_size": 416, "bos_token_id": 400, "eos_token_id": 402, "pad_token_id": 400, **base}
    return {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[kind](**base)


def clip(**more):
    return CLIPVisionConfig(**{**CLIP, **more})


def siglip(**more):
    return SiglipVisionConfig(**{**SIGLIP, **more})


# name -> (model class, configuration, size of its image processor's name)
def families():
    wide = {"image_token_index": 1000}
    qwen = {"image_token_index": 403}
    return {
        "llava_mistral": (LlavaForConditionalGeneration,
                          LlavaConfig(vision_config=clip(), text_config=text_config("mistral", head_dim=12), vision_feature_layer=-2, **wide)),
        # Windows that are shorter than every prompt with a picture.
        "llava_mistral_window": (LlavaForConditionalGeneration,
                                 LlavaConfig(vision_config=clip(), vision_feature_layer=-2,
                                             text_config=text_config("mistral", sliding_window=13), **wide)),
        "llava_qwen2_window": (LlavaForConditionalGeneration,
                               LlavaConfig(vision_config=siglip(), vision_feature_layer=-1,
                                           text_config=text_config("qwen2", use_sliding_window=True, sliding_window=20,
                                                                   max_window_layers=1),
                                           vision_feature_select_strategy="full", **qwen)),
        "llava_llama3_rope": (LlavaForConditionalGeneration,
                              LlavaConfig(vision_config=clip(), text_config=text_config("llama", rope_parameters=LLAMA3, attention_bias=True,
                                                              mlp_bias=True),
                                          vision_feature_layer=[-2, 1], **wide)),
        "llava_dynamic": (LlavaForConditionalGeneration,
                          LlavaConfig(vision_config=clip(), text_config=text_config("llama", rope_parameters=DYNAMIC),
                                      vision_feature_select_strategy="full", **wide)),
        "llava_linear_beyond": (LlavaForConditionalGeneration,
                                LlavaConfig(vision_config=clip(), vision_feature_layer=-2,
                                            text_config=text_config("llama", rope_parameters=LINEAR_BEYOND,
                                                                    max_position_embeddings=64), **wide)),
        "llava_yarn_beyond": (LlavaForConditionalGeneration,
                              LlavaConfig(vision_config=clip(), vision_feature_layer=-2,
                                          text_config=text_config("llama", rope_parameters=YARN_BEYOND,
                                                                  max_position_embeddings=256), **wide)),
        "llava_phi3": (LlavaForConditionalGeneration,
                       LlavaConfig(vision_config=clip(), vision_feature_layer=-2,
                                   text_config=text_config("phi3", num_attention_heads=3, num_key_value_heads=1,
                                                           rope_parameters=LONGROPE, max_position_embeddings=2048,
                                                           original_max_position_embeddings=512), **wide)),
        "llava_qwen2": (LlavaForConditionalGeneration,
                        LlavaConfig(vision_config=siglip(), text_config=text_config("qwen2", tie_word_embeddings=True), vision_feature_layer=-1,
                                    vision_feature_select_strategy="full", tie_word_embeddings=True, **qwen)),
        "llava_qwen3": (LlavaForConditionalGeneration,
                        LlavaConfig(vision_config=siglip(image_size=63), text_config=text_config("qwen3", num_attention_heads=3,
                                                                       num_key_value_heads=1),
                                    vision_feature_layer=-2, vision_feature_select_strategy="full", **qwen)),
        "vipllava": (VipLlavaForConditionalGeneration,
                     VipLlavaConfig(vision_config=clip(), text_config=text_config("llama"), vision_feature_layers=[-2, -3, 1], **wide)),
        "next_mistral": (LlavaNextForConditionalGeneration,
                         LlavaNextConfig(vision_config=clip(), text_config=text_config("mistral"), image_grid_pinpoints=PINPOINTS, **wide)),
        "next_llama_yarn": (LlavaNextForConditionalGeneration,
                            LlavaNextConfig(vision_config=clip(image_size=42), text_config=text_config("llama", rope_parameters=YARN),
                                            image_grid_pinpoints=[[42, 84], [84, 42], [84, 84], [126, 42]],
                                            **wide)),
        "onevision": (LlavaOnevisionForConditionalGeneration,
                      LlavaOnevisionConfig(vision_config=siglip(), text_config=text_config("qwen2", tie_word_embeddings=True),
                                           image_grid_pinpoints=[[56 * h, 56 * w] for h in range(1, 5)
                                                                 for w in range(1, 5)],
                                           vision_aspect_ratio="anyres_max_3", tie_word_embeddings=True, **qwen)),
    }


def qwen_tokenizer():
    """Byte-level, as Qwen2's: trained on a few lines, with the special tokens behind its vocabulary."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, fuse_unk=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated", False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    lines = ["What is in the picture? Describe the image, please.", "It's a small red house with 12 windows.",
             "user assistant system", "the picture shows two cats on a table", "Wie viele Bilder sind das?"] * 8
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(lines, trainer)
    assert tokenizer.get_vocab_size() <= 400, tokenizer.get_vocab_size()
    while tokenizer.get_vocab_size() < 400:
        tokenizer.add_tokens([AddedToken(f"<|unused{tokenizer.get_vocab_size()}|>", special=True, normalized=False)])
    for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"):
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def pictures(folder):
    """Shapes that a layout can get wrong: name -> picture, deterministic and small."""
    def ramp(width, height):
        image = Image.new("RGB", (width, height))
        image.putdata([((x * 7 + y * 3) % 256, (x * 2 + y * 11) % 256, (x * y + 40) % 256)
                       for y in range(height) for x in range(width)])
        return image

    sizes = {"square": (70, 70), "portrait": (60, 100), "landscape": (131, 90), "panorama": (300, 40),
             "line": (1, 90), "large": (240, 230)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in sizes.items():
        ramp(*size).save(folder / f"{name}.png")
    return {name: Image.open(folder / f"{name}.png").convert("RGB") for name in sizes}


CASES = {  # name -> pictures
    "text": [], "square": ["square"], "portrait": ["portrait"], "landscape": ["landscape"], "panorama": ["panorama"],
    "line": ["line"], "large": ["large"], "two": ["portrait", "panorama"], "three": ["square", "line", "large"],
}


def build(model_class, config, seed):
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            fan = weight.shape[-1] if weight.dim() > 1 else 4
            spread = 0.3 if norm else 1.6 / math.sqrt(fan)
            weight.copy_((torch.randn_like(weight) * spread + (1.0 if norm else 0.0)).bfloat16())
    model.tie_weights()
    return model


def image_processor(config):
    side = config.vision_config.image_size
    square = {"height": side, "width": side}
    if config.model_type == "llava_next":
        return LlavaNextImageProcessorPil(size={"shortest_edge": side}, crop_size=square,
                                          image_grid_pinpoints=config.image_grid_pinpoints)
    if config.model_type == "llava_onevision":
        return LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=config.image_grid_pinpoints,
                                               image_mean=[0.5] * 3, image_std=[0.5] * 3)
    if config.vision_config.model_type == "siglip_vision_model":
        return transformers.SiglipImageProcessorPil(size=square, resample=3)
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square)


def image_features(model, config, processor, images):
    """The rows that stand in the places of each picture's tokens."""
    nested = {"images": [images]} if config.model_type == "llava_onevision" else {"images": images}
    inputs = processor(**nested, return_tensors="pt")
    arguments = {key: inputs[key] for key in ("pixel_values", "image_sizes", "batch_num_images") if key in inputs}
    if "batch_num_images" in arguments:
        arguments["batch_num_images"] = torch.tensor(arguments["batch_num_images"])
    out = model.model.get_image_features(**arguments)
    features = getattr(out, "pooler_output", out)
    return [f for f in features]


def embedded(model, config, ids, features):
    rows = model.get_input_embeddings()(torch.tensor([ids]))
    places = torch.tensor(ids) == config.image_token_id
    if features:
        rows[0, places] = torch.cat(features).to(rows.dtype)
    return rows


@torch.no_grad()
def score(model, config, tokenizer, prompt_ids, features):
    """For each of OPTIONS its ids, and the sum of their log probabilities behind the prompt."""
    scores = []
    for option in OPTIONS:
        ids = tokenizer(option, add_special_tokens=False).input_ids
        rows = embedded(model, config, prompt_ids + ids, features)
        hidden = model.model.language_model(inputs_embeds=rows).last_hidden_state[0]
        of_tokens = model.lm_head(hidden[len(prompt_ids) - 1:-1]).double().log_softmax(-1)
        logprob = float(of_tokens.gather(1, torch.tensor(ids)[:, None]).sum())
        scores.append({"option": option, "ids": ids, "logprob": round(logprob, 5)})
    return scores


@torch.no_grad()
def answer(model, config, tokenizer, prompt, features):
    ids, counts = [], [len(f) for f in features]
    left = list(counts)
    for i in tokenizer(prompt).input_ids:
        ids += [i] * (left.pop(0) if i == config.image_token_id else 1)
    rows = embedded(model, config, ids, features)
    text = model.model.language_model
    head = model.lm_head
    out = text(inputs_embeds=rows, use_cache=True)
    answer_ids, margins, first = [], [], None
    for _ in range(NEW_TOKENS):
        logits = head(out.last_hidden_state[0, -1])
        first = logits if first is None else first
        top = logits.topk(2)
        answer_ids.append(int(top.indices[0]))
        margins.append(float(top.values[0] - top.values[1]))
        out = text(input_ids=top.indices[:1][None], past_key_values=out.past_key_values, use_cache=True)
    return ids, counts, answer_ids, margins, first


def make(name, out, images):
    seed = 0
    while not make_with(name, out, images, seed):  # a rounding must not decide an id
        seed += 1


def make_with(name, out, images, seed):
    model_class, config = families()[name]
    model = build(model_class, config, seed)
    folder = out / name / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    processor = image_processor(config)
    processor.save_pretrained(folder)
    if config.text_config.model_type.startswith("qwen"):
        tokenizer = qwen_tokenizer()
        tokenizer.save_pretrained(folder)
        template = ONEVISION
    else:
        tokenizer = AutoTokenizer.from_pretrained(out.parent / "checkpoint")
        template = MISTRAL if config.text_config.model_type == "mistral" else VICUNA
    (folder / "chat_template.jinja").write_text(template)
    cases = []
    for case, names in CASES.items():
        content = [{"type": "image"} for _ in names] + [{"type": "text", "text": QUESTION}]
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": content}], chat_template=template,
                                               tokenize=False, add_generation_prompt=True)
        features = []
        if names:
            with torch.no_grad():
                features = image_features(model, config, processor, [images[n] for n in names])
        ids, counts, answer_ids, margins, logits = answer(model, config, tokenizer, prompt, features)
        if min(margins) < SMALLEST_MARGIN or config.image_token_id in answer_ids:
            return False
        cases.append({"name": case, "images": [f"{n}.png" for n in names], "question": QUESTION, "prompt": prompt,
                      "prompt_ids": ids,
                      "image_tokens": counts, "answer_ids": answer_ids, "smallest_margin": min(margins),
                      "scores": score(model, config, tokenizer, ids, features),
                      "logits": [round(float(x), 5) for x in logits[:8]]})
        print(f"{name:20} {case:10} {len(ids):5} ids, pictures {counts}, smallest margin {min(margins):.4f}")
    (out / name / "golden.json").write_text(json.dumps({"cases": cases}) + "\n")
    return True


@torch.no_grad()
def add_scores(name, out, images):
    model_class, config = families()[name]
    folder = out / name / "checkpoint"
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    processor = image_processor(config)
    own = (folder / "tokenizer.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(folder if own else out.parent / "checkpoint")
    golden = out / name / "golden.json"
    cases = json.loads(golden.read_text())["cases"]
    for case in cases:
        features = []
        if case["images"]:
            features = image_features(model, config, processor, [images[Path(n).stem] for n in case["images"]])
        case["scores"] = score(model, config, tokenizer, case["prompt_ids"], features)
    golden.write_text(json.dumps({"cases": cases}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    out = args.data / "families"
    images = pictures(out / "images")
    for name in args.names or families():
        (add_scores if args.scores else make)(name, out, images)


if __name__ == "__main__":
    main()

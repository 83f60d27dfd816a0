#!/usr/bin/env python3
"""The comparison behind scripts/parity: runs llavad and transformers on one prompt and compares them."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers.utils.logging  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

CLOSE_CALL = 1e-3  # a greedy choice between logits that are this close may fall either way


def give_up(message):
    print(f"parity: {message}", file=sys.stderr)
    sys.exit(2)


def run_ours(args, folder):
    dump = Path(folder) / "stages.safetensors"
    command = [args.llavad, "generate", args.checkpoint, "--raw", "--prompt", args.prompt, "--json", "--ignore-eos",
               "--dtype", "float32", "--max-tokens", str(args.max_tokens), "--dump-stages", str(dump)]
    for image in args.images:
        command += ["--image", image]
    if args.vision_tower:
        command += ["--vision-tower", args.vision_tower]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        give_up(f"llavad ended with status {result.returncode}; its message is above")
    return json.loads(result.stdout), load_file(dump)


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def expand2square(image, colour):
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


class Reference:
    """A checkpoint as transformers runs it. `model` has the parts of LlavaForConditionalGeneration."""

    def __init__(self, folder, vision_tower):
        self.folder = Path(folder)
        self.config = read_json(self.folder / "config.json")
        self.original = "vision_config" not in self.config
        if self.original:
            from parity_original import load_original
            self.model, self.encode = load_original(self.folder, self.config, vision_tower)
        else:
            self.model, self.encode = self.load_hugging_face()
        self.model.eval()
        self.processor = self.load_processor(vision_tower)

    def load_hugging_face(self):
        from transformers import AutoModelForImageTextToText, AutoTokenizer
        model, info = AutoModelForImageTextToText.from_pretrained(
            self.folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        problems = set(info["missing_keys"]) | set(info["unexpected_keys"])
        if any("multi_modal_projector" in key for key in problems):
            model.model.multi_modal_projector = self.load_projector()
            problems = {key for key in problems if "multi_modal_projector" not in key}
        if problems:
            give_up(f"transformers finds other tensors than it expects: {sorted(problems)[:5]}")
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        image_id = model.config.image_token_id

        def encode(prompt, counts):
            ids, left = tokenizer(prompt).input_ids, list(counts)
            if ids[:2] == 2 * [tokenizer.bos_token_id]:  # the prompt begins with BOS: llavad adds no second one
                ids = ids[1:]
            return [i for t in ids for i in [t] * (left.pop(0) if t == image_id and left else 1)]

        return model, encode

    def load_projector(self):
        """A projector that transformers does not know: one linear layer, or more than two."""
        layers, activation = {}, torch.nn.GELU()
        for path in sorted(self.folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for key in file.keys():
                    if "multi_modal_projector.linear_" in key:
                        number, what = key.split("multi_modal_projector.linear_")[1].split(".")
                        layers.setdefault(int(number), {})[what] = file.get_tensor(key).float()
        modules = []
        for number in sorted(layers):
            weight, bias = layers[number]["weight"], layers[number].get("bias")
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
            linear.load_state_dict(layers[number])
            modules += [linear, activation]
        return torch.nn.Sequential(*modules[:-1])

    def load_processor(self, vision_tower):
        import transformers
        kind = {"llava_next": "LlavaNextImageProcessorPil", "llava_onevision": "LlavaOnevisionImageProcessorPil"}
        tower = self.config.get("vision_config", {}).get("model_type")
        plain = "SiglipImageProcessorPil" if tower == "siglip_vision_model" else "CLIPImageProcessorPil"
        Processor = getattr(transformers, kind.get(self.config["model_type"], plain))
        nested = read_json(self.folder / "processor_config.json").get("image_processor")
        folders = [self.folder] + ([Path(vision_tower)] if vision_tower else [])
        for folder in folders:
            if nested and folder == self.folder:
                return Processor(**nested)
            if (folder / "preprocessor_config.json").exists():
                return Processor.from_pretrained(folder)
        size = self.model.config.vision_config.image_size
        return transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})

    def pixels(self, paths):
        images = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in paths]
        if self.config.get("image_aspect_ratio") == "pad":
            colour = tuple(int(v * 255) for v in self.processor.image_mean)
            images = [expand2square(image, colour) for image in images]
        nested = {"images": [images]} if self.config["model_type"] == "llava_onevision" else {"images": images}
        self.inputs = dict(self.processor(**nested, return_tensors="pt"))
        if "batch_num_images" in self.inputs:
            self.inputs["batch_num_images"] = torch.as_tensor(self.inputs["batch_num_images"])
        pixels = self.inputs["pixel_values"]
        if pixels.dim() == 4:
            return pixels
        # Tiles, behind which those of shorter pictures are padded with zeros.
        counts = [self.tiles(image) if len(images) == 1 or "batch_num_images" not in self.inputs else 1 for image in images]
        return torch.cat([tiles[:count] for tiles, count in zip(pixels, counts)])

    def tiles(self, image):
        from transformers.image_processing_utils import select_best_resolution
        height, width = select_best_resolution((image.height, image.width), self.config["image_grid_pinpoints"])
        side = self.model.config.vision_config.image_size
        return (height // side) * (width // side) + 1

    def image_tokens(self, inputs):
        """Of each picture; of the original layout one number for all."""
        if self.original:
            vision = self.model.config.vision_config
            full = self.model.config.vision_feature_select_strategy == "full"
            return (vision.image_size // vision.patch_size) ** 2 + full
        features = self.model.model.get_image_features(**inputs)
        return [len(f) for f in getattr(features, "pooler_output", features)]

    @torch.no_grad()
    def run(self, prompt, pixels, max_tokens):
        """The stages of the prompt, its ids, and the greedy answer with the margin of each choice."""
        stages, hooks, extra = {}, [], {}
        counts = []
        if pixels is not None:
            projector = self.model.model.multi_modal_projector
            hooks.append(projector.register_forward_pre_hook(
                lambda _, inputs: stages.__setitem__("vision_features", inputs[0].detach())))
            hooks.append(projector.register_forward_hook(
                lambda _, inputs, output: stages.__setitem__("projected", output.detach())))
            extra = dict(self.inputs)
            if extra["pixel_values"].dim() == 4:
                extra["pixel_values"] = pixels
            counts = self.image_tokens(extra)
        ids = self.encode(prompt, counts)
        out = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=True, **extra)
        for hook in hooks:
            hook.remove()
        stages["hidden_states"] = torch.stack([h[0] for h in out.hidden_states])
        stages["logits"] = out.logits[0]
        answer, margins = [], []
        for _ in range(max_tokens):
            top = out.logits[0, -1].topk(2)
            answer.append(int(top.indices[0]))
            margins.append(float(top.values[0] - top.values[1]))
            out = self.model(input_ids=top.indices[:1][None], past_key_values=out.past_key_values, use_cache=True)
        return ids, stages, answer, margins


class Report:
    def __init__(self):
        self.failed = False

    def line(self, ok, name, text):
        self.failed |= not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name:18} {text}")

    def stage(self, name, ours, theirs, tolerance):
        if list(ours.shape) != list(theirs.shape):
            return self.line(False, name, f"shape {list(ours.shape)}, transformers {list(theirs.shape)}")
        difference = (ours.double() - theirs.double()).abs()
        worst = float(difference.max())
        at = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
        scale = max(1.0, float(theirs.abs().max()))
        self.line(bool(worst <= tolerance * scale), name,
                  f"largest difference {worst:.2e} at {at}, mean {float(difference.mean()):.1e}, largest value {scale:.3g}")

    def pixels(self, ours, theirs, processor):
        if list(ours.shape) != list(theirs.shape):
            return self.line(False, "pixel_values", f"shape {list(ours.shape)}, transformers {list(theirs.shape)}")
        std = torch.tensor(processor.image_std if processor.do_normalize else [1.0] * 3)[None, :, None, None]
        scale = processor.rescale_factor if processor.do_rescale else 1.0
        levels = (ours - theirs).abs() * std / scale
        self.line(bool(levels.max() <= 1.01 and levels.mean() <= 0.05), "pixel_values",
                  f"largest difference {float(levels.max()):.3f} grey levels, mean {float(levels.mean()):.4f}")

    def prompt(self, ours, theirs, image_id):
        ours = [image_id if i < 0 else i for i in ours]
        if ours == theirs:
            return self.line(True, "prompt ids", f"{len(theirs)} equal")
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        self.line(False, "prompt ids", f"differ at {at}: ours {ours[at:at + 4]}…, transformers {theirs[at:at + 4]}…")

    def answer(self, ours, theirs, margins):
        for step, (a, b) in enumerate(zip(ours, theirs)):
            if a != b:
                close = margins[step] < CLOSE_CALL
                return self.line(close, "greedy ids", f"first difference at token {step}: ours {a}, transformers {b}, "
                                 f"margin {margins[step]:.2e}" + (" (a close call)" if close else ""))
        self.line(len(ours) == len(theirs), "greedy ids",
                  f"{len(ours)} of {len(theirs)} equal, smallest margin {min(margins):.2e}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/parity", usage="scripts/parity CHECKPOINT IMAGE... PROMPT [options]")
    parser.add_argument("checkpoint")
    parser.add_argument("images_and_prompt", nargs="+")
    parser.add_argument("--vision-tower", default="")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--llavad", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    *args.images, args.prompt = args.images_and_prompt
    transformers.utils.logging.disable_progress_bar()

    with tempfile.TemporaryDirectory() as folder:
        ours, stages = run_ours(args, folder)
    reference = Reference(args.checkpoint, args.vision_tower)
    report = Report()
    pixels = None
    if args.images:
        theirs = reference.pixels(args.images)
        report.pixels(stages["pixel_values"], theirs, reference.processor)
        pixels = theirs
        if stages["pixel_values"].shape == theirs.shape and not torch.equal(stages["pixel_values"], theirs):
            pixels = stages["pixel_values"]
            print("     (the stages below start from our pixels, so that each is compared on its own)")
    ids, expected, answer, margins = reference.run(args.prompt, pixels, args.max_tokens)
    report.prompt(ours["prompt_ids"], ids, getattr(reference.model.config, "image_token_id", -200))
    for name in ("vision_features", "projected", "hidden_states", "logits"):
        if name in expected:
            report.stage(name, stages[name], expected[name], args.tolerance)
    report.answer(ours["answer_ids"], answer, margins)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""For scripts/parity: checkpoints in the layout of github.com/haotian-liu/LLaVA, put together from transformers' parts
as llava/model/llava_arch.py puts them together. transformers itself does not load them."""
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

IMAGE = -200  # llava/constants.py, IMAGE_TOKEN_INDEX


def read_tensors(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        tensors |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    if (folder / "mm_projector.bin").exists():
        tensors |= torch.load(folder / "mm_projector.bin", weights_only=True)
    return {key: value.float() for key, value in tensors.items() if not key.endswith("inv_freq")}


def taken(tensors, prefix):
    return {key[len(prefix):]: tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}


def projector_of(weights):
    if "weight" in weights:
        weights = {"0.weight": weights["weight"], "0.bias": weights["bias"]}
    modules = []
    for number in sorted({int(key.split(".")[0]) for key in weights}):
        weight = weights[f"{number}.weight"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": weights[f"{number}.bias"]})
        modules += [linear, torch.nn.GELU()]
    return torch.nn.Sequential(*modules[:-1])


class Original(torch.nn.Module):
    def __init__(self, config, tower, projector, language_model):
        super().__init__()
        self.layer = config["mm_vision_select_layer"]
        self.keeps_class = config.get("mm_vision_select_feature", "patch") == "cls_patch"
        self.tower, self.language_model = tower, language_model
        self.model = torch.nn.Module()
        self.model.multi_modal_projector = projector
        self.config = SimpleNamespace(
            vision_config=tower.config, image_token_id=IMAGE,
            vision_feature_select_strategy="full" if self.keeps_class else "default")

    def forward(self, input_ids, pixel_values=None, **options):
        embeddings = self.language_model.get_input_embeddings()(input_ids.clamp(min=0))
        if pixel_values is not None:
            features = self.tower(pixel_values, output_hidden_states=True).hidden_states[self.layer]
            projected = self.model.multi_modal_projector(features if self.keeps_class else features[:, 1:])
            embeddings[input_ids == IMAGE] = projected.flatten(0, 1)
        return self.language_model(inputs_embeds=embeddings, **options)


def make_encode(folder):
    """llava/mm_utils.py, tokenizer_image_token: every text between images is encoded on its own, BOS comes once."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    path = folder / "tokenizer_config.json"
    legacy = (json.loads(path.read_text()) if path.exists() else {}).get("legacy", True)
    specials = {"<s>": pieces.bos_id(), "</s>": pieces.eos_id(), "<unk>": pieces.unk_id()}

    def encode_text(text):
        ids = []
        for at, part in enumerate(re.split("(<s>|</s>|<unk>)", text)):
            if part in specials:
                ids.append(specials[part])
            elif part and (at == 0 or legacy):
                ids += pieces.encode(part)
            elif part:  # without the word start that sentencepiece puts before a text
                ids += pieces.encode("<unk>" + part)[len(pieces.encode("<unk>")):]
        return ids

    def encode(prompt, image_tokens):
        chunks = [encode_text(chunk) for chunk in prompt.split("<image>")]
        begins = chunks[0][:1] == [pieces.bos_id()]  # the prompt's own: llavad adds no second one
        ids = chunks[0] if begins else [pieces.bos_id()] + chunks[0]
        for chunk in chunks[1:]:
            ids += [IMAGE] * image_tokens + chunk
        return ids

    return encode


def load_original(folder, config, vision_tower):
    tower_folder = Path(vision_tower or config["mm_vision_tower"])
    if not tower_folder.is_dir():
        print(f"parity: the vision tower {tower_folder} is no directory: name it with --vision-tower", file=sys.stderr)
        sys.exit(2)
    tensors = read_tensors(folder)
    tower = CLIPVisionModel.from_pretrained(tower_folder, dtype=torch.float32, attn_implementation="eager")
    tuned = taken(tensors, "model.vision_tower.vision_tower.")
    if tuned:
        inner = "" if any(key.startswith("vision_model.") for key in tower.state_dict()) else "vision_model."
        tower.load_state_dict({key.removeprefix(inner): value for key, value in tuned.items()})
    projector = projector_of(taken(tensors, "model.mm_projector."))
    known = {key: value for key, value in config.items() if key not in ("architectures", "model_type", "torch_dtype")}
    language_model = LlamaForCausalLM._from_config(LlamaConfig(**known), attn_implementation="eager")
    language_model.float().load_state_dict(tensors)
    return Original(config, tower, projector, language_model), make_encode(folder)

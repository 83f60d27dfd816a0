"""A LLaVA of random weights in the shape of a real one: the demo's tokenizer and template, and bf16 numbers that nobody reads.

Made with torch on its GPU where there is one (14 GB in some twenty seconds), else with numpy.
"""
import hashlib
import json
import math
import os
import shutil
import struct
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "demo/checkpoint"
CLIP_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
          "image_size": 336, "patch_size": 14}


def decoder(hidden, inner, layers, heads, vocabulary):
    return {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": heads, "head_dim": hidden // heads, "vocab_size": vocabulary, "max_position_embeddings": 4096}


SHAPES = {
    "7b": (decoder(4096, 11008, 32, 32, 32064), CLIP_L),
    "1.4b": (decoder(2048, 5504, 24, 16, 32064), CLIP_L),
    "tiny": (decoder(64, 96, 2, 2, 1024), {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                                           "num_attention_heads": 2, "image_size": 28, "patch_size": 14}),
}


def tensors(text, vision):
    """(name, shape), in the order in which they are written."""
    hidden, inner, wide = text["hidden_size"], text["intermediate_size"], text["vocab_size"]
    seen, between = vision["hidden_size"], vision["intermediate_size"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    yield "language_model.model.embed_tokens.weight", (wide, hidden)
    for i in range(text["num_hidden_layers"]):
        name = f"language_model.model.layers.{i}."
        yield name + "input_layernorm.weight", (hidden,)
        yield name + "post_attention_layernorm.weight", (hidden,)
        for part in "qkvo":
            yield f"{name}self_attn.{part}_proj.weight", (hidden, hidden)
        yield name + "mlp.gate_proj.weight", (inner, hidden)
        yield name + "mlp.up_proj.weight", (inner, hidden)
        yield name + "mlp.down_proj.weight", (hidden, inner)
    yield "language_model.model.norm.weight", (hidden,)
    yield "language_model.lm_head.weight", (wide, hidden)
    for layer, inputs in (("linear_1", seen), ("linear_2", hidden)):
        yield f"multi_modal_projector.{layer}.weight", (hidden, inputs)
        yield f"multi_modal_projector.{layer}.bias", (hidden,)
    tower = "vision_tower.vision_model."
    yield tower + "embeddings.class_embedding", (seen,)
    yield tower + "embeddings.patch_embedding.weight", (seen, 3, vision["patch_size"], vision["patch_size"])
    yield tower + "embeddings.position_embedding.weight", (patches + 1, seen)
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(vision["num_hidden_layers"]):
        name = f"encoder.layers.{i}."
        norms += [name + "layer_norm1", name + "layer_norm2"]
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{tower}{name}self_attn.{part}.weight", (seen, seen)
            yield f"{tower}{name}self_attn.{part}.bias", (seen,)
        for part, shape in (("fc1", (between, seen)), ("fc2", (seen, between))):
            yield f"{tower}{name}mlp.{part}.weight", shape
            yield f"{tower}{name}mlp.{part}.bias", shape[:1]
    for norm in norms:
        yield f"{tower}{norm}.weight", (seen,)
        yield f"{tower}{norm}.bias", (seen,)


def generator():
    """bits(name, shape): random bf16, as bytes. Norms are 1, biases 0."""
    import numpy as np
    try:
        import torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(1)

        def normal(shape, deviation):
            numbers = torch.randn(shape, device=device, dtype=torch.float32).mul_(deviation).to(torch.bfloat16)
            return numbers.view(torch.int16).cpu().numpy()
    except ImportError:
        random = np.random.default_rng(1)

        def normal(shape, deviation):
            numbers = random.standard_normal(shape, np.float32) * np.float32(deviation)
            return (numbers.view(np.uint32) >> 16).astype(np.uint16)

    def bits(name, shape):
        if name.endswith("bias"):
            return bytes(2 * math.prod(shape))
        if "norm" in name:
            return struct.pack("<H", 0x3F80) * math.prod(shape)
        return normal(shape, 1 / math.sqrt(math.prod(shape[1:]) or 1)).tobytes()
    return bits


def write_weights(path, described):
    """Streams them; the file's SHA-256."""
    header, offset = {}, 0
    for name, shape in described:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest, bits = hashlib.sha256(), generator()
    with open(path, "wb") as file:
        def put(data):
            file.write(data)
            digest.update(data)
        put(struct.pack("<Q", len(text)) + text)
        for name, shape in described:
            put(bits(name, shape))
    return digest.hexdigest()


def make(folder, shape):
    """The checkpoint in `folder`, which is new; {file: SHA-256} of its large ones."""
    folder = Path(folder)
    text, vision = SHAPES[shape]
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("manifest.json", "probes", "*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= text
    config["vision_config"] |= vision
    config["vision_feature_layer"] = -2
    config["image_seq_length"] = (vision["image_size"] // vision["patch_size"]) ** 2
    (folder / "config.json").write_text(json.dumps(config))
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    preprocessor["size"] = {"height": vision["image_size"], "width": vision["image_size"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    processor = json.loads((folder / "processor_config.json").read_text())
    if "patch_size" in processor:
        processor["patch_size"] = vision["patch_size"]
    (folder / "processor_config.json").write_text(json.dumps(processor))
    described = list(tensors(text, vision))
    return {"model.safetensors": write_weights(folder / "model.safetensors", described)}


def publish(checkpoint, root, number, known):
    """A version of the checkpoint below `root`, whose files it shares; its folder. `known`: digests of large files."""
    root.mkdir(exist_ok=True)
    folder = root / f"v{number:06}"
    folder.mkdir()
    files = []
    for path in sorted(checkpoint.iterdir()):
        if not path.is_file() or path.name == "manifest.json":
            continue
        try:
            os.link(path, folder / path.name)
        except OSError:  # another file system
            shutil.copy(path, folder / path.name)
        if path.name not in known:
            with open(path, "rb") as file:
                known[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        files.append({"path": path.name, "size": path.stat().st_size, "sha256": known[path.name]})
    (folder / "manifest.json").write_text(json.dumps(
        {"format": 1, "files": files, "parent": "", "recipe": "", "data_fingerprint": "", "step": number, "evaluation": {},
         "probes": []}))
    return folder


def point(root, folder):
    """Moves the link `latest`."""
    link = root / ".latest-new"
    link.symlink_to(folder.name)
    os.rename(link, root / "latest")

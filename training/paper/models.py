"""Folders of models: what a run begins with, and the parts of one that was trained."""
import json
import shutil
import struct
import subprocess

VOCABULARY = 640
TOKENIZER = ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]
PICTURES = ["preprocessor_config.json", "processor_config.json"]


def architecture(demo, corpus, llava_train, folder):
    """The demo's shape of a LLaVA with a tokenizer of our own texts: config, tokenizer and preprocessor, no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([llava_train, "tokenizer", "--corpus", corpus, "--vocab", str(VOCABULARY), "--template", "v1", "--out", folder],
                   check=True, stdout=subprocess.DEVNULL)
    config = json.loads((demo / "config.json").read_text())
    config["image_token_index"] = VOCABULARY
    config["pad_token_id"] = config["text_config"]["pad_token_id"] = VOCABULARY + 1
    config["text_config"]["vocab_size"] = VOCABULARY + 2
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in PICTURES:
        shutil.copyfile(demo / name, folder / name)


def write_part(source, prefix, target):
    """The tensors of a safetensors file whose names begin with `prefix`, without it."""
    with open(source, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        begin = file.tell()
        mine = sorted((n for n in header if n.startswith(prefix)), key=lambda n: header[n]["data_offsets"][0])
        if not mine:
            raise SystemExit(f"{source}: has no tensors {prefix}*")
        part, data = {"__metadata__": {"format": "pt"}}, bytearray()
        for name in mine:
            first, last = header[name]["data_offsets"]
            file.seek(begin + first)
            part[name.removeprefix(prefix)] = {**header[name], "data_offsets": [len(data), len(data) + last - first]}
            data += file.read(last - first)
    text = json.dumps(part).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data)


def split(llava, language_model, vision_tower):
    """A trained LLaVA as the two folders that `llava-train assemble` joins: a Llama and a CLIP tower."""
    config = json.loads((llava / "config.json").read_text())
    for folder, prefix, part, files in ((language_model, "language_model.", config["text_config"], TOKENIZER),
                                        (vision_tower, "vision_tower.", config["vision_config"], PICTURES[:1])):
        folder.mkdir(parents=True, exist_ok=True)
        write_part(llava / "model.safetensors", prefix, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(part, indent=2))
        for name in files:
            shutil.copyfile(llava / name, folder / name)

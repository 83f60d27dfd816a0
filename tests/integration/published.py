"""Checkpoint versions for tests: variants of the golden checkpoint, published as llava-train publishes."""
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/data/checkpoint"
HEAD = "language_model.lm_head.weight"
WIDE = 131072  # makes weights of about 100 MB, which take a moment to read, and so do steps


def read_tensors(path):
    """({name: (dtype, shape)}, {name: writable array of 16-bit words}) of a bfloat16 safetensors file."""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    arrays = {name: np.frombuffer(data[8 + size + e["data_offsets"][0]:8 + size + e["data_offsets"][1]], np.uint16)
              .reshape(e["shape"]).copy() for name, e in header.items()}
    return arrays


def write_tensors(path, arrays):
    header, offset = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            out.write(array.tobytes())


def rolled(rows):
    """Other words for the same hidden state: the answers differ from those of any other number of rows."""
    def change(arrays):
        arrays[HEAD] = np.roll(arrays[HEAD], rows, axis=0)
    return change


def stuck(arrays):
    """Every word is as likely as any other: greedily the same token for ever."""
    arrays[HEAD][:] = 0


def with_nan(arrays):
    arrays["multi_modal_projector.linear_1.weight"][3, 5] = 0x7FC0


def without_a_tensor(arrays):
    del arrays["multi_modal_projector.linear_2.bias"]


def edit_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def wide(folder):
    """A checkpoint that is large on the disk."""
    edit_config(folder, lambda config: config["text_config"].update(intermediate_size=WIDE))
    arrays = read_tensors(folder / "model.safetensors")
    for name, array in arrays.items():
        if ".mlp.gate_proj." in name or ".mlp.up_proj." in name:
            arrays[name] = np.zeros((WIDE, array.shape[1]), np.uint16)
        elif ".mlp.down_proj." in name:
            arrays[name] = np.zeros((array.shape[0], WIDE), np.uint16)
    write_tensors(folder / "model.safetensors", arrays)


def padded(part, config, up, down):
    """The same answers, computed with many more weights: those that are added are zero. `up`, `down`: the matrices before
    and after an activation that keeps zero."""
    def edit(folder):
        edit_config(folder, lambda root: root[config].update(intermediate_size=WIDE))
        arrays = read_tensors(folder / "model.safetensors")
        for name, array in arrays.items():
            axis = 0 if any(f".mlp.{layer}." in name for layer in up) else 1 if f".mlp.{down}.weight" in name else None
            if name.startswith(part) and axis is not None:
                by = [(0, WIDE - size if i == axis else 0) for i, size in enumerate(array.shape)]
                arrays[name] = np.pad(array, by)
        write_tensors(folder / "model.safetensors", arrays)
    return edit


slow_to_see = padded("vision_tower", "vision_config", ("fc1",), "fc2")
slow_to_speak = padded("language_model", "text_config", ("gate_proj", "up_proj"), "down_proj")


def blind(arrays):
    """A projector that grew without bounds: each weight is a number, what it makes of a picture is none."""
    huge = 0x60AD  # 1e20 in bfloat16
    arrays["multi_modal_projector.linear_1.bias"][:] = huge
    arrays["multi_modal_projector.linear_2.weight"][:] = huge


def manifest_of(folder, probes=(), step=1):
    files = [{"path": str(p.relative_to(folder)), "size": p.stat().st_size,
              "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
             for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "manifest.json"]
    return json.dumps({"format": 1, "files": files, "parent": "", "recipe": "", "data_fingerprint": "", "step": step,
                       "evaluation": {}, "probes": list(probes)})


class Published:
    """A folder of versions with its link `latest`."""

    def __init__(self, root):
        self.root = Path(root)
        self.root.mkdir(exist_ok=True)
        self.count = 0

    def write(self, change=None, probes=(), edit=None, base=GOLDEN):
        """A complete version beside the others, not yet named by `latest`: (folder, version)."""
        self.count += 1
        staging = self.root / ".staging"
        shutil.copytree(base, staging)
        (staging / "manifest.json").unlink(missing_ok=True)
        if change is not None:
            arrays = read_tensors(staging / "model.safetensors")
            change(arrays)
            write_tensors(staging / "model.safetensors", arrays)
        if edit is not None:
            edit(staging)
        text = manifest_of(staging, probes, self.count)
        (staging / "manifest.json").write_text(text)
        version = hashlib.sha256(text.encode()).hexdigest()
        folder = self.root / f"v{self.count:06}-{version[:12]}"
        os.rename(staging, folder)
        return folder, version

    def point(self, folder):
        link = self.root / ".latest-new"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        os.rename(link, self.root / "latest")

    def publish(self, change=None, **how):
        folder, version = self.write(change, **how)
        self.point(folder)
        return folder, version

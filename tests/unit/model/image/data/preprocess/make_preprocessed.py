#!/usr/bin/env python3
"""What Pillow and transformers' centre crop make of pictures before rescaling: files NAME.SIZE.EDGE.MODE.png, where
SIZE is the crop's side, EDGE the shortest edge of the resized picture (0: the picture is made square) and MODE crop
or pad. The bytes are compared with ours.

    python make_preprocessed.py FOLDER [--transformers]

Made with Pillow 13.0.0 and numpy 2.4.6. With --transformers the same goes through transformers 5.23.0's
CLIPImageProcessorPil, whose results must be equal.
"""
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
SIZES = {"wide": (331, 120), "tall": (97, 263), "square": (224, 224), "small": (20, 15), "line": (300, 2)}
CASES = [("wide", 56, 56, "crop"), ("wide", 56, 56, "pad"), ("wide", 120, 120, "crop"), ("wide", 64, 0, "crop"),
         ("tall", 56, 56, "crop"), ("tall", 57, 57, "pad"), ("tall", 70, 64, "crop"), ("tall", 48, 75, "crop"),
         ("square", 224, 224, "crop"), ("square", 98, 98, "pad"), ("square", 98, 91, "crop"),
         ("small", 56, 56, "crop"), ("small", 56, 56, "pad"), ("small", 15, 15, "crop"), ("small", 20, 20, "pad"),
         ("line", 30, 30, "crop"), ("line", 31, 31, "pad")]


def picture(name):
    w, h = SIZES[name]
    rng = np.random.default_rng(len(name))
    y, x = np.mgrid[0:h, 0:w]
    rgb = np.stack([x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), (x * 7 + y * 13) % 256], -1).astype(np.uint8)
    rgb[(x // 9 + y // 9) % 3 == 0] = (255, 0, 255)
    noisy = (x > w // 3) & (x < w // 2)
    rgb[noisy] = rng.integers(0, 2, (int(noisy.sum()), 3)) * 255
    return Image.fromarray(rgb)


def center_crop(image, size):
    h, w = image.shape[:2]
    top, left = (h - size) // 2, (w - size) // 2
    if top >= 0 and left >= 0:
        return image[top:top + size, left:left + size]
    new_h, new_w = max(size, h), max(size, w)
    canvas = np.zeros((new_h, new_w, 3), np.uint8)
    top_pad, left_pad = math.ceil((new_h - h) / 2), math.ceil((new_w - w) / 2)
    canvas[top_pad:top_pad + h, left_pad:left_pad + w] = image
    top, left = top + top_pad, left + left_pad
    return canvas[max(0, top):min(new_h, top + size), max(0, left):min(new_w, left + size)]


def expand2square(image):
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(v * 255) for v in MEAN))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def prepared(image, size, edge, mode):
    if mode == "pad":
        image = expand2square(image)
    w, h = image.size
    short, long = min(w, h), max(w, h)
    new = (size, size) if edge == 0 else (edge, int(edge * long / short)) if w <= h else (int(edge * long / short), edge)
    return center_crop(np.asarray(image.resize(new, Image.Resampling.BICUBIC)), size)


def by_transformers(image, size, edge, mode):
    from transformers import CLIPImageProcessorPil
    if mode == "pad":
        image = expand2square(image)
    processor = CLIPImageProcessorPil(size={"shortest_edge": edge} if edge else {"height": size, "width": size},
                                      crop_size={"height": size, "width": size}, do_rescale=False, do_normalize=False)
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)


def main():
    folder = Path(sys.argv[1])
    for name in SIZES:
        picture(name).save(folder / f"{name}.png", optimize=True)
    for name, size, edge, mode in CASES:
        image = picture(name)
        result = prepared(image, size, edge, mode)
        if "--transformers" in sys.argv:
            assert np.array_equal(result, by_transformers(image, size, edge, mode)), (name, size, edge, mode)
        Image.fromarray(np.ascontiguousarray(result)).save(folder / f"{name}.{size}.{edge}.{mode}.png", optimize=True)


if __name__ == "__main__":
    main()

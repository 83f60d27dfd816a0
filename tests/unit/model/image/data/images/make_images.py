#!/usr/bin/env python3
"""Draws small pictures of every kind that Pillow reads as JPEG, PNG, WebP, GIF or BMP, and writes down what Pillow makes
of them: expected.txt has a line "file width height sha256" a picture, of ImageOps.exif_transpose(im).convert("RGB");
for JPEG (whose decoders may differ by a level) the pixels themselves are in <file>.expected.png.

    python make_images.py FOLDER         made with Pillow 13.0.0, numpy 2.4.6
"""
import hashlib
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

W, H = 37, 23
rng = np.random.default_rng(1)


def colours(w=W, h=H):
    y, x = np.mgrid[0:h, 0:w]
    rgb = np.stack([255 * x / max(w - 1, 1), 255 * y / max(h - 1, 1), 127 + 127 * np.sin((x + 2 * y) / 5.0)], -1)
    rgb = rgb.astype(np.uint8)
    rgb[3:9, 5:15] = (250, 10, 20)
    rgb[12:20, 20:30] = rng.integers(0, 256, (max(0, min(20, h) - 12), max(0, min(30, w) - 20), 3))
    return rgb


# PNG, written here because Pillow neither interlaces nor writes every depth.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(samples, depth):
    out = b""
    for n, row in enumerate(samples.reshape(samples.shape[0], -1)):
        if depth == 16:
            raw = row.astype(">u2").tobytes()
        elif depth == 8:
            raw = row.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row)
            bits += "0" * (-len(bits) % 8)
            raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
        if n % 2 and samples.ndim == 2 and depth <= 8:  # a filter now and then: Sub with one byte a pixel
            raw = b"\1" + bytes((raw[i] - (raw[i - 1] if i else 0)) % 256 for i in range(len(raw)))
        else:
            raw = b"\0" + raw
        out += raw
    return out


def png(samples, depth, colour, palette=None, trns=None, before=(), after=(), interlace=False):
    h, w = samples.shape[:2]
    if interlace:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        raw = b"".join(png_rows(p, depth) for p in passes if p.size)
    else:
        raw = png_rows(samples, depth)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlace)))
    out += b"".join(before)
    if palette is not None:
        out += chunk(b"PLTE", bytes(palette))
    if trns is not None:
        out += chunk(b"tRNS", trns)
    data = zlib.compress(raw, 9)
    half = len(data) // 2
    return out + chunk(b"IDAT", data[:half]) + chunk(b"IDAT", data[half:]) + b"".join(after) + chunk(b"IEND", b"")


def exif(orientation, order="<", kind=3):
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    entries = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0") + struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2) + entries + b"\0\0\0\0"


def xmp(orientation):
    return (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation)


def pngs():
    rgb = colours()
    grey = rgb[..., 0] // 2 + rgb[..., 2] // 2
    alpha = np.mgrid[0:H, 0:W][1] * 255 // (W - 1)
    for depth in (1, 2, 4, 8):
        v = grey.astype(int) >> (8 - depth)
        yield f"grey{depth}.png", png(v, depth, 0)
        yield f"grey{depth}_interlaced.png", png(v, depth, 0, interlace=True)
        palette = rng.integers(0, 256, 3 << depth).astype(np.uint8)
        yield f"palette{depth}.png", png(v, depth, 3, palette)
        yield f"palette{depth}_transparent.png", png(v, depth, 3, palette, bytes(range(0, 1 << min(depth, 5))))
    yield "palette4_interlaced.png", png(grey.astype(int) >> 4, 4, 3, rng.integers(0, 256, 48).astype(np.uint8), interlace=True)
    yield "palette8_short.png", png(grey.astype(int) % 100, 8, 3, rng.integers(0, 256, 300).astype(np.uint8))
    yield "grey8_transparent.png", png(grey, 8, 0, trns=struct.pack(">H", int(grey[0, 0])))
    wide = rng.integers(0, 600, (H, W))
    wide[::3] *= 109
    yield "grey16.png", png(wide, 16, 0)
    yield "grey16_interlaced.png", png(wide, 16, 0, interlace=True)
    yield "grey16_transparent.png", png(wide, 16, 0, trns=struct.pack(">H", int(wide[0, 0])))
    wide_rgb = rng.integers(0, 65536, (H, W, 3))
    yield "rgb16.png", png(wide_rgb, 16, 2)
    yield "rgba16.png", png(np.concatenate([wide_rgb, wide[..., None]], -1), 16, 6)
    yield "grey_alpha16.png", png(np.stack([wide_rgb[..., 0], wide], -1), 16, 4)
    yield "grey_alpha8.png", png(np.stack([grey, alpha], -1), 8, 4)
    yield "rgb8.png", png(rgb, 8, 2)
    yield "rgb8_interlaced.png", png(rgb, 8, 2, interlace=True)
    yield "rgb8_transparent.png", png(rgb, 8, 2, trns=struct.pack(">HHH", *map(int, rgb[4, 6])))
    yield "rgba8.png", png(np.concatenate([rgb, alpha[..., None]], -1), 8, 6)
    yield "rgba8_interlaced.png", png(np.concatenate([rgb, alpha[..., None]], -1), 8, 6, interlace=True)
    yield "one_pixel.png", png(rgb[:1, :1], 8, 2)
    yield "gamma_and_profile.png", png(rgb, 8, 2, before=[
        chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"sBIT", b"\5\6\5"), chunk(b"pHYs", bytes(9)),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(5000)))])
    yield "exif6_before.png", png(rgb, 8, 2, before=[chunk(b"eXIf", exif(6, ">"))])
    yield "exif8_after.png", png(rgb, 8, 2, after=[chunk(b"eXIf", exif(8))])
    yield "xmp3.png", png(rgb, 8, 2, before=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3))])


def saved(im, kind, **options):
    out = BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


def jpegs():
    rgb = Image.fromarray(colours())
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield f"rgb_{sampling.replace(':', '')}.jpg", saved(rgb, "JPEG", quality=85, subsampling=sampling)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=80, progressive=True)
    yield "restarts.jpg", saved(rgb, "JPEG", quality=80, restart_marker_blocks=2)
    yield "stored_rgb.jpg", saved(rgb, "JPEG", quality=80, keep_rgb=True)
    yield "grey.jpg", saved(rgb.convert("L"), "JPEG", quality=80)
    ink = np.concatenate([colours(), colours()[::-1, :, :1]], -1)
    cmyk = saved(Image.fromarray(ink, "CMYK"), "JPEG", quality=90)
    yield "cmyk.jpg", cmyk
    at = cmyk.index(b"\xff\xee")
    length = struct.unpack(">H", cmyk[at + 2:at + 4])[0]
    assert cmyk[at + 4:at + 9] == b"Adobe" and cmyk[at + 1 + length] == 0
    yield "ycck.jpg", cmyk[:at + 1 + length] + b"\2" + cmyk[at + 2 + length:]
    yield "cmyk_not_adobe.jpg", cmyk[:at] + cmyk[at + 2 + length:]
    for orientation in range(1, 9):
        block = exif(orientation, "<>"[orientation % 2], 3 + (orientation == 4))
        yield f"exif{orientation}.jpg", saved(rgb, "JPEG", quality=75, exif=b"Exif\0\0" + block)
    yield "exif9.jpg", saved(rgb, "JPEG", quality=75, exif=b"Exif\0\0" + exif(9))
    yield "xmp6.jpg", saved(rgb, "JPEG", quality=75, xmp=xmp(6))
    yield "profile.jpg", saved(rgb, "JPEG", quality=75, icc_profile=bytes(3000))


def webps():
    rgb = Image.fromarray(colours())
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((np.mgrid[0:H, 0:W][1] * 255 // (W - 1)).astype(np.uint8)))
    yield "lossy.webp", saved(rgb, "WEBP", quality=80)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "lossless_alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "exif6.webp", saved(rgb, "WEBP", lossless=True, exif=exif(6))
    yield "xmp8.webp", saved(rgb, "WEBP", lossless=True, xmp=xmp(8), icc_profile=bytes(333))
    yield "grey.webp", saved(rgb.convert("L"), "WEBP", lossless=True)


def bmp(rows, bits, compression=0, palette=b"", masks=(), header=40, height=H, width=W):
    masks = struct.pack(f"<{len(masks)}I", *masks)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(rows), 2835, 2835,
                           len(palette) // 4, 0)
        info += (masks + bytes(header))[:header - 40] if header > 40 else masks
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + info + palette + rows


def padded(rows):
    return b"".join(r + bytes(-len(r) % 4) for r in rows)


def packed(values, bits):
    out = []
    for row in values:
        text = "".join(format(int(v), f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        out.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return padded(out)


def rle8(values):
    out = b""
    for row in values:
        x = 0
        while x < len(row):
            n = 1
            while x + n < len(row) and row[x + n] == row[x] and n < 200:
                n += 1
            if n == 1 and x + 5 <= len(row):  # five pixels as they are, padded to an even count
                out += bytes([0, 5, *map(int, row[x:x + 5]), 0])
                x += 5
            else:
                out += bytes([n, int(row[x])])
                x += n
        out += b"\0\0"
    return out[:-2] + b"\0\1"


def rle4(values):
    out = b""
    for row in values:
        for x in range(0, len(row), 6):
            part = [int(v) for v in row[x:x + 6]]
            if len(set(part[::2])) == 1 and len(set(part[1::2])) <= 1:
                out += bytes([len(part), part[0] << 4 | (part[1] if len(part) > 1 else 0)])
            elif len(part) == 6:
                nibbles = [part[i] << 4 | part[i + 1] for i in (0, 2, 4)]
                out += bytes([0, 6, *nibbles, 0])
            else:
                out += b"".join(bytes([1, v << 4]) for v in part)
        out += b"\0\0"
    return out[:-2] + b"\0\1"


def bmps():
    rgb = colours()
    im = Image.fromarray(rgb)
    up = rgb[::-1]
    grey = (up[..., 0] // 2 + up[..., 2] // 2).astype(int)
    yield "rgb24.bmp", saved(im, "BMP")
    yield "one.bmp", saved(im.convert("1"), "BMP")
    yield "grey8.bmp", saved(im.convert("L"), "BMP")
    yield "palette8.bmp", saved(im.quantize(64), "BMP")
    yield "rgba32.bmp", saved(im.convert("RGBA"), "BMP")
    table = {b: rng.integers(0, 256, 4 << b).astype(np.uint8).tobytes() for b in (1, 4, 8)}
    for bits in (1, 4):
        yield f"palette{bits}.bmp", bmp(packed(grey >> (8 - bits), bits), bits, palette=table[bits])
    small = b"".join(table[4][i:i + 3] for i in range(0, 64, 4))
    yield "os2_palette4.bmp", bmp(packed(grey >> 4, 4), 4, palette=small, header=12)
    yield "os2_rgb24.bmp", bmp(padded(r[:, ::-1].tobytes() for r in up), 24, header=12)
    yield "top_down24.bmp", bmp(padded(r[:, ::-1].tobytes() for r in rgb), 24, height=-H)
    yield "rle8.bmp", bmp(rle8(grey // 16 * 3), 8, 1, palette=table[8])
    yield "rle4.bmp", bmp(rle4(grey >> 4), 4, 2, palette=table[4])
    r, g, b = (up[..., i].astype(np.uint32) for i in range(3))
    words = {"555": (r >> 3) << 10 | (g >> 3) << 5 | b >> 3, "565": (r >> 3) << 11 | (g >> 2) << 5 | b >> 3}
    rows = {k: padded(row.astype("<u2").tobytes() for row in v) for k, v in words.items()}
    yield "raw555.bmp", bmp(rows["555"], 16)
    yield "masks555.bmp", bmp(rows["555"], 16, 3, masks=(0x7C00, 0x3E0, 0x1F))
    yield "masks565.bmp", bmp(rows["565"], 16, 3, masks=(0xF800, 0x7E0, 0x1F))
    yield "masks565_v4.bmp", bmp(rows["565"], 16, 3, masks=(0xF800, 0x7E0, 0x1F), header=108)
    x = np.arange(H * W, dtype=np.uint32).reshape(H, W) % 256
    layouts = {"bgrx": (16, 8, 0, None), "xbgr": (24, 16, 8, None), "bgxr": (24, 8, 0, None), "abgr": (24, 16, 8, 0),
               "rgba": (0, 8, 16, 24), "bgra": (16, 8, 0, 24)}
    for name, (rs, gs, bs, alpha) in layouts.items():
        value = r << rs | g << gs | b << bs | (x << alpha if alpha is not None else 0)
        masks = (0xFF << rs, 0xFF << gs, 0xFF << bs, 0 if alpha is None else 0xFF << alpha)
        yield f"masks_{name}.bmp", bmp(padded(row.astype("<u4").tobytes() for row in value), 32, 3, masks=masks,
                                       header=124)
    yield "raw32.bmp", bmp(padded((r << 16 | g << 8 | b | x << 24).astype("<u4").reshape(H, -1)[i].tobytes()
                                  for i in range(H)), 32)


def gif_blocks(data):
    return b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b"\0"


def gif_codes(indices, bits):
    """LZW without compression: a clear code before the codes could grow."""
    clear, out, fill, held = 1 << bits, bytearray(), 0, 0
    codes = []
    for i, index in enumerate(indices):
        if i % ((1 << bits) - 2) == 0:
            codes.append(clear)
        codes.append(int(index))
    for code in codes + [clear + 1]:
        held |= code << fill
        fill += bits + 1
        while fill >= 8:
            out.append(held & 255)
            held >>= 8
            fill -= 8
    return bytes(out) + bytes([held & 255])


def gif(frames, screen, palette, before=b"", end=b";"):
    """frames: (left, top, indices, local palette or None, interlaced, transparent index or None)."""
    def size_bits(p):
        return max(1, (len(p) // 3 - 1).bit_length())
    flags = 0x80 | (size_bits(palette) - 1) if palette else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, flags, 0, 0) + palette + before
    for left, top, indices, local, interlaced, transparent in frames:
        if transparent is not None:
            out += b"!\xf9\x04" + struct.pack("<BHB", 1, 10, transparent) + b"\0"
        h, w = indices.shape
        rows = [y for a, b in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(a, h, b)] if interlaced else range(h)
        out += b"," + struct.pack("<HHHHB", left, top, w, h, 0x40 * interlaced | (0x80 | size_bits(local) - 1 if local else 0))
        out += (local or b"") + b"\x08" + gif_blocks(gif_codes(indices[list(rows)].ravel(), 8))
    return out + end


def gifs():
    rgb = Image.fromarray(colours())
    few = rgb.quantize(16)
    yield "palette.gif", saved(few, "GIF")
    yield "interlaced.gif", saved(few, "GIF", interlace=1)
    yield "grey.gif", saved(rgb.convert("L"), "GIF")
    yield "transparent.gif", saved(few, "GIF", transparency=3)
    yield "animated.gif", saved(few, "GIF", save_all=True, append_images=[few.rotate(180)], loop=0, comment=b"x" * 600)
    indices = np.asarray(few).astype(int)
    colours16 = bytes(few.getpalette()[:48])
    ramp = bytes(i for i in range(16) for _ in range(3))
    yield "plain.gif", gif([(0, 0, indices, None, False, None)], (W, H), colours16)
    yield "interlaced_rows.gif", gif([(0, 0, indices, None, True, None)], (W, H), colours16)
    yield "local_palette.gif", gif([(0, 0, indices, colours16[::-1], False, None)], (W, H), colours16)
    yield "ramp_palette.gif", gif([(0, 0, indices * 3, ramp, False, None)], (W, H), colours16)
    yield "no_palette.gif", gif([(0, 0, indices * 9, None, False, None)], (W, H), b"")
    yield "beyond_palette.gif", gif([(0, 0, indices * 2, None, False, None)], (W, H), colours16)
    yield "part.gif", gif([(5, 4, indices[:9, :11], None, False, None)], (W, H), colours16)
    yield "part_transparent.gif", gif([(5, 4, indices[:9, :11], None, False, 7)], (W, H), colours16)
    yield "larger_than_screen.gif", gif([(5, 4, indices, None, False, None)], (20, 60), colours16)
    yield "second_frame_cut.gif", gif([(0, 0, indices, None, False, None)] * 2, (W, H), colours16)[:-300]
    yield "no_trailer.gif", gif([(0, 0, indices, None, False, None)], (W, H), colours16, end=b"")
    yield "extensions.gif", gif([(0, 0, indices, None, False, None)], (W, H), colours16,
                                before=b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0!\xfe" + gif_blocks(b"words " * 99))


def animations():
    rgb = Image.fromarray(colours())
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((np.mgrid[0:H, 0:W][1] * 255 // (W - 1)).astype(np.uint8)))
    for name, first, options in (("animated", rgb, {"quality": 80}), ("animated_lossless", rgb, {"lossless": True}),
                                 ("animated_alpha", rgba, {"lossless": True, "exact": True})):
        yield name + ".webp", saved(first, "WEBP", save_all=True, append_images=[first.rotate(180)], **options)
    still = saved(rgb.crop((0, 0, 11, 9)), "WEBP", lossless=True)[12:]
    frame = struct.pack("<I", 2)[:3] + struct.pack("<I", 3)[:3] + struct.pack("<I", 10)[:3] + struct.pack("<I", 8)[:3]
    frame += b"\x64\0\0\0" + still

    def part(kind, data):
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    body = b"WEBP" + part(b"VP8X", b"\x02\0\0\0" + struct.pack("<I", W - 1)[:3] + struct.pack("<I", H - 1)[:3])
    body += part(b"ANIM", b"\x10\x20\x30\xff\0\0") + part(b"ANMF", frame)
    yield "animated_part.webp", b"RIFF" + struct.pack("<I", len(body)) + body


def tails():
    """PNG files that end before they should, but have all their pixels."""
    for name, samples, depth, colour in (("rgb8", colours(), 8, 2), ("grey4", colours()[..., 0] // 16, 4, 0)):
        for interlace in (False, True):
            whole = png(samples, depth, colour, interlace=interlace)
            for cut in (12, 14, 4, 16, 20):
                yield f"{name}_{'interlaced_' * interlace}cut{cut}.png", whole[:-cut]
    yield "surplus.png", png(colours(), 8, 2)[:-12] + chunk(b"IDAT", bytes(99)) + chunk(b"IEND", b"")
    yield "apng.png", saved(Image.fromarray(colours()), "PNG", save_all=True,
                            append_images=[Image.fromarray(colours()[::-1].copy())])


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for pictures in (pngs, jpegs, webps, bmps, gifs, animations, tails):
        for name, data in pictures():
            (folder / name).write_bytes(data)
            with Image.open(BytesIO(data)) as im:
                upright = ImageOps.exif_transpose(im).convert("RGB")
            lines.append(f"{name} {upright.width} {upright.height} {hashlib.sha256(upright.tobytes()).hexdigest()}\n")
            if name.endswith(".jpg"):
                upright.save(folder / (name + ".expected.png"), optimize=True)
    (folder / "expected.txt").write_text("".join(lines))
    print(len(lines), "pictures,", sum(f.stat().st_size for f in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()

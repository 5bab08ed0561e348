#!/usr/bin/env python3
"""Writes tests/media/files: small PNG, JPEG and WebP files of every kind, and what Pillow reads in them.

usage: make_files.py      needs numpy and Pillow (pip) with libjpeg-turbo and libwebp

files.txt   NAME WIDTH HEIGHT SHA256: of convert("RGB"), three bytes a pixel

The committed files were made with Pillow 12.2.0 (libjpeg-turbo 3.1.4, libwebp 1.6.0).  PNG files are written here, since
Pillow writes few of their kinds.
"""
import hashlib
import io
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(HERE, "files")
sys.path.insert(0, HERE)
from make_golden import pixels  # noqa: E402

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # x, y, dx, dy


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(samples, depth):
    """Rows of bytes from samples [h, w * channels]."""
    if depth == 16: return [row.astype(">u2").tobytes() for row in samples]
    if depth == 8: return [row.astype(np.uint8).tobytes() for row in samples]
    bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def filtered(rows, step):
    """Each row with the next of the five filters."""
    out, above = b"", bytes(len(rows[0]))
    for y, row in enumerate(rows):
        a, b, c, x = (np.frombuffer(v, np.uint8).astype(int) for v in (bytes(step) + row[:-step] if len(row) > step else bytes(len(row)), above,
                      bytes(step) + above[:-step] if len(row) > step else bytes(len(row)), row))
        p = a + b - c
        paeth = np.where((abs(p - a) <= abs(p - b)) & (abs(p - a) <= abs(p - c)), a, np.where(abs(p - b) <= abs(p - c), b, c))
        guess = [np.zeros_like(x), a, b, (a + b) // 2, paeth][y % 5]
        out += bytes([y % 5]) + ((x - guess) & 255).astype(np.uint8).tobytes()
        above = row
    return out


def png(samples, kind, depth, interlaced=False, before=b"", idats=1, after=b""):
    """samples [h, w, channels]; `before`, `after`: chunks around the IDAT chunks."""
    h, w = samples.shape[:2]
    step = max(1, CHANNELS[kind] * depth // 8)
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [samples]
    data = b"".join(filtered(packed(p.reshape(p.shape[0], -1), depth), step) for p in parts if p.size)
    data = zlib.compress(data, 9)
    cuts = [len(data) * i // idats for i in range(idats + 1)]
    body = b"".join(chunk(b"IDAT", data[a:b]) for a, b in zip(cuts, cuts[1:]))
    header = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + body + after + chunk(b"IEND", b"")


def samples(w, h, channels, depth, seed):
    values = pixels(1 + seed % 2, w, h, channels, seed).astype(np.uint32)
    if depth == 16: return values * 257 ^ pixels(0, w, h, channels, seed + 1) if seed % 2 else values * 4
    return values >> (8 - depth)


def png_files():
    palette = lambda n: chunk(b"PLTE", bytes((7 * i * (c + 2) + 31 * c) % 256 for i in range(n) for c in range(3)))
    kinds = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]
    for i, (kind, depth) in enumerate(kinds):
        for interlaced in (False, True):
            s = samples(29, 23, CHANNELS[kind], depth, 2 * i + interlaced)
            name = f"{ {0: 'gray', 2: 'rgb', 4: 'gray-alpha', 6: 'rgba'}[kind] }{depth}{'-adam7' if interlaced else ''}"
            yield name, png(s, kind, depth, interlaced)
    for depth in (1, 2, 4, 8):
        s = samples(31, 19, 1, depth, depth)
        yield f"palette{depth}", png(s, 3, depth, depth == 4, palette(1 << depth))
    s = samples(20, 20, 1, 8, 3)
    yield "palette8-alpha", png(s, 3, 8, False, palette(256) + chunk(b"tRNS", bytes(range(0, 250, 2))))
    yield "palette8-short", png(s, 3, 8, False, palette(100))
    yield "palette2-short-adam7", png(s >> 6, 3, 2, True, palette(3))
    yield "gray8-transparent", png(s, 0, 8, False, chunk(b"tRNS", b"\0\x20"))
    yield "gray16-transparent", png(s * 257, 0, 16, False, chunk(b"tRNS", b"\x20\x20"))
    rgb = samples(20, 20, 3, 8, 5)
    yield "rgb8-transparent", png(rgb, 2, 8, False, chunk(b"tRNS", b"\0\x20\0\x21\0\x22"))
    gamma = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", struct.pack(">8I", *[31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000]))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200))) + chunk(b"tEXt", b"Comment\0gray") + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b" * 500))
    yield "rgb8-gamma", png(rgb, 2, 8, False, gamma)
    yield "rgb8-profile", png(rgb, 2, 8, False, profile, 1, chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"))
    yield "rgb8-suggested", png(rgb, 2, 8, False, palette(16))
    yield "rgb8-many-idats", png(rgb, 2, 8, False, b"", 40)
    yield "rgb8-1x1", png(rgb[:1, :1], 2, 8, True)
    yield "rgba8-1x19", png(samples(1, 19, 4, 8, 8), 6, 8, True)
    yield "gray1-33x1", png(samples(33, 1, 1, 1, 8), 0, 1)
    frame = lambda n, w, h: chunk(b"fcTL", struct.pack(">IIIIIHHBB", n, w, h, 0, 0, 1, 10, 0, 0))
    other = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(filtered(packed(255 - rgb.reshape(20, -1), 8), 3)))
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    yield "animated", png(rgb, 2, 8, False, animation + frame(0, 20, 20), 1, frame(1, 20, 20) + other)
    yield "animated-default", png(rgb, 2, 8, False, animation, 1, frame(0, 20, 20) + chunk(b"fdAT", struct.pack(">I", 1) + other[12:-4]))


def saved(image, kind, **options):
    f = io.BytesIO()
    image.save(f, kind, **options)
    return f.getvalue()


def drawn(w, h, channels, seed):
    return Image.fromarray(np.squeeze(pixels(1, w, h, channels, seed)), {1: "L", 3: "RGB", 4: "RGBA"}[channels])


def jpeg_files():
    gray, rgb, small = drawn(37, 21, 1, 1), drawn(37, 21, 3, 2), drawn(17, 9, 3, 3)
    cmyk = Image.frombytes("CMYK", (29, 21), pixels(1, 29, 21, 4, 4).tobytes())
    yield "gray", saved(gray, "JPEG")
    yield "gray-progressive", saved(gray, "JPEG", progressive=True)
    for i, name in enumerate(("444", "422", "420")):
        yield name, saved(rgb, "JPEG", subsampling=i, quality=90)
        yield f"{name}-progressive", saved(small, "JPEG", subsampling=i, quality=70, progressive=True)
    # 4:4:0: the blocks of a 4:2:2 file in another order.
    wide = bytearray(saved(drawn(35, 27, 3, 5), "JPEG", subsampling=1, quality=85))
    at = wide.index(b"\xff\xc0") + 5
    wide[at:at + 4] = wide[at + 2:at + 4] + wide[at:at + 2]
    wide[at + 6] = 0x12
    yield "440", bytes(wide)
    yield "quality1", saved(rgb, "JPEG", quality=1)
    yield "quality100", saved(small, "JPEG", quality=100, subsampling=0)
    yield "restart", saved(rgb, "JPEG", restart_marker_blocks=2, optimize=True)
    yield "rgb", saved(small, "JPEG", keep_rgb=True, quality=90)
    yield "cmyk", saved(cmyk, "JPEG", quality=90)
    yield "cmyk-progressive", saved(cmyk, "JPEG", quality=60, progressive=True)
    adobe = saved(cmyk, "JPEG", quality=80)
    at = adobe.index(b"Adobe") + 11
    yield "ycck", adobe[:at] + b"\x02" + adobe[at + 1:]
    exif = Image.Exif()
    exif[0x112] = 6
    yield "orientation", saved(small, "JPEG", exif=exif, comment=b"turned by a quarter")
    yield "behind-it-more", saved(small, "JPEG") + b"more" + saved(gray, "JPEG")
    yield "1x1", saved(small.crop((0, 0, 1, 1)), "JPEG")
    yield "profile", saved(small, "JPEG", icc_profile=bytes(300), dpi=(72, 72))


def riff(*chunks):
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_files():
    rgb, rgba, small = drawn(45, 29, 3, 6), drawn(29, 45, 4, 7), drawn(17, 9, 3, 8)
    few = small.quantize(7).convert("RGB")
    yield "lossy", saved(rgb, "WEBP", quality=75)
    yield "lossy-100", saved(small, "WEBP", quality=100, method=6)
    yield "lossy-0", saved(rgb, "WEBP", quality=0, method=0)
    yield "lossy-alpha", saved(rgba, "WEBP", quality=60, alpha_quality=50)
    yield "lossless", saved(rgb, "WEBP", lossless=True)
    yield "lossless-alpha", saved(rgba, "WEBP", lossless=True, exact=True, quality=0)
    yield "lossless-palette", saved(few, "WEBP", lossless=True, method=6)
    yield "lossless-two", saved(small.quantize(2).convert("RGB"), "WEBP", lossless=True)
    yield "1x1", saved(small.crop((0, 0, 1, 1)), "WEBP", quality=90)
    yield "lossless-1x13", saved(rgb.crop((3, 3, 4, 16)), "WEBP", lossless=True)
    yield "profile", saved(small, "WEBP", quality=80, icc_profile=bytes(200), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    frames = dict(save_all=True, append_images=[small.transpose(Image.Transpose.ROTATE_180)], duration=40)
    yield "animated", saved(small, "WEBP", quality=70, **frames)
    yield "animated-lossless", saved(small.convert("RGBA"), "WEBP", lossless=True, **frames)
    three = lambda n: struct.pack("<I", n)[:3]
    still = saved(small, "WEBP", lossless=True)[12:]  # one VP8L chunk
    place = three(4 // 2) + three(6 // 2) + three(17 - 1) + three(9 - 1) + three(40) + b"\0"
    yield "animated-on-canvas", riff((b"VP8X", b"\x02\0\0\0" + three(29 - 1) + three(19 - 1)), (b"ANIM", b"\xff\x80\x40\xff\0\0"),
                                     (b"ANMF", place + still))


def main():
    os.makedirs(FILES, exist_ok=True)
    for name in os.listdir(FILES):
        if not name.endswith(".md"): os.remove(os.path.join(FILES, name))
    lines = []
    for ending, files in (("png", png_files()), ("jpg", jpeg_files()), ("webp", webp_files())):
        for name, data in files:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            name = f"{ending}-{name}.{ending}"
            lines.append(f"{name} {image.width} {image.height} {hashlib.sha256(image.tobytes()).hexdigest()}\n")
            with open(os.path.join(FILES, name), "wb") as f: f.write(data)
    with open(os.path.join(FILES, "files.txt"), "w") as f: f.writelines(lines)


if __name__ == "__main__":
    main()

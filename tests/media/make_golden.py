#!/usr/bin/env python3
"""Writes tests/media/golden: digests of plans and of images that Pillow resized.  Needs numpy and Pillow (pip).

The committed files were made with Pillow 12.2.0; 9.4.0, 11.3.0 and 12.3.0 give the same.  Pillow 13 resizes images whose
height shrinks more than their width rows first, which rounds differently (one of the fifty).

usage: make_golden.py

plans.txt   NAME GROUP SHA256: of the plans of 1,000 sizes each, 11 int64 a plan, -1 where there is none
images.txt  NAME KIND WIDTH HEIGHT CHANNELS SHA256 SHA256: of the box (RGB8), and of the patches (float32)

pixels_test.cc and plan_test.cc draw the same sizes and pixels from the same numbers.
"""
import hashlib
import os
import struct
import sys

import numpy as np
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import image_plans as plans  # noqa: E402

RULES = {"v41": (plans.V41, False), "exp": (plans.EXP, True), "tiny": (plans.TINY, False)}
MOST = 64 << 20
GRAY = (127, 127, 127)


def numbers(seed):
    """SplitMix64."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        yield z ^ z >> 31


def sizes(seed, most=MOST):
    """Every magnitude up to 65,536 alike, so that narrow images are frequent."""
    source = numbers(seed)
    side = lambda n: 1 + (n >> 16) % (2 << n % 16)
    while True:
        w, h = side(next(source)), side(next(source))
        if w * h <= most: yield w, h


def pixels(kind, w, h, channels, seed):
    """uint8 [h, w, channels]: 0 noise, 1 a gradient with noise, 2 black and white squares."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in (h, w, channels)), indexing="ij")
    n = x * np.uint32(0x9E3779B1) + y * np.uint32(0x85EBCA77) + c * np.uint32(0xC2B2AE3D) + np.uint32(seed * 0x27D4EB2F & 0xffffffff)
    n = (n ^ n >> np.uint32(15)) * np.uint32(0x2C1B3CE1)
    noise = (n ^ n >> np.uint32(12)) >> np.uint32(24)
    if kind == 0: return noise.astype(np.uint8)
    if kind == 1: return ((x * np.uint32(191) // np.uint32(w) + y * np.uint32(191) // np.uint32(h)) // np.uint32(2) + noise // np.uint32(4)).astype(np.uint8)
    return (((x // np.uint32(7) + y // np.uint32(5) + c) & np.uint32(1)) * np.uint32(255)).astype(np.uint8)


def processed(image, limits, exp):
    """The box as Pillow makes it, and the patches as the official processors do."""
    p, ratio = limits[0], limits[4]
    plan = plans.plan(image.width, image.height, limits, exp)
    image = image.convert("RGB")
    if ratio and image.width >= ratio * image.height: box = image.resize(plan[:2])
    else: box = ImageOps.pad(image, plan[:2], color=GRAY)
    box = np.asarray(box)
    x = (box.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    u = x.view(np.uint32)
    x = ((u + np.uint32(0x7FFF) + (u >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(np.float32)
    gh, gw = plan[7], plan[6]
    patches = x.reshape(gh, p, gw, p, 3).transpose(0, 2, 4, 1, 3)
    return box, np.ascontiguousarray(patches)


def write_plans(path):
    with open(path, "w") as f:
        for number, (name, (limits, exp)) in enumerate(RULES.items()):
            source = sizes(number)
            for group in range(20):
                h = hashlib.sha256()
                for _ in range(1000):
                    answer = plans.plan(*next(source), limits, exp) or (-1,) * 11
                    h.update(struct.pack("<11q", *answer))
                f.write(f"{name} {group} {h.hexdigest()}\n")


def write_images(path):
    fixed = [("v41", 64, 64), ("v41", 640, 480), ("v41", 480, 640), ("v41", 546, 546), ("v41", 1302, 1302), ("v41", 1920, 1080),
             ("v41", 4000, 3000), ("v41", 2000, 125), ("v41", 20, 4000), ("v41", 6000, 9), ("v41", 3, 2), ("v41", 1, 1),
             ("exp", 64, 64), ("exp", 1280, 720), ("exp", 2000, 250), ("exp", 4000, 250), ("exp", 3000, 11), ("exp", 250, 2000),
             ("tiny", 56, 56), ("tiny", 100, 70), ("tiny", 33, 900)]
    source = sizes(99, 1 << 20)
    drawn = []
    while len(fixed) + len(drawn) < 50:
        name = ("v41", "exp", "tiny")[len(drawn) % 3]
        size = next(source)
        if size[0] * size[1] > 400 and plans.plan(*size, *RULES[name]): drawn.append((name, *size))
    with open(path, "w") as f:
        for i, (name, w, h) in enumerate(fixed + drawn):
            kind, channels = i % 3, 4 if i % 5 == 4 else 3
            image = Image.fromarray(pixels(kind, w, h, channels, i))
            shas = (hashlib.sha256(a.tobytes()).hexdigest() for a in processed(image, *RULES[name]))
            f.write(f"{name} {kind} {w} {h} {channels} {' '.join(shas)}\n")


if __name__ == "__main__":
    write_plans(os.path.join(HERE, "golden", "plans.txt"))
    write_images(os.path.join(HERE, "golden", "images.txt"))

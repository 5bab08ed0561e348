"""The image processors of V4.1 and Vision-Exp in plain Python: sizes, and where the image lies in its box.

A plan is (box_w, box_h, fit_w, fit_h, fit_x, fit_y, grid_w, grid_h, columns, rows, tokens); None where nothing of the
image is left in its box.  Limits are (patch, merge, max_tokens, min_pixels, max_wh_ratio or None).
"""
import math

V41 = (14, 3, 1024, 295936, None)
EXP = (14, 3, 384, 147456, 8)
TINY = (14, 3, 64, 3136, None)  # of make_tiny_v41.py


def cells(box_h, box_w, p, r):
    return math.ceil((box_h // p) / r), math.ceil((box_w // p) / r)


def tokens_v41(rows, columns):
    return rows * (columns + 1) + 2


def solve_v41(h, w, p, r, budget):
    slope, cell = h / w, p * r
    columns = math.sqrt((budget - 2) / slope + 0.25) - 0.5
    rows = columns * slope
    if columns < 1: return (budget - 2) // 2 * cell, cell
    if rows < 1: return cell, (budget - 3) * cell
    b = min(math.floor(columns) * cell / w, math.floor(rows) * cell / h)
    return math.floor(h * b / p) * p, math.floor(w * b / p) * p


def tokens_exp(rows, columns):
    n = rows * (columns + 1) + 2
    if rows % 2: n += columns + 1
    return n + (rows + 1) // 2 * (columns + 1) % 2 * 2


def solve_exp(h, w, p, r, budget):
    slope, cell = h / w, p * r
    columns = math.sqrt((budget - 2) / slope + 0.25) - 0.5
    rows = columns * slope
    if columns < 1:
        n = (budget - 2) // 2
        return (n - n % 2) * cell, cell
    if rows < 2: return 2 * cell, ((budget - 2) // 2 - 1) * cell
    n = math.floor(rows)
    b = min(math.floor(columns) * cell / w, (n - n % 2) * cell / h)
    return math.floor(h * b / p) * p, math.floor(w * b / p) * p


def fitted(width, height, box_w, box_h):
    """Pillow's ImageOps.pad: size of the image, and its corner."""
    w, h = box_w, box_h
    if width / height > box_w / box_h: h = round(height / width * box_w)
    elif width / height < box_w / box_h: w = round(width / height * box_h)
    x = round((box_w - w) * 0.5) if w != box_w else 0
    return w, h, x, round((box_h - h) * 0.5) if w == box_w else 0


def plan(width, height, limits, exp=False):
    p, r, most, min_pixels, ratio = limits
    w, h = width, height
    if ratio and w > h * ratio: w = h * ratio
    if w * h < min_pixels:
        t = (min_pixels / (w * h)) ** 0.5
        w, h = int(w * t), int(h * t)
    box_w, box_h = math.ceil(w / p) * p, math.ceil(h / p) * p
    count, solve = (tokens_exp, solve_exp) if exp else (tokens_v41, solve_v41)
    if exp: most -= 3
    budget = most
    while count(*cells(box_h, box_w, p, r)) > most:
        box_h, box_w = solve(h, w, p, r, budget)
        budget -= 1
    squeezed = ratio and width >= ratio * height
    fit = (box_w, box_h, 0, 0) if squeezed else fitted(width, height, box_w, box_h)
    if min(fit[:2]) < 1: return None
    rows, columns = cells(box_h, box_w, p, r)
    return (box_w, box_h) + fit + (box_w // p, box_h // p, columns, rows, count(rows, columns))

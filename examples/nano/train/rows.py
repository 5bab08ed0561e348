"""Packed sequences and their compressed rows: who may see what (spec 2.5, visibility).

A training row holds several documents.  A document starts at a multiple of four, so that
CSA blocks never straddle two; rows of HCA start anywhere, `hca_start` says where.  Nothing
sees another document: the result equals running each document alone from position 0.
"""
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batch:
    """B rows of S tokens, S a multiple of 128."""
    ids: Tensor        # [B, S]
    doc: Tensor        # [B, S] number of the document, -1 for padding
    pos: Tensor        # [B, S] position inside the document
    weight: Tensor     # [B, S] weight of the loss of predicting this token (0: none)
    hca_start: Tensor  # [B, S/128] first token of each 128-token block, -1 for none

    def to(self, device: str) -> "Batch":
        return Batch(*(getattr(self, f).to(device, non_blocking=True)
                       for f in self.__dataclass_fields__))


@dataclass
class Rows:
    """N compressed rows per batch row."""
    start: Tensor  # [B, N] index of the first token
    last: Tensor   # [B, N] index of the last token: the row is visible from there on
    doc: Tensor    # [B, N] document, -2 for a row that does not exist
    pos: Tensor    # [B, N] RoPE position: that of the first token


def rows_of(b: Batch, ratio: int) -> Rows:
    """The rows of ratio 4 (every aligned block) or 128 (those the packer listed)."""
    if ratio == 4:
        start = torch.arange(0, b.ids.shape[1], 4, device=b.ids.device).expand(len(b.ids), -1)
        exists = torch.ones_like(start, dtype=torch.bool)
    else:
        start, exists = b.hca_start.clamp(min=0), b.hca_start >= 0
    last = start + ratio - 1
    first_doc, last_doc = b.doc.gather(1, start), b.doc.gather(1, last)
    whole = exists & (first_doc == last_doc) & (first_doc >= 0)
    return Rows(start, last, torch.where(whole, first_doc, -2), b.pos.gather(1, start))


def visible(b: Batch, rows: Rows, first: int = 0, count: int | None = None) -> Tensor:
    """[B, count, N]: row j is visible to token t when its last token is not after t."""
    t = slice(first, None if count is None else first + count)
    index = torch.arange(b.ids.shape[1], device=b.ids.device)[t]
    return (b.doc[:, t, None] == rows.doc[:, None]) & (rows.last[:, None] <= index[:, None])


def single(ids: Tensor) -> Batch:
    """One document in one row, padded to a multiple of 128; for evaluation."""
    n = len(ids)
    size = -(-n // 128) * 128
    pad = lambda x, v: torch.nn.functional.pad(x, (0, size - n), value=v)[None]
    start = torch.arange(0, size, 128)
    return Batch(pad(ids, 2), pad(torch.zeros(n, dtype=torch.long), -1), torch.arange(size)[None],
                 pad(torch.ones(n), 0), torch.where(start + 128 <= n, start, -1)[None])

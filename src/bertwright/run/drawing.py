"""A small drawing of the encoder and the heads on it: what was kept, what is new, what trains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from .provenance import Tensor, millions, origin


def draw(tensors: Sequence[Tensor]) -> str:
    """The model from the heads on top down to the embeddings, neighbouring layers of the same state as one line."""
    heads = [row for row in _rows(tensors) if row[0].startswith("head ")]
    body = [row for row in reversed(_rows(tensors)) if not row[0].startswith("head ")]
    boxes = [_boxed([row[0].removeprefix("head "), row[1], row[2]]) for row in heads]
    encoder = [f"{name:<{max(len(n) for n, _, _ in body)}}  {state}  {size}" for name, state, size in body]
    above = sum(len(box[0]) for box in boxes) + len(boxes) - 1
    return "\n".join([*_side_by_side(boxes), *_boxed(encoder, above)])


def _rows(tensors: Sequence[Tensor]) -> list[tuple[str, str, str]]:
    """(name, state, size) of each part, bottom up, with runs of equal layers joined."""
    parts = [(part, list(group)) for part, group in groupby(tensors, key=lambda t: t.part)]
    states = [(part, _state(group), sum(t.size for t in group)) for part, group in parts]
    rows: list[tuple[str, str, str]] = []
    for (is_layer, state), run in groupby(states, key=lambda s: (s[0].startswith("layer "), s[1])):
        for name, size in _joined([(part, size) for part, _, size in run], is_layer):
            rows.append((name, state, millions(size)))
    return rows


def _joined(parts: list[tuple[str, int]], is_layer: bool) -> list[tuple[str, int]]:
    if not is_layer or len(parts) == 1:
        return parts
    first, last = parts[0][0].split()[1], parts[-1][0].split()[1]
    return [(f"layers {first}-{last}", sum(size for _, size in parts))]


def _state(tensors: Sequence[Tensor]) -> str:
    came = origin(tensors).replace("new", "drawn at random" if not tensors[0].is_head else "new")
    if any(tensor.counted for tensor in tensors):
        came = "words counted"
    return f"{came}, {'frozen' if all(t.frozen for t in tensors) else 'trains'}"


def _boxed(lines: Sequence[str], width: int = 0) -> list[str]:
    inner = max(width - 4, *(len(line) for line in lines))
    middle = [f"│ {line:<{inner}} │" for line in lines]
    return [f"┌{'─' * (inner + 2)}┐", *middle, f"└{'─' * (inner + 2)}┘"]


def _side_by_side(boxes: Sequence[list[str]]) -> list[str]:
    return [" ".join(row) for row in zip(*boxes, strict=True)]

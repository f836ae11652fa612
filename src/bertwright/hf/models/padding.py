"""Padded inputs to a batch without padding, and what is computed of it back to where it stood.

Letters: B rows, L columns, N tokens that are not padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...flow import Batch, Vocabulary

IGNORED = -100
"""The label of what is not predicted, as in torch's cross-entropy and all of transformers."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the tokens of a batch stand among B x L places."""

    rows: int
    width: int
    places: Tensor | None
    """[N] ascending; None: there is no padding."""

    def kept(self, x: Tensor) -> Tensor:
        """[B, L, ...] -> [N, ...]"""
        flat = x.flatten(0, 1)
        return flat if self.places is None else flat[self.places.to(x.device)]

    def back(self, x: Tensor) -> Tensor:
        """[N, ...] -> [B, L, ...], zeros where padding was"""
        if self.places is not None:
            empty = x.new_zeros(self.rows * self.width, *x.shape[1:])
            x = empty.index_copy(0, self.places.to(x.device), x)
        return x.unflatten(0, (self.rows, self.width))

    def columns(self, device: torch.device) -> Tensor:
        """[N] the column of each token"""
        return self.kept(torch.arange(self.width, device=device).expand(self.rows, -1))


def refuse_outside(name: str, values: Tensor, size: int, what: str, *, ignored: bool = False) -> None:
    """Raises InputError, with the place, for a value of [B] or [B, L] below 0 or not below `size`.

    With `ignored` IGNORED may be among them.
    """
    wrong = (values < 0) | (values >= size)
    if ignored:
        wrong &= values != IGNORED
    if bool(wrong.any()):
        at = wrong.nonzero()[0].tolist()
        raise InputError(f"{name}: {int(values[tuple(at)])} at row {' and column '.join(map(str, at))}; {what}")


def unpadded(
    input_ids: Tensor | None,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    vocabulary: Vocabulary,
    positions: int | None = None,
    segments: int = 1,
) -> tuple[Batch, Grid]:
    """The batch of what `attention_mask` [B, L] keeps of `input_ids` [B, L], on their device, and where it stood.

    `positions` is how many learned ones there are: then a token's is its column, as in transformers, or that of
    `position_ids` [B, L] or [1, L]. None: they are rotary, only distances count, and each row is one piece. `segments`
    is how many kinds of those there are.

    Raises InputError for what is no such grid, for a row without a token, and for an id, a segment or a position that
    there is no vector for.
    """
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or not input_ids.numel():
        found = list(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
        raise InputError(
            f"input_ids is {found}; expected are ids [rows, columns], padding under an attention_mask of 0"
        )
    grid = _grid(input_ids, attention_mask)
    refuse_outside("input_ids", input_ids, vocabulary.size, f"the vocabulary has {vocabulary.size} tokens")
    if token_type_ids is not None:
        _like("token_type_ids", token_type_ids, input_ids)
        refuse_outside("token_type_ids", token_type_ids, segments, f"there are {segments} segments (type_vocab_size)")
    ids = grid.kept(input_ids)
    lengths = _lengths(grid, input_ids, attention_mask)
    cu_seqlens = torch.tensor((0, *lengths), device=ids.device).cumsum(0)
    batch = Batch(
        ids=ids.long(),
        positions=_positions(grid, cu_seqlens, lengths, position_ids, positions),
        segments=torch.zeros_like(ids).long() if token_type_ids is None else grid.kept(token_type_ids).long(),
        cu_seqlens=cu_seqlens,
        lengths=lengths,
        vocabulary=vocabulary,
    )
    return batch, grid


def labels_of_tokens(labels: Tensor, grid: Grid, size: int, what: str) -> Tensor:
    """[N] of labels [B, L] those of tokens; what stands at padding is not looked at.

    Raises InputError for another shape, and for a label that is neither IGNORED nor from 0 to `size` - 1.
    """
    if labels.shape != (grid.rows, grid.width):
        raise InputError(
            f"labels is {list(labels.shape)}, and input_ids [{grid.rows}, {grid.width}]; a token has one each"
        )
    refuse_outside("labels", labels if grid.places is None else grid.back(grid.kept(labels)), size, what, ignored=True)
    return grid.kept(labels).long()


def at_labels(batch: Batch, name: str, positions: Tensor, values: Tensor) -> Batch:
    """The batch with the predictions at `positions` [M] whose values [M] are not IGNORED."""
    asked = values != IGNORED
    return batch.labelled(name, positions[asked], values[asked])


def restarting(batch: Batch) -> Tensor:
    """[N] how many tokens of its sequence stand before each."""
    lengths = torch.tensor(batch.lengths, device=batch.ids.device)
    return batch.indices - torch.repeat_interleave(batch.firsts, lengths)


def _grid(ids: Tensor, mask: Tensor | None) -> Grid:
    if mask is None:
        return Grid(len(ids), ids.shape[1], None)
    _like("attention_mask", mask, ids)
    kept = mask != 0
    return Grid(len(ids), ids.shape[1], None if bool(kept.all()) else kept.flatten().nonzero().flatten())


def _lengths(grid: Grid, ids: Tensor, mask: Tensor | None) -> tuple[int, ...]:
    if grid.places is None or mask is None:
        return (grid.width,) * grid.rows
    lengths = tuple((mask != 0).sum(1).tolist())
    if 0 in lengths:
        raise InputError(f"row {lengths.index(0)} has no token: its attention_mask is 0 throughout")
    return lengths


def _positions(
    grid: Grid, cu_seqlens: Tensor, lengths: tuple[int, ...], position_ids: Tensor | None, table: int | None
) -> Tensor:
    columns = grid.columns(cu_seqlens.device)
    sizes = torch.tensor(lengths, device=cu_seqlens.device)
    if table is None:
        spread = columns[cu_seqlens[1:] - 1] - columns[cu_seqlens[:-1]] + 1
        if position_ids is not None or bool((spread != sizes).any()):
            raise InputError(
                "the tokens of a row have to stand side by side, without position_ids: the model goes by distances"
            )
        return columns - torch.repeat_interleave(columns[cu_seqlens[:-1]], sizes)
    if position_ids is None:
        if grid.width > table:
            raise InputError(
                f"rows of {grid.width} columns; the model has {table} positions (max_position_embeddings), so cut "
                "sequences to that length"
            )
        return columns
    given = position_ids.to(cu_seqlens.device)
    if given.ndim != 2 or given.shape[0] not in (1, grid.rows) or given.shape[1] != grid.width:
        raise InputError(f"position_ids is {list(given.shape)}, and input_ids [{grid.rows}, {grid.width}]")
    refuse_outside("position_ids", given, table, f"the model has {table} positions (max_position_embeddings)")
    return grid.kept(given.expand(grid.rows, -1)).long()


def _like(name: str, x: Tensor, ids: Tensor) -> None:
    if x.shape != ids.shape:
        raise InputError(f"{name} is {list(x.shape)}, and input_ids {list(ids.shape)}; they have the same shape")

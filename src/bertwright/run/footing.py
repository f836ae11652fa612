"""What a run stands on, for people: device, threads, number format, memory, what was not to be had, and its length."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..amounts import amount
from ..train.compiling import compiles, missing
from ..train.precision import device, resolve
from .spec import MICRO_TOKENS, Recipe


def footing(recipe: Recipe, asked: Recipe, keeps_memory: bool, began_before: bool) -> Iterator[str]:
    """Lines on a resolved recipe, and one for each thing that was `asked` for and is not to be had here."""
    on, train = device(), recipe.train
    precision, compiled = resolve(train.precision, on), compiles(train.compile, on)
    yield f"Runs on {_name(on)}: {', '.join(_parts(recipe, asked, precision, compiled, keeps_memory))}."
    if asked.train.steps is None:
        yield _steps(train.steps or 1, asked.train.budget, began_before)
    if train.precision == "bf16" and precision != "bf16":
        yield f"train.precision is bf16, which {_name(on)} has no instructions for: it trains in fp32."
    if train.compile == "on" and not compiled:
        yield f"train.compile is on, and it takes {missing(on)}: the layers run as they are written."


def _steps(steps: int, budget: str | None, began_before: bool) -> str:
    if budget is None:
        return f"{amount(steps, 'step')} in all."
    if began_before:
        return f"{amount(steps, 'step')} in all, as settled from {budget} when the run began."
    return f"{amount(steps, 'step')} {'fills' if steps == 1 else 'fill'} {budget} at the present pace."


def _name(on: torch.device) -> str:
    return "the CPU" if on.type == "cpu" else torch.cuda.get_device_name(on)


def _parts(recipe: Recipe, asked: Recipe, precision: str, compiled: bool, keeps_memory: bool) -> Iterator[str]:
    threads, tokens = torch.get_num_threads(), recipe.train.micro_tokens or MICRO_TOKENS
    yield amount(threads, "thread")
    yield precision
    if keeps_memory:
        yield "memory kept by the allocator"
    if compiled:
        yield "layers compiled"
    chosen = asked.train.micro_tokens is None and tokens < MICRO_TOKENS
    yield f"{tokens:,} tokens a forward pass" + (", as many as fit into memory" if chosen else "")

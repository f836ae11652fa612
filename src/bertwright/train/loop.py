"""The loop: a generator of optimizer steps. It cannot tell pretraining from fine-tuning.

Each summed loss is divided once, by the number of its predictions over all micro-batches of the step, which is known
before the first forward pass; so how a step is split does not change its gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..data.ahead import Ahead, Begin, pinned
from ..errors import RunError
from ..flow import Loss
from ..seeds import key_of
from ..sums import Sums, add
from .average import Average
from .optim import AnyOptimizer
from .precision import products_in
from .settled import settled
from .waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one optimizer step did."""

    number: int
    """How many steps are done, this one included."""
    lr: float
    """That of the optimizer's first group."""
    grad_norm: float
    """Before clipping."""
    sums: Sums
    tokens: int
    waited: float
    """Seconds that went by until its batches were there."""


class Batch(Protocol):
    """What a loop asks of a micro-batch; `flow.Batch` is one."""

    @property
    def counts(self) -> dict[str, int]: ...

    @property
    def tokens(self) -> int: ...

    def to(self, device: torch.device) -> Any: ...


class Learner(Protocol):
    """What a loop asks of a model, which is a module; `tasks.model.Model` is one."""

    def __call__(self, batch: Any) -> Loss: ...

    def learned(self, sums: Sums) -> None: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]: ...

    def train(self) -> Any: ...

    def eval(self) -> Any: ...


L = TypeVar("L", bound=Learner)


class Loop(Generic[L]):
    """Trains a model on `feed(step)`, the micro-batches of a step.

    `factor(step)` is the learning rate's factor at a step, on every group's own peak; None: somebody else sets the
    groups' rates. `clip` is the largest norm of the
    gradient; `average` follows the weights, where there is one. `step` is how many steps are done. Raises RunError when
    the loss is not a number any more.
    """

    def __init__(
        self,
        model: L,
        feed: Callable[[int], list[Any]],
        optimizer: AnyOptimizer,
        factor: Callable[[int], float] | None,
        *,
        clip: float,
        precision: str,
        seed: int,
        average: Average | None = None,
    ) -> None:
        self.model = model
        self.feed = feed
        self.optimizer = optimizer
        self.step = 0
        self._factor = factor
        self._clip = clip
        self.precision = precision
        self._seed = seed
        self.average = average
        self._device = next(model.parameters()).device
        self._peaks = [group["lr"] for group in optimizer.param_groups]

    def steps(self, until: int, begin: Begin = Ahead) -> Generator[Step, None, None]:
        """Steps one at a time, up to `until` in all; whoever breaks off closes it, and so ends the feed's thread.

        `begin` says when a step's batches are prepared.
        """
        with settled(), begin(self._prepared, until) as feed, Waiting() as waiting:
            while self.step < until:
                asked = time.perf_counter()
                batches = feed(self.step)
                waited = time.perf_counter() - asked
                with waiting.watching():
                    done = self._one(batches, waited)
                yield done

    def judged(self) -> AbstractContextManager[None]:
        """While it lasts the model has the weights that are judged and kept: the average, where there is one."""
        return nullcontext() if self.average is None else self.average.applied()

    def _prepared(self, step: int) -> list[Any]:
        batches = self.feed(step)
        return [pinned(batch) for batch in batches] if self._device.type == "cuda" else batches

    def _one(self, batches: list[Batch], waited: float) -> Step:
        self.model.train()
        counts = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
        parts = [self._gradients(batch, counts, index) for index, batch in enumerate(batches)]
        # A step waits for an accelerator once, here: what is not finite must not reach the weights.
        norm = clip(self.model.parameters(), self._clip)
        if norm != norm or norm == float("inf"):
            raise RunError(
                f"the gradient is not finite at step {self.step + 1}: the learning rate is too high, or the model's "
                "weights are broken; start again with a lower one"
            )
        if self._factor is not None:
            factor = self._factor(self.step)
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * factor
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        sums, tokens = add(parts), sum(batch.tokens for batch in batches)
        self.model.learned(sums)
        return Step(
            number=self.step,
            lr=lr,
            grad_norm=norm,
            sums=sums,
            tokens=tokens,
            waited=waited,
        )

    def _gradients(self, batch: Batch, counts: dict[str, int], index: int) -> Sums:
        self._draw_from(key_of(self._seed, "dropout", self.step, index))
        with products_in(self.precision, self._device):
            loss = self.model(batch.to(self._device))
        parts = [value / max(1, counts[name]) for name, value in loss.totals.items()]
        torch.stack(parts).sum().backward()
        return dict(loss.measures)

    def _draw_from(self, key: int) -> None:
        """Seeds what dropout draws from. `torch.manual_seed` seeds the other kinds of accelerator too, and notes for
        each who asked: a millisecond."""
        torch.default_generator.manual_seed(key)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(key)


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scales gradients down to a norm of `most`, if all together have a larger one; that norm, of before.

    As torch's `clip_grad_norm_`, and of sparse gradients too.
    """
    grads = [_values(p) for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    found = float(norm)
    if found > most:
        torch._foreach_mul_(grads, most / (norm + 1e-6))  # pyright: ignore[reportPrivateImportUsage]
    return found


def _values(parameter: nn.Parameter) -> Tensor:
    """What a gradient holds, as memory that can be written to."""
    assert parameter.grad is not None
    if parameter.grad.is_sparse:
        parameter.grad = parameter.grad.coalesce()
        return parameter.grad.values()
    return parameter.grad


@torch.no_grad()
def measure(model: Learner, batches: Iterable[Batch], precision: str) -> Sums:
    """The model's summed measures over labelled batches, without dropout."""
    model.eval()
    device = next(model.parameters()).device
    sums: Sums = {}
    with Waiting() as waiting:
        for batch in batches:
            with waiting.watching(), products_in(precision, device):
                loss = model(batch.to(device))
            sums = add([sums, loss.measures])
    return sums

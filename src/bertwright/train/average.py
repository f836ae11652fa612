"""The running average of a model's weights, which is judged and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """An exponential moving average, in fp32, of the weights of `model` that train.

    Averaging the iterates of a stochastic search takes out the noise that its rate leaves in them (Ruppert, 1988;
    Polyak and Juditsky, SIAM J. Control 1992). At step t, counted from 1, it keeps min(decay, t / (9 + t)) of itself:
    it looks back over a tenth of what is done until that is as far as `decay` says, so that the weights of the
    beginning are forgotten (a power-function average with an exponent of 8: Karras et al., CVPR 2024).

    It costs one copy of the weights, and a step reads two numbers and writes one for each weight, where AdamW reads
    four and writes three.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._average = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after `step` steps, counted from 1."""
        get_ema_multi_avg_fn(min(self._decay, step / (9.0 + step)))(self._average, self._weights, step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts the model has the average for weights. Nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def raw(self) -> dict[str, Tensor]:
        """The weights that train, by name, without the average."""
        return {name: weight.detach() for name, weight in zip(self._names, self._weights, strict=True)}

    @torch.no_grad()
    def restore(self, raw: Mapping[str, Tensor]) -> None:
        """Takes the model's present weights for the average, and gives the model the `raw` ones."""
        for name, weight, average in zip(self._names, self._weights, self._average, strict=True):
            average.copy_(weight)
            weight.copy_(raw[name])

    def _swap(self) -> None:
        for index, weight in enumerate(self._weights):
            weight.data, self._average[index] = self._average[index], weight.data

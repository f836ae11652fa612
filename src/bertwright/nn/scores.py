"""A layer that says a score, whatever the order of scores."""

from __future__ import annotations

from torch import Tensor, nn


class Scores(nn.Linear):
    """[S, H] -> [S, 1]: a linear layer whose weights count in `unit`, and which begins at `begin`.

    A step of AdamW moves a weight by about the learning rate, whatever the loss is: weights that counted in the scores'
    own order would stand still for prices, and leap for shares. `unit` is a power of two, by which a checkpoint's plain
    layer has its weights times as large, to the bit.
    """

    def __init__(self, inputs: int, unit: float, begin: float) -> None:
        super().__init__(inputs, 1)
        self.stored_unit = unit
        self.first_bias = begin / unit

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.stored_unit

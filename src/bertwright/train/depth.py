"""How deep a parameter lies under the head, and what follows from it: its rate, and when it begins to train.

The head lies at 0, the last layer at 1, the first of L layers at L, the embeddings (and what else is the encoder's) at
L + 1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..tasks.model import Model


def depth(name: str, layers: int) -> int:
    """The depth of the parameter that a `Model` with so many layers calls `name`."""
    if not name.startswith("encoder."):
        return 0
    words = name.split(".")
    return layers - int(words[2]) if words[1] == "layers" else layers + 1


def rates(model: Model, decay: float) -> Callable[[str], float]:
    """The share of the peak rate that a parameter gets, by its name: `decay` to the power of its depth.

    (Howard and Ruder, "Universal language model fine-tuning", ACL 2018, call it discriminative fine-tuning; in this
    form Clark et al., "ELECTRA", ICLR 2020)
    """
    layers = len(model.encoder.layers)
    return lambda name: decay ** depth(name, layers)


class Thaw:
    """Has the encoder begin to train layer by layer, the last first, in equal stages over the first `span` steps.

    The head trains alone at first, or the last layer where the head has no weights; the embeddings come last. With a
    span of 0 everything trains from the first step. What does not train when this is made never does. (Gradual
    unfreezing: Howard and Ruder, ACL 2018)
    """

    def __init__(self, model: Model, span: int) -> None:
        layers = len(model.encoder.layers)
        self._all = layers + 1
        self._span = span
        self._parameters: list[tuple[int, nn.Parameter]] = [
            (depth(name, layers), p) for name, p in model.named_parameters() if p.requires_grad
        ]
        self._first = min((deep for deep, _ in self._parameters), default=0)

    def reach(self, step: int) -> int:
        """The depth down to which the model trains at a step, counted from 0."""
        stages = self._all + 1 - self._first
        return self._all if step >= self._span else self._first + step * stages // self._span

    def __call__(self, step: int) -> None:
        """Sets what trains at a step."""
        reach = self.reach(step)
        for deep, parameter in self._parameters:
            parameter.requires_grad_(deep <= reach)

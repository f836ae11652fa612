"""The optimizers: which parameters each takes, which decay, and their states as plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, RecipeError
from ..nn.heads import Predictor
from ..tasks.model import Model
from .lean import AdamW
from .muon import StackedMuon
from .rows import RowAdamW

OPTIMIZERS = ("adamw", "muon")
ADAM: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
"""Every group has a rate of its own."""
Named = tuple[str, Tensor]
Rates = Callable[[str], float]
"""The share of the peak rate that a parameter gets, by its name."""


def alike(name: str) -> float:
    """Every parameter at the peak rate."""
    return 1.0


def adamw(model: Model, *, lr: float, weight_decay: float, rates: Rates = alike) -> Several:
    """AdamW (Loshchilov and Hutter, ICLR 2019) with BERT's betas; biases and norms do not decay, frozen ones stay."""
    return Several(_adamw(_trained(model), _looked_up(model), lr, weight_decay, rates))


def muon(model: Model, *, lr: float, matrix_lr: float, weight_decay: float, rates: Rates = alike) -> Several:
    """Muon for the matrices of layers, at the peak rate `matrix_lr`; AdamW at `lr` for the rest.

    The rest is embeddings, heads but for layers that they have, and whatever is no matrix (Jordan et al., "Muon: an
    optimizer for hidden layers in neural networks", 2024). A tensor that stacks several matrices is updated matrix by
    matrix: an orthogonal update of queries, keys and values together would tie the size of each one's to the others'
    gradients.
    """
    hidden = [(name, p) for name, p in _trained(model) if is_hidden(name, p)]
    rest = [(name, p) for name, p in _trained(model) if not is_hidden(name, p)]
    own = _adamw(rest, _looked_up(model), lr, weight_decay, rates)
    groups = [StackedMuon(same, _stacks(model), matrix_lr * share, weight_decay) for share, same in _by(rates, hidden)]
    return Several([*own, *groups])


def is_hidden(name: str, parameter: Tensor) -> bool:
    """Whether it is a matrix of a layer, of the encoder or of a head's own."""
    return ".layers." in name and parameter.ndim == 2


def optimizer(
    kind: str, model: Model, *, lr: float, matrix_lr: float, weight_decay: float, rates: Rates = alike
) -> AnyOptimizer:
    """The optimizer called `kind`, for all of the model that trains; its first group has the highest of the rates.

    From then on word embeddings that are only looked up get sparse gradients, where the optimizer makes use of them.

    Raises RecipeError for an unknown one.
    """
    if kind not in OPTIMIZERS:
        raise RecipeError(f"unknown optimizer {kind!r}; known are {', '.join(OPTIMIZERS)}")
    if kind == "muon":
        return muon(model, lr=lr, matrix_lr=matrix_lr, weight_decay=weight_decay, rates=rates)
    return adamw(model, lr=lr, weight_decay=weight_decay, rates=rates)


class Several:
    """Optimizers with parameters of their own, under the face of one; the first one's rate is the run's."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)


AnyOptimizer = torch.optim.Optimizer | Several


def state_tensors(optimizer: AnyOptimizer) -> dict[str, Tensor]:
    """The optimizer's state as `parameter/quantity` -> tensor, for safetensors, without what is no tensor; it has to
    know its parameters' names, as those made here do."""
    return {
        f"{name}/{quantity}": value.contiguous()
        for name, (part, parameter) in _held(optimizer).items()
        for quantity, value in part.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(optimizer: AnyOptimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `state_tensors` took.

    Raises CheckpointError when a tensor belongs to no parameter of the optimizer.
    """
    held = _held(optimizer)
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        if name not in held:
            raise CheckpointError(f"the optimizer's state holds {name!r}, which the model does not have")
        part, parameter = held[name]
        device = torch.device("cpu") if quantity == "step" and not _on_device(part) else parameter.device
        part.state[parameter][quantity] = value.to(device)


def _adamw(
    named: list[Named], looked_up: Tensor | None, lr: float, weight_decay: float, rates: Rates
) -> list[torch.optim.Optimizer]:
    groups = [
        {"params": [(name, p) for name, p in same if (p.ndim > 1) is matrices], "lr": lr * share, "weight_decay": decay}
        for share, same in _by(rates, [(name, p) for name, p in named if p is not looked_up])
        for matrices, decay in ((True, weight_decay), (False, 0.0))
    ]
    filled = [group for group in groups if group["params"]]
    table = [
        {"params": [(name, p)], "lr": lr * rates(name), "weight_decay": weight_decay}
        for name, p in named
        if p is looked_up
    ]
    return [
        *([AdamW(filled, **ADAM, fused=True)] if filled else []),
        *([RowAdamW(table, **ADAM)] if table else []),
    ]


def _looked_up(model: Model) -> Tensor | None:
    """The word embeddings, if nothing but a look-up reads them, with sparse gradients from now on.

    Not on an accelerator, which would have to wait for the number of rows.
    """
    words = model.encoder.word_embeddings
    if words.weight.device.type != "cpu" or any(isinstance(module, Predictor) for module in model.modules()):
        return None
    words.sparse = True
    return words.weight


def _by(rates: Rates, named: list[Named]) -> list[tuple[float, list[Named]]]:
    """The parameters by their share of the rate, the highest first."""
    shares = sorted({rates(name) for name, _ in named}, reverse=True)
    return [(share, [one for one in named if rates(one[0]) == share]) for share in shares]


def _trained(model: nn.Module) -> list[Named]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _stacks(model: Model) -> dict[str, int]:
    """How many matrices a parameter holds, by its own name, where it is several."""
    return {
        own: number
        for own, name in model.hf_names().items()
        for ending, number in model.encoder.stacked.items()
        if name.endswith(ending)
    }


def _held(optimizer: AnyOptimizer) -> dict[str, tuple[torch.optim.Optimizer, Tensor]]:
    """What is optimized, by name, and by which part."""
    return {
        name: (part, parameter)
        for part in (optimizer.parts if isinstance(optimizer, Several) else [optimizer])
        for group in part.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }


def _on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step counter lies with the parameters, as fused optimizers have it."""
    return bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))

"""The optimizer: which parameters decay, and its state as plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


def adamw(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019) with BERT's betas; biases and norms do not decay, frozen ones stay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as `parameter/quantity` -> tensor, for safetensors."""
    return {
        f"{name}/{quantity}": value.contiguous()
        for name, parameter in model.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts back what `state_tensors` took.

    Raises CheckpointError when a tensor belongs to no parameter of the model.
    """
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        if name not in parameters:
            raise CheckpointError(f"the optimizer's state holds {name!r}, which the model does not have")
        device = torch.device("cpu") if quantity == "step" and not _on_device(optimizer) else parameters[name].device
        optimizer.state[parameters[name]][quantity] = value.to(device)


def _on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step counter lies with the parameters, as fused optimizers have it."""
    return bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))

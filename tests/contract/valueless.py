"""A training step of every task on an accelerator whose tensors have no values: what has to wait for one fails.

Run by itself, since a process keeps such a device for good. Prints a line a task: its name, and what was waited for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration as backends

sys.path.insert(0, str(Path(__file__).parents[1]))

from each_task import SIZE, TASKS, group_for, labelled, task_called
from samples import batch_of, corpus, examples, model, vocabulary
from transformers import ModernBertConfig

from bertwright.encoders.base import Encoder
from bertwright.flow import Batch
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.optim import muon

NAME = "valueless"
PLACE = f"{NAME}:0"


class Accelerator(backends._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class Copied(Exception): ...


class NoCopies(TorchFunctionMode):
    """Raises where the host would send what it has, and wait for it to be taken."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [x.device.type for x in args if isinstance(x, Tensor)]
        made = func(*args, **(kwargs or {}))
        there = isinstance(made, Tensor) and made.device.type == NAME
        if there and (func in (torch.tensor, torch.as_tensor) or (given and NAME not in given)):
            raise Copied(func.__name__)
        return made


def emptied(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=PLACE)


def moved(whole: Model) -> Model:
    """The model with parameters and buffers there; what two modules share, they go on sharing."""
    known: dict[int, nn.Parameter] = {}
    for module in whole.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, known.setdefault(id(parameter), nn.Parameter(emptied(parameter))))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, emptied(buffer))
    return whole


def waited(whole: Model, batch: Batch) -> str:
    """What a step had to wait for, as the loop does it but for the norm of the gradient."""
    try:
        with FakeTensorMode():
            there, optimizer = batch.mapped(emptied), muon(moved(whole), lr=1e-3, matrix_lr=0.02, weight_decay=0.1)
            with NoCopies():
                loss = whole(there)
                torch.stack([*loss.totals.values()]).sum().backward()
                optimizer.step()
                whole.learned(loss.measures)
    except (DataDependentOutputException, DynamicOutputShapeException, Copied) as found:
        return str(found)
    return "nothing"


def modern() -> tuple[Model, Batch]:
    """Masked LM on a ModernBERT whose windows are shorter than the sequences."""
    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        local_attention=8,
        global_attn_every_n_layers=2,
        **{f"{role}_token_id": 0 for role in ("pad", "bos", "eos", "cls", "sep")},
    )
    batch = batch_of(MaskedLM(), examples(MaskedLM(), corpus()), vocabulary(), 1)
    return Model(Encoder.from_config(config, seed=1), MaskedLM()), batch


if __name__ == "__main__":
    steps = {name: (model(task_called(name), SIZE, dropout=0.1), labelled(name, group_for(name))) for name in TASKS}
    steps["modern"] = modern()
    backends._setup_privateuseone_for_python_backend(NAME, backend_module=Accelerator())
    for name, step in steps.items():
        print(f"{name}: {waited(*step)}")

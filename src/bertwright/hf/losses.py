"""How a model's loss becomes sums with their counts, so that a step's gradient does not depend on how it is split.

1. A model with `losses(**inputs)` and `counts(**inputs)`: its own, unless a person put something into its forward pass.
2. transformers' models whose loss is a sum of means over different predictions (masked LM and next sentence; start and
   end of an answer): each part again from its logits, summed over its own labels.
3. Any other: its mean loss times the number of labels that are not -100, or of examples where there are no labels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, RunError
from ..flow import Loss
from ..sums import Sums
from .face import Face
from .inputs import Counts, Inputs

IGNORED_LABEL = -100


class Part(NamedTuple):
    """One of the means that a model's loss is a sum of."""

    label: str
    logits: str
    weight: float = 1.0


_PARTS = (
    (Part("labels", "prediction_logits"), Part("next_sentence_label", "seq_relationship_logits")),
    (Part("labels", "prediction_logits"), Part("sentence_order_label", "sop_logits")),
    (Part("start_positions", "start_logits", 0.5), Part("end_positions", "end_logits", 0.5)),
)


class Summed(nn.Module):
    """A Trainer's model as the loop sees it: `summed(inputs)` is its losses, each a sum over predictions."""

    def __init__(self, trainer: Face) -> None:
        super().__init__()
        self.model = trainer.model
        # A module must not own its trainer, or the trainer's other modules would be its own.
        self._trainer = (trainer,)

    def forward(self, inputs: Inputs) -> Loss:
        return self._trainer[0]._loss_in_training(self.model, inputs)

    def learned(self, sums: Sums) -> None: ...


def loss_of(sums: Mapping[str, Tensor]) -> float:
    """The loss that summed measures come to: each part's sum by its own count."""
    parts = [name.removesuffix(".sum") for name in sums if name.endswith(".sum")]
    return sum(float(sums[f"{name}.sum"]) / max(1.0, float(sums[f"{name}.count"])) for name in parts)


def with_measures(totals: Mapping[str, Tensor], counts: Counts) -> Loss:
    """The losses, with what is logged of them."""
    measures: dict[str, Tensor] = {}
    for name, total in totals.items():
        measures[f"{name}.sum"] = total.detach()
        measures[f"{name}.count"] = torch.tensor(float(counts[name]), device=total.device)
    return Loss(totals, measures)


def sums_itself(model: nn.Module) -> bool:
    """Whether a model says by itself what its losses are summed over, and that is what its forward pass gives.

    It is not where a person wrote another `forward` over one of this package's, or hooked into it.
    """
    if not all(callable(getattr(model, name, None)) for name in ("losses", "counts")):
        return False
    if model._forward_hooks or model._forward_pre_hooks:
        return False
    makers = {getattr(model, name).__module__.partition(".")[0] for name in ("losses", "forward")}
    return len(makers) == 1


def parts_of(model: nn.Module, names: set[str]) -> tuple[Part, ...]:
    """The means that the loss of transformers' `model` is a sum of, where inputs of such names give several."""
    if not type(model).__module__.startswith("transformers."):
        return ()
    taken = inspect.signature(model.forward).parameters
    return next((parts for parts in _PARTS if {p.label for p in parts} <= names & set(taken)), ())


def count_parts(parts: tuple[Part, ...], values: Mapping[str, Any]) -> Counts:
    """How many predictions each part averages over."""
    return {part.label: int((_target(part, values) != IGNORED_LABEL).sum()) for part in parts}


def sum_parts(parts: tuple[Part, ...], values: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
    """Each part's summed loss, from the logits; the vocabulary's only where there is a label."""
    totals = {}
    for part in parts:
        target = _target(part, values).reshape(-1)
        asked = target != IGNORED_LABEL
        logits = outputs[part.logits]
        logits = logits.reshape(len(target), -1)[asked]
        totals[part.label] = part.weight * F.cross_entropy(logits, target[asked], reduction="sum")
    return totals


def _target(part: Part, values: Mapping[str, Any]) -> Tensor:
    """The labels of a part; a position of an answer outside the sequence is none, as in transformers."""
    labels = values[part.label]
    if not part.label.endswith("_positions"):
        return labels
    labels = labels.reshape(len(labels)).clamp(min=0)
    return torch.where(labels < values["input_ids"].shape[-1], labels, IGNORED_LABEL)


def count_labels(values: Mapping[str, Any], label_names: list[str], shifted: bool) -> int:
    """How many predictions a mean loss is over: labels that are not -100, all of real numbers, else examples."""
    labels = next((values[name] for name in label_names if isinstance(values.get(name), Tensor)), None)
    if labels is None:
        first = next((value for value in values.values() if isinstance(value, Tensor) and value.ndim), None)
        return 1 if first is None else len(first)
    if labels.is_floating_point():
        return labels.numel()
    return int(((labels[..., 1:] if shifted else labels) != IGNORED_LABEL).sum())


def loss_in(outputs: Any, model: nn.Module, names: list[str], label_names: list[str]) -> Tensor:
    """The loss among a model's outputs. Raises RunError when there is none."""
    if isinstance(outputs, Mapping):
        loss, found = outputs.get("loss"), list(outputs)
    else:
        loss, found = (outputs[0], ["a tuple"]) if isinstance(outputs, tuple) else (outputs, [type(outputs).__name__])
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise RunError(
            f"{type(model).__name__} returned no loss but {', '.join(found)} for a batch of {', '.join(names)}; it "
            f"learns from {' and '.join(label_names) or 'labels'}: have the dataset or the data_collator give that, or "
            "override compute_loss"
        )
    return loss.reshape(())


def refuse_labels(model: nn.Module, values: Mapping[str, Any]) -> None:
    """Raises InputError for integer labels that the model has no class for."""
    config, labels = getattr(model, "config", None), values.get("labels")
    if config is None or not isinstance(labels, Tensor) or labels.is_floating_point() or not labels.numel():
        return
    kind = type(model).__name__
    if kind.endswith(("ForSequenceClassification", "ForTokenClassification")):
        field = "num_labels"
        if config.num_labels == 1 or config.problem_type in ("regression", "multi_label_classification"):
            return
    elif kind.endswith(("ForMaskedLM", "ForPreTraining")) and "Electra" not in kind:
        field = "vocab_size"
    else:
        return
    classes = getattr(config, field)
    wrong = labels[((labels < 0) & (labels != IGNORED_LABEL)) | (labels >= classes)]
    if len(wrong):
        raise InputError(
            f"a batch has the label {int(wrong[0])}, and {kind} has classes 0 to {classes - 1} (its config's {field} "
            f"is {classes}); give the model {field}={max(int(wrong.max()) + 1, classes)} or mend the labels "
            f"({IGNORED_LABEL} is ignored)"
        )

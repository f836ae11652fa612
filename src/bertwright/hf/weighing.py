"""A Trainer's loss: how many predictions a micro-batch has, and which of the ways of `losses` leads to its sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..flow import Loss
from . import columns
from .face import Face
from .inputs import Counts, Inputs, mapped
from .losses import count_labels, count_parts, loss_in, parts_of, refuse_labels, sum_parts, sums_itself, with_measures
from .overridden import told


class Weighing(Face):
    """The part of a Trainer that stands between its `compute_loss` and the loop."""

    _share = 1.0
    """The share of its step's predictions that a micro-batch has."""
    _tokens = 0
    """Tokens trained on since they were last asked for."""

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of a micro-batch, and with `return_outputs` the model's outputs. Override it for another loss.

        `num_items_in_batch` is how many predictions the micro-batch has.
        """
        names = list(inputs)
        special = self.label_smoother is not None or self.compute_loss_func is not None
        labels = inputs.get("labels") if special else None
        if labels is not None and self.compute_loss_func is not None:
            inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs)
        if labels is not None and self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        elif labels is not None and self.label_smoother is not None:
            loss = self.label_smoother(outputs, labels, shift_labels=self._shifts)
        else:
            loss = loss_in(outputs, model, names, self.label_names)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Adds the gradient of a micro-batch and returns its mean loss. Override it to do something around that."""
        loss = self._mean_loss(model, inputs, num_items_in_batch)
        (loss * self._share).backward()
        return loss.detach()

    @property
    def _has_own_loss(self) -> bool:
        """Whether a person says what the loss is, and not the model."""
        special = self.label_smoother is not None or self.compute_loss_func is not None
        return special or type(self).compute_loss is not Weighing.compute_loss

    @property
    def _has_own_step(self) -> bool:
        return type(self).training_step is not Weighing.training_step

    @property
    def _shifts(self) -> bool:
        """Whether the model predicts the next token, and so has one label less a sequence."""
        return getattr(self.model, "loss_type", None) == "ForCausalLM"

    def _counts(self, values: Mapping[str, Any]) -> Counts:
        """How many predictions each loss of a micro-batch is over; refuses what the model cannot take."""
        if not self._has_own_loss:
            columns.refuse_unknown(self.model, list(values))
            refuse_labels(self.model, values)
            if sums_itself(self.model):
                return dict(self.model.counts(**values))
            if parts := parts_of(self.model, set(values)):
                return count_parts(parts, values)
        return {"loss": count_labels(values, self.label_names, self._shifts)}

    def _loss_in_training(self, model: nn.Module, inputs: Inputs) -> Loss:
        """The summed losses of a micro-batch, and what is logged of them; callbacks hear that it is begun."""
        self._tell(inputs.index)
        self._tokens += self._tokens_of(inputs)
        if self._has_own_step:
            return self._stepped(model, inputs)
        values = self._prepare_inputs(inputs.values)
        if not self._has_own_loss:
            if sums_itself(model):
                made = model.losses(**values)  # type: ignore[operator]
                return with_measures(made.totals, inputs.counts)
            if parts := parts_of(model, set(values)):
                asked = {k: v for k, v in values.items() if k not in {part.label for part in parts}}
                return with_measures(sum_parts(parts, values, model(**asked)), inputs.counts)
        ((name, count),) = inputs.counts.items()
        return with_measures({name: self._summed(model, values, count)}, inputs.counts)

    def _summed(self, model: nn.Module, values: Any, count: int) -> Tensor:
        """The mean loss times the number of predictions; nothing where there is none, whose mean is no number."""
        if count == 0:
            return next(p for p in model.parameters() if p.requires_grad).sum() * 0.0
        return self._mean_loss(model, values, count) * count

    def _mean_loss(self, model: nn.Module, values: Any, count: Any) -> Tensor:
        """`compute_loss`, also where a subclass wrote it before it was told the count."""
        return told(self.compute_loss, model, dict(values), return_outputs=False, num_items_in_batch=count)

    def _stepped(self, model: nn.Module, inputs: Inputs) -> Loss:
        """What a subclass' `training_step` did, which has added the gradient itself."""
        ((name, count),) = [next(iter(inputs.counts.items()))]
        self._share = count / max(1, inputs.whole[name])
        loss = told(self.training_step, model, dict(inputs.values), count)
        done = torch.zeros((), device=loss.device, requires_grad=True)
        return with_measures(
            {n: done + (loss.detach() * count if n == name else 0.0) for n in inputs.counts}, inputs.counts
        )

    def _loss_in_evaluation(self, model: nn.Module, values: Any) -> tuple[Tensor, Any]:
        """The mean loss of a batch and the model's outputs; keeps the sums that the mean was made of, where known."""
        counts = self._counts(values)
        count = next(iter(counts.values()))
        loss, outputs = told(self.compute_loss, model, dict(values), return_outputs=True, num_items_in_batch=count)
        if not self._has_own_loss and len(counts) > 1:
            if sums_itself(model):
                totals: Mapping[str, Tensor] = model.losses(**values).totals  # type: ignore[operator]
            else:
                totals = sum_parts(parts_of(model, set(values)), values, outputs)
            self._parts = with_measures(totals, counts).measures
        return loss, outputs

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        """The inputs on the device."""
        return dict(mapped(inputs, lambda x: x.to(self.args.device, non_blocking=True)))

    def _can_return_loss(self, inputs: Mapping[str, Any]) -> bool:
        if any(inputs.get(name) is not None for name in columns.labels_said(self.model)):
            return True
        return (not self.label_names and not hasattr(self.model, "config")) or bool(inputs.get("return_loss"))

    def _tokens_of(self, inputs: Inputs) -> int:
        mask = inputs.values.get("attention_mask")
        if self.args.include_num_input_tokens_seen == "non_padding" and isinstance(mask, Tensor):
            return int(mask.sum())
        return inputs.tokens

    def _take_tokens(self) -> int:
        taken, self._tokens = self._tokens, 0
        return taken

    def _tell(self, index: int) -> None:
        handler = self.callback_handler
        tell = handler.on_substep_end if index else handler.on_step_begin
        self.control = tell(self.args, self.state, self.control)

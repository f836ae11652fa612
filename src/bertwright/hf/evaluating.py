"""Going over a dataset once without training: predictions, labels and metrics as transformers returns them.

The loss is the mean over all predictions, whatever the size of a batch; transformers 5.23 averages the batches' means.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_pt_utils import EvalLoopContainer, find_batch_size
from transformers.trainer_utils import EvalLoopOutput, denumpify_detensorize

from ..sums import Sums, add
from .face import Face
from .inputs import mapped
from .loading import length_of
from .losses import loss_of, sums_itself, with_measures


class Collected:
    """What an evaluation keeps of every batch."""

    def __init__(self, whole: bool) -> None:
        self.losses = EvalLoopContainer(whole, padding_index=-100)
        self.predictions = EvalLoopContainer(whole, padding_index=-100)
        self.labels = EvalLoopContainer(whole, padding_index=-100)
        self.inputs = EvalLoopContainer(whole, padding_index=-100)

    def add(self, **found: Any) -> None:
        for name, value in found.items():
            if value is not None:
                getattr(self, name).add(mapped(value, lambda x: x.detach()))

    def to_cpu(self) -> None:
        for kept in vars(self).values():
            kept.to_cpu_and_numpy()


def evaluate_over(
    trainer: Face,
    batches: DataLoader[Any],
    loss_only: bool,
    ignore_keys: list[str] | None,
    prefix: str,
    keeps: bool,
) -> EvalLoopOutput:
    """`Trainer.evaluation_loop`; `keeps`: what is predicted is wanted also where metrics are made batch by batch."""
    args, model = trainer.args, trainer.model
    model.eval()
    trainer.callback_handler.eval_dataloader = batches
    collected, sums, seen = Collected(args.eval_do_concat_batches), Sums(), 0
    metrics: dict[str, Any] = {}
    last = (length_of(batches) or 0) - 1
    for number, inputs in enumerate(batches):
        size = find_batch_size(inputs) or 0
        seen += size
        found, measures = _one(trainer, inputs, loss_only, ignore_keys)
        sums = add([sums, measures])
        if args.batch_eval_metrics and trainer.compute_metrics is not None and found["predictions"] is not None:
            metrics = trainer.compute_metrics(_prediction(args, **found), compute_result=number == last)
            if keeps:
                collected.add(**found)
        else:
            collected.add(**found)
        if (number + 1) % (args.eval_accumulation_steps or number + 2) == 0:
            collected.to_cpu()
        trainer.control = trainer.callback_handler.on_prediction_step(args, trainer.state, trainer.control)
    whole: dict[str, Any] = {name: kept.get_arrays() for name, kept in vars(collected).items()}
    asked = whole["predictions"] is not None and whole["labels"] is not None
    if trainer.compute_metrics is not None and asked and not args.batch_eval_metrics:
        metrics = trainer.compute_metrics(_prediction(args, **whole))
    metrics = {k if k.startswith(f"{prefix}_") else f"{prefix}_{k}": v for k, v in _numbers(metrics).items()}
    if sums:
        metrics = {f"{prefix}_loss": loss_of(sums)} | metrics
    predictions: Any = whole["predictions"]
    return EvalLoopOutput(predictions, whole["labels"], metrics, seen)


def _one(trainer: Face, inputs: Any, loss_only: bool, ignore_keys: list[str] | None) -> tuple[dict[str, Any], Sums]:
    """What a batch gives: what is collected of it, and its summed losses."""
    args = trainer.args
    loss, logits, labels = trainer.prediction_step(trainer.model, inputs, loss_only, ignore_keys=ignore_keys)
    parts, trainer._parts = trainer._parts, None
    if parts is None and loss is not None:
        name, count = next(iter(trainer._counts(inputs).items()))
        # The mean of no predictions is no number.
        total = loss.detach() * count if count else torch.zeros(())
        parts = with_measures({name: total}, {name: count}).measures
    if logits is not None and trainer.preprocess_logits_for_metrics is not None:
        logits = trainer.preprocess_logits_for_metrics(logits, labels)
    size = find_batch_size(inputs) or 1
    main = inputs.get(getattr(trainer.model, "main_input_name", "input_ids"))
    found = {
        "losses": None if loss is None else loss.detach().repeat(size),
        "predictions": logits,
        "labels": labels,
        "inputs": main if "inputs" in args.include_for_metrics else None,
    }
    return found, {k: v.cpu() for k, v in (parts or {}).items()}


def _prediction(args: Any, *, losses: Any, predictions: Any, labels: Any, inputs: Any) -> EvalPrediction:
    return EvalPrediction(
        predictions=predictions,
        label_ids=labels,
        inputs=inputs,
        losses=losses if "loss" in args.include_for_metrics else None,
    )


def _numbers(metrics: Any) -> dict[str, Any]:
    plain: Any = denumpify_detensorize(metrics)
    return plain or {}


@torch.no_grad()
def predicted(trainer: Face, model: Any, inputs: Any, loss_only: bool, ignore_keys: list[str] | None) -> Any:
    """`Trainer.prediction_step`: (loss, logits, labels), the latter two None where only the loss is asked for."""
    config = getattr(model, "config", None)
    ignored = getattr(config, "keys_to_ignore_at_inference", []) if ignore_keys is None else ignore_keys
    inputs = trainer._prepare_inputs(inputs)
    named = [inputs[name] for name in trainer.label_names if inputs.get(name) is not None]
    has_labels = bool(named) and (len(named) == len(trainer.label_names) or sums_itself(model))
    with trainer.compute_loss_context_manager():
        if has_labels or trainer._can_return_loss(inputs):
            loss, outputs = trainer._loss_in_evaluation(model, inputs)
        else:
            loss, outputs = None, model(**inputs)
    if loss_only:
        return loss, None, None
    items = outputs.items() if isinstance(outputs, dict) else enumerate(outputs[1:] if has_labels else outputs)
    logits = tuple(mapped(v, _in_fp32) for k, v in items if k not in [*ignored, "loss"] and v is not None)
    labels = tuple(named) if has_labels else None
    return loss, logits[0] if len(logits) == 1 else logits or None, labels[0] if labels and len(labels) == 1 else labels


def _in_fp32(x: torch.Tensor) -> torch.Tensor:
    return x.detach().float() if x.dtype in (torch.bfloat16, torch.float16) else x.detach()

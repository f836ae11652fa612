"""The line at the start of a run: where the model's weights come from, and so which kind of training it is."""

from __future__ import annotations

from torch import nn

_PRETRAINING = ("ForPreTraining", "ForMaskedLM", "ForNextSentencePrediction", "LMHeadModel", "ForCausalLM")


def sentence(model: nn.Module) -> str:
    """Says what the run is, of a model made from a config or by `from_pretrained`, with such a head."""
    source = str(getattr(model, "name_or_path", "") or getattr(getattr(model, "config", None), "_name_or_path", ""))
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters) - trained
    weights = f"loaded from {source}" if source else "drawn at random"
    rest = f", {frozen:,} are frozen" if frozen else ""
    return f"{type(model).__name__}: {trained:,} weights train{rest}, {weights}. This is {kind(model, bool(source))}."


def kind(model: nn.Module, loaded: bool) -> str:
    """What people call the training of a model with such a head, from loaded weights or not."""
    if type(model).__name__.endswith(_PRETRAINING):
        return "continued pretraining" if loaded else "pretraining from scratch"
    return "fine-tuning" if loaded else "training a task from random weights, without pretraining"

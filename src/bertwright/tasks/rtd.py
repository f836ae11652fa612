"""Replaced-token detection: a generator fills in masks, and the encoder says which tokens are not the original ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..encoders.electra import Electra, Generator, narrowed
from ..encoders.naming import called
from ..errors import RecipeError
from ..flow import Batch, Document, Example, Loss
from ..nn.rounding import in_even_rows
from ..nn.sampling import sampled
from ..seeds import Draws
from ..sums import ratio
from .base import Companion, Task
from .mlm import MaskedLM

GENERATOR = "generator"
"""Its folder in a checkpoint."""
_GENERATED = f"rtd.{GENERATOR}"


@dataclass(frozen=True, kw_only=True)
class ReplacedToken(Task):
    """ELECTRA's replaced-token detection (Clark et al., ICLR 2020).

    Of each sequence's ordinary tokens the share `rate` is chosen, and of these the share `mask` becomes [MASK]; a
    generator, as deep as the encoder and `width` times as wide, on the encoder's own embeddings, learns to fill them
    in, and what is drawn from its softmax takes their place. The encoder says of every ordinary token whether it is the
    original one, with `weight` on that loss; what the generator drew right counts as original, and no gradient goes
    through the draw. What is drawn is a function of the example's key and of the generator's weights.

    The encoder and its head are transformers' ElectraForPreTraining; the generator, as ElectraForMaskedLM, is in the
    folder `generator` of the checkpoint. Joined with another task, the encoder goes over a batch twice: the other one's
    heads see the masks.
    """

    reads = Document
    hf_class = "PreTraining"
    changes_ids = True
    arch = "electra"
    recipe = "electra"

    rate: float = 0.15
    mask: float = 0.85
    """The published code's; the paper says 1, from which the generator takes millions of tokens to learn anything."""
    width: float = 0.25
    """Of the generator's layers, their heads and their inner layers, as a share of the encoder's."""
    weight: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise RecipeError(f"rtd.rate is a share between 0 and 1, not {self.rate}")
        if not 0 <= self.mask <= 1:
            raise RecipeError(f"rtd.mask is a share from 0 to 1, not {self.mask}")
        if not 0 < self.width <= 1:
            raise RecipeError(f"rtd.width is a share above 0 and at most 1, not {self.width}")
        if not 0 < self.weight < inf:
            raise RecipeError(f"rtd.weight is a number above 0, not {self.weight}")

    def companions(self, encoder: Encoder) -> dict[str, Companion]:
        config = narrowed(encoder.config, self.width)
        return {GENERATOR: Companion(config, "ElectraForMaskedLM", f"{encoder.base_prefix}.embeddings.")}

    def judging(self) -> ReplacedToken:
        return replace(self, rate=0.15, mask=0.85)

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """As masked LM's."""
        return MaskedLM().examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Hides what the generator is to fill in. What is right for the encoder is the original id of each token."""
        filled_in = MaskedLM(rate=self.rate, mask=self.mask, random=0.0)
        masked = filled_in.label(batch, examples, rng)
        places, originals = masked.labels[filled_in.name]
        draws = rng.of_tokens("sample", examples)[places.numpy()]
        ordinary = torch.from_numpy(np.flatnonzero(~np.isin(batch.ids.numpy(), batch.vocabulary.special)))
        hidden = batch.with_ids(masked.ids).with_draws(rtd=torch.from_numpy(draws))
        return hidden.labelled(_GENERATED, places, originals).labelled(self.name, ordinary, batch.ids[ordinary])

    def head(self, encoder: Encoder) -> nn.Module:
        """The generator, and the encoder's two layers. Raises RecipeError for an encoder that is no ELECTRA."""
        if not isinstance(encoder, Electra):
            raise RecipeError(
                f"rtd learns with an ELECTRA encoder, and this is a {encoder.config.model_type}: from scratch it is "
                "--arch electra, and a checkpoint to start from has to be one"
            )
        from transformers.activations import ACT2FN  # As modules; see `encoders.activations` for its price.

        hidden = encoder.config.hidden_size
        discriminator: OrderedDict[str, nn.Module] = OrderedDict(
            dense=called(nn.Linear(hidden, hidden), "discriminator_predictions.dense"),
            activation=ACT2FN[encoder.config.hidden_act],
            output=called(nn.Linear(hidden, 1), "discriminator_predictions.dense_prediction"),
        )
        generator = Generator(narrowed(encoder.config, self.width), f"{GENERATOR}/")
        return nn.ModuleDict({GENERATOR: generator, "discriminator": nn.Sequential(discriminator)})

    def asks(self, batch: Batch) -> Batch:
        """Everything of both, on ids as they are."""
        everywhere, nothing = batch.indices, torch.zeros_like(batch.ids)
        return batch.labelled(_GENERATED, everywhere, nothing).labelled(self.name, everywhere, nothing)

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The generator's [M, V], and the encoder's [M]: above 0 it takes a token for replaced."""
        return {_GENERATED: self._words(encoder, head, batch), self.name: self._doubts(encoder, head, batch)}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        places, originals = batch.labels[_GENERATED]
        words = self._words(encoder, head, batch).float()
        generated = F.cross_entropy(words, originals, reduction="sum")
        drawn = sampled(words, batch.draws[self.name])
        seen = replace(batch, ids=batch.ids.index_copy(0, places, drawn), reads=None)
        doubts = self._doubts(encoder, head, seen).float()
        replaced = seen.ids[batch.labels[self.name].positions] != batch.labels[self.name].values
        total = F.binary_cross_entropy_with_logits(doubts, replaced.float(), reduction="sum")
        doubted = doubts > 0
        measures = {
            "rtd.generator_loss": generated.detach(),
            "rtd.generator_correct": (words.detach().argmax(-1) == originals).sum(),
            "rtd.masked": torch.ones_like(originals).sum(),
            "rtd.loss": total.detach(),
            "rtd.correct": (doubted == replaced).sum(),
            "rtd.found": (doubted & replaced).sum(),
            "rtd.doubted": doubted.sum(),
            "rtd.replaced": replaced.sum(),
            "rtd.tokens": torch.ones_like(replaced).sum(),
        }
        return Loss({_GENERATED: generated, self.name: self.weight * total}, measures)

    def _words(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Tensor:
        generator = head.get_submodule(GENERATOR)
        asked = batch.only(_GENERATED)
        return encoder.logits(generator.predictor, generator(encoder, asked)[asked.rows(_GENERATED)])  # type: ignore[arg-type]

    def _doubts(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Tensor:
        hidden = encoder(batch)[batch.rows(self.name)]
        return in_even_rows(head.get_submodule("discriminator"), hidden).squeeze(1)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """What is minimised; the generator's loss in nats a mask and its accuracy; the encoder's loss in nats a token
        and its accuracy; the accuracy of taking every token for original; the shares of what is replaced that it finds,
        and of what it finds that is replaced."""
        masked, tokens = sums["rtd.masked"], sums["rtd.tokens"]
        generated, detected = ratio(sums["rtd.generator_loss"], masked), ratio(sums["rtd.loss"], tokens)
        return {
            "rtd.loss": generated + self.weight * detected,
            "rtd.generator_loss": generated,
            "rtd.generator_accuracy": ratio(sums["rtd.generator_correct"], masked),
            "rtd.encoder_loss": detected,
            "rtd.accuracy": ratio(sums["rtd.correct"], tokens),
            "rtd.originals": ratio(tokens - sums["rtd.replaced"], tokens),
            "rtd.recall": ratio(sums["rtd.found"], sums["rtd.replaced"]),
            "rtd.precision": ratio(sums["rtd.found"], sums["rtd.doubted"]),
        }

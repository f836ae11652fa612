"""ModernBERT's classes of transformers, on this package's encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import ModernBertConfig, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from ...encoders.base import Encoder
from ...encoders.modern import Modern
from .answers import ForSequenceClassification, ForTokenClassification
from .face import Face
from .heads import Asked, Head
from .tree import plant
from .vocabulary import ForMaskedLM


class ModernBertModel(Face):
    """The encoder: `last_hidden_state` [B, L, H]. A row's tokens have to stand side by side."""

    kind = Modern
    config_class = ModernBertConfig
    base_model_prefix = "model"

    def __init__(self, config: PretrainedConfig, *, encoder: Encoder | None = None) -> None:
        super().__init__(config, encoder=encoder)
        plant(self, self.core)

    @property
    def parts(self) -> nn.Module | None:
        return None

    @property
    def tables(self) -> tuple[int | None, int]:
        return None, 1

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: None = None,
        inputs_embeds: None = None,
        **asked: Any,
    ) -> Any:
        """Both inputs are [B, L]; `asked` are `output_hidden_states`, `output_attentions` and `return_dict`."""
        wanted = Asked.of({**asked, "inputs_embeds": inputs_embeds}, self.config, f"{type(self).__name__}.forward")
        batch, grid = self.read(input_ids, attention_mask, None, position_ids)
        one = wanted.passed(self.core, batch.to(self.device), grid)
        output = BaseModelOutput(last_hidden_state=grid.back(one.hidden), **wanted.besides(one))  # type: ignore[arg-type]
        return output if wanted.return_dict else output.to_tuple()


class _ModernHead(Head):
    kind = Modern
    config_class = ModernBertConfig
    base_model_prefix = "model"

    @property
    def tables(self) -> tuple[int | None, int]:
        return None, 1

    def base(self, head: nn.Module) -> Face:
        return ModernBertModel(self.config, encoder=self.core)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: None = None,
        inputs_embeds: None = None,
        labels: Tensor | None = None,
        **asked: Any,
    ) -> Any:
        """As transformers' class of this name; `asked` are `output_hidden_states`, `output_attentions`, `return_dict`
        and `num_items_in_batch`."""
        inputs = (input_ids, attention_mask, None, position_ids)
        return self.answered(inputs, {"labels": labels}, inputs_embeds=inputs_embeds, **asked)


class ModernBertForMaskedLM(ForMaskedLM, _ModernHead): ...


class ModernBertForSequenceClassification(ForSequenceClassification, _ModernHead): ...


class ModernBertForTokenClassification(ForTokenClassification, _ModernHead): ...

"""BERT's classes of transformers, on this package's encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BertConfig, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from ...encoders.base import Encoder
from ...encoders.bert import Bert
from ...encoders.naming import hf_names
from ...nn.rounding import in_even_rows
from .answers import (
    ForMultipleChoice,
    ForNextSentencePrediction,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
)
from .face import HERE, LAW, Face
from .heads import Asked, Head
from .tree import plant
from .vocabulary import ForMaskedLM, ForPreTraining


class BertModel(Face):
    """The encoder and, where `add_pooling_layer` says so, BERT's pooler: `last_hidden_state` [B, L, H], `pooler_output`
    [B, H]. `pooler`: one that there is, which is then not drawn."""

    kind = Bert
    config_class = BertConfig
    base_model_prefix = "bert"
    pool: nn.Module | None

    def __init__(
        self,
        config: PretrainedConfig,
        add_pooling_layer: bool = True,
        *,
        encoder: Encoder | None = None,
        pooler: nn.Module | None = None,
    ) -> None:
        super().__init__(config, encoder=encoder)
        if pooler is None and add_pooling_layer:
            with HERE:
                pooler = self.core.pooler()
                self.core.draw_head(pooler, self.seed, LAW)
        vars(self)["pool"] = pooler
        plant(self, self.core)
        if pooler is not None:
            plant(self, pooler, "bert.")
        else:
            self.pooler = None

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: None = None,
        **asked: Any,
    ) -> Any:
        """All inputs are [B, L]; `asked` are `output_hidden_states`, `output_attentions` and `return_dict`."""
        wanted = Asked.of({**asked, "inputs_embeds": inputs_embeds}, self.config, f"{type(self).__name__}.forward")
        batch, grid = self.read(input_ids, attention_mask, token_type_ids, position_ids)
        batch = batch.to(self.device)
        one = wanted.passed(self.core, batch, grid)
        pooled = None if self.pool is None else in_even_rows(self.pool, one.hidden[batch.firsts])
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=grid.back(one.hidden),  # type: ignore[arg-type]
            pooler_output=pooled,  # type: ignore[arg-type]
            **wanted.besides(one),
        )
        return output if wanted.return_dict else output.to_tuple()

    @property
    def parts(self) -> nn.Module | None:
        return self.pool

    @property
    def tables(self) -> tuple[int | None, int]:
        return _tables(self.core)


class _BertHead(Head):
    kind = Bert
    config_class = BertConfig
    base_model_prefix = "bert"

    @property
    def tables(self) -> tuple[int | None, int]:
        return _tables(self.core)

    def base(self, head: nn.Module) -> Face:
        pooler = next((part for name, part in head.named_modules() if name.split(".")[-1] == "pooler"), None)
        kept = pooler if pooler is not None and hf_names(pooler) else None
        return BertModel(self.config, add_pooling_layer=False, encoder=self.core, pooler=kept)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: None = None,
        labels: Tensor | None = None,
        **asked: Any,
    ) -> Any:
        """As transformers' class of this name; `asked` are `output_hidden_states`, `output_attentions`, `return_dict`
        and `num_items_in_batch`."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids)
        return self.answered(inputs, {"labels": labels}, inputs_embeds=inputs_embeds, **asked)


class BertForMaskedLM(ForMaskedLM, _BertHead):
    def forward(  # type: ignore[override]  # in the order of transformers
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: None = None,
        encoder_hidden_states: None = None,
        encoder_attention_mask: None = None,
        labels: Tensor | None = None,
        **asked: Any,
    ) -> Any:
        """As the others, with what transformers' class takes of a decoder, which has to be None."""
        refused = {
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_attention_mask": encoder_attention_mask,
        }
        return super().forward(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, labels, **asked, **refused
        )


class BertForNextSentencePrediction(ForNextSentencePrediction, _BertHead): ...


class BertForSequenceClassification(ForSequenceClassification, _BertHead): ...


class BertForTokenClassification(ForTokenClassification, _BertHead): ...


class BertForMultipleChoice(ForMultipleChoice, _BertHead): ...


class BertForPreTraining(ForPreTraining, _BertHead):
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        **asked: Any,
    ) -> Any:
        """As `BertForMaskedLM`, with `next_sentence_label` [B]: 0 is next, 1 is not."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids)
        labels_of = {"labels": labels, "next_sentence_label": next_sentence_label}
        return self.answered(inputs, labels_of, inputs_embeds=inputs_embeds, **asked)


class BertForQuestionAnswering(ForQuestionAnswering, _BertHead):
    def forward(  # type: ignore[override]  # its labels are called otherwise
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **asked: Any,
    ) -> Any:
        """As the others, with the columns of an answer's first and last token [B]."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids)
        ends = {"start_positions": start_positions, "end_positions": end_positions}
        return self.answered(inputs, ends, inputs_embeds=inputs_embeds, **asked)


def _tables(encoder: Encoder) -> tuple[int, int]:
    assert isinstance(encoder, Bert)
    return encoder.places.num_embeddings, encoder.segments.num_embeddings

"""Tiny models of transformers and data that they learn from, for the tests of the Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification, PreTrainedModel

from bertwright.hf.arguments import TrainingArguments
from bertwright.hf.trainer import Trainer

torch.set_num_threads(1)
VOCABULARY, LENGTH = 40, 10


def config(**more: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **sizes, **more)


def model(kind: type[PreTrainedModel] = BertForMaskedLM, dropout: float = 0.0, **more: Any) -> Any:
    torch.manual_seed(0)
    return kind(config(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **more))


class Examples(Dataset[Any]):
    """Rows of ids with labels for `kind`; the first rows have many masked labels, the last few or none."""

    def __init__(self, kind: type[PreTrainedModel] = BertForMaskedLM, size: int = 16) -> None:
        draw = torch.Generator().manual_seed(1)
        self.rows = []
        for row in range(size):
            ids = torch.randint(5, VOCABULARY, (LENGTH,), generator=draw)
            labels = torch.where(torch.arange(LENGTH) < (LENGTH * (size - 1 - row)) // size, ids, -100)
            self.rows.append({"input_ids": ids, **self._labels(kind, labels, row)})

    @staticmethod
    def _labels(kind: type[PreTrainedModel], labels: Tensor, row: int) -> dict[str, Tensor]:
        if kind is BertForPreTraining:
            return {"labels": labels, "next_sentence_label": torch.tensor(row % 2)}
        if kind is BertForSequenceClassification:
            return {"labels": torch.tensor(row % 2)}
        if kind is BertForMaskedLM:
            return {"labels": labels}
        return {"start_positions": torch.tensor(row % 12), "end_positions": torch.tensor(3)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.rows[index]


def hide(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A collator that draws its masks anew each time."""
    ids = torch.stack([example["input_ids"] for example in examples])
    hidden = torch.rand(ids.shape) < 0.3
    return {"input_ids": torch.where(hidden, 4, ids), "labels": torch.where(hidden, ids, -100)}


def arguments(home: Path, **more: Any) -> TrainingArguments:
    settings: dict[str, Any] = {"disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "use_cpu": True}
    return TrainingArguments(str(home), **settings | {"learning_rate": 1e-2, "per_device_train_batch_size": 4} | more)


def trainer(home: Path, whole: Any = None, data: Any = None, kind: type[Trainer] = Trainer, **more: Any) -> Trainer:
    """A Trainer with arguments and what else it takes, by name."""
    own = {"data_collator", "eval_dataset", "callbacks", "compute_metrics", "model_init"}
    own |= {"optimizers", "optimizer_cls_and_kwargs"}
    passed = {name: more.pop(name) for name in own & more.keys()}
    whole = model() if whole is None and "model_init" not in passed else whole
    data = Examples() if data is None else data
    return kind(model=whole, args=arguments(home, **more), train_dataset=data, **passed)


def weights(whole: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in whole.state_dict().items()}


def losses(one: Any) -> list[float]:
    return [line["loss"] for line in one.state.log_history if "loss" in line]

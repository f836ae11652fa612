"""Raw text to a trained BERT encoder; pretraining and fine-tuning are the same run.

Names load on first use, so that `import bertwright` and `bertwright --help` cost no PyTorch. Whatever transformers has
beyond the names listed here is handed on as it is, so that an import line written for it needs no other change.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import (
        BertConfig,
        DataCollatorWithPadding,
        EarlyStoppingCallback,
        EvalPrediction,
        ModernBertConfig,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        default_data_collator,
        set_seed,
    )
    from transformers import BertTokenizer as BertTokenizerFast

    from . import tasks
    from .data.store import TokenStore
    from .encoders.base import Encoder
    from .errors import BertwrightError
    from .flow import Batch
    from .hf.arguments import TrainingArguments
    from .hf.collators import DataCollatorForLanguageModeling, DataCollatorForSOP, DataCollatorForWholeWordMask
    from .hf.datasets import LineByLineTextDataset, TextDataset
    from .hf.models import (
        BertForMaskedLM,
        BertForMultipleChoice,
        BertForNextSentencePrediction,
        BertForPreTraining,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertModel,
        ModernBertForMaskedLM,
        ModernBertForSequenceClassification,
        ModernBertForTokenClassification,
        ModernBertModel,
    )
    from .hf.pair_collator import DataCollatorForNextSentencePrediction
    from .hf.pair_datasets import (
        LineByLineWithSOPTextDataset,
        TextDatasetForNextSentencePrediction,
        TextDatasetForSameSentencePrediction,
    )
    from .hf.trainer import Trainer
    from .tasks.model import Model

__version__ = "0.1.0"

_HOMES = {
    "Batch": "bertwright.flow",
    "BertConfig": "transformers",
    "BertForMaskedLM": "bertwright.hf.models",
    "BertForMultipleChoice": "bertwright.hf.models",
    "BertForNextSentencePrediction": "bertwright.hf.models",
    "BertForPreTraining": "bertwright.hf.models",
    "BertForQuestionAnswering": "bertwright.hf.models",
    "BertForSequenceClassification": "bertwright.hf.models",
    "BertForTokenClassification": "bertwright.hf.models",
    "BertModel": "bertwright.hf.models",
    "BertTokenizerFast": "transformers",
    "BertwrightError": "bertwright.errors",
    "DataCollatorForLanguageModeling": "bertwright.hf.collators",
    "DataCollatorForNextSentencePrediction": "bertwright.hf.pair_collator",
    "DataCollatorForSOP": "bertwright.hf.collators",
    "DataCollatorForWholeWordMask": "bertwright.hf.collators",
    "DataCollatorWithPadding": "transformers",
    "EarlyStoppingCallback": "transformers",
    "Encoder": "bertwright.encoders.base",
    "EvalPrediction": "transformers",
    "LineByLineTextDataset": "bertwright.hf.datasets",
    "LineByLineWithSOPTextDataset": "bertwright.hf.pair_datasets",
    "Model": "bertwright.tasks.model",
    "ModernBertConfig": "transformers",
    "ModernBertForMaskedLM": "bertwright.hf.models",
    "ModernBertForSequenceClassification": "bertwright.hf.models",
    "ModernBertForTokenClassification": "bertwright.hf.models",
    "ModernBertModel": "bertwright.hf.models",
    "TextDataset": "bertwright.hf.datasets",
    "TextDatasetForNextSentencePrediction": "bertwright.hf.pair_datasets",
    "TextDatasetForSameSentencePrediction": "bertwright.hf.pair_datasets",
    "TokenStore": "bertwright.data.store",
    "Trainer": "bertwright.hf.trainer",
    "TrainerCallback": "transformers",
    "TrainerControl": "transformers",
    "TrainerState": "transformers",
    "TrainingArguments": "bertwright.hf.arguments",
    "default_data_collator": "transformers",
    "set_seed": "transformers",
}

__all__ = [
    "Batch",
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "BertTokenizerFast",
    "BertwrightError",
    "DataCollatorForLanguageModeling",
    "DataCollatorForNextSentencePrediction",
    "DataCollatorForSOP",
    "DataCollatorForWholeWordMask",
    "DataCollatorWithPadding",
    "EarlyStoppingCallback",
    "Encoder",
    "EvalPrediction",
    "LineByLineTextDataset",
    "LineByLineWithSOPTextDataset",
    "Model",
    "ModernBertConfig",
    "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
    "ModernBertModel",
    "TextDataset",
    "TextDatasetForNextSentencePrediction",
    "TextDatasetForSameSentencePrediction",
    "TokenStore",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "__version__",
    "default_data_collator",
    "set_seed",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module("bertwright.tasks")
    if name.startswith("_"):  # What interpreters and tools ask of any module.
        raise AttributeError(f"module 'bertwright' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "transformers")), name, None)
    if value is None or isinstance(value, ModuleType):  # A folder of ours must not come to mean one of theirs.
        raise AttributeError(f"neither bertwright nor transformers has the name {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Raw text to a trained BERT encoder; pretraining and fine-tuning are the same run.

Names load on first use, so that `import bertwright` and `bertwright --help` cost no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import (
        BertConfig,
        EarlyStoppingCallback,
        EvalPrediction,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        set_seed,
    )
    from transformers import BertTokenizer as BertTokenizerFast

    from . import tasks
    from .data.store import TokenStore
    from .encoders.base import Encoder
    from .errors import BertwrightError
    from .flow import Batch
    from .hf.arguments import TrainingArguments
    from .hf.trainer import Trainer
    from .tasks.model import Model

__version__ = "0.1.0"

_HOMES = {
    "Batch": "bertwright.flow",
    "BertConfig": "transformers",
    "BertTokenizerFast": "transformers",
    "BertwrightError": "bertwright.errors",
    "EarlyStoppingCallback": "transformers",
    "Encoder": "bertwright.encoders.base",
    "EvalPrediction": "transformers",
    "Model": "bertwright.tasks.model",
    "TokenStore": "bertwright.data.store",
    "Trainer": "bertwright.hf.trainer",
    "TrainerCallback": "transformers",
    "TrainerControl": "transformers",
    "TrainerState": "transformers",
    "TrainingArguments": "bertwright.hf.arguments",
    "set_seed": "transformers",
}

__all__ = [
    "Batch",
    "BertConfig",
    "BertTokenizerFast",
    "BertwrightError",
    "EarlyStoppingCallback",
    "Encoder",
    "EvalPrediction",
    "Model",
    "TokenStore",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "__version__",
    "set_seed",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module("bertwright.tasks")
    if name not in _HOMES:
        raise AttributeError(f"module 'bertwright' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What all contestants train: the text, the architecture and the settings that both sides have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from ...encoders.base import Encoder
from ...encoders.naming import FOLDER
from ...encoders.sizes import size_of
from ...errors import RecipeError
from ...flow import Vocabulary
from ...named import find
from ...tasks.base import Task
from ...tasks.joint import Joint
from ...tasks.mlm import MaskedLM
from ..choose import check, task_of, with_defaults
from ..shipped import laid_over, tables_of
from ..spec import Recipe


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A text and an encoder to train on it with masked LM."""

    store: str
    arch: str = "bert"
    size: str = "mini"
    length: int = 128
    batch_size: int = 64
    """bertwright's; the others have their own."""
    objective: str = "mlm"
    """bertwright's: `mlm`, or a sum with it; the others always train masked LM."""
    dropout: float = 0.0
    """Of both sides."""
    seed: int = 1

    @property
    def task(self) -> Task:
        return task_of(self.objective, {})

    def recipe(self, steps: int, name: str | None = None) -> Recipe:
        """A run of ours of that many steps, with its defaults filled in, by the shipped recipe `name` or none."""
        given = {
            "out": "bench",
            "task": self.objective,
            "seed": self.seed,
            "data": {"store": self.store, "length": self.length},
            "encoder": {"arch": self.arch, "size": self.size},
            "train": {"steps": steps, "batch_size": self.batch_size, "dropout": self.dropout},
        }
        asked = Recipe.of(laid_over(tables_of(name) if name else {}, given))
        return with_defaults(asked, task_of(asked.task, asked.tasks), size_of(self.size).hidden)

    def config(self, vocabulary: Vocabulary) -> PretrainedConfig:
        """The encoder's config, as transformers has it, with the dropout set."""
        kind = find(FOLDER, self.arch, Encoder)
        config = kind.sized(size_of(self.size), vocabulary.size)
        for name, role in kind.token_fields.items():
            setattr(config, name, getattr(vocabulary, role))
        for name in list(vars(config)):
            if name.endswith(("_dropout", "_dropout_prob")) and name != "classifier_dropout":
                setattr(config, name, self.dropout)
        return config

    def shape(self, vocabulary: Vocabulary) -> Encoder:
        """The encoder without memory for its weights."""
        return _without_memory(find(FOLDER, self.arch, Encoder), self.config(vocabulary))

    def check(self) -> None:
        """Raises RecipeError for settings that are out of range or do not go together; the store may be made later."""
        recipe = self.recipe(1)
        check(recipe)
        parts = self.task.parts if isinstance(self.task, Joint) else (self.task,)
        if not any(isinstance(part, MaskedLM) for part in parts):
            raise RecipeError(f"bench compares masked LM: --objective mlm or a sum with it, not {self.objective}")
        positions = find(FOLDER, self.arch, Encoder).sized(size_of(self.size), 128).max_position_embeddings
        if self.length > positions:
            raise RecipeError(
                f"sequences of {self.length}, and the encoder has {positions} positions; use --length {positions}"
            )


def _without_memory(kind: Callable[[PretrainedConfig], Encoder], config: PretrainedConfig) -> Encoder:
    with torch.device("meta"):
        return kind(config)

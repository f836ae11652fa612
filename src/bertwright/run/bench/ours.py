"""bertwright as a contestant: the pieces of an ordinary run, without its folder."""

from __future__ import annotations

from torch import Tensor, nn

from ...data.store import TokenStore
from ...flow import Batch
from ...tasks.mlm import MaskedLM
from ...train.loop import Loop
from ...train.memory import keep_memory
from ...train.precision import device
from ..choose import task_of
from ..sources import open_source
from ..start import begin, write_words
from ..training import loop_of
from .desk import After
from .judge import HeldOut
from .workload import Workload


class Ours:
    """Trains a workload as `bertwright pretrain` does. Raises the errors of `bertwright.errors`."""

    def __init__(self, workload: Workload, recipe: str | None) -> None:
        keep_memory()
        self._workload, self._recipe = workload, recipe
        first = workload.recipe(1, recipe)
        self._source = open_source(first, task_of(first.task, first.tasks))
        self._heldout = HeldOut(TokenStore(workload.store), workload.length)
        self._loop: Loop | None = None

    def train(self, steps: int, after: After) -> None:
        """From fresh weights, until the steps are done or `after` says no."""
        recipe = self._workload.recipe(steps, self._recipe)
        model, _ = begin(recipe, self._source.task, self._source.tokenizer)
        write_words(recipe, model, self._source.text)
        model.set_dropout(recipe.train.dropout or 0.0)
        model.to(device())
        self._loop = loop_of(recipe, model, self._source.feed(recipe), steps)
        for step in self._loop.steps(steps):
            if not after(step.tokens, int(step.sums["mlm.targets"].sum())):
                return

    def loss(self) -> float:
        """Held-out masked LM of the model at hand, as it would be kept."""
        assert self._loop is not None
        model, task = self._loop.model, MaskedLM()
        head = model.head[task.name] if isinstance(model.head, nn.ModuleDict) else model.head

        def logits_of(batch: Batch) -> Tensor:
            return task.logits(model.encoder, head, batch)[task.name]

        model.eval()
        with self._loop.judged():
            return self._heldout.loss(logits_of)

"""transformers' Trainer as a contestant, used as its documentation says."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import Tensor

from ...data.store import TokenStore
from ...flow import Batch
from ...train.memory import keep_memory
from ...train.precision import device, resolve
from .contestants import Way
from .desk import After
from .judge import HeldOut
from .rows import refuse_too_few
from .workload import Workload


class Theirs:
    """Trains a workload with transformers' model of the same config under transformers' Trainer.

    Raises InputError where the text does not fill a batch.
    """

    def __init__(self, workload: Workload, way: Way) -> None:
        if way.keeps_memory:
            keep_memory()
        store = TokenStore(workload.store)
        self._workload, self._way = workload, way
        self._rows = way.rows(store, workload.length)
        refuse_too_few(len(self._rows), way.batch_size, workload.length)
        self._config = workload.config(store.vocabulary)
        self._collator = transformers.DataCollatorForLanguageModeling(store.tokenizer.hf(), mlm_probability=0.15)
        self._heldout = HeldOut(store, workload.length)
        self._model: Any = None

    def train(self, steps: int, after: After) -> None:
        """From fresh weights, until the steps are done or `after` says no."""
        transformers.set_seed(self._workload.seed)
        self._model = transformers.AutoModelForMaskedLM.from_config(self._config)
        with TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=self._way.batch_size,
                dataloader_drop_last=True,
                dataloader_pin_memory=device().type != "cpu",
                use_cpu=device().type == "cpu",
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                **(self._best_flags(steps) if self._way.best_flags else {}),
            )
            between = _Between(after)
            _Counting(between, self._model, arguments, train_dataset=self._rows, data_collator=self._collator).train()

    def loss(self) -> float:
        """Held-out masked LM of the model at hand, by its own forward pass, not compiled."""
        self._model.eval()
        return self._heldout.loss(self._logits)

    def _logits(self, batch: Batch) -> Tensor:
        ids, mask, row, column = padded(batch)
        at = batch.labels["mlm"].positions
        return self._model(input_ids=ids, attention_mask=mask).logits[row[at], column[at]]

    def _best_flags(self, steps: int) -> dict[str, Any]:
        train = self._workload.recipe(steps).train
        return {
            "bf16": resolve("auto", device()) == "bf16",
            "torch_compile": True,
            "optim": "adamw_torch_fused",
            "learning_rate": train.lr,
            "warmup_steps": round(train.warmup * steps),
            "weight_decay": train.weight_decay,
        }


class _Between(transformers.TrainerCallback):
    """Asks after every step whether to go on; the Trainer waits meanwhile."""

    def __init__(self, after: After) -> None:
        self._after = after
        self.tokens = self.labelled = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._after(self.tokens, self.labelled):
            control.should_training_stop = True


class _Counting(transformers.Trainer):
    """Notes how many real tokens and labels are in the batch at hand."""

    def __init__(self, between: _Between, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, callbacks=[between], **kwargs)
        self._between = between

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        self._between.tokens, self._between.labelled = counted(inputs)
        return super().training_step(model, inputs, *args, **kwargs)


def counted(inputs: dict[str, Tensor]) -> tuple[int, int]:
    """How many tokens of a padded batch are real, and how many are labelled."""
    return int(inputs["attention_mask"].sum()), int((inputs["labels"] != -100).sum())


def padded(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids [S, T] and attention mask [S, T] of a batch, and the row and the column [N] of each of its tokens there."""
    lengths = torch.tensor(batch.lengths, device=batch.ids.device)
    row = torch.repeat_interleave(torch.arange(len(batch), device=batch.ids.device), lengths)
    shape = (len(batch), max(batch.lengths))
    ids = torch.full(shape, batch.vocabulary.pad, device=batch.ids.device)
    mask = torch.zeros(shape, dtype=torch.long, device=batch.ids.device)
    ids[row, batch.positions] = batch.ids
    mask[row, batch.positions] = 1
    return ids, mask, row, batch.positions

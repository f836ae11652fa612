"""What the parts of a Trainer know of it, so that none of them needs the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState

from ..flow import Loss
from .arguments import TrainingArguments
from .inputs import Counts, Inputs


class Face(ABC):
    """A Trainer as its parts see it; the class itself says what each thing is."""

    args: TrainingArguments
    model: Any
    processing_class: Any
    data_collator: Callable[[list[Any]], Any]
    model_init: Callable[..., nn.Module] | None
    train_dataset: Any
    state: TrainerState
    control: TrainerControl
    callback_handler: Any
    """transformers' CallbackHandler, whose own annotations leave out what it is given to hold."""
    optimizer: Any
    lr_scheduler: Any
    label_names: list[str]
    label_smoother: Any
    compute_loss_func: Callable[..., Tensor] | None
    compute_metrics: Callable[..., dict[str, Any]] | None
    preprocess_logits_for_metrics: Callable[..., Any] | None
    compute_objective: Callable[[dict[str, float]], float]
    objective: Any
    hp_name: Any
    is_in_train: bool
    _trial: Any
    _parts: Mapping[str, Tensor] | None
    """The sums that the last evaluated batch's loss was made of, where they are known."""
    _heard_tokens: int
    """How many tokens had been trained on when the run at hand began."""

    @property
    @abstractmethod
    def data_seed(self) -> int: ...

    @abstractmethod
    def train(self, resume_from_checkpoint: str | bool | None = None, trial: Any = None) -> Any: ...

    @abstractmethod
    def evaluate(self, eval_dataset: Any = None, ignore_keys: list[str] | None = None) -> dict[str, float]: ...

    @abstractmethod
    def get_train_dataloader(self) -> DataLoader[Any]: ...

    @abstractmethod
    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None: ...

    @abstractmethod
    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any: ...

    @abstractmethod
    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Any, Any]: ...

    @abstractmethod
    def compute_loss_context_manager(self) -> AbstractContextManager[object]: ...

    @abstractmethod
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None: ...

    @abstractmethod
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None: ...

    @abstractmethod
    def _counts(self, values: Mapping[str, Any]) -> Counts: ...

    @abstractmethod
    def _loss_in_training(self, model: nn.Module, inputs: Inputs) -> Loss: ...

    @abstractmethod
    def _loss_in_evaluation(self, model: nn.Module, values: Any) -> tuple[Tensor, Any]: ...

    @abstractmethod
    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]: ...

    @abstractmethod
    def _can_return_loss(self, inputs: Mapping[str, Any]) -> bool: ...

    @abstractmethod
    def _take_tokens(self) -> int: ...

    @abstractmethod
    def _is_best(self, metrics: dict[str, float]) -> bool: ...

    @abstractmethod
    def _best_value(self, metrics: dict[str, float]) -> float: ...

    @abstractmethod
    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None: ...

    @abstractmethod
    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None: ...

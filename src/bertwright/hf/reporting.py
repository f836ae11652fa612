"""What a Trainer says and keeps of a run: logs, metrics, callbacks, saved models, the Hub, and the best of several."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import TrainerCallback
from transformers.trainer_pt_utils import log_metrics, metrics_format, save_metrics
from transformers.trainer_utils import HubStrategy, SaveStrategy, speed_metrics

from ..errors import RunError
from ..files import write_text
from ..tasks.model import Model
from . import native, saving, search
from .face import Face
from .training import best_value


class Reporting(Face):
    """The part of a Trainer that training itself does not need."""

    hp_name: Any = None
    _heard_tokens = 0

    log_metrics = log_metrics
    save_metrics = save_metrics
    metrics_format = metrics_format

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Tells everybody who listens; override it to add to what is told."""
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
            if start_time is not None:
                tokens = self.state.num_input_tokens_seen - self._heard_tokens
                logs.update(speed_metrics("train", start_time, num_tokens=tokens))
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes a Hugging Face checkpoint, with the tokenizer or the collator's; by default into the output folder."""
        path = Path(output_dir or self.args.home)
        if isinstance(self.model, Model):
            native.save_natively(self.args.home, path)
            return
        saving.write_model(self.model, self._tokenizing, path)
        write_text(path / saving.ARGUMENTS, self.args.to_json_string() + "\n")
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub("Model save")

    @property
    def _tokenizing(self) -> Any:
        if self.processing_class is not None:
            return self.processing_class
        return getattr(self.data_collator, "tokenizer", None)

    def save_state(self) -> None:
        """Writes `trainer_state.json` into the output folder."""
        self.args.home.mkdir(parents=True, exist_ok=True)
        self.state.save_to_json(str(self.args.home / saving.STATE))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        home = self.args.home
        written = saving.write_checkpoint(self, home if trial is None else home / f"run-{trial.number}")
        if self.args.push_to_hub and self.args.hub_strategy != HubStrategy.END:
            message = f"Training in progress, step {self.state.global_step}"
            self._upload(written, message, ignore_patterns=saving.FOR_RESUMING)
            whole = {HubStrategy.CHECKPOINT: "last-checkpoint", HubStrategy.ALL_CHECKPOINTS: written.name}
            if place := whole.get(HubStrategy(self.args.hub_strategy)):
                self._upload(written, f"{message}, checkpoint", path_in_repo=place)

    def push_to_hub(self, commit_message: str = "End of training", token: str | None = None, **more: Any) -> Any:
        """Writes the model into the output folder and uploads it to the Hub, as `hub_model_id` or the folder's name."""
        saving.write_model(self.model, self._tokenizing, self.args.home)
        return self._upload(self.args.home, commit_message, token=token, **more)

    def _upload(self, folder: Path, message: str, token: str | None = None, **more: Any) -> Any:
        api = HfApi(token=token or self.args.hub_token)
        name = self.args.hub_model_id or self.args.home.absolute().name
        repo = api.create_repo(name, private=self.args.hub_private_repo, exist_ok=True).repo_id
        return api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=message,
            revision=more.pop("revision", self.args.hub_revision),
            **{"ignore_patterns": ["checkpoint-*"], **more},
        )

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] = "minimize",
        backend: str | None = "optuna",
        hp_name: Callable[[Any], str] | None = None,
        **more: Any,
    ) -> Any:
        """The best of `n_trials` runs with Optuna, each in a folder `run-N` with arguments from `hp_space(trial)`."""
        if backend not in (None, "optuna"):
            raise RunError(f"hyperparameter_search is with optuna, not {backend!r}")
        self.hp_name = hp_name
        if compute_objective is not None:
            self.compute_objective = compute_objective
        return search.search(self, hp_space, n_trials, direction, **more)

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        search.report(self, trial, step, metrics)

    def add_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> None:
        """Adds a callback, or one of a class."""
        self.callback_handler.add_callback(callback)

    def pop_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> TrainerCallback | None:
        """Removes a callback, or the first of a class, and returns it."""
        return self.callback_handler.pop_callback(callback)

    def remove_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> None:
        """Removes a callback, or the first of a class."""
        self.callback_handler.remove_callback(callback)

    def is_local_process_zero(self) -> bool:
        """True: training is in one process."""
        return True

    def is_world_process_zero(self) -> bool:
        """True: training is in one process."""
        return True

    def num_examples(self, dataloader: Any) -> int:
        """How many examples the batches are made of."""
        return len(dataloader.dataset)

    def _with_speed(self, output: Any, prefix: str, started: float) -> dict[str, float]:
        steps = ceil(output.num_samples / self.args.eval_batch_size)
        return output.metrics | speed_metrics(prefix, started, num_samples=output.num_samples, num_steps=steps)

    def _best_value(self, metrics: dict[str, float]) -> float:
        return best_value(metrics, self.args.metric_for_best_model)

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """Whether an evaluation is the best so far, which the state then keeps."""
        if self.args.metric_for_best_model is None:
            return False
        value, sign = self._best_value(metrics), 1 if self.args.greater_is_better else -1
        before = -inf if self.state.best_metric is None else sign * self.state.best_metric
        if not sign * value > before:
            return False
        self.state.best_metric = value
        if self.args.save_strategy != SaveStrategy.NO:
            self.state.best_global_step = self.state.global_step
        return True

"""What becomes of every argument that transformers' TrainingArguments had for a run, from 3.0 to 5.24.

DONE        it means here what it means there
TRANSLATED  an older name: today's form takes its place, with one warning
IGNORED     accepted; a value other than the default changes nothing and gives one warning that says why
REFUSED     accepted at its default; another value is an error that says why
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Translation(NamedTuple):
    """Today's form of an argument, in words, and as arguments."""

    today: str
    into: Callable[[Any], dict[str, Any]]


def _renamed(name: str) -> Translation:
    return Translation(name, lambda value: {} if value is None else {name: value})


def _switch(today: str, **when_true: Any) -> Translation:
    return Translation(today, lambda value: dict(when_true) if value else {})


def _nothing(today: str) -> Translation:
    return Translation(today, lambda value: {})


DONE = frozenset(
    """
    output_dir per_device_train_batch_size per_device_eval_batch_size num_train_epochs max_steps learning_rate
    lr_scheduler_type lr_scheduler_kwargs warmup_steps optim optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon
    gradient_accumulation_steps average_tokens_across_devices max_grad_norm label_smoothing_factor bf16 tf32
    activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs
    torch_compile torch_compile_backend torch_compile_mode use_cpu seed data_seed full_determinism
    logging_strategy logging_steps logging_first_step log_level include_num_input_tokens_seen disable_tqdm report_to
    run_name project trackio_space_id trackio_bucket_id trackio_static_space_id
    eval_strategy eval_steps eval_delay prediction_loss_only eval_on_start eval_do_concat_batches
    eval_accumulation_steps include_for_metrics batch_eval_metrics
    save_strategy save_steps save_only_model save_total_limit load_best_model_at_end metric_for_best_model
    greater_is_better resume_from_checkpoint restore_callback_states_from_checkpoint
    push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_revision
    dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor
    dataloader_multiprocessing_context remove_unused_columns label_names train_sampling_strategy length_column_name
    do_train do_eval do_predict
    """.split()
)

TRANSLATED: Mapping[str, Translation] = {
    "adafactor": _switch('optim="adafactor"', optim="adafactor"),
    "evaluate_during_training": _switch('eval_strategy="steps"', eval_strategy="steps"),
    "evaluation_strategy": _renamed("eval_strategy"),
    "fp16": _switch("bf16=True, which needs no loss scaling", bf16=True),
    "fp16_backend": _nothing("bf16=True, with PyTorch's own autocast"),
    "fp16_full_eval": _switch("bf16=True, for evaluation too", bf16=True),
    "fp16_opt_level": _nothing("bf16=True; Apex is not used"),
    "fsdp_min_num_params": _nothing("no argument: training is on one device"),
    "fsdp_transformer_layer_cls_to_wrap": _nothing("no argument: training is on one device"),
    "group_by_length": _switch('train_sampling_strategy="group_by_length"', train_sampling_strategy="group_by_length"),
    "half_precision_backend": _nothing("bf16=True, with PyTorch's own autocast"),
    "include_inputs_for_metrics": _switch('include_for_metrics=["inputs"]', include_for_metrics=["inputs"]),
    "include_tokens_per_second": _switch(
        'include_num_input_tokens_seen="non_padding"', include_num_input_tokens_seen="non_padding"
    ),
    "logging_dir": _nothing("the environment variable TENSORBOARD_LOGGING_DIR, which is set to it while training"),
    "no_cuda": _switch("use_cpu=True", use_cpu=True),
    "overwrite_output_dir": _nothing(
        "no argument of transformers' own; here it still says whether a folder that holds another run is written over"
    ),
    "per_gpu_eval_batch_size": _renamed("per_device_eval_batch_size"),
    "per_gpu_train_batch_size": _renamed("per_device_train_batch_size"),
    "push_to_hub_model_id": _renamed("hub_model_id"),
    "push_to_hub_organization": _nothing('hub_model_id="organization/name"'),
    "push_to_hub_token": _renamed("hub_token"),
    "save_safetensors": _nothing("no argument: every checkpoint is safetensors, and no pickle is written"),
    "torchdynamo": _renamed("torch_compile_backend"),
    "use_mps_device": _nothing("no argument: the device is a CUDA GPU where there is one, else the CPU"),
    "warmup_ratio": Translation(
        "warmup_steps as a share below 1", lambda value: {"warmup_steps": value} if value else {}
    ),
}

_ONE_DEVICE = "training is on one device in one process"
_NO_TPU = "there is no TPU support"

IGNORED: Mapping[str, str] = {
    "_n_gpu": _ONE_DEVICE,
    "accelerator_config": "the loop is bertwright's own and does not use accelerate",
    "auto_find_batch_size": "a batch that does not fit into memory is an error; gradient_accumulation_steps splits it "
    "without changing the gradient",
    "bf16_full_eval": "evaluation runs in the precision of training, with weights in fp32",
    "dataloader_in_order": "batches come in order, so that a resumed run equals an uninterrupted one",
    "dataloader_persistent_workers": "workers live for an epoch",
    "ddp_backend": _ONE_DEVICE,
    "ddp_broadcast_buffers": _ONE_DEVICE,
    "ddp_bucket_cap_mb": _ONE_DEVICE,
    "ddp_find_unused_parameters": _ONE_DEVICE,
    "ddp_static_graph": _ONE_DEVICE,
    "ddp_timeout": _ONE_DEVICE,
    "debug": "a gradient that is not finite stops the run by itself",
    "dispatch_batches": _ONE_DEVICE,
    "enable_jit_checkpoint": "checkpoints are written at the steps that save_steps says",
    "eval_use_gather_object": _ONE_DEVICE,
    "hub_always_push": "a push is waited for, so none is ever skipped",
    "ignore_data_skip": "resuming skips batches without reading them where the dataset has a length",
    "jit_mode_eval": "it speeds up evaluation by TorchScript only; torch_compile=True compiles the model",
    "liger_kernel_config": "Liger's kernels are not used",
    "log_level_replica": _ONE_DEVICE,
    "log_on_each_node": _ONE_DEVICE,
    "logging_nan_inf_filter": "a gradient that is not finite stops the run instead",
    "mp_parameters": "SageMaker's model parallelism is not supported",
    "ray_scope": "hyperparameter_search is with Optuna",
    "save_on_each_node": _ONE_DEVICE,
    "skip_memory_metrics": "memory is not measured",
    "split_batches": _ONE_DEVICE,
    "torch_empty_cache_steps": "the allocator keeps its memory",
    "tpu_metrics_debug": _NO_TPU,
    "tpu_num_cores": _NO_TPU,
    "use_cache": "encoders keep no keys and values of earlier tokens",
    "use_ipex": "PyTorch's own kernels are used",
    "use_legacy_prediction_loop": "there is one evaluation loop",
    "use_liger_kernel": "Liger's kernels are not used",
    "xpu_backend": _ONE_DEVICE,
}

REFUSED: Mapping[str, str] = {
    "deepspeed": _ONE_DEVICE,
    "fsdp": _ONE_DEVICE,
    "fsdp_config": _ONE_DEVICE,
    "local_rank": _ONE_DEVICE,
    "model_parallel": _ONE_DEVICE,
    "neftune_noise_alpha": "noise on the embeddings is not added; override compute_loss to add it",
    "optim_target_modules": "GaLore and APOLLO are not among the optimizers; pass one as Trainer(optimizers=...)",
    "parallelism_config": _ONE_DEVICE,
    "past_index": "a model's state is not carried from batch to batch",
    "sharded_ddp": _ONE_DEVICE,
    "tp_size": _ONE_DEVICE,
}

KNOWN = frozenset({*DONE, *TRANSLATED, *IGNORED, *REFUSED})
"""Every name that is accepted."""

DEFAULTS_OF_REMOVED: Mapping[str, tuple[Any, ...]] = {
    "_n_gpu": (-1, 0, 1),
    "dispatch_batches": (None,),
    "jit_mode_eval": (False,),
    "local_rank": (-1, 0),
    "logging_dir": (None,),
    "model_parallel": (False,),
    "mp_parameters": ("",),
    "overwrite_output_dir": (False,),
    "past_index": (-1,),
    "ray_scope": ("last",),
    "sharded_ddp": ("", False, None, []),
    "split_batches": (None, False),
    "tp_size": (0, 1),
    "tpu_metrics_debug": (False,),
    "tpu_num_cores": (None,),
    "use_ipex": (False,),
    "use_legacy_prediction_loop": (False,),
    "xpu_backend": (None,),
}
"""Values with which an argument that the installed transformers has no more asked for nothing."""

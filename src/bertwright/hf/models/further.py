"""What `from_pretrained` takes besides a name: for whom it is, and on which device the model is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from transformers import PretrainedConfig

from ...errors import RecipeError

_OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "revision", "token")
_REFUSED = ("from_flax", "from_tf", "proxies", "quantization_config", "subfolder", "use_auth_token", "variant")
_NEEDLESS = (
    "attn_implementation", "ignore_mismatched_sizes", "low_cpu_mem_usage", "resume_download", "trust_remote_code",
    "use_safetensors", "weights_only",
)  # fmt: skip
"""What asks for nothing here: no code of a checkpoint ever runs, and nothing but safetensors is read."""


@dataclass(frozen=True, slots=True)
class Further:
    """Arguments by those they are for."""

    config: PretrainedConfig | None
    """The one to take in place of the checkpoint's."""
    fields: Mapping[str, Any]
    """What changes in the config."""
    own: Mapping[str, Any]
    """What the class's constructor takes besides."""
    hub: Mapping[str, Any]
    """How a model is had from the Hub."""

    @classmethod
    def of(cls, said: Mapping[str, Any], config: PretrainedConfig | None, kind: type) -> Further:
        """Raises RecipeError for what is not done here, unless it is None or False."""
        for name in _REFUSED:
            if not nothing(said.get(name)):
                raise RecipeError(
                    f"from_pretrained takes no {name}: it reads safetensors that lie side by side; fetch such with "
                    "huggingface_hub.snapshot_download and give the folder"
                )
        hub = {name: value for name, value in said.items() if name in _OF_THE_HUB and not nothing(value)}
        made = signature(kind).parameters.keys() - {"config", "encoder", "pooler"}
        own = {name: value for name, value in said.items() if name in made}
        elsewhere = {*_OF_THE_HUB, *_REFUSED, *_NEEDLESS, *own}
        return cls(config, {name: value for name, value in said.items() if name not in elsewhere}, own, hub)


def nothing(value: Any) -> bool:
    """Whether an argument asks for nothing, so that it does not matter whether it is known."""
    return value is None or value is False


def device_of(device_map: Any) -> torch.device:
    """The device of a `device_map` that names one; for "auto" the accelerator, where there is one.

    Raises RecipeError for a map that parts the model.
    """
    one: Any = device_map[""] if isinstance(device_map, dict) and device_map.keys() == {""} else device_map
    if one == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.device(one)
    except (RuntimeError, TypeError) as error:
        raise RecipeError(
            f"device_map={device_map!r}: a model stays whole, on a device as 'cuda:0', or 'auto'"
        ) from error

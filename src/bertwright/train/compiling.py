"""Compiling an encoder's layers (torch.compile; Ansel et al., "PyTorch 2", ASPLOS 2024), where that is worth it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from torch import nn

from ..errors import RecipeError

CHOICES = ("auto", "on", "off")
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiles(asked: str, on: torch.device) -> bool:
    """Whether layers are compiled; `auto` compiles on a GPU only, and where what it takes is missing none is.

    On a CPU compiling takes half a minute and brings nothing after that: the layers' own gradients, of which the
    compiler knows nothing, already save what it would. Raises RecipeError for another word.
    """
    if asked not in CHOICES:
        raise RecipeError(f"unknown setting train.compile = {asked!r}; known are {', '.join(CHOICES)}")
    if asked == "off" or (asked == "auto" and on.type == "cpu"):
        return False
    return not missing(on)


def missing(on: torch.device) -> str:
    """What compiling for the device lacks here; empty where nothing does."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    wanted = os.environ.get("CXX") or default  # As torch itself chooses.
    if shutil.which(wanted) is None:
        return f"a C++ compiler: there is no {wanted}, and CXX can name another"
    if on.type == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "the package triton"
    return ""


def compile_each(layers: Iterable[nn.Module]) -> None:
    """Has each layer compile itself when it is first called, for any number of tokens; parameters keep their names.

    What was compiled is kept for the next run in the person's cache folder, unless they have set another.
    """
    _keep_what_is_compiled()
    for layer in layers:
        layer.compile(dynamic=True)


def as_written(model: nn.Module) -> AbstractContextManager[object]:
    """While it lasts nothing of the model runs compiled, and so nothing is compiled anew for what is seldom done."""
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _keep_what_is_compiled() -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(_CACHE, default_cache_dir()) != default_cache_dir():  # torch sets its default by itself.
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bertwright" / "inductor"
    with suppress(OSError):  # Then torch's own place, which a restart may clear, has to do.
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[_CACHE] = str(folder)

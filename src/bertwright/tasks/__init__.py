"""What a run learns. A file here is a task: `--objective mlm` and `--task classify` are the names of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

PLUMBING = ("base", "model", "pairs", "pooled", "units")
"""Files of this folder that are not tasks themselves."""

if TYPE_CHECKING:
    from .base import Joint as Joint
    from .base import Task as Task
    from .classify import Classify as Classify
    from .mlm import MaskedLM as MaskedLM
    from .nsp import NextSentence as NextSentence
    from .sop import SentenceOrder as SentenceOrder
    from .ssp import SameSentence as SameSentence


def __getattr__(name: str) -> Any:
    """`tasks.MaskedLM` is the class of that name in one of the folder's files."""
    from importlib import import_module

    from ..named import names

    for file in ("base", *names(__name__)):
        module = import_module(f"{__name__}.{file}")
        if getattr(vars(module).get(name), "__module__", None) == module.__name__:
            return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

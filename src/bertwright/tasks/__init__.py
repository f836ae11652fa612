"""What a run learns. A file here is a task: `--objective mlm` and `--task classify` are the names of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

PLUMBING = (
    "base",
    "classes",
    "entities",
    "fields",
    "joint",
    "lists",
    "model",
    "pairs",
    "pooled",
    "ranks",
    "sequences",
    "squad",
    "tokens",
    "units",
    "windows",
)
"""Files of this folder that are not tasks themselves."""

if TYPE_CHECKING:
    from .amlm import AdaptiveMaskedLM as AdaptiveMaskedLM
    from .base import Task as Task
    from .bow import BagOfWords as BagOfWords
    from .choice import Choice as Choice
    from .classify import Classify as Classify
    from .embed import Embed as Embed
    from .joint import Joint as Joint
    from .mlm import MaskedLM as MaskedLM
    from .mntp import MaskedNextToken as MaskedNextToken
    from .multilabel import MultiLabel as MultiLabel
    from .nsp import NextSentence as NextSentence
    from .pair import Pair as Pair
    from .regress import Regress as Regress
    from .rtd import ReplacedToken as ReplacedToken
    from .sop import SentenceOrder as SentenceOrder
    from .span import Span as Span
    from .ssp import SameSentence as SameSentence
    from .tag import Tag as Tag


def __dir__() -> list[str]:
    from ..named import find, names
    from .base import Task

    return sorted({*globals(), "Joint", "Task", *(find(__name__, file, Task).__name__ for file in names(__name__))})


def __getattr__(name: str) -> Any:
    """`tasks.MaskedLM` is the class of that name in one of the folder's files."""
    from importlib import import_module

    from ..named import names

    for file in ("base", "joint", *names(__name__)):
        module = import_module(f"{__name__}.{file}")
        if getattr(vars(module).get(name), "__module__", None) == module.__name__:
            return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

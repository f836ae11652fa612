"""Calling what a subclass may have overridden, also where it was written for a release that passed less."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def told(method: Callable[..., T], *given: object, **named: object) -> T:
    """`method` of as many of the arguments as it takes, the first first."""
    parameters = inspect.signature(method).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        given = given[: sum(parameter.kind in _BY_PLACE for parameter in parameters)]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        known = {parameter.name for parameter in parameters}
        named = {name: value for name, value in named.items() if name in known}
    return method(*given, **named)

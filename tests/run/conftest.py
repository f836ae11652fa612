"""The one-line errors of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.errors import BertwrightError

Refused = Callable[..., str]


@pytest.fixture
def refused() -> Refused:
    """The one line with which a recipe is refused, after which no folder has been made."""

    def refuse(tables: Mapping[str, Any], kind: type[BertwrightError] = BertwrightError) -> str:
        out = Path(tables["out"])
        before = runs.content(out) if out.is_dir() else None
        with pytest.raises(kind) as caught:
            runs.done(tables)
        assert "\n" not in str(caught.value)
        assert (runs.content(out) if out.is_dir() else None) == before
        return str(caught.value)

    return refuse

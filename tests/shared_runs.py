"""One store, one pretrained model, one file of rows and one classifier for all tests, made when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import runs


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def store(base: Path) -> Path:
    return runs.store(base)


@pytest.fixture(scope="session")
def pretrained(base: Path) -> Path:
    return runs.pretrained(base)


@pytest.fixture(scope="session")
def labelled(base: Path) -> Path:
    return runs.labelled(base)


@pytest.fixture(scope="session")
def classifier(base: Path) -> Path:
    return runs.classifier(base)

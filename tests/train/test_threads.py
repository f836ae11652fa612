"""How many threads a run gets: the person's word, what the process may use, and what multiplies fastest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bertwright.train.threads import cores, fastest, quota_of, threads


def test_the_persons_own_number_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == torch.get_num_threads()


def test_no_more_than_torch_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= threads() <= torch.get_num_threads()


def test_one_candidate_is_taken_and_of_several_one() -> None:
    before = torch.get_num_threads()
    assert fastest([5]) == 5
    assert fastest([2, 1]) in (1, 2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("text", "processors"), [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1)]
)
def test_a_quota_is_so_many_processors(text: str, processors: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{text}\n")
    assert quota_of(tmp_path) == processors


def test_a_group_without_a_file_has_no_quota(tmp_path: Path) -> None:
    assert quota_of(tmp_path) is None


def test_processors_that_share_a_core_are_one(tmp_path: Path) -> None:
    for number in range(4):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{number % 2},{number % 2 + 2}\n")
    assert cores({0, 1, 2, 3}, tmp_path) == 2
    assert cores({0, 1}, tmp_path) == 2
    assert cores({0, 2}, tmp_path) == 1
    assert cores({7, 8}, tmp_path) == 2

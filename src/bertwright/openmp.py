"""How OpenMP's threads wait for each other, and how many there are."""

from __future__ import annotations

import os

_POLICY, _SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_A_WHILE = "20000"
"""Turns of a loop: about a millisecond."""


def spin_a_while() -> None:
    """Has threads that wait spin for about a millisecond and then sleep, if torch is not loaded yet, which reads it.

    To spin for thirty, as is OpenMP's habit, is no faster, and ten times slower as soon as another program wants a core
    (`train.waiting` sees to the rest). Where the person has set the policy, it stays.
    """
    if _POLICY not in os.environ:
        os.environ.setdefault(_SPINS, _A_WHILE)


def is_set_by_the_person() -> bool:
    """Whether how threads wait is what somebody asked for."""
    return _POLICY in os.environ or os.environ.get(_SPINS, _A_WHILE) != _A_WHILE


def run_on(count: int) -> None:
    """Has what the calling thread starts in parallel run on so many threads, itself among them, from now on.

    torch's setting is the calling thread's, and what threads begin with that have not asked for theirs; hence whoever
    has another thread call this sets the own number again.
    """
    import torch

    torch.get_num_threads()  # Otherwise what threads begin with is taken over at first use.
    torch.set_num_threads(count)

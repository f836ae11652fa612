"""How OpenMP's threads wait for each other."""

from __future__ import annotations

import os


def sleep_soon() -> None:
    """Has threads that wait spin for some microseconds and then sleep, if torch is not loaded yet, which reads it.

    Spinning on, as is OpenMP's habit, is three times slower as soon as another program wants a core, sleeping at once a
    tenth slower on an idle machine. Where the person has set the policy, it stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")

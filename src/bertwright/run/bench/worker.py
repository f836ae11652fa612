"""A contestant's process: `python -m bertwright.run.bench.worker`.

Its first line of input says who it is and what it trains; then come orders (see `desk`). What anything else prints goes
to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

import torch

from ...errors import BertwrightError
from .contestants import OURS, WAYS
from .desk import Contestant, Desk
from .workload import Workload


def build(name: str, workload: Workload) -> Contestant:
    """The contestant of that name."""
    if name in OURS:
        from .ours import Ours

        return Ours(workload, OURS[name])
    from .theirs import Theirs

    return Theirs(workload, WAYS[name])


def serve(inbox: IO[str], outbox: IO[str]) -> int:
    """Builds and serves; what fails is the last thing said. Returns the exit status."""
    try:
        given: dict[str, Any] = json.loads(inbox.readline())
        contestant = build(given["name"], Workload(**given["workload"]))
        print(json.dumps({"threads": torch.get_num_threads()}), file=outbox, flush=True)
        Desk(contestant, inbox, outbox).serve()
    except BertwrightError as error:
        print(json.dumps({"refused": str(error)}), file=outbox, flush=True)
        return 2
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        print(json.dumps({"failed": f"{type(error).__name__}: {line}"}), file=outbox, flush=True)
        return 1
    return 0


def main() -> None:
    outbox = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.exit(serve(sys.stdin, outbox))


if __name__ == "__main__":
    main()

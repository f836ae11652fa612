"""The other end of the pipe: a contestant's process, as who runs the comparison sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from tempfile import TemporaryFile
from typing import Any, Self

from ...errors import RunError
from .workload import Workload

_MODULE = "bertwright.run.bench.worker"


class Fallen(Exception):
    """A contestant that ended before it was asked to; the message says why."""


class Process:
    """A contestant that builds itself as soon as this is made, beside the others; `ready` waits for it."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.name = name
        self._errors = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            # -P: what lies in the folder at hand is not imported.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._send({"name": name, "workload": asdict(workload)})

    def ready(self) -> dict[str, Any]:
        """What it says of itself once it can begin."""
        return self._receive()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Its answer to an order. Raises RunError for what a person can mend, else Fallen when it has ended."""
        self._send({"do": do, **order})
        return self._receive()

    def _send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # It has ended, and what it said last is still to be read.
            print(json.dumps(line), file=self._process.stdin, flush=True)

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Fallen(self._last_words())
        answer = json.loads(line)
        if "refused" in answer:
            raise RunError(answer["refused"])
        if "failed" in answer:
            raise Fallen(answer["failed"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"ended by signal {-status}" + (", as when memory runs out" if status == -9 else "")
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"ended with status {status}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends it: at once where something went wrong, else by having nothing more to ask."""
        if error[0] is not None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(BrokenPipeError):
                if stream:
                    stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

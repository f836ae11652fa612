"""An ONNX file at work in onnxruntime: by itself, and in an encoder's place, so that a task can judge what it says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..flow import Batch
from ..tasks.model import Model
from . import theirs


class Session:
    """An ONNX file loaded, called as transformers' model is: inputs by name in, outputs by name out."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self._session.get_outputs()]
        self.sequences, self.seconds = 0, 0.0

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        asked = {name: inputs[name].numpy() for name in self.inputs}
        started = time.perf_counter()
        said = self._session.run(self.outputs, asked)
        self.seconds += time.perf_counter() - started
        self.sequences += inputs["input_ids"].shape[:-1].numel()
        return {name: torch.from_numpy(x) for name, x in zip(self.outputs, said, strict=True)}

    @property
    def speed(self) -> float:
        """Sequences a second so far, without what makes them of text."""
        return self.sequences / self.seconds if self.seconds else 0.0


class _InPlace(nn.Module):
    """Stands where an encoder does, below a head that changes nothing: what the graph says is at its tokens."""

    def __init__(self, session: Session, several: bool) -> None:
        super().__init__()
        self._session, self._several = session, several
        # Where a model is, is asked of its parameters.
        self.nothing = nn.Parameter(torch.empty(0))

    def forward(self, batch: Batch) -> Tensor:
        """[R, C] at `batch.reads`, or [N, C]; what is said of a whole sequence stands at each of its tokens."""
        asked = theirs.padded(batch, self._session.inputs)
        answers = self._session(**{name: x[:, None] if self._several else x for name, x in asked.items()})
        said = _one(list(answers.items()))
        sequence = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(batch.lengths))
        whole = said[sequence, batch.positions] if said.ndim == 3 else said[sequence]
        return whole if batch.reads is None else whole[batch.reads]


def _one(answers: Sequence[tuple[str, Tensor]]) -> Tensor:
    """[S, C] or [S, T, C] of several logits those of start and end side by side; without logits, the vectors."""
    logits = [x for name, x in answers if name.endswith("logits")]
    if len(logits) > 1:
        return torch.stack(logits, -1)
    return logits[0] if logits else answers[0][1]


def answering_by(session: Session, model: Model) -> Model:
    """A model for rows that answers by the graph, and is judged as `model` is: by its part for rows."""
    ((task, _),) = model.task.answering(model.head)
    made = Model(model.encoder, task)
    made.encoder = _InPlace(session, task.several)  # type: ignore[assignment]
    made.head = nn.Identity()
    return made

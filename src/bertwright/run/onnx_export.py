"""A checkpoint as a folder for onnxruntime: the graph, checked against ours; in 8 bits too, with what that costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..amounts import amount
from ..data.pack import pack
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..errors import RecipeError, RunError
from ..files import whole_folder
from . import theirs
from .answering import Answerer
from .inspection import Inspected
from .onnx_graph import OPSET, refuse_without_packages, write_graph, write_int8
from .onnx_session import Session, answering_by
from .provenance import FILE
from .small_texts import TEXTS
from .verifying import head_task, read_whole

GRAPH, INT8 = "model.onnx", "model_int8.onnx"
ALLOWED = 1e-4
"""The largest difference in fp32 put down to rounding, as a share of the largest value where that is above 1."""


class Agreement(NamedTuple):
    """How near the answers in 8 bits are to those in fp32, over the small texts."""

    same: float
    """The share of answers whose largest number is the same one; of vectors, the mean of their cosines."""
    largest: float
    """Difference."""


def export_onnx(
    checkpoint: str, out: Path, rows: Iterable[Mapping[str, Any]] | None, *, int8: bool, length: int | None
) -> Inspected:
    """Writes `model.onnx` of a checkpoint with its config and tokenizer, and with `int8` `model_int8.onnx`.

    What onnxruntime says is compared with what bertwright says, in batches of other sizes than the graph was traced
    with. With labelled `rows` all are judged by them, else 8 bits by how often they agree. Raises RecipeError without
    the packages and for rows that the task does not read, CheckpointError as `verified` does, and RunError where the
    graph says something else.
    """
    refuse_without_packages()
    answerer = _answerer(checkpoint, length)
    if rows is not None:
        rows = list(rows)
        if not list(answerer.task.answering(answerer.model.head)):
            raise RecipeError(
                f"{answerer.folder}: its task is {answerer.task.name}, which no labelled rows judge; leave out --input"
            )
    kind = theirs.class_of(Checkpoint.open(answerer.folder))
    found = read_whole(answerer.folder, kind, attn_implementation="sdpa")
    with whole_folder(out) as folder:
        write_graph(found.model, _traced_with(answerer), folder / GRAPH)
        files = [folder / GRAPH]
        if int8:
            write_int8(folder / GRAPH, folder / INT8)
            files.append(folder / INT8)
        apart = _checked(Session(folder / GRAPH), answerer)
        sessions = {"onnx" if file.name == GRAPH else "int8": Session(file) for file in files}
        facts: dict[str, Any] = {name: gap._asdict() for name, gap in apart.items()}
        facts = {"class": kind, "opset": OPSET, "differences": facts}
        facts["megabytes"] = {file.name: round(file.stat().st_size / 1e6, 2) for file in files}
        if rows is not None:
            facts |= _judged(answerer, rows, sessions)
        elif int8:
            facts["int8"] = {name: one._asdict() for name, one in _agreeing(answerer, sessions).items()}
        _write_beside(folder, answerer)
    return Inspected("\n".join(_lines(out, facts)), facts)


def _answerer(checkpoint: str, length: int | None) -> Answerer:
    folder = checkpoint_folder(checkpoint)
    return Answerer(str(folder), head_task(Checkpoint.open(folder)), length=length, precision="fp32")


def _traced_with(answerer: Answerer) -> dict[str, Tensor]:
    """Two examples of a few tokens: sizes of 1 would be taken for constants."""
    vocabulary, encoder = answerer.tokenizer.vocabulary, answerer.model.encoder
    examples = [vocabulary.single(answerer.tokenizer.encode(text)[:20]) for text in TEXTS[:4]]
    inputs = theirs.padded(pack(examples, vocabulary), encoder.inputs)
    several = answerer.task.several
    return {name: x.view(2, 2, -1) if several else x for name, x in inputs.items()}


def _checked(session: Session, answerer: Answerer) -> dict[str, theirs.Difference]:
    """By output, how far it is from ours; over batches of several sequences and of one."""
    vocabulary, several = answerer.tokenizer.vocabulary, answerer.task.several
    wide = theirs.sample(vocabulary, answerer.model.encoder.config, several)
    narrow = pack([vocabulary.single(answerer.tokenizer.encode("a")[:1])], vocabulary)
    worst: dict[str, theirs.Difference] = {}
    for batch in (wide, narrow):
        said = theirs.ours(answerer.model, batch)
        for name, apart in theirs.differences(session, answerer.model, batch, said).items():
            if not apart.largest <= ALLOWED * max(1.0, apart.of):
                raise RunError(
                    f"onnxruntime says other {name} than bertwright: {apart.largest:.1e} apart, of values up to "
                    f"{apart.of:.1f}; allowed is {ALLOWED:.0e} of the largest"
                )
            worst[name] = max(apart, worst.get(name, apart))
    return worst


def _judged(answerer: Answerer, rows: list[Mapping[str, Any]], sessions: Mapping[str, Session]) -> dict[str, Any]:
    """The task's measures over labelled rows, of ours and of each file, and how fast the files are."""
    part = answering_by(sessions["onnx"], answerer.model).task
    reports = {"bertwright": answerer.evaluate_rows(rows)}
    for name, session in sessions.items():
        reports[name] = answerer.saying(answering_by(session, answerer.model)).evaluate_rows(rows)
    measures = [name for name in reports["onnx"] if name.startswith(f"{part.name}.")]
    scores = {who: {name: report[name] for name in measures} for who, report in reports.items()}
    return {"rows": len(rows), "scores": scores, "rows a second": {n: round(s.speed, 1) for n, s in sessions.items()}}


@torch.no_grad()
def _agreeing(answerer: Answerer, sessions: Mapping[str, Session]) -> dict[str, Agreement]:
    """By output: how far 8 bits are from fp32, a text at a time."""
    vocabulary, encoder = answerer.tokenizer.vocabulary, answerer.model.encoder
    gathered: dict[str, list[Agreement]] = {}
    for text in TEXTS:
        example = vocabulary.single(answerer.tokenizer.encode(text)[: answerer.length - 2])
        inputs = theirs.padded(pack([example], vocabulary), encoder.inputs)
        asked = {name: x[None] if answerer.task.several else x for name, x in inputs.items()}
        exact, coarse = sessions["onnx"](**asked), sessions["int8"](**asked)
        for name, x in exact.items():
            y, logits = coarse[name], name.endswith("logits")
            same = (x.argmax(-1) == y.argmax(-1)).float() if logits else torch.cosine_similarity(x, y, -1)
            gathered.setdefault(name, []).append(Agreement(float(same.mean()), float((x - y).abs().max())))
    return {
        name: Agreement(sum(one.same for one in many) / len(many), max(one.largest for one in many))
        for name, many in gathered.items()
    }


def _write_beside(folder: Path, answerer: Answerer) -> None:
    """The config, the tokenizer and where the model comes from, so that the folder explains itself."""
    for name in ("config.json", FILE):
        if (answerer.folder / name).is_file():
            shutil.copyfile(answerer.folder / name, folder / name)
    encoder = answerer.model.encoder
    answerer.tokenizer.save(folder, encoder.inputs, encoder.config.max_position_embeddings)


def _lines(out: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    sizes = facts["megabytes"]
    yield f"{out / GRAPH}: {facts['class']} in fp32, {sizes[GRAPH]} MB, opset {facts['opset']}, any batch and length."
    for name, apart in facts["differences"].items():
        yield f"  {name}: onnxruntime and bertwright at most {apart['largest']:.1e} apart, of up to {apart['of']:.1f}"
    if INT8 in sizes:
        yield f"{out / INT8}: weights in 8 bits, {sizes[INT8]} MB."
    for name, one in facts.get("int8", {}).items():
        same = f"same largest {one['same']:.1%}" if name.endswith("logits") else f"cosine {one['same']:.4f}"
        yield f"  {name}: {same} over {len(TEXTS)} small texts; at most {one['largest']:.1e} from fp32"
    if "scores" in facts:
        yield from _table(facts)


def _table(facts: Mapping[str, Any]) -> Iterator[str]:
    """A line a measure over the labelled rows, and a column for each that was judged."""
    scores, speeds = facts["scores"], facts["rows a second"]
    columns = [*scores, *(["int8 - onnx"] if "int8" in scores else [])]
    yield _line(amount(facts["rows"], "row"), columns)
    for name in scores["onnx"]:
        lost = [f"{scores['int8'][name] - scores['onnx'][name]:+.4f}"] if "int8" in scores else []
        yield _line(name, [*(f"{scores[who][name]:.4f}" for who in scores), *lost])
    yield _line("rows a second", [f"{speeds[who]:,.0f}" if who in speeds else "" for who in scores])


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:24}{''.join(f'{cell:>13}' for cell in cells)}".rstrip()

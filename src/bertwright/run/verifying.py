"""Whether plain transformers makes of a checkpoint what bertwright makes of it: tensors, token ids and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..errors import CheckpointError
from ..tasks.base import Task
from ..tasks.embed import Embed
from . import theirs, writing
from .answering import Answerer, task_of_checkpoint
from .inspection import Inspected
from .provenance import Provenance
from .small_texts import TEXTS

_SHOWN = 4


def verified(path: str) -> Inspected:
    """Loads a checkpoint, and those inside it, with transformers, and compares it with what bertwright loads.

    Raises CheckpointError when tensors are missing or left over, token ids differ, or answers in fp64 do by more than
    `theirs.ALLOWED`. A tensor that transformers' class has no place for may be there where the checkpoint's own record
    names it, as that of a head that only bertwright has.
    """
    folder = checkpoint_folder(path)
    source = Checkpoint.open(folder)
    answerer = Answerer(str(folder), head_task(source), precision="fp32")
    texts = _same_ids(answerer)
    batch = theirs.sample(answerer.tokenizer.vocabulary, source.config, answerer.task.several)
    said = theirs.ours(theirs.exact(answerer.model), batch)
    lines, facts = [], {}
    for at, kind in (writing.kinds(folder, answerer.model) | {folder: theirs.class_of(source)}).items():
        found = read_whole(at, kind)
        lines.append(_sentence(found, at.relative_to(folder)))
        for name, apart in theirs.differences(found.model.double(), answerer.model, batch, said).items():
            if not apart.largest <= theirs.ALLOWED * max(1.0, apart.of):
                raise CheckpointError(
                    f"{at}: {kind} in transformers says other {name} than bertwright: {apart.largest:.1e} apart, of "
                    f"values up to {apart.of:.1f}; allowed is {theirs.ALLOWED:.0e} of the largest"
                )
            lines.append(f"  {name}: at most {apart.largest:.1e} apart, of values up to {apart.of:.1f}")
            facts[str((at / name).relative_to(folder))] = apart._asdict()
    lines.append(f"Its tokenizer in transformers gives the same ids for {texts} texts in many scripts.")
    return Inspected("\n".join(lines), {"transformers": transformers.__version__, "differences": facts})


def head_task(source: Checkpoint) -> Task:
    """The task that a checkpoint's head is for; of a bare encoder, a mean over its vectors."""
    record = Provenance.read(source.path)
    known = record is not None and ".py" not in record.task
    return task_of_checkpoint(source) if known or not theirs.class_of(source).endswith("Model") else Embed()


def read_whole(folder: Path, kind: str, **settings: Any) -> theirs.Theirs:
    """transformers' model of a folder. Raises CheckpointError for tensors missing or left over (see `verified`)."""
    found = theirs.loaded(folder, kind, **settings)
    if found.missing:
        raise CheckpointError(f"{folder}: lacks what {kind} in transformers needs: {_some(found.missing)}")
    record = Provenance.read(folder)
    ours = {tensor.name for tensor in record.tensors} if record else set()
    if left := [name for name in found.unexpected if name not in ours]:
        raise CheckpointError(f"{folder}: holds what {kind} in transformers has no place for: {_some(left)}")
    return found


def _sentence(found: theirs.Theirs, inside: Path) -> str:
    kind, number = type(found.model).__name__, len(list(found.model.parameters()))
    where = "" if inside == Path() else f" ({inside})"
    pooler = ", without a pooler" if found.without_pooler else ""
    left = f"; for bertwright alone: {_some(found.unexpected)}" if found.unexpected else ""
    return f"transformers {transformers.__version__} loads all {number} tensors of {kind}{where}{pooler}{left}."


def _same_ids(answerer: Answerer) -> int:
    vocabulary = answerer.tokenizer.vocabulary
    with theirs.silently():
        tokenizer = AutoTokenizer.from_pretrained(answerer.folder, trust_remote_code=False)
    for text in TEXTS:
        said, own = tokenizer(text)["input_ids"], vocabulary.single(answerer.tokenizer.encode(text)).ids.tolist()
        if said != own:
            raise CheckpointError(
                f"{answerer.folder}: its tokenizer in transformers makes {said} of {text!r}, not {own}"
            )
    return len(TEXTS)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

"""A checkpoint as a folder that sentence-transformers loads: its encoder, and the mean over a text's tokens."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..errors import RunError
from ..files import whole_folder
from ..tasks.embed import Embed
from . import theirs, writing
from .answering import Answerer
from .inspection import Inspected
from .provenance import Provenance, descent, versions
from .small_texts import TEXTS
from .start import freeze, origins
from .verifying import head_task

ALLOWED = 1e-4
"""The largest difference between two vectors in fp32 put down to rounding, as a share of the largest value above 1."""
_PACKAGE = "sentence_transformers"


def export_sentences(checkpoint: str, out: Path) -> Inspected:
    """Writes the encoder of a checkpoint of whatever head, with what makes a SentenceTransformer of it.

    What is written is compared with what it was written from: by transformers, and by sentence-transformers where that
    is installed. Raises CheckpointError for what is no checkpoint, RunError where the vectors are others.
    """
    folder = checkpoint_folder(checkpoint)
    task = head_task(Checkpoint.open(folder))
    embed = task if isinstance(task, Embed) else Embed()
    embedder = Answerer(str(folder), embed, precision="fp32")
    with whole_folder(out) as made:
        writing.write(made, embedder.model, embedder.tokenizer, _provenance(folder, embedder))
        writing.check(made, embedder.model, embedder.tokenizer)
        apart = _apart(made, embedder, embed) if find_spec(_PACKAGE) is not None else None
    width = embedder.model.encoder.config.hidden_size
    lines = [f"{out}: SentenceTransformer({str(out)!r}) makes a vector of {width} numbers of a text, its tokens' mean."]
    facts: dict[str, Any] = {"dimensions": width}
    if not isinstance(task, Embed):
        lines.append("Its encoder has not learned to compare texts; `finetune --task embed` teaches it that.")
    if apart is None:
        lines.append("sentence-transformers is not installed, so its own vectors were not compared.")
    else:
        facts["differences"] = apart._asdict()
        lines.append(
            f"sentence-transformers {version('sentence-transformers')} encodes {len(TEXTS)} small texts at most "
            f"{apart.largest:.1e} from bertwright, of values up to {apart.of:.1f}."
        )
    return Inspected("\n".join(lines), facts)


def _provenance(folder: Path, embedder: Answerer) -> Provenance:
    """That of an embedder goes along; of another head, that the encoder was taken from there and nothing trained."""
    if (record := Provenance.read(folder)) is not None and record.task == embedder.task.name:
        return record
    freeze(embedder.model.encoder, "encoder")
    names = set(embedder.model.hf_names().values())
    return Provenance(
        task=embedder.task.name,
        reads="rows",
        settings=embedder.task.settings,
        seed=0,
        start=str(folder),
        tensors=origins(embedder.model, True, names),
        data={},
        lineage=descent(folder),
        versions=versions(),
    )


@torch.no_grad()
def _apart(folder: Path, embedder: Answerer, embed: Embed) -> theirs.Difference:
    """How far the vectors of sentence-transformers are from ours. Raises RunError where that is no rounding."""
    with theirs.silently():
        loaded = import_module(_PACKAGE).SentenceTransformer(str(folder), device="cpu")
        said = torch.from_numpy(loaded.encode(list(TEXTS), show_progress_bar=False))
    longest = embedder.model.encoder.config.max_position_embeddings
    rows = [{embed.first: text} for text in TEXTS]
    asked = Answerer(str(embedder.folder), embed, length=longest, precision="fp32").predict(rows)
    ours = torch.tensor([one["embeddings"][0] for one in asked])
    apart = theirs.Difference(float((ours - said).abs().max()), float(said.abs().max()))
    if not apart.largest <= ALLOWED * max(1.0, apart.of):
        raise RunError(
            f"{folder}: sentence-transformers makes other vectors than bertwright, {apart.largest:.1e} apart"
        )
    return apart

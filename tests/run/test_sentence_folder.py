"""What sentence-transformers makes of an exported checkpoint of whatever head."""

from __future__ import annotations

from pathlib import Path

import pytest
import runs

from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance
from bertwright.run.sentence_folder import export_sentences
from bertwright.run.verifying import verified
from bertwright.tasks.embed import Embed

SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer


@pytest.mark.parametrize("start", ["pretrained", "classifier"])
def test_it_encodes_as_the_encoder_does(start: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = request.getfixturevalue(start)
    found = export_sentences(str(home), tmp_path / "out")
    rows = [{"text_a": row["text"]} for row in runs.rows(6, seed=9)] + [{"text_a": "розу " * 60}]
    ours = Answerer(str(home), Embed(), length=512, precision="fp32").predict(rows)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode([row["text_a"] for row in rows])
    assert [one["embeddings"][0] for one in ours] == [pytest.approx(vector.tolist(), abs=1e-5) for vector in theirs]
    assert found.facts["dimensions"] == theirs.shape[1]
    assert found.facts["differences"]["largest"] < 1e-5
    assert "has not learned to compare texts" in found.text
    assert verified(str(tmp_path / "out")).facts["differences"]
    record = Provenance.read(tmp_path / "out")
    assert record is not None
    assert "The whole encoder is frozen." in record.sentence()
    assert record.lineage[-1]["run"] == Provenance.read(home / "model").run  # type: ignore[union-attr]


def test_an_encoder_from_elsewhere(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / file).write_bytes((pretrained / "model" / file).read_bytes())
    export_sentences(str(tmp_path / "bare"), tmp_path / "out")
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("the tide").shape == (128,)

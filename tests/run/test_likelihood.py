"""Pseudo-log-likelihood, as transformers' masked LM has it one text and one mask at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig, ModernBertConfig, PreTrainedModel

from bertwright.errors import RecipeError
from bertwright.run.answering import Answerer, filler
from bertwright.run.likelihood import SPACING, Likelihood, Text
from bertwright.text.tokenizer import Tokenizer

SENTENCES = (
    "The captain saw the harbour at dawn.",
    "The captain saw a torn sail at dawn.",
    "Садовник посадил зелёный горох весной.",
    "Садовник собрал молодую яблоню у старой стены и продал.",
    "船 在 黎明 离开 港口, unforgettably remembering zealous quarrymen.",
    "the tide",
    "x",
)


@pytest.fixture(scope="module", params=[BertConfig, ModernBertConfig], ids=["bert", "modern"])
def home(request: pytest.FixtureRequest, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights so wide that what it says of a token depends on all others."""
    tokenizer, folder = Tokenizer.load(pretrained / "model"), tmp_path_factory.mktemp("wide")
    own = tokenizer.vocabulary
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"vocab_size": own.size, "pad_token_id": own.pad, "cls_token_id": own.cls, "sep_token_id": own.sep}
    config = request.param(**sizes, **ids, bos_token_id=None, eos_token_id=None)
    torch.manual_seed(1)
    model = AutoModelForMaskedLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def answerer(home: Path) -> Answerer:
    return filler(str(home))


@pytest.fixture(scope="module")
def theirs(home: Path) -> PreTrainedModel:
    return AutoModelForMaskedLM.from_pretrained(home).eval()


def texts(answerer: Answerer, sentences: Sequence[str] = SENTENCES) -> list[Text]:
    return [Text(*text) for text in answerer.tokenizer.encode_words(sentences)]


@torch.no_grad()
def naive(model: PreTrainedModel, answerer: Answerer, text: Text, hidden_with: list[list[int]]) -> float:
    """Token i is said from a text in which the tokens `hidden_with[i]` are hidden."""
    own, total = answerer.tokenizer.vocabulary, 0.0
    for at, hidden in enumerate(hidden_with):
        ids = np.concatenate(([own.cls], text.ids, [own.sep]))
        ids[[place + 1 for place in hidden]] = own.mask
        logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0, at + 1]
        total += float(logits.log_softmax(-1)[text.ids[at]])
    return total


def alone(text: Text) -> list[list[int]]:
    return [[at] for at in range(len(text.ids))]


def with_the_rest_of_the_word(text: Text) -> list[list[int]]:
    n = len(text.ids)
    return [[later for later in range(at, n) if text.words[later] == text.words[at]] for at in range(n)]


def every_so_many(text: Text) -> list[list[int]]:
    return [list(range(at % SPACING, len(text.ids), SPACING)) for at in range(len(text.ids))]


def test_each_token_is_hidden_in_turn(answerer: Answerer, theirs: PreTrainedModel) -> None:
    expected = [naive(theirs, answerer, text, alone(text)) for text in texts(answerer)]
    np.testing.assert_allclose(Likelihood(answerer)(texts(answerer)), expected, atol=1e-3)


def test_the_rest_of_a_word_is_hidden_too(answerer: Answerer, theirs: PreTrainedModel) -> None:
    given = texts(answerer)
    assert any(len(set(text.words)) < len(text.words) for text in given)
    expected = [naive(theirs, answerer, text, with_the_rest_of_the_word(text)) for text in given]
    scores = Likelihood(answerer, "within-word-l2r")(given)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert not np.allclose(scores, Likelihood(answerer)(given), atol=0.5)


def test_the_fast_form_hides_every_so_many(answerer: Answerer, theirs: PreTrainedModel) -> None:
    given = texts(answerer)
    assert max(len(text.ids) for text in given) > 2 * SPACING
    expected = [naive(theirs, answerer, text, every_so_many(text)) for text in given]
    np.testing.assert_allclose(Likelihood(answerer, spacing=SPACING)(given), expected, atol=1e-3)


def test_the_fast_form_is_exact_for_what_is_short(answerer: Answerer) -> None:
    given = [text for text in texts(answerer) if len(text.ids) <= 4]
    assert given
    assert (Likelihood(answerer, spacing=4)(given) == Likelihood(answerer)(given)).all()


@pytest.mark.parametrize("form", ["original", "within-word-l2r"])
def test_a_score_does_not_depend_on_the_company(answerer: Answerer, form: str) -> None:
    given, score = texts(answerer), Likelihood(answerer, form)
    together = score(given * 3)
    assert together.reshape(3, -1).std(0).max() == 0
    np.testing.assert_allclose(together[: len(given)], [score([text])[0] for text in given], atol=1e-3)


def test_many_texts_take_several_passes(answerer: Answerer) -> None:
    """More copies than a pass has room for, and texts that differ in one token: its copy is the same for all."""
    vocabulary = answerer.tokenizer.vocabulary
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special]
    base = texts(answerer, ["The captain saw the harbour at dawn."])[0]
    given = [base._replace(ids=np.concatenate((base.ids[:-1], [last]))) for last in ordinary]
    heard: list[tuple[int, int]] = []
    scores = Likelihood(answerer)(given, lambda done, total: heard.append((done, total)))
    total = len(given) * len(base.ids) * (len(base.ids) + 2)
    assert total > 3 * 8192
    assert heard[-1] == (total, total)
    alone = [Likelihood(answerer)([given[at]])[0] for at in (0, 7, len(given) - 1)]
    np.testing.assert_allclose(scores[[0, 7, -1]], alone, atol=1e-3)


def test_the_form_is_one_of_two(answerer: Answerer) -> None:
    with pytest.raises(RecipeError, match="is original or within-word-l2r, not 'l2r'"):
        Likelihood(answerer, "l2r")

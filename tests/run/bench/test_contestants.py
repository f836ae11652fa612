"""Both sides are given the same: real tokens counted, held-out examples shared, orders done between steps."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import runs
import torch

from bertwright.data.store import TokenStore
from bertwright.errors import BertwrightError, InputError, RecipeError, RunError
from bertwright.run.bench.contestants import NAMES, WAYS, cannot_run, chosen
from bertwright.run.bench.desk import After, Desk
from bertwright.run.bench.judge import HeldOut
from bertwright.run.bench.ours import Ours
from bertwright.run.bench.process import Fallen, Process
from bertwright.run.bench.rows import Grouped, Lines
from bertwright.run.bench.theirs import Theirs, counted
from bertwright.run.bench.workload import Workload

LENGTH = 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.store(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def workload(store: Path) -> Workload:
    return Workload(store=str(store), size="tiny", length=LENGTH, batch_size=4, objective="mlm+nsp")


class Noted:
    """Lets a training go on until it has taken so many steps, and notes what it is told."""

    def __init__(self, steps: int) -> None:
        self.told: list[tuple[int, int]] = []
        self._steps = steps

    def __call__(self, tokens: int, labelled: int) -> bool:
        self.told.append((tokens, labelled))
        return len(self.told) < self._steps


def test_lines_are_padded_sentences_and_blocks_are_full(store: Path) -> None:
    opened = TokenStore(store)
    lines, blocks = Lines(opened, LENGTH), Grouped(opened, LENGTH)
    sentences = [s for at in range(len(opened.train)) for s in opened.train.sentences(at)]
    assert len(lines) == len(sentences)
    expected = sorted(min(len(sentence), LENGTH - 2) + 2 for sentence in sentences)
    assert sorted(sum(lines[at]["attention_mask"]) for at in range(len(lines))) == expected
    assert len(blocks) == (opened.train.tokens + 2 * len(opened.train)) // LENGTH
    assert all(sum(blocks[at]["attention_mask"]) == LENGTH for at in range(len(blocks)))
    pad, row = opened.vocabulary.pad, lines[0]
    assert [i == pad for i in row["input_ids"]] == [not real for real in row["attention_mask"]]
    special = [i in opened.vocabulary.special for i in row["input_ids"]]
    assert row["special_tokens_mask"] == list(map(int, special))


def test_only_real_tokens_are_counted() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    labels = torch.tensor([[-100, 7, -100, -100], [-100, 0, -100, -100]])
    assert counted({"attention_mask": mask, "labels": labels}) == (5, 2)


def test_the_trainer_tells_what_was_in_the_batches_it_trained_on(store: Path, workload: Workload) -> None:
    lines = Lines(TokenStore(store), LENGTH)
    after = Noted(3)
    Theirs(workload, WAYS["trainer-lines"]).train(10, after)
    assert len(after.told) == 3
    most = 8 * max(sum(lines[at]["attention_mask"]) for at in range(len(lines)))
    assert all(8 * 3 <= tokens <= most < 8 * LENGTH + 1 for tokens, _ in after.told)
    assert all(0 < labelled < tokens for tokens, labelled in after.told)


def test_the_same_weights_have_the_same_held_out_loss(workload: Workload) -> None:
    """transformers' model, padded, and ours, packed, on the same examples with the same masks."""
    ours, theirs = Ours(workload, None), Theirs(workload, WAYS["trainer-grouped"])
    ours.train(2, Noted(2))
    theirs.train(2, Noted(1))
    before = theirs.loss()
    model = ours._loop.model  # type: ignore[union-attr]
    tensors = {name: model.get_parameter(own) for own, name in model.hf_names().items()}
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    theirs._model.load_state_dict({name: tensors[name] for name in theirs._model.state_dict()})
    assert ours.loss() == pytest.approx(theirs.loss(), rel=2e-3)
    assert ours.loss() != before
    assert 0 < ours.loss() < 12


def test_dropout_is_set_on_both_sides(store: Path) -> None:
    for arch in ("bert", "modern"):
        workload = Workload(store=str(store), arch=arch, size="tiny", dropout=0.3)
        config = workload.config(TokenStore(store).vocabulary)
        shares = [value for name, value in vars(config).items() if "_dropout" in name and name != "classifier_dropout"]
        assert set(shares) == {0.3}
        assert workload.recipe(1).train.dropout == 0.3


class Counter:
    """A contestant whose step number n has 10 n tokens and n labels."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done = 0

    def train(self, steps: int, after: After) -> None:
        self.begun.append(steps)
        for self.done in range(1, steps + 1):
            if not after(10 * self.done, self.done):
                return

    def loss(self) -> float:
        return float(self.done)


def served(*orders: dict[str, Any]) -> tuple[Counter, list[dict[str, Any]]]:
    counter, said = Counter(), io.StringIO()
    Desk(counter, io.StringIO("".join(json.dumps(order) + "\n" for order in orders)), said).serve()
    return counter, [json.loads(line) for line in said.getvalue().splitlines()]


def test_orders_are_done_between_the_steps_of_one_training() -> None:
    counter, said = served(
        {"do": "train", "of": 9, "steps": 2}, {"do": "loss"}, {"do": "go", "steps": 3}, {"do": "loss"}, {"do": "memory"}
    )
    assert counter.begun == [9]
    assert [one.get("tokens") for one in said] == [[10, 20], None, [30, 40, 50], None, None]
    assert said[2]["labelled"] == [3, 4, 5]
    assert len(said[2]["seconds"]) == 3
    assert [one["loss"] for one in said if "loss" in one] == [2.0, 5.0]
    assert 1 << 20 < said[-1]["bytes"] < 1 << 40
    assert counter.done == 5


def test_a_new_training_ends_the_one_under_way() -> None:
    counter, said = served({"do": "train", "of": 9, "steps": 2}, {"do": "train", "of": 2, "steps": 2}, {"do": "loss"})
    assert counter.begun == [9, 2]
    assert [one.get("tokens") for one in said] == [[10, 20], [10, 20], None]
    assert said[-1] == {"loss": 2.0}


def test_the_peak_is_a_speed() -> None:
    assert served({"do": "peak"})[1][0]["flops"] > 1e8


def test_a_process_answers_and_says_how_it_ended(workload: Workload) -> None:
    with Process("bertwright", workload) as process:
        assert process.ready() == {"threads": torch.get_num_threads()}
        answer = process.ask("train", of=2, steps=1)
        assert [len(answer[name]) for name in ("seconds", "tokens", "labelled")] == [1, 1, 1]
        process._process.kill()
        with pytest.raises(Fallen, match="ended by signal 9, as when memory runs out"):
            process.ask("go", steps=1)
    refused = Workload(store=f"{workload.store}/nothere")
    with Process("bertwright", refused) as process, pytest.raises(RunError, match="no such token store"):
        process.ready()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "nsp"}, "bench compares masked LM: --objective mlm or a sum with it, not nsp"),
        ({"length": 600}, "sequences of 600, and the encoder has 512 positions; use --length 512"),
        ({"length": 4}, "data.length is at least 8, not 4"),
        ({"dropout": 1.0}, "train.dropout is a share from 0 up to 1, not 1.0"),
        ({"batch_size": 0}, "train.batch_size is at least 1, not 0"),
        ({"size": "huge"}, "unknown size 'huge'"),
        ({"arch": "gpt"}, "unknown encoder 'gpt'"),
    ],
)
def test_settings_that_cannot_be_compared(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BertwrightError, match=said) as caught:
        Workload(**{"store": "later", **changes}).check()
    assert "\n" not in str(caught.value)


def test_text_that_is_too_small(tmp_path: Path) -> None:
    store = runs.make_store(tmp_path, runs.documents(1), heldout=0.0)
    with pytest.raises(InputError, match="too small to hold anything out"):
        _ = HeldOut(TokenStore(store), LENGTH).batches
    with pytest.raises(InputError, match=r"the text is too small: \d rows of 64 tokens, and a batch has 32"):
        Theirs(Workload(store=str(store), size="tiny", length=64), WAYS["trainer-best"])


def test_who_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("") == list(NAMES)
    assert chosen("trainer-best, bertwright") == ["bertwright", "trainer-best"]
    with pytest.raises(RecipeError, match="unknown contestant 'fairseq'; known are bertwright, bertwright-recipe,"):
        chosen("fairseq")
    monkeypatch.setattr("bertwright.run.bench.contestants.find_spec", lambda name: None)
    assert chosen("bertwright") == ["bertwright"]
    with pytest.raises(RunError, match=r"needs the package accelerate: pip install 'bertwright\[bench\]'"):
        chosen("")


def test_who_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    out = cannot_run(NAMES)
    assert list(out) == ["trainer-best", "trainer-best-memory"]
    assert set(out.values()) == {"torch.compile needs a C++ compiler, and there is no no-such-compiler"}

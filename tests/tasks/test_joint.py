"""Several tasks on the same examples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from samples import batch_of, corpus, examples, model, rows, tokenizer, vocabulary

from bertwright.data.pack import pack
from bertwright.errors import RecipeError
from bertwright.sums import add
from bertwright.tasks.base import Task
from bertwright.tasks.classify import Classify
from bertwright.tasks.joint import Joint
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence

OWN = vocabulary()


def passes(whole: Model, run) -> int:
    """How often the encoder goes over a batch while `run()` lasts."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    handle = whole.encoder.register_forward_hook(note)
    run()
    handle.remove()
    return count


@pytest.fixture(params=["mlm first", "nsp first"])
def joint(request: pytest.FixtureRequest) -> Joint:
    return MaskedLM() + NextSentence() if request.param == "mlm first" else NextSentence() + MaskedLM()


def test_the_encoder_goes_over_a_batch_once(joint: Joint) -> None:
    whole, group = model(joint), examples(joint, corpus())
    one, two = batch_of(joint, group[:4], OWN, 1), batch_of(joint, group[4:8], OWN, 1)
    assert passes(whole, lambda: whole(one)) == 1
    assert passes(whole, lambda: (whole(one), whole(two), whole(one))) == 3
    assert passes(whole, lambda: joint.logits(whole.encoder, whole.head, joint.asks(one))) == 1


def test_losses_are_the_parts_own(joint: Joint) -> None:
    whole, batch = model(joint), batch_of(joint, examples(joint, corpus()), OWN, 1)
    together = whole(batch)
    assert set(together.totals) == set(batch.counts) == {"mlm", "nsp"}
    for part in joint.parts:
        alone = part.loss(whole.encoder, whole.head.get_submodule(part.name), batch)
        for name in alone.totals:
            torch.testing.assert_close(together.totals[name], alone.totals[name])
        for name in alone.measures:
            torch.testing.assert_close(together.measures[name], alone.measures[name])


def test_labels_are_the_parts_own(joint: Joint) -> None:
    group = examples(joint, corpus())
    batch = batch_of(joint, group, OWN, 1)
    for part in joint.parts:
        alone = batch_of(part, group, OWN, 1)
        assert torch.equal(alone.labels[part.name].positions, batch.labels[part.name].positions)
        assert torch.equal(alone.labels[part.name].values, batch.labels[part.name].values)
        if part.changes_ids:
            assert torch.equal(alone.ids, batch.ids)
    assert batch.reads is not None
    assert set(batch.reads.tolist()) == {at for labels in batch.labels.values() for at in labels.positions.tolist()}


def test_examples_are_cut_by_the_part_that_must(joint: Joint) -> None:
    assert all("nsp" in example.labels for example in examples(joint, corpus()))
    own = [(e.key, e.ids.tolist()) for e in examples(NextSentence(), corpus())]
    assert [(e.key, e.ids.tolist()) for e in examples(joint, corpus())] == own


def test_weights_scale_the_gradient_and_the_score_but_not_what_is_reported() -> None:
    def gradients(task: Task) -> dict[str, torch.Tensor]:
        whole = model(task)
        loss = whole(batch_of(task, examples(task, corpus()), OWN, 1))
        sum(loss.totals.values(), torch.zeros(())).backward()
        return {name: p.grad for name, p in whole.encoder.named_parameters() if p.grad is not None}

    parts = (MaskedLM(), NextSentence())
    whole, only_mlm, only_nsp = (gradients(Joint(parts=parts, weights=w)) for w in ((2.0, 0.5), (1.0, 0.0), (0.0, 1.0)))
    assert whole
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, 2 * only_mlm[name] + 0.5 * only_nsp[name], rtol=1e-4, atol=1e-4, msg=name)

    weighted, plain = Joint(parts=parts, weights=(2.0, 0.5)), Joint(parts=parts)
    batch = batch_of(plain, examples(plain, corpus()), OWN, 1)
    reports = [task.report(add([model(task)(batch).measures])) for task in (weighted, plain)]
    assert reports[0] == pytest.approx(reports[1])
    assert weighted.score(reports[0]) == pytest.approx(-2 * reports[0]["mlm.loss"] - 0.5 * reports[0]["nsp.loss"])
    assert plain.score(reports[0]) == pytest.approx(-reports[0]["mlm.loss"] - reports[0]["nsp.loss"])


def test_adding_keeps_settings_and_weights() -> None:
    task = MaskedLM(rate=0.3) + NextSentence(short=0.2)
    assert task.name == "mlm+nsp"
    assert task.settings == {
        "mlm": MaskedLM(rate=0.3).settings,
        "nsp": NextSentence(short=0.2).settings,
        "weights": {"mlm": 1.0, "nsp": 1.0},
    }
    assert task == Joint(parts=(MaskedLM(rate=0.3), NextSentence(short=0.2)), weights=(1.0, 1.0))
    weighted = Joint(parts=(MaskedLM(),), weights=(3.0,)) + NextSentence()
    assert weighted.weights == (3.0, 1.0)
    assert (NextSentence() + Joint(parts=(MaskedLM(),), weights=(3.0,))).weights == (1.0, 3.0)


def test_a_sum_is_what_its_parts_are() -> None:
    both = MaskedLM() + NextSentence()
    assert both.reads is MaskedLM.reads
    assert both.needs_other_documents
    assert both.hf_class == (NextSentence() + MaskedLM()).hf_class == "PreTraining"
    assert Joint(parts=(MaskedLM(),)).hf_class == "MaskedLM"
    assert not Joint(parts=(MaskedLM(),)).needs_other_documents


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((MaskedLM(), MaskedLM(rate=0.3)), "mlm and mlm cannot be joined: both change the input ids"),
        ((NextSentence(), NextSentence()), "nsp and nsp cannot be joined: both need examples of their own"),
        ((NextSentence(), Classify()), r"nsp\+classify cannot be joined: some parts read documents"),
        ((MaskedLM(), NextSentence(), Classify()), r"mlm\+nsp\+classify cannot be joined: some parts read documents"),
        ((Classify(), Classify(label_field="other")), "each part is told apart by its name"),
    ],
)
def test_what_cannot_be_joined(parts: tuple[Task, ...], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        Joint(parts=parts)
    with pytest.raises(RecipeError, match=why):
        sum(parts[2:], parts[0] + parts[1])


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0)])
def test_each_part_has_a_weight(weights: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError, match=rf"2 parts and {len(weights)} weights"):
        Joint(parts=(MaskedLM(), NextSentence()), weights=weights)


@pytest.mark.parametrize("weights", [(1.0, -0.5), (0.0, 0.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_weights_are_numbers_of_at_least_0(weights: tuple[float, float]) -> None:
    with pytest.raises(RecipeError, match=r"the weights of mlm\+nsp are numbers of at least 0, one of them above it"):
        Joint(parts=(MaskedLM(), NextSentence()), weights=weights)


def test_the_parts_are_settled_and_say_their_share_of_the_config() -> None:
    task = Joint(parts=(Classify(),)).settled(rows(Classify()))
    assert task.parts == (Classify(classes=("0", "1")),)
    assert task.config_changes() == task.parts[0].config_changes()
    same = model(task, 200).encoder.config
    same.id2label = {0: "0", 1: "1"}
    assert task.continues("classifier.weight", same)
    same.id2label = {0: "1", 1: "0"}
    assert not task.continues("classifier.weight", same)


@torch.no_grad()
def test_all_that_is_read_is_computed_once_and_nothing_else(joint: Joint) -> None:
    """What the encoder returns for the sum are the rows of both parts, as each would have them by itself."""
    whole = model(joint).eval()
    batch = batch_of(joint, examples(joint, corpus()), OWN, 1)
    everything = whole.encoder(replace(batch, reads=None))
    assert batch.reads is not None
    hidden = whole.encoder(batch)
    assert len(hidden) == len(batch.reads) < batch.tokens
    for name, labels in batch.labels.items():
        torch.testing.assert_close(hidden[batch.rows(name)], everything[labels.positions], rtol=1e-5, atol=1e-5)


@pytest.fixture(params=["mlm first", "classify first"])
def on_rows(request: pytest.FixtureRequest) -> Joint:
    parts = (MaskedLM(), Classify(classes=("0", "1")))
    return Joint(parts=parts if request.param == "mlm first" else parts[::-1])


def test_masked_lm_goes_with_labelled_rows(on_rows: Joint) -> None:
    """The rows are the classifier's, hidden as they would be without it; the encoder goes over them once."""
    own = tokenizer().vocabulary
    classify = Classify(classes=("0", "1"))
    group = examples(on_rows, rows(classify))
    assert on_rows.reads is Classify.reads
    assert [e.ids.tolist() for e in group] == [e.ids.tolist() for e in examples(classify, rows(classify))]
    batch = batch_of(on_rows, group, own, 1)
    assert torch.equal(batch.ids, batch_of(MaskedLM(), group, own, 1).ids)
    assert set(batch.counts) == {"mlm", "classify"}
    whole = model(on_rows, own.size)
    assert passes(whole, lambda: whole(batch)) == 1
    assert set(whole(batch).totals) == {"mlm", "classify"}


@torch.no_grad()
def test_what_answers_is_judged_with_nothing_hidden(on_rows: Joint) -> None:
    own = tokenizer().vocabulary
    group = examples(on_rows, rows(Classify(classes=("0", "1"))))
    plain, hidden = (batch_of(one, group, own, 1) for one in on_rows.judging().passes())
    assert torch.equal(plain.ids, pack(group, own).ids)
    assert not torch.equal(hidden.ids, plain.ids)
    assert (set(plain.counts), set(hidden.counts)) == ({"classify"}, {"mlm"})
    whole = model(on_rows, own.size).eval()
    report = on_rows.report(add(whole(batch).measures for batch in (plain, hidden)))
    for part, batch in ((Classify(classes=("0", "1")), plain), (MaskedLM(), hidden)):
        loss = part.loss(whole.encoder, whole.head.get_submodule(part.name), batch)
        own_report = {name: report[name] for name in report if name.startswith(part.name)}
        assert own_report == part.report(add([loss.measures]))
    assert set(on_rows.logits(whole.encoder, whole.head, plain)) == {"classify"}
    assert on_rows.score(report) == report["classify.accuracy"]


@torch.no_grad()
def test_the_part_that_answers_has_its_head(on_rows: Joint) -> None:
    own = tokenizer().vocabulary
    whole = model(on_rows, own.size).eval()
    ((part, head),) = on_rows.answering(whole.head)
    assert isinstance(part, Classify)
    group = examples(on_rows, rows(part))
    said = part.answers(whole.encoder, head, pack(group, own))
    asked = on_rows.asks(pack(group, own))
    shares = on_rows.logits(whole.encoder, whole.head, asked)["classify"].softmax(-1)
    assert [answer["probability"] for answer in said] == pytest.approx(shares.max(-1).values.tolist())
    text = MaskedLM() + NextSentence()
    assert not list(text.answering(model(text).head))


def test_tasks_on_text_are_judged_in_one_pass(joint: Joint) -> None:
    assert joint.passes() == (joint,)
    assert Classify().passes() == (Classify(),)

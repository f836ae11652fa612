"""The loop: how a step is split changes nothing, and a run that was broken off ends with the same weights."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import batch_of, corpus, examples, feed, model, rows, speech, tokenizer, vocabulary, weights
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.errors import RunError
from bertwright.flow import Batch, Example
from bertwright.sums import add
from bertwright.tasks.base import Task
from bertwright.tasks.classify import Classify
from bertwright.tasks.joint import Joint
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.tasks.rtd import ReplacedToken
from bertwright.train.loop import Loop, Step, measure
from bertwright.train.optim import adamw, load_state_tensors, state_tensors

TASKS: list[Task] = [
    MaskedLM(),
    MaskedLM() + NextSentence(),
    Joint(parts=(MaskedLM(), NextSentence()), weights=(0.5, 2.0)),
    Classify(classes=("0", "1")),
    ReplacedToken(),
]
NAMES = ["mlm", "mlm+nsp", "weighted", "classify", "rtd"]


def sixteen(task: Task) -> list[Example]:
    """Examples from short to long, so that micro-batches of equal number differ in how much they predict."""
    items = rows(task) if isinstance(task, Classify) else [*corpus(), *corpus([[3], [20, 19], [2, 2], [9, 9, 9, 9]])]
    found = examples(task, items)[:16]
    assert len(found) == 16
    return sorted(found, key=len)


def micro_batches(task: Task, group: list[Example], size: int) -> list[Batch]:
    own = tokenizer().vocabulary if isinstance(task, Classify) else vocabulary()
    return [batch_of(task, group[at : at + size], own, 1) for at in range(0, len(group), size)]


def level(step: int) -> float:
    return 1.0


def loop_of(
    whole: Model,
    batches: Callable[[int], list[Batch]],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    clip: float = 1e9,
    precision: str = "fp32",
    factor: Callable[[int], float] = level,
) -> Loop:
    """Plain gradient descent at rate 1 unless told otherwise: a step changes each weight by its gradient."""
    optimizer = optimizer or torch.optim.SGD((p for p in whole.parameters() if p.requires_grad), lr=1.0)
    return Loop(whole, batches, optimizer, factor, clip=clip, precision=precision, seed=1)


def a_step(task: Task, batches: list[Batch], **settings) -> tuple[Step, dict[str, Tensor], dict[str, Tensor]]:
    """What one step reports, the weights after it, and by how much they moved."""
    whole = model(task, 200 if isinstance(task, Classify) else 60)
    before = weights(whole)
    (step,) = loop_of(whole, lambda step: batches, **settings).steps(1)
    after = weights(whole)
    return step, after, {name: before[name] - after[name] for name in before}


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_a_step_does_not_depend_on_how_it_is_split(task: Task) -> None:
    group = sixteen(task)
    whole, after, gradient = a_step(task, micro_batches(task, group, 16))
    assert sum(float(moved.abs().sum()) for moved in gradient.values()) > 1
    for size in (1, 4, 8):
        parts = micro_batches(task, group, size)
        assert len(parts) == 16 // size
        if task.reads is MaskedLM.reads:
            assert len({tuple(part.counts.values()) for part in parts}) > 1
        step, weights_after, moved = a_step(task, parts)
        for name in after:
            torch.testing.assert_close(weights_after[name], after[name], rtol=1e-6, atol=1e-6, msg=name)
            torch.testing.assert_close(moved[name], gradient[name], rtol=1e-6, atol=1e-6, msg=name)
        assert task.report(step.sums) == pytest.approx(task.report(whole.sums), rel=1e-6)
        assert step.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)
        assert step.tokens == whole.tokens == sum(map(len, group))


@pytest.mark.parametrize("micro_tokens", [1, 60, 250])
def test_nor_on_the_feeds_own_split(micro_tokens: int) -> None:
    task = MaskedLM() + NextSentence()
    whole, after, _ = a_step(task, feed(task, corpus(), 16, 100_000)(3))
    batches = feed(task, corpus(), 16, micro_tokens)(3)
    assert len(batches) > 1
    step, weights_after, _ = a_step(task, batches)
    for name in after:
        torch.testing.assert_close(weights_after[name], after[name], rtol=1e-6, atol=1e-6, msg=name)
    assert task.report(step.sums) == pytest.approx(task.report(whole.sums), rel=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_counts_do_not_depend_on_the_split(task: Task) -> None:
    group = sixteen(task)
    (whole,) = micro_batches(task, group, 16)
    for size in (1, 4, 8):
        parts = micro_batches(task, group, size)
        assert {name: sum(part.counts[name] for part in parts) for name in whole.counts} == whole.counts


def test_the_gradient_is_that_of_the_mean_loss() -> None:
    """By hand: one mean over all predictions of the step, and the mean of the micro-batches' means is another."""
    task, group = MaskedLM(), sixteen(MaskedLM())
    _, _, gradient = a_step(task, micro_batches(task, group, 4))

    def by_hand(batches: list[Batch]) -> dict[str, Tensor]:
        whole = model(task)
        for batch in batches:
            logits = task.logits(whole.encoder, whole.head, batch)["mlm"]
            (F.cross_entropy(logits, batch.labels["mlm"].values) / len(batches)).backward()
        return {name: p.grad for name, p in whole.named_parameters() if p.grad is not None}

    right, wrong = by_hand(micro_batches(task, group, 16)), by_hand(micro_batches(task, group, 4))
    for name in right:
        torch.testing.assert_close(gradient[name], right[name], rtol=1e-6, atol=1e-6, msg=name)
    assert max(float((gradient[name] - wrong[name]).abs().max()) for name in wrong) > 1e-3


def test_clipping_shortens_the_gradient_and_reports_its_whole_length() -> None:
    batches = micro_batches(MaskedLM(), sixteen(MaskedLM()), 4)
    free, _, gradient = a_step(MaskedLM(), batches)
    length = float(torch.stack([moved.square().sum() for moved in gradient.values()]).sum().sqrt())
    assert free.grad_norm == pytest.approx(length, rel=1e-4)
    clipped, _, shorter = a_step(MaskedLM(), batches, clip=length / 3)
    assert clipped.grad_norm == pytest.approx(free.grad_norm, rel=1e-6)
    for name in gradient:
        torch.testing.assert_close(shorter[name], gradient[name] / 3, rtol=1e-4, atol=1e-6, msg=name)
    _, _, same = a_step(MaskedLM(), batches, clip=length * 3)
    for name in gradient:
        torch.testing.assert_close(same[name], gradient[name], rtol=1e-6, atol=1e-6, msg=name)


def test_frozen_parameters_do_not_move() -> None:
    task = MaskedLM() + NextSentence()
    whole = model(task, dropout=0.1)
    frozen = [name for name, _ in whole.named_parameters() if name.startswith(("encoder.words", "encoder.layers.0"))]
    for name in frozen:
        whole.get_parameter(name).requires_grad_(False)
    before = weights(whole)
    loop = loop_of(whole, feed(task, corpus()), adamw(whole, lr=1e-2, weight_decay=0.1))
    list(loop.steps(3))
    after = weights(whole)
    assert len(frozen) == 17
    assert [name for name in before if torch.equal(before[name], after[name])] == frozen
    assert not {key.rpartition("/")[0] for key in state_tensors(loop.optimizer)} & set(frozen)


def test_a_head_alone_can_be_trained() -> None:
    task = Classify(classes=("0", "1"))
    whole = model(task, 200)
    whole.encoder.requires_grad_(False)
    before = weights(whole)
    list(loop_of(whole, feed(task, rows(task)), adamw(whole, lr=1e-2, weight_decay=0.0)).steps(2))
    assert all(torch.equal(before[n], p) != n.startswith("head.") for n, p in whole.named_parameters())


@pytest.mark.parametrize(
    ("broken", "value", "expected"),
    [("encoder.words.weight", float("nan"), "nan"), ("head.norm.weight", 1e25, "inf")],
)
def test_a_gradient_that_is_no_number_stops_the_run(broken: str, value: float, expected: str) -> None:
    task = MaskedLM()
    whole = model(task)
    loop = loop_of(whole, feed(task, corpus()), adamw(whole, lr=1e-3, weight_decay=0.0))
    list(loop.steps(2))
    with torch.no_grad():
        whole.get_parameter(broken).fill_(value)
    before = weights(whole)
    with pytest.raises(RunError, match=r"the gradient is not finite at step 3: .* start again with a lower one"):
        list(loop.steps(4))
    assert loop.step == 2
    assert all(torch.equal(p.nan_to_num(), before[name].nan_to_num()) for name, p in whole.named_parameters())
    # The two are found in two ways.
    whole.zero_grad()
    whole(loop.feed(2)[0]).totals["mlm"].backward()
    assert str(nn.utils.get_total_norm([p.grad for p in whole.parameters() if p.grad is not None]).item()) == expected


def test_steps_say_what_they_did() -> None:
    task = MaskedLM()
    whole = model(task)
    some = feed(task, corpus(), 4)
    loop = loop_of(whole, some, torch.optim.SGD(whole.parameters(), lr=0.5), factor=lambda step: 1 / (step + 1))
    steps = list(loop.steps(3))
    assert [step.number for step in steps] == [1, 2, 3]
    assert [step.lr for step in steps] == [0.5, 0.25, 0.5 / 3]
    assert [step.tokens for step in steps] == [sum(batch.tokens for batch in some(number)) for number in range(3)]
    assert loop.step == 3
    assert list(loop.steps(3)) == []
    assert [step.number for step in loop.steps(5)] == [4, 5]


def test_what_was_there_is_not_gone_over_for_cycles_while_steps_are_made() -> None:
    whole = model(MaskedLM())
    steps = loop_of(whole, lambda step: micro_batches(MaskedLM(), sixteen(MaskedLM()), 16)).steps(2)
    next(steps)
    assert gc.get_freeze_count() > 100_000
    steps.close()
    assert gc.get_freeze_count() == 0


def test_the_rate_moves_the_weights() -> None:
    def moved(rate: float) -> dict[str, Tensor]:
        _, _, gradient = a_step(
            MaskedLM(), micro_batches(MaskedLM(), sixteen(MaskedLM()), 16), factor=lambda step: rate
        )
        return gradient

    whole, half, none = moved(1.0), moved(0.5), moved(0.0)
    for name in whole:
        torch.testing.assert_close(half[name], whole[name] / 2, rtol=1e-4, atol=1e-6)
        assert not none[name].any()


def trained(task: Task, home: Path, breaks: tuple[int, ...], until: int = 10) -> dict[str, Tensor]:
    """The weights after `until` steps, saved and loaded into fresh objects after each of `breaks`."""
    done = 0
    for stop in (*breaks, until):
        whole = model(task, 200, dropout=0.1, seed=1 + done)  # other weights than those that are loaded
        items = rows(task) if isinstance(task, Classify) else speech()
        loop = loop_of(
            whole,
            feed(task, items, 8, 60),
            adamw(whole, lr=3e-3, weight_decay=0.01),
            clip=1.0,
            factor=lambda step: (step + 1) / until,
        )
        if done:
            whole.load_state_dict(load_file(home / f"{done}.weights"))
            load_state_tensors(loop.optimizer, load_file(home / f"{done}.optimizer"))
            loop.step = done
        torch.rand(3 + done)  # whatever else has drawn random numbers
        list(loop.steps(stop))
        done = stop
        save_file(whole.state_dict(), home / f"{done}.weights")
        save_file(state_tensors(loop.optimizer), home / f"{done}.optimizer")
    return load_file(home / f"{until}.weights") | load_file(home / f"{until}.optimizer")


@pytest.mark.parametrize("task", TASKS[1:], ids=NAMES[1:])
def test_a_run_that_was_broken_off_ends_with_the_same_weights(task: Task, tmp_path: Path) -> None:
    """Bit for bit, with dropout, and whatever was drawn in between."""
    whole = trained(task, tmp_path, ())
    broken = trained(task, tmp_path, (5,))
    twice = trained(task, tmp_path, (1, 8))
    assert whole.keys() == broken.keys() == twice.keys()
    for name in whole:
        assert torch.equal(whole[name], broken[name]), name
        assert torch.equal(whole[name], twice[name]), name
    without = trained(task, tmp_path, (), until=9)
    assert any(not torch.equal(whole[name], without[name]) for name in without)


def test_dropout_is_drawn_anew_at_each_step() -> None:
    task = Classify(classes=("0", "1"))
    batches = micro_batches(task, sixteen(task), 16)
    whole = model(task, 200, dropout=0.3)
    still = loop_of(whole, lambda step: batches, torch.optim.SGD(whole.parameters(), lr=0.0))
    losses = [task.report(step.sums)["classify.loss"] for step in still.steps(4)]
    assert len(set(losses)) == 4


def test_bf16_is_close_to_fp32() -> None:
    task = MaskedLM() + NextSentence()
    batches = micro_batches(task, sixteen(task), 8)
    exact, _, gradient = a_step(task, batches)
    rounded, _, moved = a_step(task, batches, precision="bf16")
    assert exact.sums != rounded.sums
    for name, value in task.report(exact.sums).items():
        if name.endswith(".loss"):
            assert task.report(rounded.sums)[name] == pytest.approx(value, rel=2e-2)
    assert rounded.grad_norm == pytest.approx(exact.grad_norm, rel=5e-2)
    flat = [torch.cat([x.flatten() for x in tensors.values()]) for tensors in (gradient, moved)]
    assert float(F.cosine_similarity(flat[0], flat[1], 0)) > 0.995
    assert {x.dtype for x in moved.values()} == {torch.float32}


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_measuring_is_the_same_for_any_split_and_changes_nothing(task: Task) -> None:
    group = sixteen(task)
    whole = model(task, 200 if isinstance(task, Classify) else 60, dropout=0.5)
    before = weights(whole)
    sums = measure(whole, micro_batches(task, group, 16), "fp32")
    report = task.report(sums)
    for size in (1, 5):
        split = task.report(measure(whole, micro_batches(task, group, size), "fp32"))
        assert split == pytest.approx(report, rel=1e-5)
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in whole.named_parameters())
    assert not any(value.requires_grad for value in sums.values())
    assert measure(whole, [], "fp32") == {}


def test_measuring_does_not_end_training() -> None:
    """A step after a measurement drops as if there had been none."""
    task = MaskedLM()

    def after(measured: bool) -> dict[str, Tensor]:
        whole = model(task, dropout=0.3)
        some = feed(task, corpus())
        loop = loop_of(whole, some, adamw(whole, lr=1e-3, weight_decay=0.0))
        for _ in loop.steps(3):
            if measured:
                measure(whole, some(0), "fp32")
        return weights(whole)

    one, two = after(False), after(True)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_sums_of_steps_add_to_those_of_an_epoch() -> None:
    task = MaskedLM()
    whole = model(task)
    some = feed(task, corpus(), 4, 40)
    still = loop_of(whole, some, torch.optim.SGD(whole.parameters(), lr=0.0))
    together = add(step.sums for step in still.steps(4))
    alone = measure(whole, [batch for step in range(4) for batch in some(step)], "fp32")
    assert task.report(together) == pytest.approx(task.report(alone), rel=1e-6)


def test_dropout_is_each_forward_passs_own_and_each_seeds() -> None:
    """The same examples twice in a step are not dropped alike, nor in a run of another seed."""
    task = Classify(classes=("0", "1"))
    (batch,) = micro_batches(task, sixteen(task), 16)
    whole = model(task, 200, dropout=0.3)

    def loss(times: int, seed: int = 1) -> float:
        still = torch.optim.SGD(whole.parameters(), lr=0.0)
        loop = Loop(whole, lambda step: [batch] * times, still, level, clip=1e9, precision="fp32", seed=seed)
        (step,) = loop.steps(1)
        return task.report(step.sums)["classify.loss"]

    assert loss(1) == loss(1)
    assert loss(2) != loss(1)
    assert loss(1, seed=2) != loss(1)

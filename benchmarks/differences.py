"""What splitting a batch and breaking off a run change: `transformers`' Trainer beside bertwright's, on the same data.

    python benchmarks/differences.py

Tiny models without dropout learn 16 random rows with unequal numbers of labels, whole, as 4 x 4 and as 1 x 16 (rows a
micro-batch x micro-batches): the logged loss of a step, and how far its gradient is from that of the whole batch,
relative to its norm. Then masked LM with masks drawn by transformers' collator, 30 steps in one go and 15 + 15 by
`resume_from_checkpoint`, with dropout: how far the largest weight is off.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import bertwright

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from datasets import Dataset

transformers.logging.set_verbosity_error()
NAMES = {"transformers": transformers, "bertwright": bertwright}
SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
KINDS = ("MaskedLM", "PreTraining", "SequenceClassification", "TokenClassification", "QuestionAnswering")
SPLITS = ((16, 1), (4, 4), (1, 16))


def rows_for(kind: str) -> Dataset:
    """Sixteen rows of which the first have many labels and the last few."""
    draw = torch.Generator().manual_seed(1)
    rows = []
    for row in range(16):
        ids = torch.randint(5, 100, (16,), generator=draw)
        some = torch.where(torch.arange(16) < 16 - row, ids, -100)
        labels: dict[str, Any] = {"labels": (some.clamp(max=1) if kind == "TokenClassification" else some).tolist()}
        if kind == "SequenceClassification":
            labels = {"labels": row % 2}
        if kind == "QuestionAnswering":
            labels = {"start_positions": row % 16, "end_positions": 3}
        if kind == "PreTraining":
            labels["next_sentence_label"] = row % 2
        rows.append({"input_ids": ids.tolist(), **labels})
    return Dataset.from_list(rows)


def trained(names: Any, kind: str, data: Dataset, dropout: float = 0.0, **settings: Any) -> Any:
    """A trainer that has trained, by arguments; `collator` and `resume` are for it and its run."""
    transformers.set_seed(1)
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = getattr(names, f"BertFor{kind}")(transformers.BertConfig(**SIZES, **drops))
    collator, resume = settings.pop("collator", transformers.default_data_collator), settings.pop("resume", None)
    common = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_steps": 1}
    arguments = names.TrainingArguments(settings.pop("home"), **common, **settings)
    trainer = names.Trainer(model=model, args=arguments, train_dataset=data, data_collator=collator)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def step(names: Any, kind: str, rows: int, times: int) -> tuple[float, torch.Tensor]:
    """The logged loss and the gradient of a step, which plain SGD at rate 1 leaves in the weights."""
    home = tempfile.mkdtemp()
    split = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": times}
    plain = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    done = trained(names, kind, rows_for(kind), home=home, max_steps=1, save_strategy="no", **split, **plain)
    shutil.rmtree(home)
    weights = {name: x.detach() for name, x in done.model.named_parameters()}
    return done.state.log_history[0]["loss"], torch.cat([weights[name].flatten() for name in sorted(weights)])


def splits() -> None:
    print("| model | | loss 16 x 1, 4 x 4, 1 x 16 | gradient off, 4 x 4, 1 x 16 |\n|---|---|---|---|")
    for kind in KINDS:
        for who, names in NAMES.items():
            losses, ends = zip(*(step(names, kind, *split) for split in SPLITS), strict=True)
            transformers.set_seed(1)
            start = getattr(names, f"BertFor{kind}")(
                transformers.BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
            )
            before = {name: x.detach() for name, x in start.named_parameters()}
            whole = ends[0] - torch.cat([before[name].flatten() for name in sorted(before)])
            off = [float((end - ends[0]).norm() / whole.norm()) for end in ends[1:]]
            said = ", ".join(f"{loss:.4f}" for loss in losses)
            print(f"| {kind} | {who} | {said} | {', '.join(f'{x:.1e}' for x in off)} |", flush=True)


def resumed() -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(95))]
    tokenizer = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    data = rows_for("MaskedLM").remove_columns("labels")
    for who, names in NAMES.items():
        home = tempfile.mkdtemp()
        settings: dict[str, Any] = {"max_steps": 30, "save_steps": 15, "per_device_train_batch_size": 4, "dropout": 0.1}
        settings |= {"home": home, "learning_rate": 1e-2}
        collator = transformers.DataCollatorForLanguageModeling(tokenizer)
        whole = trained(names, "MaskedLM", data, collator=collator, **settings)
        kept = {name: x.detach().clone() for name, x in whole.model.named_parameters()}
        broken = str(Path(home, "checkpoint-15"))
        again = trained(names, "MaskedLM", data, collator=collator, resume=broken, **settings)
        off = max(float((x.detach() - kept[name]).abs().max()) for name, x in again.model.named_parameters())
        print(f"{who}: weights of the resumed run are off by up to {off:.2g}")
        shutil.rmtree(home)


if __name__ == "__main__":
    splits()
    resumed()

"""What is left of a text behind each layer of a checkpoint: how large vectors are, and which class they tell.

    python benchmarks/layers.py CHECKPOINT TRAIN TEST

TRAIN and TEST are labelled rows with `text` and `label`. Behind the embeddings and each layer, as transformers computes
them in fp32 (the last one behind the final norm): the root mean square of the numbers in a token's vector, [CLS] left
out; and the test accuracy of a logistic regression on the mean of a text's vectors and on the first one, from 500
training rows, the mean over the three draws of `pretraining_brings.py`. Then the root mean square of each matrix.
Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

from bertwright.seeds import generator
from bertwright.text.formats import read_rows

SEEDS = (1, 2, 3)
ROWS = 500
BATCH = 64


class Behind(NamedTuple):
    """What stands behind a layer, of some texts."""

    squares: float
    """The mean square of the numbers in tokens' vectors"""
    mean: np.ndarray
    """[texts, H]"""
    first: np.ndarray
    """[texts, H]"""


@torch.no_grad()
def read(model: Any, tokenizer: Any, texts: list[str]) -> list[Behind]:
    """By layer, the embeddings first."""
    batches = []
    for start in range(0, len(texts), BATCH):
        inputs = tokenizer(
            texts[start : start + BATCH], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        inputs = {name: ids for name, ids in inputs.items() if name in ("input_ids", "attention_mask")}
        there = inputs["attention_mask"].bool()
        batches.append([_behind(hidden, there) for hidden in model(**inputs, output_hidden_states=True).hidden_states])
    layers = zip(*batches, strict=True)
    return [
        Behind(
            float(np.mean([one.squares for one in parts])),
            np.concatenate([one.mean for one in parts]),
            np.concatenate([one.first for one in parts]),
        )
        for parts in layers
    ]


def _behind(hidden: torch.Tensor, there: torch.Tensor) -> Behind:
    mean = (hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True)
    words = hidden[:, 1:][there[:, 1:]]
    return Behind(float(words.square().mean()), mean.numpy(), hidden[:, 0].numpy())


def accuracy(train: np.ndarray, labels: list[str], test: np.ndarray, true: list[str]) -> float:
    """Per cent of the test rows right, the mean over the draws."""
    scores = []
    for seed in SEEDS:
        chosen = generator("subset", seed).permutation(len(labels))[:ROWS]
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        scores.append(classifier.fit(train[chosen], [labels[i] for i in chosen]).score(test, true))
    return 100 * float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("checkpoint", "train", "test"):
        parser.add_argument(name)
    args = parser.parse_args()
    model, tokenizer = AutoModel.from_pretrained(args.checkpoint).eval(), AutoTokenizer.from_pretrained(args.checkpoint)
    train, test = ([*read_rows(path)] for path in (args.train, args.test))
    labels, true = ([row["label"] for row in rows] for rows in (train, test))
    of_train, of_test = (read(model, tokenizer, [row["text"] for row in rows]) for rows in (train, test))
    for layer, (one, other) in enumerate(zip(of_train, of_test, strict=True)):
        mean, first = (accuracy(getattr(one, part), labels, getattr(other, part), true) for part in ("mean", "first"))
        print(f"behind {layer}: size {other.squares**0.5:.2f}, mean {mean:.1f} %, first {first:.1f} %", flush=True)
    sizes = {name: float(p.detach().square().mean().sqrt()) for name, p in model.named_parameters() if p.ndim > 1}
    print(json.dumps({name: round(size, 3) for name, size in sizes.items()}, indent=1))


if __name__ == "__main__":
    main()

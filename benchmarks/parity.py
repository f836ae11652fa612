"""The largest difference in a logit between bertwright and transformers on the same weights, in fp32.

    python benchmarks/parity.py CHECKPOINT [CHECKPOINT ...]

Each checkpoint is read by both; sequences of mixed lengths go padded through transformers and unpadded through
bertwright.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

from bertwright.data.pack import pack
from bertwright.encoders.base import Encoder
from bertwright.encoders.exchange import Checkpoint
from bertwright.encoders.folders import checkpoint_folder
from bertwright.encoders.naming import hf_names
from bertwright.run.answering import task_of_checkpoint
from bertwright.tasks.mlm import ordinary_ids
from bertwright.tasks.model import Model
from bertwright.text.tokenizer import Tokenizer

LENGTHS = (7, 128, 33, 64, 12, 100)


@torch.no_grad()
def difference(checkpoint: str) -> dict[str, float]:
    """By output: the largest absolute difference over all sequences, and the largest value to compare it with."""
    folder = checkpoint_folder(checkpoint)
    source, vocabulary = Checkpoint.open(folder), Tokenizer.load(folder).vocabulary
    name = (source.config.architectures or ["BertModel"])[0]
    theirs = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager").eval()
    rng = np.random.default_rng(0)
    examples = [vocabulary.single(rng.choice(ordinary_ids(vocabulary), length - 2)) for length in LENGTHS]
    batch = pack(examples, vocabulary)
    ids = torch.full((len(LENGTHS), max(LENGTHS)), vocabulary.pad)
    mask = torch.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.from_numpy(example.ids)
        mask[row, : len(example)] = 1
    said = theirs(input_ids=ids, attention_mask=mask)
    encoder = Encoder.from_pretrained(folder).eval()
    kept = mask.bool()
    if "last_hidden_state" in said:
        return {"hidden": float((encoder(batch) - said.last_hidden_state[kept]).abs().max())}
    model = Model(encoder, task_of_checkpoint(source)).eval()
    source.load_into(model.head, hf_names(model.head))
    ours = model.task.logits(model.encoder, model.head, model.task.asks(batch))
    expected = [value[kept] if value.ndim == 3 else value for key, value in said.items() if key.endswith("logits")]
    return {
        part: min(float((logits - other).abs().max()) for other in expected if other.shape == logits.shape)
        for part, logits in ours.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+")
    for checkpoint in parser.parse_args().checkpoints:
        for part, value in difference(checkpoint).items():
            print(f"{checkpoint}  {part}  {value:.1e}")


if __name__ == "__main__":
    main()

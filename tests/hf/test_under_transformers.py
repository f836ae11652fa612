"""The datasets and collators under transformers' own Trainer, with transformers' own models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from small_text import as_lines, documents
from small_tokenizers import made
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bertwright import (
    DataCollatorForLanguageModeling,
    DataCollatorForNextSentencePrediction,
    DataCollatorForSOP,
    DataCollatorForWholeWordMask,
    LineByLineTextDataset,
    LineByLineWithSOPTextDataset,
    TextDataset,
    TextDatasetForNextSentencePrediction,
    TextDatasetForSameSentencePrediction,
)

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


def trained(model: PreTrainedModel, folder: Path, collator: Any, dataset: Any, **settings: Any) -> list[float]:
    """The losses of three steps."""
    chosen: dict[str, Any] = {"max_steps": 3, "per_device_train_batch_size": 8} | settings
    arguments = TrainingArguments(
        output_dir=str(folder),
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        **chosen,
    )
    trainer = Trainer(model=model, args=arguments, data_collator=collator, train_dataset=dataset)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(40)), "utf-8")
    return path


def bert(kind: type[PreTrainedModel]) -> PreTrainedModel:
    torch.manual_seed(1)
    return kind(BertConfig(vocab_size=len(made("wordpiece")), **SHAPE))


@pytest.mark.parametrize("kind", [TextDatasetForNextSentencePrediction, TextDatasetForSameSentencePrediction])
@pytest.mark.parametrize("collate", [DataCollatorForLanguageModeling, DataCollatorForNextSentencePrediction])
def test_pairs_pretrain_bert(tmp_path: Path, corpus: Path, kind: Any, collate: Any) -> None:
    tokenizer = made("wordpiece")
    dataset = kind(tokenizer, corpus, 32)
    model = bert(BertForPreTraining)
    before = model.get_parameter("cls.seq_relationship.weight").clone()
    losses = trained(model, tmp_path / "run", collate(tokenizer, mlm=True, mlm_probability=0.15), dataset)
    assert len(losses) == 3
    assert 4 < losses[0] < 10
    assert not torch.equal(before, model.get_parameter("cls.seq_relationship.weight"))


@pytest.mark.parametrize("collate", [DataCollatorForLanguageModeling, DataCollatorForWholeWordMask])
@pytest.mark.parametrize("kind", [LineByLineTextDataset, TextDataset])
def test_lines_and_blocks_train_a_masked_lm(tmp_path: Path, corpus: Path, kind: Any, collate: Any) -> None:
    tokenizer = made("wordpiece")
    losses = trained(bert(BertForMaskedLM), tmp_path / "run", collate(tokenizer), kind(tokenizer, corpus, 32))
    assert len(losses) == 3
    assert 4 < losses[0] < 8


def test_sentence_order_pretrains_albert(tmp_path: Path, corpus: Path) -> None:
    tokenizer = made("wordpiece")
    dataset = LineByLineWithSOPTextDataset(tokenizer, corpus.parent, 32)
    torch.manual_seed(1)
    model = AlbertForPreTraining(AlbertConfig(vocab_size=len(tokenizer), embedding_size=8, **SHAPE))
    assert len(trained(model, tmp_path / "run", DataCollatorForSOP(tokenizer), dataset)) == 3


def test_rows_of_datasets_and_workers(tmp_path: Path, corpus: Path) -> None:
    tokenizer = made("wordpiece")
    rows = datasets.Dataset.from_list([{"text": line} for line in corpus.read_text("utf-8").splitlines() if line])
    encoded = rows.map(lambda row: tokenizer(row["text"], truncation=True, max_length=32), remove_columns=["text"])
    losses = trained(
        bert(BertForMaskedLM),
        tmp_path / "run",
        DataCollatorForLanguageModeling(tokenizer, seed=1),
        encoded,
        dataloader_num_workers=1,
    )
    assert len(losses) == 3


def test_a_resumed_run_sees_the_masks_of_one_that_went_through(tmp_path: Path, corpus: Path) -> None:
    tokenizer = made("wordpiece")
    dataset = LineByLineTextDataset(tokenizer, corpus, 32)
    seen: dict[str, list[list[int]]] = {}

    class Spying(DataCollatorForWholeWordMask):
        def __call__(self, features: Any, return_tensors: str | None = None) -> dict[str, Any]:
            batch = super().__call__(features, return_tensors)
            seen.setdefault(str(self.seed), []).append(batch["input_ids"].flatten().tolist())
            return batch

    def ended(folder: str, **how: Any) -> dict[str, torch.Tensor]:
        set_seed(3)
        model = bert(BertForMaskedLM)
        arguments = TrainingArguments(
            output_dir=str(tmp_path / folder),
            max_steps=how.pop("max_steps"),
            per_device_train_batch_size=32,
            save_steps=4,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            seed=3,
            lr_scheduler_type="constant",
        )
        collator = Spying(tokenizer, seed=5)
        trainer = Trainer(model=model, args=arguments, data_collator=collator, train_dataset=dataset)
        trainer.train(**how)
        return {name: value.clone() for name, value in model.state_dict().items()}

    whole = ended("whole", max_steps=8)
    masks = seen.pop("5")
    ended("parts", max_steps=4)
    resumed = ended("parts", max_steps=8, resume_from_checkpoint=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len({str(batch) for batch in masks}) == len(masks)

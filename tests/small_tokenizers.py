"""Small tokenizers of every kind, trained on text in five scripts."""

from __future__ import annotations

from functools import cache
from typing import Any

from small_text import CHINESE, ENGLISH, JAPANESE, RUSSIAN, THAI
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bertwright.text.wordpiece import train_tokenizer

TEXTS = {"en": ENGLISH, "ru": RUSSIAN, "zh": CHINESE, "ja": JAPANESE, "th": THAI}
KINDS = ("wordpiece", "bpe", "unigram")
_NAMES = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}


@cache
def made(kind: str, vocab_size: int = 640) -> Any:
    """A tokenizer of transformers: BERT's WordPiece, RoBERTa's byte-level BPE, or a Unigram that adds nothing."""
    if kind == "wordpiece":
        return train_tokenizer([list(TEXTS.values())], vocab_size=vocab_size).hf()
    return PreTrainedTokenizerFast(
        tokenizer_object=_bpe(vocab_size) if kind == "bpe" else _unigram(vocab_size),
        **{f"{role}_token": name for role, name in _NAMES.items()},
    )


def _bpe(vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_NAMES.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS.values(), trainer)
    ids = backend.get_vocab()
    backend.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return backend


def _unigram(vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(_NAMES.values()), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS.values(), trainer)
    return backend

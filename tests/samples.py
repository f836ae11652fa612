"""Small real things that tests on several floors share: vocabularies, documents, rows, encoders, models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers
from transformers import BertConfig, ElectraConfig

from bertwright.data.feed import Feed
from bertwright.data.pack import pack
from bertwright.data.plan import Plan, in_order
from bertwright.data.rows import Rows
from bertwright.encoders import laws
from bertwright.encoders.base import Encoder
from bertwright.flow import Batch, Document, Example, Vocabulary
from bertwright.seeds import Draws, generator
from bertwright.tasks.base import LabelledTask, Task
from bertwright.tasks.model import Model
from bertwright.text.tokenizer import ROLES, Tokenizer

# Models this small are slower on two threads than on one, and many times slower where other processes want the cores.
torch.set_num_threads(1)

SHAPES = ((7, 12, 5), (9,), (1,), (1, 1, 1), (6, 30, 4, 1), (14, 3), (40,), (2, 8, 8, 8, 8, 5, 6, 7))
"""Sentence lengths of a few documents: ordinary ones, one sentence, one token, a sentence longer than a sequence."""
SPAN = 1_000_000
TEXTS = (
    "the boat left the harbour at dawn . the wind came from the west . by noon the crew saw the far shore .",
    "she planted beans along the wall . rain fell for a week . in july the garden was green and the beans were ripe .",
    "the old press printed one sheet at a time . a boy carried the sheets to the window . the ink dried in the sun .",
    "Лодка вышла из гавани на рассвете . Ветер дул с запада . К полудню команда увидела огни дальнего берега .",
    "Она посадила бобы вдоль стены . Неделю шёл дождь . В июле сад был зелёным .",
    "船 在 黎明 离开 港口 . 风 从 西边 吹来 . 中午 船员 看见 远处 岸上 的 灯光 .",
    "她 沿着 墙 种 豆子 . 下 了 一个 星期 的 雨 . 七月 花园 是 绿色 的 .",
)


def vocabulary(size: int = 60) -> Vocabulary:
    return Vocabulary(size=size, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


def corpus(shapes: Sequence[Sequence[int]] = SHAPES, length: int = 24, size: int = 60) -> list[Document]:
    """Documents with sentences of those lengths, of ordinary ids, the low ones commoner."""
    draw = generator("corpus")
    return _documents(
        [[5 + (draw.random(n) ** 2 * (size - 5)).astype(np.int64) for n in lengths] for lengths in shapes],
        vocabulary(size),
        length,
    )


def numbered(shapes: Sequence[Sequence[int]], length: int) -> list[Document]:
    """Documents whose ids say where they are from: token t of document d is (d + 1) * SPAN + t."""
    sentences = []
    for number, lengths in enumerate(shapes, 1):
        ids = number * SPAN + np.arange(sum(lengths))
        sentences.append(np.split(ids, np.cumsum(lengths)[:-1]))
    return _documents(sentences, vocabulary((len(shapes) + 1) * SPAN), length)


@cache
def tokenizer() -> Tokenizer:
    """Knows the words of TEXTS, and Chinese characters one by one."""
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    cutter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in TEXTS for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))}
    entries = [*(f"[{role.upper()}]" for role in ROLES), *sorted(words)]
    known = models.WordLevel({word: number for number, word in enumerate(entries)}, unk_token="[UNK]")
    backend = tokenizers.Tokenizer(known)
    backend.normalizer, backend.pre_tokenizer = normalizer, cutter
    return Tokenizer(backend, {})


def speech(length: int = 24) -> list[Document]:
    """TEXTS as documents: English, Russian, Chinese."""
    own = tokenizer()
    sentences = [[own.encode(f"{sentence} .") for sentence in text.split(" .") if sentence] for text in TEXTS]
    return _documents(sentences, own.vocabulary, length)


def rows(task: LabelledTask, length: int = 24) -> Rows:
    """A row a sentence of TEXTS: text in whatever columns the task names, and a label of 0 or 1, or as it needs."""
    texts = (value for name, value in task.settings.items() if name.endswith("_field") or name in ("first", "second"))
    columns = {*texts} - {task.answer_field, ""}
    sentences = [sentence for text in TEXTS for sentence in text.split(" .") if sentence]
    fields = [
        dict.fromkeys(columns, sentence) | {task.answer_field: str(number % 2)} | _beside(task.name, sentence)
        for number, sentence in enumerate(sentences)
    ]
    return Rows(fields, tokenizer(), length)


def _beside(task: str, sentence: str) -> dict[str, Any]:
    """What stands in the rows of tasks that need more than one text and a label."""
    words = sentence.split()
    others = {
        "tag": {"tags": [str(len(word) % 3) for word in words]},
        "span": {"question": words[0], "answers": words[len(words) // 2]},
        "choice": {"prompt": sentence, "endings": [words[0], words[-1], "船"], "label": len(words) % 3},
        "embed": {"text_b": " ".join(words[::-2])},
    }
    return others.get(task, {})


_CONFIGS = {"bert": BertConfig, "electra": partial(ElectraConfig, embedding_size=32, summary_last_dropout=0.0)}


def encoder(vocab_size: int = 60, dropout: float = 0.0, seed: int = 1, arch: str = "bert") -> Encoder:
    """Two layers of 32, weights drawn wide enough that attention is not uniform."""
    config = _CONFIGS[arch](
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.1,
    )
    return Encoder.from_config(config, seed=seed)


def model(task: Task, vocab_size: int = 60, dropout: float = 0.0, seed: int = 1) -> Model:
    """The task's head on `encoder(...)`, of the architecture that it is for, both drawn from the seed."""
    made = Model(encoder(vocab_size, dropout, seed, task.arch or "bert"), task)
    laws.draw(made.head, seed, "paper", spread=0.1)
    return made


def examples(task: Task, items: Sequence[Document] | Rows) -> list[Example]:
    return list(in_order(items, task.examples, 0))


def batch_of(task: Task, group: list[Example], own: Vocabulary, *words: int | str) -> Batch:
    """The group packed and labelled, with draws of the words."""
    return task.label(pack(group, own), group, Draws(*words))


def feed(task: Task, items: Sequence[Document] | Rows, batch_size: int = 16, micro_tokens: int = 128) -> Feed:
    plan = Plan(items, task.examples, batch_size=batch_size, seed=1)
    return Feed(plan, task.label, items[0].vocabulary, micro_tokens)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def in_documents(sentences: list[list[np.ndarray]], size: int, length: int) -> list[Document]:
    """Documents of those sentences, of ids below `size`."""
    return _documents(sentences, vocabulary(size), length)


def _documents(sentences: list[list[np.ndarray]], own: Vocabulary, length: int) -> list[Document]:
    places = [(number, sentence) for number, document in enumerate(sentences) for sentence in range(len(document))]
    ends = np.cumsum([len(sentences[number][sentence]) for number, sentence in places])
    sizes = [sum(map(len, document)) for document in sentences]
    begins = np.cumsum(sizes) - sizes

    def one(at: int) -> Document:
        def elsewhere(rng: np.random.Generator) -> tuple[list[np.ndarray], int]:
            drawn = int(rng.integers(ends[-1] - sizes[at]))
            token = drawn + sizes[at] * (drawn >= begins[at])
            number, sentence = places[int(np.searchsorted(ends, token, side="right"))]
            return sentences[number], sentence

        return Document(sentences=sentences[at], vocabulary=own, length=length, elsewhere=elsewhere)

    return [one(at) for at in range(len(sentences))]

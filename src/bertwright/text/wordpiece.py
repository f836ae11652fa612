"""Training a WordPiece vocabulary, the same on every run.

WordPiece as in BERT (Devlin et al., 2018), trained with the merges of byte-pair encoding as `tokenizers` does. That
library numbers characters in the order of a hash map and breaks ties by number, so its vocabularies differ from run to
run; here a first walk over the text finds the characters, and the training walk is given them in a fixed order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ..errors import InputError
from .tokenizer import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MULTIPLE = 64
_CODES = 0x110000
_MOST_WORDS = 400_000
_TEXTS = 16


def train_tokenizer(
    texts: Iterable[Sequence[str]], *, vocab_size: int = 16_384, lower_case: bool = False, strip_accents: bool = False
) -> Tokenizer:
    """A WordPiece tokenizer for batches of texts, which are walked through twice.

    The vocabulary has `vocab_size` entries, rounded up to a multiple of 64; where the texts give fewer, `[unused0]`,
    `[unused1]` ... fill it to the next multiple. Stripping accents turns й into и. Raises InputError when the texts
    hold no character.
    """
    target = -(-vocab_size // MULTIPLE) * MULTIPLE
    settings = {"do_lower_case": lower_case, "strip_accents": strip_accents}
    pieces = _single_characters(texts, target, settings)
    if not pieces:
        raise InputError("no text to train a tokenizer on")
    firsts = [piece for piece in pieces if len(piece) == 1]
    trainer = trainers.WordPieceTrainer(
        vocab_size=target,
        min_frequency=2,
        special_tokens=[*SPECIAL, *pieces],
        initial_alphabet=firsts,
        limit_alphabet=len(firsts),
        show_progress=False,
    )
    trained = _backend({}, settings)
    trained.train_from_iterator(iter(texts), trainer)
    tokens = sorted(trained.get_vocab().items(), key=lambda entry: entry[1])
    vocabulary = {token: i for i, (token, _) in enumerate(tokens)}
    for i in range(-len(vocabulary) % MULTIPLE):
        vocabulary[f"[unused{i}]"] = len(vocabulary)
    return _tokenizer(vocabulary, settings)


def _single_characters(texts: Iterable[Sequence[str]], target: int, settings: dict[str, bool]) -> list[str]:
    """The characters to keep, as they begin a word and, with ##, as they stand inside one, in a fixed order.

    Both together may not outgrow the vocabulary: the rarest characters go.
    """
    counts = np.zeros(_CODES, np.int64)
    backend = _backend({}, settings)
    without_merges = trainers.WordPieceTrainer(vocab_size=0, special_tokens=list(SPECIAL), show_progress=False)
    backend.train_from_iterator(_new_words(texts, counts), without_merges)
    found = set(backend.get_vocab()) - set(SPECIAL)
    kept = _commonest({piece for piece in found if len(piece) == 1}, counts, backend, (target - len(SPECIAL)) // 2)
    return sorted((piece for piece in found if piece[-1] in kept), key=lambda piece: (len(piece), piece))


def _new_words(texts: Iterable[Sequence[str]], counts: np.ndarray) -> Iterator[list[str]]:
    """Texts with each word about once, which is enough to see its characters; all characters are counted."""
    seen: set[str] = set()
    for batch in texts:
        codes = np.frombuffer("".join(batch).encode("utf-32-le"), np.uint32)
        counts += np.bincount(codes, minlength=_CODES)
        new = list({word for text in batch for word in text.split(" ")} - seen)
        yield [" ".join(new[at::_TEXTS]) for at in range(_TEXTS)]
        if len(seen) > _MOST_WORDS:
            seen.clear()
        seen.update(new)


def _commonest(characters: set[str], counts: np.ndarray, backend: tokenizers.Tokenizer, most: int) -> set[str]:
    if len(characters) <= most:
        return characters
    normalized: Counter[str] = Counter()
    for code in np.flatnonzero(counts):
        for character in backend.normalizer.normalize_str(chr(code)):
            normalized[character] += int(counts[code])
    return set(sorted(characters, key=lambda character: (-normalized[character], character))[:most])


def _backend(vocabulary: dict[str, int], settings: dict[str, bool]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[1]))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=settings["strip_accents"],
        lowercase=settings["do_lower_case"],
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _tokenizer(vocabulary: dict[str, int], settings: dict[str, bool]) -> Tokenizer:
    backend = _backend(vocabulary, settings)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    config = {"tokenizer_class": "BertTokenizer", **settings, "tokenize_chinese_chars": True, **names}
    return Tokenizer(backend, config)
